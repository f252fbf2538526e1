"""The endpoints as an ASGI application, or around one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from millpond.web._site import Request, Response, site_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping
    from typing import TypeAlias, Unpack

    from millpond._watched import Pools
    from millpond.web._site import Site, SiteOptions

    Scope: TypeAlias = MutableMapping[str, Any]
    Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
    Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


def asgi_app(
    pools: Pools = None,
    *,
    app: Application | None = None,
    path: str | None = None,
    **options: Unpack[SiteOptions],
) -> Application:
    """Return an ASGI application with the endpoints; see `millpond.web`.

    Nothing in it waits, so it answers in the event loop's thread: a fraction of a millisecond for
    each pool.

    Args:
        pools: The pools, of which closed ones are left out, or a callable that returns them.
            ``None``, the default, is for all pools of the process at the moment of each request; it
            keeps none alive.
        app: The application that gets all other requests, its lifespan and websockets. ``None``,
            the default, is for none: they are not found.
        path: The path below which the endpoints are: ``""`` by default, or ``"/millpond"`` with
            `app`. With `app` and ``""`` there is no page, as ``/`` is the application's.
        options: `monitors`, `thresholds` and `registry`, as in `millpond.web.Site`.

    Raises:
        PoolConfigError: An argument is not valid.
    """
    site = site_for(pools, path, options, has_app=app is not None)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        response = _respond(site, scope) if scope["type"] == "http" else None
        if response is not None:
            await _send(response, send)
        elif app is not None:
            await app(scope, receive, send)
        elif scope["type"] == "http":
            await _send(site.missing(scope["method"]), send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        elif scope["type"] == "lifespan":
            await _live(receive, send)

    return application


def _respond(site: Site, scope: Scope) -> Response | None:
    base, path = scope.get("root_path", "").rstrip("/"), scope["path"]
    # By the specification the path includes that of the mount; servers and frameworks of before
    # leave it out.
    if f"{path}/".startswith(f"{base}/"):
        path = path[len(base) :]
    accept = b", ".join(value for name, value in scope["headers"] if name.lower() == b"accept")
    request = Request(scope["method"], accept.decode("latin-1"), base)
    return site.respond(path, request)


async def _send(response: Response, send: Send) -> None:
    headers = [(name.lower().encode(), value.encode()) for name, value in response.headers]
    start = {"type": "http.response.start", "status": response.status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": response.body})


async def _live(receive: Receive, send: Send) -> None:
    """Say yes to the server's questions whether to begin and to end."""
    kind = ""
    while kind != "lifespan.shutdown":
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
