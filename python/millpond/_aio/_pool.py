"""`AsyncPool`: a connection pool for asyncio."""

from __future__ import annotations

import asyncio
import itertools
import logging
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from millpond import _lifecycle, _messages, errors
from millpond._aio._control import Controlled
from millpond._aio._loop import running_loop
from millpond._aio._query import AsyncQueryTimeouts
from millpond._aio._transactions import AsyncTransactions
from millpond._config import PoolConfig, check_acquire, check_timeout
from millpond._core import CoreAsyncPool
from millpond._events import Listeners
from millpond.drivers import aio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Self

    from typing_extensions import TypeVar, Unpack

    from millpond._aio._engine import LoopEngine
    from millpond._aio._options import AsyncPoolOptions
    from millpond._core import AsyncLease, ManualClock
    from millpond.drivers.aio import AsyncDriver

    C = TypeVar("C", default=Any)
else:
    from typing import TypeVar

    C = TypeVar("C")

logger = logging.getLogger("millpond.pool")

_numbers: Final = itertools.count(1)


class AsyncPool(AsyncTransactions[C], AsyncQueryTimeouts[C], Controlled[C]):
    """A pool of connections for asyncio: `Pool`, awaited.

    Callers are served in the order in which they asked, and a cancellation, wherever it comes,
    loses no connection and lends none half used. Connections are opened, validated, reset and
    closed in tasks of the loop, several at a time.

    One pool may be used from the loops of several threads at the same time, and from one
    `asyncio.run` after the other: ``max_size`` holds for all together, each connection stays in the
    loop that opened it, and those of a loop that ends are closed. It may be made outside of a loop,
    and begins with the first use in one.

    Args:
        connect: A URL, whose scheme picks the driver, or a coroutine function without arguments
            that returns a new connection.
        **options: As for `Pool`, with the same defaults. What is called there, here may be a
            coroutine function or a plain one, and is called in the loop. ``driver`` names an
            asynchronous driver, or is a `millpond.drivers.aio.AsyncDriver`. ``min_size`` is kept in
            the first of several loops.

    Raises:
        PoolConfigError: An argument is not valid, or two contradict each other.
        TypeError: There is no such argument.
    """

    def __init__(
        self,
        connect: str | Callable[[], Awaitable[C]],
        /,
        **options: Unpack[AsyncPoolOptions[C]],
    ) -> None:
        """Check the arguments; in a running loop, begin to open ``min_size`` connections."""
        given: dict[str, Any] = {**options}
        self._clock: ManualClock | None = given.pop("_clock", None)
        unknown = given.keys() - PoolConfig.__dataclass_fields__.keys()
        if unknown:
            msg = f"AsyncPool() got an unexpected keyword argument {min(unknown)!r}"
            raise TypeError(msg)
        config = PoolConfig(**given)
        self._driver: AsyncDriver[C] = aio.find(
            connect,
            driver=config.driver,
            connect_kwargs=config.connect_kwargs,
            connect_timeout=config.connect_timeout,
            options=config.session_options,
            needs=config.needs,
        )
        config.advise()
        self._config = config
        self._name = config.name or f"async-pool-{next(_numbers)}"
        self._errors = errors.for_driver(self._driver.operational_error)
        self._recognised = False
        self._closed = False
        self._suspended = False
        self._listeners = Listeners()
        self._stand_ins: list[object] = []
        self._begin()
        self._begin_transactions()
        _lifecycle.register(self, _nothing)
        if running_loop() is not None:
            self._here()

    # Lending.

    async def acquire(self, *, timeout: float | None = None, priority: str = "normal") -> C:
        """Acquire a connection, waiting for one if all are in use.

        Callers are served in the order in which they asked. With an idle connection it does not
        suspend. When the task is cancelled while it waits, nothing is lost.

        Args:
            timeout: Seconds to wait. ``None``, the default, means the pool's ``acquire_timeout``; 0
                does not wait; ``math.inf`` has no limit.
            priority: ``"high"`` goes before those who wait with ``"normal"``, the default; after
                four in a row one of those is served.

        Returns:
            The driver's own connection object. Give it to `release` or `discard` exactly once.

        Raises:
            PoolTimeout: No connection became free in time. ``__cause__`` is the driver's last
                error, if the pool could not connect.
            PoolExhausted: ``max_waiting`` callers are waiting already.
            PoolClosed: The pool was closed, before or during the wait.
            PoolConfigError: The timeout is not a number of seconds.
            PoolError: A hook of this pool asked, and would have to wait for its own pool.
            RuntimeError: There is no running event loop.
            Exception: What ``on_acquire`` raised, or what connecting or ``configure`` raised when
                another attempt would not help.
        """
        if timeout is not None or priority != "normal":
            check_acquire(timeout, priority)
        return await self._here().take(timeout, priority)

    async def try_acquire(self) -> C | None:
        """Acquire an idle connection, or return ``None`` at once if there is none.

        It overtakes nobody who waits. If the pool may grow, a connection is opened for the next
        attempt.

        Returns:
            The driver's own connection object, or ``None``.

        Raises:
            PoolClosed: The pool is closed.
            PoolError: A hook of this pool asked, and no connection is idle.
            Exception: What ``on_acquire`` raised.
        """
        return await self._here().try_to_take()

    async def release(self, connection: C, /) -> None:
        """Give a connection back, for the next caller to use.

        ``on_release`` is awaited, and the reset if there is something to reset; if one of them
        fails the connection is closed instead, which is logged and no error of the caller. A
        cancellation meanwhile ends the wait and not the reset. May be called in another task than
        the one that acquired, and in another loop, which then does not wait for the reset.

        Args:
            connection: What `acquire` or `try_acquire` returned.

        Raises:
            PoolError: It was released already, or it is no connection of this pool.
        """
        engine = self._engine_of(connection)
        if self._stand_ins or not engine.let_go(connection):
            await self._give_back(engine, connection)

    async def discard(self, connection: C, /) -> None:
        """Give a connection back that nobody should use again: it is closed.

        It is not reset. A task closes it, and its place is free for a new one.

        Args:
            connection: What `acquire` or `try_acquire` returned.

        Raises:
            PoolError: It was released already, or it is no connection of this pool.
        """
        if not self._take_stand_in(connection):
            self._engine_of(connection).discard(connection)

    async def detach(self, connection: C, /) -> None:
        """Take a connection out of the pool for good: it is the caller's to use and to close.

        Its place is free for a new one.

        Args:
            connection: What `acquire` or `try_acquire` returned.

        Raises:
            PoolError: It was released already, or it is no connection of this pool.
        """
        if not self._take_stand_in(connection):
            engine = self._engine_of(connection)
            engine.detach(connection)
            engine.open.pop(id(connection), None)
            self._changed()

    async def _enter(self, lease: AsyncLease[C]) -> C:
        """Begin a block that has to wait for its connection."""
        if not lease._begin():
            raise self._failure("entered")
        engine = self._here()
        timeout, priority = lease._terms
        try:
            conn = await engine.take(timeout, priority or "normal")
        except BaseException:
            lease._fail()
            raise
        lease._put(engine, conn)
        if self._stand_ins:
            self._take_stand_in(conn)  # the lease knows that it has one
        return conn

    async def _exit(self, lease: AsyncLease[C], error: BaseException | None) -> None:
        """End a block that has something to await, or that an error ends."""
        taken = lease._take()
        if taken is not None:
            await self._give_back(*taken, error)

    async def wait(self, timeout: float | None = 30.0) -> None:
        """Wait until `min_size` connections are open.

        Args:
            timeout: Seconds to wait. 30.0 by default, ``None`` has no limit.

        Raises:
            PoolTimeout: They were not, in time. ``__cause__`` is the driver's last error, if any.
            PoolClosed: The pool is closed.
        """
        seconds = check_timeout(timeout)
        engine = self._here()
        began = time.monotonic()
        ready = await self._progress.wait_for(self._is_ready, seconds)
        if self._closed:
            raise self._failure("closed")
        if not ready:
            failure = engine._failure("not_ready", time.monotonic() - began)
            raise failure from engine._last_error

    async def close(self, timeout: float = 5.0) -> None:
        """Close the pool, and wait for its connections in use to be released and closed.

        Whoever waits for a connection gets `PoolClosed`. May be called again, and in several tasks
        and loops.

        Args:
            timeout: Seconds to wait. 5.0 by default. What is in use longer is closed on its
                release.

        Raises:
            PoolConfigError: The timeout is not a number of seconds.
        """
        seconds = check_timeout(timeout, none="5 seconds")
        self._shut()
        drained = await self._progress.wait_for(
            self._is_drained, 5.0 if seconds is None else seconds
        )
        if not drained:
            held = [one for one in self.stats().connections if one.held is not None]
            lines = [f"pool {self.name!r} closed with {len(held)} connections in use"]
            lines += map(_messages.holder, held)
            logger.warning("\n".join(lines), extra={"pool": self.name, "event": "closed_in_use"})
        for engine in self._all():
            if engine.loop is running_loop():
                await engine.say_farewell()
            else:
                engine.finish()

    async def __aenter__(self) -> Self:
        """Return the pool.

        Raises:
            PoolClosed: The pool is closed.
        """
        self._check_open()
        self._here()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the pool."""
        await self.close()

    def __repr__(self) -> str:
        """Show the pool's name, and how full it is."""
        if not hasattr(self, "_by_loop"):
            return f"<{type(self).__name__}, not started>"
        counts = [engine._counts() for engine in self._all()]
        size, used, waiting = map(sum, zip(*counts, strict=True)) if counts else (0, 0, 0)
        state = "closed" if self.closed else "suspended" if self.suspended else "open"
        return (
            f"<{type(self).__name__} {self.name!r} {state}: {used} in use, {size - used} idle, "
            f"at most {self.max_size}, {waiting} waiting>"
        )

    def __del__(self) -> None:
        """Close idle connections as their driver wants it, without waiting for anything."""
        if hasattr(self, "_by_loop"):
            self._shut()

    # What the engines need.

    async def _give_back(
        self, engine: LoopEngine[C], conn: C, error: BaseException | None = None
    ) -> None:
        if self._take_stand_in(conn):
            return
        if isinstance(error, Exception) and engine.ends(conn, error):
            engine.discard(conn)
        else:
            await engine.give_back(conn)

    def _take_stand_in(self, conn: object) -> bool:
        """Take back what stood in for a connection, if that is what it is."""
        if not self._stand_ins:
            return False
        with self._lock:
            found = [one for one in self._stand_ins if one is conn]
            kept = [one for one in self._stand_ins if one is not conn]
            # It may have been lent several times.
            self._stand_ins = kept + found[1:]
        return bool(found)

    def _check_terms(self, timeout: float | None, priority: str | None) -> None:
        check_acquire(timeout, "normal" if priority is None else priority)

    def _is_ready(self) -> bool:
        open_now = sum(engine._counts()[0] for engine in self._all())
        return self._closed or open_now >= self.min_size

    def _is_drained(self) -> bool:
        self._sweep()
        return all(engine._taken() == 0 for engine in self._all() if not engine.loop.is_closed())


def _current_tasks() -> object:
    """Return what gives the current task of a loop."""
    if sys.version_info >= (3, 12):
        return asyncio.current_task
    # The function of 3.11 is written in Python, and does no more than to look here.
    return asyncio.tasks._current_tasks  # type: ignore[attr-defined, unused-ignore]


CoreAsyncPool._prepare(running_loop, _current_tasks())


def _nothing() -> None:
    """Do nothing: a pool that is garbage collected has shut its engines already."""
