"""What pools do, over HTTP: for probes, for Prometheus, for other tools, and for people.

```python
app.mount("/millpond", millpond.web.asgi_app())          # Starlette, FastAPI
app = millpond.web.asgi_app(app=app)                     # any ASGI app, below /millpond
app.wsgi_app = millpond.web.wsgi_app(app=app.wsgi_app)   # Flask; any WSGI app likewise
millpond.web.serve(9100)                                 # no framework: a thread of its own
```

| path | what | |
|---|---|---|
| `/healthz` | the process lives | 200 |
| `/readyz` | the pools are healthy | 200; 503 with the alerts, one a line |
| `/metrics` | for Prometheus (`millpond.exporters.prometheus`) | 501 without the extra |
| `/pool.json` | everything about each pool: statistics, options, health | |
| `/` | the same as a page that refreshes itself | |

A pool that is busier than `Thresholds.utilization` is not healthy. Where that must not take a
process out of service, say so: ``thresholds=Thresholds(utilization=None)``.

Nothing is asked of the database. Who sees these pages sees names of threads, files and lines, so
keep them inside; passwords are in none of them. With several worker processes each answers for
itself.

```text
_wsgi, _asgi, _server   how it is spoken
_site                   what is answered: a path in, status, headers and body out
_page                   the page for people: page.html
```
"""

from millpond.web._asgi import asgi_app
from millpond.web._server import Server, serve
from millpond.web._site import Response, Site
from millpond.web._wsgi import wsgi_app

__all__ = ["Response", "Server", "Site", "asgi_app", "serve", "wsgi_app"]
