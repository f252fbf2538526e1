"""SQLite, through aiosqlite: a thread for each connection, to which the event loop hands calls.

URLs and what SQLite can are as in `millpond.drivers._sqlite3`, whose code is run in that thread. It
must be known whether the thread still has something to do, as it goes on with a statement whose
task was cancelled. aiosqlite does not tell, so `_Calls` stands before its queue and counts.

This file looks at private attributes of `aiosqlite.Connection`: ``_connection`` is that of
`sqlite3`, ``_tx`` the queue; and ``_execute`` and ``_running``.
"""

from __future__ import annotations

import functools
import sqlite3
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import aiosqlite
from aiosqlite import core

from millpond.drivers._session import DEFAULTS, SessionOptions, TransactionStatus
from millpond.drivers._sqlite3 import Sqlite, Sqlite3
from millpond.drivers.aio._dbapi import AsyncDbapi

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

_ROWS_AT_ONCE: Final = 64  # aiosqlite's own default


class AioSqlite(Sqlite[aiosqlite.Connection], AsyncDbapi[aiosqlite.Connection]):
    """The adapter of aiosqlite."""

    name = "aiosqlite"

    def __init__(
        self, connect: Callable[[], Awaitable[aiosqlite.Connection]], *, target: str | None = None
    ) -> None:
        """Store the callable."""
        super().__init__(connect, target=target)
        # For what is done in a connection's thread.
        self._blocking = Sqlite3(_never, target=self.target)
        self._blocking.crosses_threads = True
        self._is_adopted = False

    @classmethod
    async def _open(cls, database: str, arguments: Mapping[str, Any]) -> aiosqlite.Connection:
        opening = _Opening(functools.partial(sqlite3.connect, database, **arguments))
        conn = aiosqlite.Connection(opening, _ROWS_AT_ONCE)
        _count_calls(conn)
        try:
            return await conn
        except BaseException:
            opening.give_up()
            raise

    async def prepare(self, conn: aiosqlite.Connection, options: SessionOptions = DEFAULTS) -> None:
        """Begin to count the calls, then carry out the options."""
        _count_calls(conn)
        if not self._is_adopted:
            await _call(conn, self._blocking.adopt)
            self._is_adopted = True
        await _call(conn, self._blocking.prepare, options)

    @staticmethod
    def is_alive(conn: aiosqlite.Connection) -> bool:
        """Say whether it is open: there is nothing else that could die."""
        return conn._connection is not None

    @staticmethod
    def transaction_status(conn: aiosqlite.Connection) -> TransactionStatus:
        """Ask SQLite, unless its thread is busy."""
        raw = conn._connection
        if raw is None:
            return TransactionStatus.UNKNOWN
        if _is_busy(conn):
            return TransactionStatus.ACTIVE
        return Sqlite3.transaction_status(raw)

    @staticmethod
    def is_clean(conn: aiosqlite.Connection) -> bool:
        """Ask SQLite for a transaction and for a result that was not read."""
        raw = conn._connection
        if raw is None or _is_busy(conn) or raw.in_transaction:
            return False
        try:
            Sqlite3.reset(raw)
        except sqlite3.Error:
            # There is such a result. Or the connection may be used by its own thread only, as a
            # callable may have opened it: then `reset` will find out.
            return False
        return True

    async def reset(self, conn: aiosqlite.Connection) -> None:
        """Roll back if a transaction is open, and refuse a connection with an unread result.

        Raises:
            OperationalError: There is one, or a statement that was given up is still running.
        """
        _refuse_if_busy(conn)
        await _call(conn, self._blocking.reset)

    async def reset_session(self, conn: aiosqlite.Connection) -> None:
        """Roll back, drop what is temporary, detach databases, and restore attributes."""
        _refuse_if_busy(conn)
        await _call(conn, self._blocking.reset_session)

    async def ping(self, conn: aiosqlite.Connection) -> None:
        """Run ``SELECT 1``, which opens no transaction that would stay."""
        await _call(conn, self._blocking.ping)

    async def cancel(self, conn: aiosqlite.Connection) -> None:
        """Interrupt whatever statement is running."""
        await conn.interrupt()

    async def begin(
        self,
        conn: aiosqlite.Connection,
        *,
        isolation: str | None = None,
        read_only: bool | None = None,
    ) -> None:
        """Begin a transaction, with ``read_only=False`` one that has the right to write."""
        self.check_begin(isolation=isolation, read_only=read_only or None)
        begin = functools.partial(self._blocking.begin, isolation=isolation, read_only=read_only)
        await _call(conn, begin)

    async def commit(self, conn: aiosqlite.Connection) -> None:
        """Commit, also where `commit` of the connection would do nothing."""
        await _call(conn, self._blocking.commit)

    async def rollback(self, conn: aiosqlite.Connection) -> None:
        """Roll back, also where `rollback` of the connection would do nothing."""
        await _call(conn, self._blocking.rollback)

    async def execute(self, conn: aiosqlite.Connection, statement: str) -> None:
        """Run a statement."""
        await _call(conn, self._blocking.execute, statement)

    async def close(self, conn: aiosqlite.Connection) -> None:
        """Close the connection, and have its thread end."""
        await conn.close()

    def abort(self, conn: aiosqlite.Connection) -> None:
        """Interrupt the statement that is running, if any, and have the thread close and end."""
        # Not `conn.stop()`: it needs an event loop, and makes one if there is none.
        raw = conn._connection
        if raw is None:
            return
        conn._connection = None
        conn._running = False
        with suppress(Exception):
            raw.interrupt()
        conn._tx.put_nowait((None, functools.partial(_close_and_stop, raw)))

    @classmethod
    def is_disconnect(cls, error: BaseException) -> bool:
        """Say yes if the connection was closed."""
        said = str(error) if type(error) is ValueError else ""
        return said in {"Connection closed", "no active connection"} or super().is_disconnect(error)


