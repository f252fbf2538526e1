"""Transactions, savepoints, and coroutine functions that are run again after a conflict."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from millpond._transactions import (
    NOT_COMMITTED,
    Open,
    break_off,
    check_awaitable,
    check_nested,
    check_retries,
    check_supported,
    check_terms,
    check_work,
    is_lost,
    note_failed_rollback,
    note_retry,
    pause_before,
    savepoint_statements,
)
from millpond.drivers import TransactionStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from millpond._aio._engine import LoopEngine
    from millpond.drivers.aio import AsyncDriver
    from millpond.errors import ErrorSet

C = TypeVar("C")
T = TypeVar("T")


class AsyncTransactions(Generic[C]):
    """What `AsyncPool` can do with transactions."""

    _driver: AsyncDriver[C]
    _errors: ErrorSet
    _transactions: dict[asyncio.Task[Any] | None, Open[C]]

    if TYPE_CHECKING:

        @property
        def name(self) -> str:
            """The pool's name."""

        async def acquire(self, *, timeout: float | None = None, priority: str = "normal") -> C:
            """Acquire a connection."""

        async def release(self, connection: C, /) -> None:
            """Give it back."""

        async def discard(self, connection: C, /) -> None:
            """Have it closed."""

        def _engine_of(self, connection: C) -> LoopEngine[C]: ...

    def _begin_transactions(self) -> None:
        # Each block takes its own out: whoever looks may do so while other loops come and go.
        self._transactions = {}

    @asynccontextmanager
    async def transaction(
        self,
        *,
        isolation: str | None = None,
        read_only: bool | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[C]:
        """Lend a connection for one transaction: an ``async with`` block.

        It is committed when the block ends and rolled back when an exception or a cancellation
        leaves it. Inside another transaction of the same pool in the same task, the block is a
        savepoint on the same connection. If rolling back fails, the connection is closed and the
        first error stands. A task that is cancelled during the commit can't know whether it took
        place; the connection is rolled back or closed.

        Args:
            isolation: ``"read uncommitted"``, ``"read committed"``, ``"repeatable read"``,
                ``"snapshot"`` or ``"serializable"``. ``None``, the default, leaves it to the
                session.
            read_only: Whether the transaction may only read. ``None`` leaves it to the session.
            timeout: Seconds to wait for the connection, as in `acquire`.

        Yields:
            The driver's own connection object.

        Raises:
            PoolConfigError: An argument is not valid, can't be done by this driver, or is given for
                a savepoint.
            PoolError: A statement failed, the block went on, and so nothing could be committed.
            PoolTimeout: No connection became free in time.
        """
        check_terms(isolation, read_only)
        task = asyncio.current_task()
        outer = self._transactions.get(task)
        if outer is not None:
            check_nested(isolation, read_only)
            async with self.savepoint(outer.conn):
                yield outer.conn
            return
        conn = await self.acquire(timeout=timeout)
        driver, engine = self._driver, self._engine_of(conn)
        try:
            check_supported(driver, isolation, read_only)
            await driver.begin(conn, isolation=isolation, read_only=read_only)
            opened = self._transactions[task] = Open(conn)
            try:
                yield conn
            finally:
                # By the task from before: a generator may be closed by another one.
                self._transactions.pop(task, None)
            await self._commit(opened)
        except Exception as error:
            await self._undo(conn, error)
            raise
        except BaseException as error:
            await self._undo_apart(engine, conn, error)
            raise
        await self.release(conn)

    async def _commit(self, opened: Open[C]) -> None:
        if is_lost(self._driver, opened):
            raise self._errors.error(NOT_COMMITTED.format(name=self.name)) from opened.broken
        await self._driver.commit(opened.conn)

    async def _undo_apart(self, engine: LoopEngine[C], conn: C, error: BaseException) -> None:
        """Roll back after a cancellation, in a task of the pool, which nobody cancels."""
        # Its loop may be over, which closes this generator after it has dropped the connection. In
        # the middle of a statement, its answer would be the next borrower's.
        if engine.is_over or engine.is_mid_statement(conn):
            engine.discard(conn)
            return
        work = self._undo(conn, error, engine._config.validation_timeout)
        await asyncio.wait([engine.start_task(work, f"millpond-{self.name}-rollback")])

    async def _undo(self, conn: C, error: BaseException, seconds: float | None = None) -> None:
        """Roll back after an error and give the connection back; raise nothing of one's own."""
        driver = self._driver
        try:
            # A server that takes no writes any more has all connections replaced.
            if isinstance(error, Exception) and self._engine_of(conn).ends(conn, error):
                await self.discard(conn)
                return
            async with asyncio.timeout(seconds):
                await driver.rollback(conn)
        except Exception as second:  # noqa: BLE001  the first error is the one to know
            note_failed_rollback(self.name, second)
            await self.discard(conn)
        except BaseException:
            await self.discard(conn)
            raise
        else:
            await self.release(conn)

    @asynccontextmanager
    async def savepoint(self, conn: C) -> AsyncIterator[C]:
        """Mark a point of an open transaction that an exception goes back to, by ``async with``.

        What was done before the block stays, and the transaction goes on. After a cancellation the
        whole transaction can only be rolled back.

        Args:
            conn: A connection of this pool in a transaction.

        Yields:
            The same connection.

        Raises:
            PoolConfigError: The database has no savepoints.
            Exception: Whatever the driver raises when it can't set one.
        """
        driver = self._driver
        set_it, go_back, drop_it = savepoint_statements(driver)
        await driver.execute(conn, set_it)
        try:
            yield conn
        except BaseException as error:
            if driver.transaction_status(conn) is TransactionStatus.ACTIVE:
                # Cancelled in the middle of a statement, whose answer would be taken for this
                # one's.
                break_off(self._transactions.values(), conn, error)
                raise
            try:
                await driver.execute(conn, go_back)
            except BaseException as second:
                # The server gave the whole transaction up (MySQL after a deadlock), or is gone; or
                # the task is cancelled once more.
                break_off(self._transactions.values(), conn, error)
                if not isinstance(second, Exception):
                    raise
            raise
        if drop_it is not None:
            await driver.execute(conn, drop_it)

    async def run(
        self,
        work: Callable[[C], Awaitable[T]],
        /,
        *,
        retries: int = 3,
        isolation: str | None = None,
        read_only: bool | None = None,
        timeout: float | None = None,
    ) -> T:
        """Await a function in a transaction, and again after a serialization failure or a deadlock.

        Between the attempts it waits 10 ms, then twice as long each time up to a second, half of it
        by chance. Inside of a `transaction` it is called once, as only the whole can be repeated.

        Args:
            work: Called with the connection, and awaited. It may be called several times, so what
                it does outside of the database has to bear that.
            retries: How often to try again. 3 by default, 0 never.
            isolation: As in `transaction`.
            read_only: As in `transaction`.
            timeout: Seconds to wait for a connection at each attempt, as in `acquire`.

        Returns:
            What the function returned.

        Raises:
            PoolConfigError: An argument is not valid.
            Exception: What the function or the driver raised last.
        """
        check_work(work)
        check_retries(retries)
        if asyncio.current_task() in self._transactions:
            retries = 0
        for attempt in itertools.count():
            try:
                async with self.transaction(
                    isolation=isolation, read_only=read_only, timeout=timeout
                ) as conn:
                    made = work(conn)
                    check_awaitable(work, made)
                    return await made
            except Exception as error:
                if attempt == retries or not self._driver.is_retryable(error):
                    raise
                delay = pause_before(attempt)
                note_retry(self.name, delay, error)
            await asyncio.sleep(delay)
        raise AssertionError  # pragma: no cover  counting does not end
