"""PostgreSQL, through psycopg 3 and its `AsyncConnection`.

Cancelled in the middle of a statement, psycopg asks the server to end it, and reads to its end; if
that fails, or is cancelled too, it closes the connection. So a connection is usable afterwards, in
a transaction that has failed or in none, or it is closed. libpq knows which.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import psycopg

from millpond.drivers import _postgres
from millpond.drivers._psycopg import (
    CANCEL_TIMEOUT,
    Psycopg3,
    level_of,
    may_roll_back,
    refuse_unless_idle,
)
from millpond.drivers._session import DEFAULTS, SessionOptions
from millpond.drivers.aio._dbapi import AsyncDbapi

if TYPE_CHECKING:
    from collections.abc import Mapping

    Connection = psycopg.AsyncConnection[Any]

# What only a coroutine of the connection can set, as it may have to talk to the server.
_AWAITED: Final = frozenset({"autocommit", "deferrable", "isolation_level", "read_only"})


class AsyncPsycopg(Psycopg3["Connection"], AsyncDbapi["Connection"]):
    """The adapter of `psycopg.AsyncConnection`."""

    @classmethod
    async def _open(cls, conninfo: str, arguments: Mapping[str, Any]) -> Connection:
        return await psycopg.AsyncConnection.connect(conninfo, **arguments)

    async def prepare(self, conn: Connection, options: SessionOptions = DEFAULTS) -> None:
        """Carry out what connecting has not."""
        # For `abort`: psycopg itself has no use for it.
        conn.millpond_loop = asyncio.get_running_loop()  # type: ignore[attr-defined]
        if options.profile is None:
            await super().prepare(conn, options)
            return
        if "autocommit" not in self.carried:  # a callable has opened it
            conn.prepare_threshold = None
        if options.isolation_level is not None:
            await conn.set_isolation_level(level_of(options.isolation_level))
        if options.read_only is not None:
            await conn.set_read_only(options.read_only)
        if options.autocommit is not None:
            await conn.set_autocommit(options.autocommit)

    async def set_autocommit(self, conn: Connection, *, value: bool) -> None:
        """Set it."""
        await conn.set_autocommit(value)

    @staticmethod
    def is_clean(conn: Connection) -> bool:
        """Ask libpq, which knows it. IDLE is 0, and so is OFF, no pipeline."""
        return not (conn.pgconn.transaction_status or conn.pgconn.pipeline_status)

    async def reset(self, conn: Connection) -> None:
        """Roll back if a transaction is open, and refuse a connection that is in use or broken."""
        if may_roll_back(conn):
            await conn.rollback()
            refuse_unless_idle(conn)

    async def reset_session(self, conn: Connection) -> None:
        """Roll back, DISCARD ALL, and give the connection's attributes their first values."""
        await self.reset(conn)
        await conn.set_autocommit(True)
        await self.execute(conn, self._reset_statement())
        for name, value in self.changed_attributes(conn).items():
            if name in _AWAITED:
                await getattr(conn, f"set_{name}")(value)
            else:
                setattr(conn, name, value)

    async def ping(self, conn: Connection) -> None:
        """Send an empty query, outside of any transaction."""
        # Within a transaction it cannot open one, and autocommit could not be changed.
        if conn.autocommit or conn.pgconn.transaction_status:
            await self.execute(conn, "")
            return
        await conn.set_autocommit(True)
        try:
            await self.execute(conn, "")
        finally:
            # On a connection that has just died this fails too, and would hide the first error.
            with suppress(psycopg.Error):
                await conn.set_autocommit(False)

    async def execute(self, conn: Connection, statement: str) -> None:
        """Run a statement, which is not worth to be prepared."""
        # Not the connection's own factories: a borrower may have changed them.
        async with psycopg.AsyncCursor(conn) as cursor:
            await cursor.execute(statement, prepare=False)

    async def begin(
        self,
        conn: Connection,
        *,
        isolation: str | None = None,
        read_only: bool | None = None,
    ) -> None:
        """Begin a transaction; without autocommit the driver's first statement does it."""
        self.check_begin(isolation=isolation, read_only=read_only)
        opening = _postgres.opening(isolation, read_only, autocommit=conn.autocommit)
        if opening:
            await self.execute(conn, opening)

    async def cancel(self, conn: Connection) -> None:
        """Ask the server to end the running statement."""
        if hasattr(conn, "cancel_safe"):  # since psycopg 3.2
            await conn.cancel_safe(timeout=CANCEL_TIMEOUT)
        else:
            await asyncio.to_thread(conn.cancel)

    async def close(self, conn: Connection) -> None:
        """Close the connection."""
        await conn.close()

    def abort(self, conn: Connection) -> None:
        """Close the socket.

        Where a task is waiting at it, only its other end: the event loop would otherwise go on to
        watch a number that may soon be another socket's. The task finds out at once.
        """
        with suppress(Exception):
            if conn.lock.locked() and _is_open(getattr(conn, "millpond_loop", None)):
                with socket.socket(fileno=os.dup(conn.fileno())) as same:
                    same.shutdown(socket.SHUT_RDWR)
            else:
                conn.pgconn.finish()


def _is_open(loop: asyncio.AbstractEventLoop | None) -> bool:
    return loop is not None and not loop.is_closed()
