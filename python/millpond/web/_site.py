"""`Site`: a path in, and status, headers and body out. How that is spoken, others know."""

from __future__ import annotations

import json
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypedDict

from millpond import _lifecycle
from millpond._version import __version__
from millpond._watched import chosen, leak_threshold_of, living, options_of
from millpond.errors import PoolConfigError
from millpond.health import HealthMonitor, Judge, Thresholds
from millpond.web import _page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prometheus_client import CollectorRegistry

    from millpond._watched import Pools, Watched
    from millpond.health import HealthStatus

TEXT: Final = "text/plain; charset=utf-8"

# Where an application has us that has paths of its own.
BELOW: Final = "/millpond"

NO_PROMETHEUS: Final = (
    "there are no metrics without prometheus_client: pip install 'millpond[prometheus]'\n"
)


class Response(NamedTuple):
    """An answer over HTTP."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class SiteOptions(TypedDict, total=False):
    """The arguments of `Site` that every way to it takes."""

    monitors: Iterable[HealthMonitor]
    thresholds: Thresholds | None
    registry: CollectorRegistry | None


class Request(NamedTuple):
    """What an answer depends on.

    Attributes:
        method: ``"GET"`` and the like.
        accept: The header of this name.
        base: The path below which all this is mounted, as the browser sees it.
    """

    method: str = "GET"
    accept: str = ""
    base: str = ""


class Site:
    """The endpoints. May be asked from any thread.

    Args:
        pools: The pools, of which closed ones are left out, or a callable that returns them.
            ``None``, the default, is for all pools of the process at the moment of each request; it
            keeps none alive.
        monitors: Monitors for some of the pools, with thresholds of their own. The others are
            judged by `thresholds` whenever somebody asks.
        thresholds: See there. The defaults of `HealthMonitor` by default.
        path: The path below which the endpoints are, such as ``"/internal"``; ``""`` for none.
        page: Whether there is the page for people.
        registry: Where ``/metrics`` gets them from. ``None``, the default, is for the pools alone;
            give your own, with a `PoolCollector` in it, to have them with those of the application.

    Raises:
        PoolConfigError: An argument is not valid.
    """

    def __init__(
        self,
        pools: Pools = None,
        *,
        monitors: Iterable[HealthMonitor] = (),
        thresholds: Thresholds | None = None,
        path: str = "",
        page: bool = True,
        registry: CollectorRegistry | None = None,
    ) -> None:
        """Begin with no pool judged yet."""
        self._monitors = {id(monitor.pool): monitor for monitor in _checked(monitors)}
        self._chosen = chosen(pools)
        self._thresholds = thresholds
        self._registry = registry
        self._path = _checked_path(path)
        self._routes: dict[str, Callable[[Request], Response]] = {
            f"{self._path}/healthz": self._healthz,
            f"{self._path}/readyz": self._readyz,
            f"{self._path}/metrics": self._metrics,
            f"{self._path}/pool.json": self._pool_json,
        }
        if page:
            self._routes |= {self._path: self._page, f"{self._path}/": self._page}
        self._begin_in_child()
        _lifecycle.inherit(self)

    def _begin_in_child(self) -> None:
        """Begin anew, which is also what the child of a fork does."""
        self._lock = threading.Lock()
        self._judges: weakref.WeakKeyDictionary[Watched, Judge] = weakref.WeakKeyDictionary()

    def respond(self, path: str, request: Request | None = None) -> Response | None:
        """Answer a request.

        Args:
            path: Its path, without that of the place where all this is mounted.
            request: The rest of it, a plain GET by default.

        Returns:
            The answer, or ``None`` if there is nothing of ours at that path.
        """
        request = request or Request()
        route = self._routes.get(path)
        if route is None:
            return None
        if request.method not in {"GET", "HEAD"}:
            refused = _answer(405, TEXT, "only GET and HEAD\n")
            return refused._replace(headers=[*refused.headers, ("Allow", "GET, HEAD")])
        return _without_body(route(request), request.method)

    def missing(self, method: str = "GET") -> Response:
        """Answer a request for a path that nobody knows."""
        paths = filter(None, self._routes)
        said = f"not found; there are {', '.join(paths)}\n"
        return _without_body(_answer(404, TEXT, said), method)

    def _pools(self) -> tuple[Watched, ...]:
        watched = (monitor.pool for monitor in self._monitors.values())
        return living((*self._chosen(), *watched))

    def _judge(self, pool: Watched) -> HealthStatus:
        monitor = self._monitors.get(id(pool))
        if monitor is not None:
            return monitor.status()
        with self._lock:
            judge = self._judges.get(pool)
            if judge is None:
                judge = self._judges[pool] = Judge(self._thresholds)
        return judge.judge(pool.stats(), leak_threshold_of(pool))[0]

    def _healthz(self, _: Request) -> Response:
        return _answer(200, TEXT, "ok\n")

    def _readyz(self, _: Request) -> Response:
        reasons = [reason for pool in self._pools() for reason in _reasons(self._judge(pool))]
        said = "\n".join(["not ready", *reasons]) if reasons else "ready"
        return _answer(503 if reasons else 200, TEXT, f"{said}\n")

    def _metrics(self, request: Request) -> Response:
        try:
            from millpond.exporters import prometheus  # noqa: PLC0415  an extra
        except ImportError:
            return _answer(501, TEXT, NO_PROMETHEUS)
        if self._registry is None:
            self._registry = prometheus.registry_of(self._pools)
        content_type, body = prometheus.expose(self._registry, request.accept)
        return _answer(200, content_type, body)

    def _pool_json(self, _: Request) -> Response:
        told = {
            "millpond": __version__,
            "pid": os.getpid(),
            "time": time.time(),
            "pools": [self._tell(pool) for pool in self._pools()],
        }
        return _answer(200, "application/json", json.dumps(told))

    def _tell(self, pool: Watched) -> dict[str, Any]:
        status = self._judge(pool)
        return {
            "stats": status.stats.to_dict(),
            "options": options_of(pool),
            "health": status.verdict(),
        }

    def _page(self, request: Request) -> Response:
        html = _page.render(f"{request.base}{self._path}/")
        response = _answer(200, "text/html; charset=utf-8", html)
        return response._replace(headers=[*response.headers, *_page.HEADERS])


def site_for(pools: Pools, path: str | None, options: SiteOptions, *, has_app: bool) -> Site:
    """Make the endpoints for an application of their own, or for one around another.

    Args:
        pools: As in `Site`.
        path: As in `Site`; ``None`` is for ``""``, or for ``"/millpond"`` around another.
        options: The other arguments of `Site`.
        has_app: Whether there is another application, whose ``/`` must not be taken away.
    """
    below = _checked_path(path if path is not None else BELOW if has_app else "")
    return Site(pools, path=below, page=not has_app or below != "", **options)


def _reasons(status: HealthStatus) -> list[str]:
    """Say why nobody should be sent here because of this pool."""
    stats = status.stats
    reasons = [alert.message for alert in status.alerts if alert.severity != "warning"]
    cannot_connect = stats.failing is not None and not stats.size
    if cannot_connect and not any(alert.metric == "failing" for alert in status.alerts):
        why = f" ({stats.last_error})" if stats.last_error else ""
        reasons.append(f"pool {stats.name!r}: nothing is open, and connecting fails{why}")
    return reasons


def _without_body(response: Response, method: str) -> Response:
    return response._replace(body=b"") if method == "HEAD" else response


def _answer(status: int, content_type: str, body: str | bytes) -> Response:
    # Names and errors may hold what is no text, such as half of a surrogate pair.
    data = body.encode(errors="backslashreplace") if isinstance(body, str) else body
    headers = [
        ("Content-Type", content_type),
        ("Content-Length", str(len(data))),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
    ]
    return Response(status, headers, data)


def _checked(monitors: Iterable[object]) -> Iterable[HealthMonitor]:
    for monitor in monitors:
        if not isinstance(monitor, HealthMonitor):
            msg = f"monitors=<{type(monitor).__name__}>: must be HealthMonitors"
            raise PoolConfigError(msg)
        yield monitor


def _checked_path(path: object) -> str:
    if not isinstance(path, str) or (path and not path.startswith("/")):
        msg = f"path={path!r}: must begin with a slash, or be empty"
        raise PoolConfigError(msg)
    return path.rstrip("/")
