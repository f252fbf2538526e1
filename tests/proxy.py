"""A TCP proxy in front of a real server, which cuts, freezes, refuses or dawdles on demand."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from servers import ABORT

if TYPE_CHECKING:
    from collections.abc import Iterator

Address = tuple[str, int]

LOOPBACK = "127.0.0.1"

_CHUNK = 65536
_LOOK_EVERY = 0.02


class Proxy:
    """Hands on what clients and server say, in one thread, as long as nobody interferes.

    Args:
        upstream: Where the server listens.
    """

    def __init__(self, upstream: Address) -> None:
        self._upstream = upstream
        self._lock = threading.RLock()
        self._selector = selectors.DefaultSelector()
        # Each socket's other half, in both directions.
        self._links: dict[socket.socket, socket.socket] = {}
        self._clients: set[socket.socket] = set()
        self._waiting: list[tuple[float, socket.socket]] = []
        self._frozen = False
        self._ended = False
        self.delay = 0.0
        self.accepted = 0
        # How often a client has said something: its round trips, as long as it waits for answers.
        self.asked = 0
        self._listener: socket.socket | None = None
        self.address: Address = (LOOPBACK, 0)
        self.allow()
        self._thread = threading.Thread(target=self._run, name="test-proxy", daemon=True)
        self._thread.start()

    def url(self, url: str) -> str:
        """Return the URL of a PostgreSQL server, with the proxy in its place."""
        head, _, rest = url.partition("@")
        host, port = self.address
        return f"{head}@{host}:{port}/{rest.partition('/')[2]}"

    @property
    def links(self) -> int:
        """How many connections go through the proxy now."""
        with self._lock:
            return len(self._links) // 2

    def cut(self, *, reset: bool = False) -> None:
        """Hang up on everybody: with FIN, or with RST."""
        with self._lock:
            halves = list(self._links)
            for half in halves if reset else ():
                half.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
            for half in halves:
                self._drop(half)

    def freeze(self) -> None:
        """Say nothing any more, to anybody, and close nothing: the cable is pulled."""
        self._frozen = True

    def thaw(self) -> None:
        """Go on where `freeze` stopped."""
        self._frozen = False

    def refuse(self) -> None:
        """Refuse new connections, as a host does where no server runs."""
        with self._lock:
            if self._listener is not None:
                self._selector.unregister(self._listener)
                self._listener.close()
                self._listener = None

    def allow(self) -> None:
        """Take new connections again, at the same address."""
        with self._lock:
            if self._listener is None:
                self._listener = socket.create_server(self.address, backlog=256)
                self._listener.setblocking(False)  # noqa: FBT003  the module's own signature
                self.address = self._listener.getsockname()
                self._selector.register(self._listener, selectors.EVENT_READ)

    def close(self) -> None:
        """Close everything, and wait for the thread."""
        self._ended = True
        self._thread.join(5.0)
        assert not self._thread.is_alive(), "the proxy's thread did not end"
        self.refuse()
        self.cut()
        for _, client in self._waiting:
            client.close()
        self._selector.close()

    def _run(self) -> None:
        while not self._ended:
            ready = self._selector.select(_LOOK_EVERY)
            if self._frozen:
                threading.Event().wait(_LOOK_EVERY)  # what is ready stays so
                continue
            with self._lock:
                for key, _ in ready:
                    self._serve(key.fileobj)
                self._admit()

    def _serve(self, ready: object) -> None:
        if ready is self._listener and self._listener is not None:
            with suppress(BlockingIOError):
                client, _ = self._listener.accept()
                self.accepted += 1
                self._waiting.append((time.monotonic() + self.delay, client))
        elif isinstance(ready, socket.socket) and ready in self._links:
            try:
                said = ready.recv(_CHUNK)
                self.asked += bool(said) and ready in self._clients
                self._links[ready].sendall(said)
            except OSError:
                said = b""
            if not said:
                self._drop(ready)

    def _admit(self) -> None:
        """Link those who have waited for long enough."""
        now = time.monotonic()
        due = [client for when, client in self._waiting if when <= now]
        self._waiting = [(when, client) for when, client in self._waiting if when > now]
        for client in due:
            try:
                server = socket.create_connection(self._upstream, timeout=5.0)
            except OSError:
                client.close()
                continue
            self._clients.add(client)
            for half, other in ((client, server), (server, client)):
                half.settimeout(5.0)
                self._links[half] = other
                self._selector.register(half, selectors.EVENT_READ)

    def _drop(self, half: socket.socket) -> None:
        other = self._links.pop(half, None)
        if other is not None:
            self._links.pop(other, None)
            self._clients -= {half, other}
            for one in (half, other):
                self._selector.unregister(one)
                one.close()


@contextmanager
def proxy(upstream: Address) -> Iterator[Proxy]:
    """Run a proxy for the length of a block."""
    running = Proxy(upstream)
    try:
        yield running
    finally:
        running.close()
