"""Oracle Database, through python-oracledb and its `AsyncConnection`, which is always a thin one.

URLs and options are as in `millpond.drivers._oracledb`. No Oracle Database could be had: it is
tested against a fake, and the cancellation of a statement not at all. By its source,
python-oracledb sends a break when the task is cancelled, and reads what comes of it; whether it got
to the end of that, or was cancelled once more, cannot be seen from here.

It has no way to drop a connection either, and hides its socket in C structs. The garbage collector
sees what is in there, so `abort` asks that one for the transport.
"""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import oracledb

from millpond.drivers._oracledb import Oracle
from millpond.drivers._session import DEFAULTS, SessionOptions, TransactionStatus
from millpond.drivers.aio import _transports
from millpond.drivers.aio._dbapi import AsyncDbapi

if TYPE_CHECKING:
    from collections.abc import Mapping


class AsyncOracledb(Oracle[oracledb.AsyncConnection], AsyncDbapi[oracledb.AsyncConnection]):
    """The adapter of `oracledb.AsyncConnection`."""

    @classmethod
    async def _open(cls, arguments: Mapping[str, Any]) -> oracledb.AsyncConnection:
        conn: oracledb.AsyncConnection = await oracledb.connect_async(**arguments)
        return conn

    async def prepare(
        self, conn: oracledb.AsyncConnection, options: SessionOptions = DEFAULTS
    ) -> None:
        """Set what the driver keeps, then what the server has to know."""
        self.configure(conn, options)
        await super().prepare(conn, options)

    @staticmethod
    def transaction_status(conn: Any) -> TransactionStatus:  # noqa: ANN401
        """Ask the driver."""
        return Oracle.transaction_status(conn) if conn.is_healthy() else TransactionStatus.UNKNOWN

    @staticmethod
    def is_clean(conn: oracledb.AsyncConnection) -> bool:
        """Ask the driver."""
        return conn.is_healthy() and not conn.transaction_in_progress

    async def reset(self, conn: oracledb.AsyncConnection) -> None:
        """Roll back if a transaction is open."""
        if conn.transaction_in_progress:
            await conn.rollback()

    async def ping(self, conn: oracledb.AsyncConnection) -> None:
        """Let the driver ask the server; it never reconnects."""
        await conn.ping()

    async def cancel(self, conn: oracledb.AsyncConnection) -> None:
        """Send a break."""
        conn.cancel()

    async def begin(
        self,
        conn: oracledb.AsyncConnection,
        *,
        isolation: str | None = None,
        read_only: bool | None = None,
    ) -> None:
        """Begin a transaction, for which the first statement is enough in Oracle."""
        opening = self.opening(conn, isolation, read_only)
        if opening:
            await self.execute(conn, opening)

    async def commit(self, conn: oracledb.AsyncConnection) -> None:
        """Commit, and go back to autocommit mode if `begin` has left it."""
        await conn.commit()
        self._switch_back(conn)

    async def rollback(self, conn: oracledb.AsyncConnection) -> None:
        """Roll back, and go back to autocommit mode if `begin` has left it."""
        await conn.rollback()
        self._switch_back(conn)

    async def close(self, conn: oracledb.AsyncConnection) -> None:
        """Close the connection."""
        self._switched.discard(id(conn))
        await conn.close()

    def abort(self, conn: Any) -> None:  # noqa: ANN401
        """Close the socket, and have the driver believe that the connection is closed."""
        self._switched.discard(id(conn))
        with suppress(Exception):
            transport: Any = transport_within(conn._impl)
            conn._impl = None
            _transports.drop(transport, getattr(transport, "_loop", None))


def transport_within(root: object) -> asyncio.BaseTransport | None:
    """Return the transport that some object of python-oracledb's holds on to, however deep."""
    seen: set[int] = set()
    todo = [root]
    while todo:
        one = todo.pop()
        if isinstance(one, asyncio.BaseTransport):
            return one
        if id(one) in seen or not _is_of_the_driver(one):
            continue
        seen.add(id(one))
        todo += gc.get_referents(one)
    return None


def _is_of_the_driver(one: object) -> bool:
    kind = type(one)
    return not isinstance(one, type) and str(kind.__module__).partition(".")[0] == "oracledb"
