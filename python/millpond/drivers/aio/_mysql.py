"""MySQL and MariaDB: what aiomysql and asyncmy share, both of which come from PyMySQL.

URLs are those of `millpond.drivers._mysql`, with ``mysql+aiomysql://`` or ``mysql+asyncmy://`` to
say which; ``mysql://`` takes asyncmy if it can be imported, and else aiomysql.

Cancelled while they wait for an answer, both close the connection at once, and so does the pool.
A statement is cancelled by ``KILL QUERY`` on a second connection; the server notes it before that
is answered, as tests/drivers/test_mysql_family.py found out.

There is no public word for how a connection stands, so the private attributes of both are read:
``_result`` and ``server_status`` as in `_pymysql`, and the transport and what it has received.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Final

from millpond.drivers import _mysql_errors as errors
from millpond.drivers._mysql_traits import (
    CANCEL_TIMEOUT,
    FRESH,
    RESET_CONNECTION,
    WHERE,
    Identity,
    MySQLTraits,
    identity_of,
    says_closed,
    status_of,
)
from millpond.drivers._mysql_url import flag
from millpond.drivers._session import DEFAULTS, SessionOptions, TransactionStatus
from millpond.drivers._sockets import is_readable, set_keepalive
from millpond.drivers.aio import _transports
from millpond.drivers.aio._dbapi import AsyncDbapi

if TYPE_CHECKING:
    from collections.abc import Callable

# Seconds in which another server's address may be tried, when a name stands for several.
_CANCEL_PATIENCE: Final = 1.0


class AsyncMySQL(MySQLTraits, AsyncDbapi[Any]):
    """What the adapters of both drivers have in common."""

    needs_is_alive = True
    # What `set_charset` leaves behind, and a SET NAMES does not bring back.
    attributes: ClassVar[tuple[str, ...]] = ("_charset", "_encoding")
    converters = {  # noqa: RUF012  a ClassVar in the base class
        "autocommit": flag,
        "charset": str,
        "client_flag": int,
        "connect_timeout": float,
        "init_command": str,
        "local_infile": flag,
        "program_name": str,
        "read_default_file": str,
        "read_default_group": str,
        "sql_mode": str,
        "unix_socket": str,
        "use_unicode": flag,
    }

    def __init__(self, connect: Callable[[], Any], *, target: str | None = None) -> None:
        """Store the callable."""
        super().__init__(connect, target=target)
        self._beside = self.connect

    @classmethod
    def _arguments_for(
        cls, connect_timeout: float | None, options: SessionOptions
    ) -> dict[str, Any]:
        named = {
            "connect_timeout": connect_timeout,
            "program_name": options.application_name,
            "autocommit": options.autocommit,
        }
        return {name: value for name, value in named.items() if value is not None}

    # What each driver says about itself: these four are in `_aiomysql` and `_asyncmy`.

    @staticmethod
    def transport(conn: Any) -> asyncio.Transport | None:  # noqa: ANN401
        """Return what leads to the server, ``None`` on a closed connection."""
        raise NotImplementedError

    @staticmethod
    def awaits_data(conn: Any) -> bool:  # noqa: ANN401
        """Say whether some task waits for an answer."""
        raise NotImplementedError

    @staticmethod
    def has_unread_data(conn: Any) -> bool:  # noqa: ANN401
        """Say whether there is something of the server's that nobody has asked for, or its end."""
        raise NotImplementedError

    @classmethod
    def forget(cls, conn: Any) -> None:  # noqa: ANN401
        """Have the driver believe that the connection is closed."""
        raise NotImplementedError

    @classmethod
    async def connected(cls, conn: Any, connecting: Any) -> Any:  # noqa: ANN401
        """Return a connection when it is connected, or leave nothing behind."""
        try:
            with _transports.hang_ups_told():
                await connecting
        except BaseException:
            cls._drop(conn)
            raise
        return conn

    async def prepare(self, conn: Any, options: SessionOptions = DEFAULTS) -> None:  # noqa: ANN401
        """Ask who it is, then carry out what connecting has not."""
        if identity_of(conn) is None:
            told = await self._ask(conn, WHERE)
            conn.millpond_identity = Identity(conn.thread_id(), told[0] if told else "")
        if self._fresh_session is None:
            told = await self._ask(conn, FRESH)
            if told is not None:
                self.note_fresh(told)
        if options.keepalive is not None:
            set_keepalive(_transports.fileno(self.transport(conn)), options.keepalive)
        if options.statement_timeout is not None:
            limit = self.time_limit(str(conn.get_server_info()), options.statement_timeout)
            await self.execute(conn, limit)
        await super().prepare(conn, options.without({"keepalive", "statement_timeout"}))

    async def _ask(self, conn: Any, query: str) -> tuple[Any, ...] | None:  # noqa: ANN401
        """Ask the server about itself. ``None``: it is a proxy, or another kind of server."""
        try:
            await conn.query(query)
        except self.driver_errors as error:
            if self.is_disconnect(error):
                raise
            return None
        (row,) = conn._result.rows
        # It has not read from a table, which `transaction_status` can't know.
        conn._result = None
        # With `use_unicode=False` they are bytes.
        return tuple(one.decode() if isinstance(one, (bytes, bytearray)) else one for one in row)

    async def set_autocommit(self, conn: Any, *, value: bool) -> None:  # noqa: ANN401
        """Set it, which costs a round trip only if it is a change."""
        await conn.autocommit(value)

    @classmethod
    def is_alive(cls, conn: Any) -> bool | None:  # noqa: ANN401
        """Ask the event loop, then the socket for what the loop has not seen yet."""
        transport = cls.transport(conn)
        if transport is None or cls.has_unread_data(conn):
            return False
        return _transports.is_alive(transport)

    @classmethod
    def transaction_status(cls, conn: Any) -> TransactionStatus:  # noqa: ANN401
        """Read what the server said last, and see whether it is still to say something."""
        transport = cls.transport(conn)
        if transport is None or transport.is_closing():
            return TransactionStatus.UNKNOWN
        if cls.awaits_data(conn) or cls.has_unread_data(conn):
            return TransactionStatus.ACTIVE
        return status_of(conn.server_status, conn._result)

    @classmethod
    def is_clean(cls, conn: Any) -> bool:  # noqa: ANN401
        """Say whether the status is IDLE."""
        return cls.transaction_status(conn) is TransactionStatus.IDLE

    async def reset(self, conn: Any) -> None:  # noqa: ANN401
        """Roll back if a transaction is or may be open, and refuse a connection in use or dead.

        Raises:
            OperationalError: It is.
        """
        status = self.transaction_status(conn)
        if status is TransactionStatus.IDLE:
            return
        why = self._hopeless(conn, status)
        if why:
            msg = f"the connection cannot be used again: {why}"
            raise self._failure(msg)
        # If a call has results that nobody has read, it reads them first.
        await conn.rollback()

    def _hopeless(self, conn: Any, status: TransactionStatus) -> str | None:  # noqa: ANN401
        """Return why a rollback would not help."""
        if status is TransactionStatus.UNKNOWN:
            return "it is closed"
        result = conn._result
        if result is not None and result.unbuffered_active:
            # Or else its destructor would read them all, and so would `rollback`.
            result.unbuffered_active = False
            return "it has rows that were not read"
        # What is there unread may be further results, which are in order.
        in_order = result is not None and result.has_next
        if self.awaits_data(conn) or (self.has_unread_data(conn) and not in_order):
            return "a statement is under way"
        return None

    async def reset_session(self, conn: Any) -> None:  # noqa: ANN401
        """Have the server forget the session, and make it again what it was when it was new."""
        await self.reset(conn)
        await conn._execute_command(RESET_CONNECTION, b"")
        await conn._read_ok_packet()
        fresh = self._fresh_session
        if fresh is not None:
            await self.execute(conn, f"SET NAMES {fresh.charset} COLLATE {fresh.collation}")
            await self.set_autocommit(conn, value=fresh.autocommit)
            if fresh.database is not None:
                await conn.select_db(fresh.database)
        for statement in self._again():
            await self.execute(conn, statement)
        self.restore_attributes(conn)

    async def ping(self, conn: Any) -> None:  # noqa: ANN401
        """Send COM_PING, and never connect again.

        Raises:
            OperationalError: There is something to read already. The server says nothing unasked
                but its farewell, so it is that, or the answer to another question.
        """
        if self.transport(conn) is not None and (
            self.has_unread_data(conn) or is_readable(_transports.fileno(self.transport(conn)))
        ):
            msg = "the connection cannot be used: there is an answer that nobody waits for"
            raise self._failure(msg)
        await conn.ping(reconnect=False)

    async def begin(
        self,
        conn: Any,  # noqa: ANN401
        *,
        isolation: str | None = None,
        read_only: bool | None = None,
    ) -> None:
        """Begin a transaction, by doing nothing where the next statement will do it."""
        statements = self.opening(isolation, read_only)
        if conn.get_autocommit() or isolation is not None or read_only is not None:
            for statement in statements:
                await self.execute(conn, statement)

    async def execute(self, conn: Any, statement: str) -> None:  # noqa: ANN401
        """Run a statement without a cursor: a borrower may have changed the connection's own."""
        await conn.query(statement)

    async def cancel(self, conn: Any) -> None:  # noqa: ANN401
        """End the running statement by KILL QUERY on a second connection, and wait for the answer.

        Raises:
            OperationalError: No connection could be had to the server that runs the statement.
        """
        identity = identity_of(conn) or Identity(conn.thread_id(), "")
        async with asyncio.timeout(2 * CANCEL_TIMEOUT):
            other = await self._same_server(identity.server)
            try:
                await self.execute(other, f"KILL QUERY {identity.number}")
            except self.driver_errors as error:
                if self.code(error) != errors.NO_SUCH_THREAD:
                    raise
            finally:
                self._drop(other)

    async def _same_server(self, server: str) -> Any:  # noqa: ANN401
        # As in the blocking twin: a name may stand for several servers, each with our number.
        began = time.monotonic()
        while True:
            other = await self._beside()
            try:
                if not server or await self._ask(other, WHERE) == (server,):
                    return other
            except BaseException:
                self._drop(other)
                raise
            self._drop(other)
            if time.monotonic() - began > _CANCEL_PATIENCE:
                msg = f"KILL QUERY: connecting again leads to another server than {server}"
                raise self._failure(msg)

    async def close(self, conn: Any) -> None:  # noqa: ANN401
        """Close the connection; where the server is gone already, that is all there is to do."""
        try:
            with suppress(OSError), _transports.hang_ups_told():
                await conn.ensure_closed()
        finally:
            self._drop(conn)

    def abort(self, conn: Any) -> None:  # noqa: ANN401
        """Close the socket."""
        with suppress(Exception):
            self._drop(conn)

    @classmethod
    def _drop(cls, conn: Any) -> None:  # noqa: ANN401
        result = conn._result
        if result is not None:
            result.unbuffered_active = False
        _transports.drop(cls.transport(conn), conn._loop)
        cls.forget(conn)

    @classmethod
    def is_disconnect(cls, error: BaseException) -> bool:
        """Ask the error for its number, or for its words where it has none."""
        is_ours = isinstance(error, cls.driver_errors)
        says_so = (is_ours and says_closed(error)) or _transports.is_hang_up(error)
        return says_so or super().is_disconnect(error)

    @classmethod
    def is_transient(cls, error: BaseException) -> bool:
        """Say yes to a hang-up too."""
        return _transports.is_hang_up(error) or super().is_transient(error)