class _Calls:
    """The queue of a connection's thread, and how much of it is still to be done.

    It delivers the results as well, since aiosqlite's thread dies with a traceback when the event
    loop that waited for one is closed, and keeps each of them until its next call. A cursor that
    nobody else has would be a result that was not read.
    """

    def __init__(self, queue: Any) -> None:  # noqa: ANN401
        self._queue = queue
        # Each has one thread that writes to it: the event loop's, and the connection's.
        self.given = 0
        self.done = 0

    def put_nowait(self, call: tuple[Any, Callable[[], Any]]) -> None:
        """Give the thread a function to call, and a future or none that wants to know."""
        self.given += 1
        self._queue.put_nowait((None, functools.partial(self._carry_out, [call])))

    def _carry_out(self, calls: list[tuple[Any, Callable[[], Any]]]) -> object:
        future, function = calls.pop()
        stop: object = None
        deliver: Callable[[Any, Any], None] = core.set_result
        try:
            told = function()
            if told is core._STOP_RUNNING_SENTINEL:
                stop = told
        except BaseException as error:  # noqa: BLE001  whoever waits is to see it
            told, deliver = error, core.set_exception
        if future is None:
            self.done += 1
            return stop
        loop, results = future.get_loop(), [(future, told)]
        # By then only the list has them, of which the loop takes them.
        del future, told
        self.done += 1  # first: who is told may ask at once
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(_hand_over, deliver, results)
        return stop


def _hand_over(deliver: Callable[[Any, Any], None], results: list[tuple[Any, Any]]) -> None:
    deliver(*results.pop())


class _Opening:
    """Opens a connection in its thread, for somebody who may not want it any more by then."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._given_up = False
        self._opened: sqlite3.Connection | None = None

    def __call__(self) -> sqlite3.Connection:
        opened = self._connect()
        with self._lock:
            self._opened = opened
            if self._given_up:
                opened.close()
        return opened

    def give_up(self) -> None:
        """Close the connection, now or as soon as it is open."""
        with self._lock:
            self._given_up = True
            if self._opened is not None:
                self._opened.close()


def _never() -> sqlite3.Connection:
    # The blocking adapter is here for what it does with a connection that aiosqlite has opened.
    raise NotImplementedError


async def _call(conn: aiosqlite.Connection, function: Callable[..., Any], *args: object) -> Any:  # noqa: ANN401
    """Call a function with the connection of `sqlite3`, in the thread that is for it."""
    return await conn._execute(function, conn._conn, *args)  # type: ignore[no-untyped-call]


def _count_calls(conn: aiosqlite.Connection) -> None:
    if not isinstance(conn._tx, _Calls):
        conn._tx = _Calls(conn._tx)  # type: ignore[assignment]


def _is_busy(conn: aiosqlite.Connection) -> bool:
    calls = conn._tx
    return isinstance(calls, _Calls) and calls.given != calls.done


def _refuse_if_busy(conn: aiosqlite.Connection) -> None:
    # Or else the next call would wait behind a statement that nobody waits for.
    if _is_busy(conn):
        msg = "the connection cannot be used again: its thread is still busy"
        raise sqlite3.OperationalError(msg)


def _close_and_stop(raw: sqlite3.Connection) -> object:
    with suppress(sqlite3.Error):
        raw.close()
    return core._STOP_RUNNING_SENTINEL
