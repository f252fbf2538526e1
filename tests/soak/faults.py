"""What goes wrong during a soak, once a second."""

from __future__ import annotations

import random
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import millpond
    from proxy import Proxy
    from soak.account import Account
    from soak.servers import Server


class Troublemaker:
    """Whoever breaks things, and mends them.

    Args:
        pool: The pool that has to bear it.
        server: The database, which is told to end sessions around the wire.
        wire: The proxy between them.
        account: Where to note it.
        size: The pool's usual `max_size`.
        seed: For the dice.
    """

    def __init__(
        self,
        pool: millpond.Pool[Any],
        server: Server,
        wire: Proxy,
        account: Account,
        *,
        size: int,
        seed: int,
    ) -> None:
        self._pool = pool
        self._server = server
        self._wire = wire
        self._account = account
        self._size = size
        self._dice = random.Random(seed)
        self.stop = threading.Event()

    def work(self, interval: float = 1.0) -> None:
        """Do something bad every `interval` seconds until told to stop; then mend everything."""
        faults: list[Callable[[], None]] = [
            self.backend_killed,
            self.all_idle_terminated,
            self.all_terminated,
            self.wire_cut,
            self.wire_reset,
            self.wire_frozen,
            self.wire_dead,
            self.connections_refused,
            self.connecting_slow,
            self.resized,
            self.evicted,
            self.suspended,
        ]
        while not self.stop.wait(interval):
            fault = self._dice.choice(faults)
            noted = self._account.fault(fault.__name__.replace("_", " "))
            fault()
            noted.ended = time.monotonic()

    def backend_killed(self) -> None:
        """Have the server end one session, which may be in the middle of something."""
        sessions = self._server.sessions()
        if sessions:
            self._server.kill([self._dice.choice(sessions)])

    def all_idle_terminated(self) -> None:
        """Have the server end all sessions that nobody is using."""
        with self._idle() as count:
            self._server.kill(self._server.sessions()[:count])

    def all_terminated(self) -> None:
        """Have the server end all sessions."""
        self._server.kill(self._server.sessions())

    def wire_cut(self) -> None:
        """Cut all connections, politely."""
        self._wire.cut()

    def wire_reset(self) -> None:
        """Cut all connections."""
        self._wire.cut(reset=True)

    def wire_frozen(self) -> None:
        """Let nothing through for a while, and then all of it."""
        self._wire.freeze()
        self._pass()
        self._wire.thaw()

    def wire_dead(self) -> None:
        """Let nothing through for a while, and then cut everything."""
        self._wire.freeze()
        self._pass()
        self._wire.cut(reset=True)
        self._wire.thaw()

    def connections_refused(self) -> None:
        """Cut all connections, and take no new ones for a while."""
        self._wire.refuse()
        self._wire.cut()
        self._pass()
        self._wire.allow()

    def connecting_slow(self) -> None:
        """Dawdle with new connections for a while, of which there have to be some."""
        self._wire.delay = self._dice.uniform(0.1, 1.0)
        self._pool.evict()
        self._pass()
        self._wire.delay = 0.0

    def resized(self) -> None:
        """Change the size of the pool."""
        self._pool.resize(max_size=self._dice.randint(1, 2 * self._size))
        self._pass()
        self._pool.resize(max_size=self._size)

    def evicted(self) -> None:
        """Replace all connections."""
        self._pool.evict()

    def suspended(self) -> None:
        """Let all callers wait for a while."""
        self._pool.suspend()
        self._pass()
        self._pool.resume()

    def _pass(self) -> None:
        self.stop.wait(self._dice.uniform(0.1, 1.5))

    @contextmanager
    def _idle(self) -> Iterator[int]:
        """Keep all users out for a moment, and say how many connections are left idle."""
        self._pool.suspend()
        try:
            with suppress(TimeoutError):
                self._wait_until_idle()
            yield self._pool.stats().idle
        finally:
            self._pool.resume()

    def _wait_until_idle(self) -> None:
        deadline = time.monotonic() + 1.0
        while self._pool.stats().in_use:
            if time.monotonic() > deadline:
                raise TimeoutError
            self.stop.wait(0.005)
