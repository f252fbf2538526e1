"""The endpoints for who has no web framework: Python's own server, in a thread."""

from __future__ import annotations

import logging
import socket
import socketserver
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from millpond.errors import PoolConfigError
from millpond.web._wsgi import wsgi_app

if TYPE_CHECKING:
    from typing import Self, Unpack
    from wsgiref.types import WSGIApplication

    from millpond._watched import Pools
    from millpond.web._site import SiteOptions

logger = logging.getLogger("millpond.web")

# Who does not finish his request by then is given up.
PATIENCE = 10.0

_LAST_PORT = 65_535


class Server:
    """A server that runs: what `serve()` returns. Also usable in a ``with`` block, which closes it.

    Attributes:
        url: Where it is, such as ``"http://127.0.0.1:9100/"``.
        port: The port, also if 0 was asked for.
    """

    def __init__(self, host: str, port: int, app: WSGIApplication) -> None:
        """Begin to serve; see `serve`."""
        self._server = _Server((host, port), _Handler)
        self._server.set_app(app)
        self._closing = False
        self.port: int = self._server.server_port
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self.port}/"
        self._thread = threading.Thread(target=self._run, name="millpond-web", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        # Not `serve_forever`, which wakes up twice a second to see whether it is to end.
        while not self._closing:
            self._server.handle_request()

    def close(self) -> None:
        """Serve no more. Does not wait for requests. May be called again."""
        self._closing = True
        if self._thread.is_alive():
            # One last visitor, after whom it looks.
            with suppress(OSError):
                socket.create_connection(self._server.socket.getsockname()[:2], 1.0).close()
            self._thread.join(1.0)
        self._server.server_close()

    def __enter__(self) -> Self:
        """Return the server."""
        return self

    def __exit__(self, *_: object) -> None:
        """Serve no more."""
        self.close()


def serve(
    port: int = 0,
    host: str = "127.0.0.1",
    *,
    pools: Pools = None,
    **options: Unpack[SiteOptions],
) -> Server:
    """Serve the endpoints of `millpond.web` in a daemon thread, by Python's own web server.

    For a small number of visitors inside: it speaks plain HTTP and knows no passwords. In the child
    of a fork it does not run; call it there.

    Args:
        port: The port. 0, the default, takes a free one; see `Server.port`.
        host: The address to listen on. ``"127.0.0.1"`` by default, which only this machine can
            reach; ``"0.0.0.0"`` is for all.
        pools: The pools, of which closed ones are left out, or a callable that returns them.
            ``None``, the default, is for all pools of the process at the moment of each request.
        options: `monitors`, `thresholds` and `registry`, as in `millpond.web.Site`.

    Returns:
        The server, which runs.

    Raises:
        PoolConfigError: An argument is not valid.
        OSError: The address cannot be listened on.
    """
    if not isinstance(port, int) or isinstance(port, bool) or not 0 <= port <= _LAST_PORT:
        msg = f"port={port!r}: must be an int from 0 to {_LAST_PORT}"
        raise PoolConfigError(msg)
    return Server(host, port, wsgi_app(pools, **options))


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True
    # Five, the default, would have the sixth of those who come at once try again after a second.
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], handler: type[WSGIRequestHandler]) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, handler)

    def handle_error(self, request: object, client_address: object) -> None:
        # A visitor who went away, or said nothing: not worth a traceback on standard error.
        del request
        logger.debug("nothing came of %s", client_address, exc_info=True)  # noqa: LOG014  in a handler

    def server_bind(self) -> None:
        # Not WSGIServer's, which asks the name server for the host's name.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.socket.getsockname()[:2]
        self.setup_environ()


class _Handler(WSGIRequestHandler):
    timeout = PATIENCE

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401  as inherited
        logger.debug(format, *args)
