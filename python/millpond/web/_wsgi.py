"""The endpoints as a WSGI application, or around one."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from millpond.web._site import Request, site_for

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Unpack
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from millpond._watched import Pools
    from millpond.web._site import SiteOptions


def wsgi_app(
    pools: Pools = None,
    *,
    app: WSGIApplication | None = None,
    path: str | None = None,
    **options: Unpack[SiteOptions],
) -> WSGIApplication:
    """Return a WSGI application with the endpoints; see `millpond.web`.

    Args:
        pools: The pools, of which closed ones are left out, or a callable that returns them.
            ``None``, the default, is for all pools of the process at the moment of each request; it
            keeps none alive.
        app: The application that answers all other requests. ``None``, the default, is for none:
            they are not found.
        path: The path below which the endpoints are: ``""`` by default, or ``"/millpond"`` with
            `app`. With `app` and ``""`` there is no page, as ``/`` is the application's.
        options: `monitors`, `thresholds` and `registry`, as in `millpond.web.Site`.

    Raises:
        PoolConfigError: An argument is not valid.
    """
    site = site_for(pools, path, options, has_app=app is not None)

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        base = environ.get("SCRIPT_NAME", "").rstrip("/")
        request = Request(method, environ.get("HTTP_ACCEPT", ""), base)
        response = site.respond(environ.get("PATH_INFO", ""), request)
        if response is None:
            if app is not None:
                return app(environ, start_response)
            response = site.missing(method)
        status = HTTPStatus(response.status)
        start_response(f"{status.value} {status.phrase}", response.headers)
        return [response.body]

    return application
