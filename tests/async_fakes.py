"""The fake database for asyncio: the same counters, and a driver that suspends where one could."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from fakes import FakeConnection, FakeDatabase, Gate, InterfaceError, OperationalError
from millpond.drivers import TransactionStatus
from millpond.drivers.aio import AsyncDbapi

if TYPE_CHECKING:
    from collections.abc import Callable

    from fakes import Point


class QueryCancelledError(OperationalError):
    """The server ended the statement, as somebody asked for it."""


class AsyncFakeConnection(FakeConnection):
    """A connection whose statements are awaited; cancelled, it stays in the middle of one.

    `execute` and what follows are coroutine functions here. What is sent while an answer has not
    been read is a violation: it would get that one's.
    """

    busy = False
    _database: AsyncFakeDatabase
    # The statement that runs until it is cancelled on the server.
    _endless: asyncio.Event | None = None

    async def execute(self, statement: str = "SELECT 1") -> tuple[Any, ...]:  # type: ignore[override]
        """Run a statement, which opens a transaction. ``SLEEP`` runs until `cancel`."""
        answer: tuple[Any, ...] = await self._awaited(
            "execute", lambda: self._executed(statement), statement
        )
        return answer

    async def commit(self) -> None:  # type: ignore[override]
        """Commit the transaction."""
        await self._awaited("commit", super().commit)

    async def rollback(self) -> None:  # type: ignore[override]
        """Roll the transaction back."""
        await self._awaited("rollback", super().rollback)

    async def ping(self) -> None:  # type: ignore[override]
        """Make sure that the server still answers."""
        await self._awaited("ping", super().ping)

    def cancel(self) -> None:
        """End a statement that runs for too long."""
        if self._endless is not None:
            self._endless.set()

    async def aclose(self) -> None:
        """Say farewell, and close."""
        await self._database.pause("close")
        if not self.closed:
            self.close()

    def _executed(self, statement: str) -> tuple[Any, ...]:
        if (
            statement.startswith(("SAVEPOINT", "RELEASE", "ROLLBACK TO"))
            and not self.in_transaction
        ):
            self._database._violated(f"{statement} outside of a transaction")
        return super().execute(statement)

    async def _awaited(self, at: Point, done: Callable[[], Any], statement: str = "") -> Any:
        if self.busy:
            self._database._violated(f"{at} on {self!r} in the middle of another statement")
        if self.closed:
            message = f"connection {self.number} is closed"
            raise InterfaceError(message)
        self.busy = True
        await self._database.pause(at)
        if statement == "SLEEP":
            self._endless = asyncio.Event()
            await self._endless.wait()
            self._endless, self.busy = None, False
            raise QueryCancelledError
        try:
            return done()
        finally:
            await asyncio.sleep(0)  # to read the answer
            self.busy = False


class AsyncFakeDatabase(FakeDatabase):
    """The server; `driver()` is what a pool needs beside `aconnect`."""

    connections: list[FakeConnection]

    async def aconnect(self) -> Any:
        """Open a connection, in several steps. Cancelled, it leaves nothing open."""
        self._begin()
        try:
            await self.pause("connect")
            self._arrive("connect")
            if self._down is not None:
                raise self._down  # noqa: TRY301  one more place where a connect can fail
            await asyncio.sleep(0)
            return self._opened()
        except BaseException:
            with self._lock:
                self.underway -= 1
            raise

    async def pause(self, at: Point) -> None:
        """Suspend, and go on when no gate is closed any more."""
        await asyncio.sleep(0)
        for gate in list(self._gates.get(at, ())):
            assert isinstance(gate, AsyncGate)
            await gate.passed()

    def hang(self, at: Point, *, times: int | None = None) -> AsyncGate:
        """Hold everybody (or the next `times`) at that point until the gate is released."""
        gate = AsyncGate(times)
        self._gates.setdefault(at, []).append(gate)
        return gate

    def _opened(self) -> FakeConnection:
        with self._lock:
            connection = AsyncFakeConnection(self, len(self.connections) + 1)
            self.connections.append(connection)
            self.live += 1
            self.peak_live = max(self.peak_live, self.live)
        return connection

    def driver(self, **traits: Any) -> Any:
        """Make the driver of such connections."""
        driver = Awaited(self.aconnect)
        vars(driver).update(traits)
        return driver


class AsyncGate(Gate):
    """A gate at which tasks wait; `hold` is passed by, as `passed` comes before it."""

    def hold(self) -> None:
        """Let everybody by."""

    async def passed(self) -> None:
        """Wait here until the gate is released."""
        with self._lock:
            if self._left == 0:
                return
            if self._left is not None:
                self._left -= 1
            self._arrived += 1
        while not self._released.is_set():  # noqa: ASYNC110  any thread may release it
            await asyncio.sleep(0.001)


class Awaited(AsyncDbapi[Any]):
    """The driver: it tells how a connection stands, and cancels."""

    name = "awaited"
    operational_error = OperationalError
    supports = frozenset({"cancel", "session", "isolation_level"})
    isolation_levels = frozenset({"serializable"})

    @staticmethod
    def is_clean(conn: Any) -> bool:
        return not conn.busy and not conn.in_transaction

    @staticmethod
    def transaction_status(conn: Any) -> TransactionStatus:
        if conn.busy:
            return TransactionStatus.ACTIVE
        return TransactionStatus.OPEN if conn.in_transaction else TransactionStatus.IDLE

    async def reset(self, conn: Any) -> None:
        if not self.is_clean(conn):
            await conn.rollback()

    async def ping(self, conn: Any) -> None:
        await conn.ping()

    async def cancel(self, conn: Any) -> None:
        await asyncio.sleep(0)
        conn.cancel()

    async def begin(self, conn: Any, **_terms: Any) -> None:
        await conn.execute("BEGIN")

    async def execute(self, conn: Any, statement: str) -> None:
        await conn.execute(statement)

    async def close(self, conn: Any) -> None:
        await conn.aclose()

    def abort(self, conn: Any) -> None:
        if not conn.closed:
            conn.close()

    @classmethod
    def is_disconnect(cls, error: BaseException) -> bool:
        return isinstance(error, OperationalError) and "closed the connection" in str(error)

    @classmethod
    def is_cancelled(cls, error: BaseException) -> bool:
        return isinstance(error, QueryCancelledError)
