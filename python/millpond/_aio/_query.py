"""Query timeouts: what runs for too long is cancelled on the server."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Generic, TypeVar

from millpond._query import (
    FIRST_PAUSE,
    LONGEST_CANCEL,
    LONGEST_PAUSE,
    check_query_timeout,
    note_cancel_failed,
    timed_out,
)
from millpond.drivers import TransactionStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from millpond._aio._engine import LoopEngine
    from millpond._core import AsyncLease
    from millpond.drivers.aio import AsyncDriver
    from millpond.errors import ErrorSet

C = TypeVar("C")


class AsyncQueryTimeouts(Generic[C]):
    """What `AsyncPool` can do about queries that take too long."""

    _driver: AsyncDriver[C]
    _errors: ErrorSet

    if TYPE_CHECKING:

        @property
        def name(self) -> str:
            """The pool's name."""

        def _engine_of(self, connection: C) -> LoopEngine[C]: ...

    @asynccontextmanager
    async def query_timeout(self, conn: C, seconds: float) -> AsyncIterator[C]:
        """Give what runs in an ``async with`` block so many seconds, all statements together.

        After that whatever statement runs is cancelled on the server, and the block ends with
        `QueryTimeout`. The connection stays the borrower's. Before anybody else gets it, it is
        validated, so that a cancellation that comes late hits nobody; where that is not sure, it
        is closed. A statement that can't be cancelled, as the server is out of reach, is left alone
        after five seconds: its socket is closed.

        Args:
            conn: A connection of this pool.
            seconds: The time, above 0.

        Yields:
            The same connection.

        Raises:
            QueryTimeout: The time was over, and a statement was cancelled. ``__cause__`` is what
                the driver raised.
            PoolConfigError: ``seconds`` is not valid, or the driver can't cancel.
        """
        engine = self._engine_of(conn)
        seconds = check_query_timeout(engine._driver, seconds)
        watch = _Watch(engine, conn)
        watch.begin(seconds)
        began = time.monotonic()
        try:
            yield conn
        except Exception as error:
            if watch.has_caused(error):
                took = time.monotonic() - began
                message = timed_out(self.name, seconds, took)
                raise self._errors.query_timeout(message) from error
            raise
        finally:
            await watch.end()

    @asynccontextmanager
    async def _limited(self, lease: AsyncLease[C], seconds: float) -> AsyncIterator[C]:
        """Do what ``connection(query_timeout=seconds)`` is asked for."""
        async with lease as conn, self.query_timeout(conn, seconds):
            yield conn


class _Watch(Generic[C]):
    """One block with a query timeout: watched, then cancelled or over, whichever comes first.

    All of it happens in one loop. A cancellation that was first is waited for at the block's end,
    so that it can't hit the statement of the next borrower.
    """

    def __init__(self, engine: LoopEngine[C], conn: C) -> None:
        self._engine = engine
        self._conn = conn
        self._alarm: asyncio.TimerHandle | None = None
        self._cancelling: asyncio.Task[None] | None = None
        self._aborted = False
        # Whether a cancellation may still be on its way to the server when the block is over.
        self._lingers = False
        self._failed: BaseException | None = None
        self._over = asyncio.Event()

    def begin(self, seconds: float) -> None:
        """Cancel what runs after so many seconds."""
        self._alarm = self._engine.loop.call_later(seconds, self._fire)

    def has_caused(self, error: Exception) -> bool:
        """Say whether an error of the block is the end of a statement that the watch has ended."""
        if self._cancelling is None:
            return False
        driver = self._engine._driver
        return driver.is_cancelled(error) or (self._aborted and driver.is_disconnect(error))

    async def end(self) -> None:
        """The block is over: cancel nothing more, and say what the connection has been through."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._over.set()
        task = self._cancelling
        if task is None:
            return
        # Before the wait, which may itself be cancelled.
        self._engine._suspect(self._conn)
        try:
            await asyncio.wait([task], timeout=LONGEST_CANCEL)
        finally:
            if not task.done() or self._lingers or self._aborted:
                task.cancel()
                self._engine._condemn(self._conn)
            if self._failed is not None:
                note_cancel_failed(self._engine.name, self._failed)

    def _fire(self) -> None:
        name = f"millpond-{self._engine.name}-cancel"
        self._cancelling = self._engine.start_task(self._cancel(), name)

    async def _cancel(self) -> None:
        """Cancel, and again in case that the statement had not begun, until the block is over."""
        driver, loop = self._engine._driver, self._engine.loop
        fired_at, pause = loop.time(), FIRST_PAUSE
        while not self._over.is_set():
            self._failed = None
            try:
                async with asyncio.timeout(LONGEST_CANCEL):
                    await driver.cancel(self._conn)
            except Exception as error:  # noqa: BLE001  the block goes on, and is told by its end
                self._failed = error
                self._lingers = True
            if loop.time() - fired_at >= LONGEST_CANCEL and self._is_in_vain():
                self._aborted = True
                driver.abort(self._conn)
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _is_in_vain(self) -> bool:
        """Say whether no cancellation reaches the statement, or ends it: its server may be gone."""
        status = self._engine._driver.transaction_status(self._conn)
        return self._failed is not None or status is TransactionStatus.ACTIVE
