"""PostgreSQL, through asyncpg.

URLs are asyncpg's, which are much like libpq's: several hosts, ``sslmode``,
``target_session_attrs`` and so on; what it does not know is taken for a setting of the server. The
options of a session are sent with the connection request, so that a RESET leads back to them.

asyncpg has no PEP 249, and is in autocommit mode but for its own `Connection.transaction()`, which
is what `begin` uses: a borrower's ``conn.transaction()`` within is a savepoint, as it should be.

Cancelled in the middle of a statement, asyncpg asks the server to end it, by a task of its own, and
lets the next statement wait for that. A connection is ``OPEN`` until then, as `reset` waits too.

This file looks at private parts of `asyncpg.Connection`: ``_protocol``, ``_transport``, ``_loop``,
``_aborted``, ``_top_xact``, ``_addr`` and ``_params``.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast

import asyncpg
from asyncpg import connect_utils

from millpond.drivers import _postgres
from millpond.drivers._base import redact
from millpond.drivers._session import DEFAULTS, SessionOptions, TransactionStatus
from millpond.drivers._sockets import set_keepalive
from millpond.drivers._traits import NOT_COMMITTED, Traits
from millpond.drivers._url import refuse_unknown
from millpond.drivers.aio import _transports
from millpond.drivers.aio._asyncpg_url import arguments_of
from millpond.drivers.aio._dbapi import AsyncDbapi
from millpond.errors import PoolConfigError, PoolError, for_driver

if TYPE_CHECKING:

    class Connection(asyncpg.Connection[Any]):
        """With its private parts, of which the stubs say nothing."""

        _aborted: bool
        _addr: Any
        _loop: asyncio.AbstractEventLoop
        _params: Any
        _protocol: Any
        _top_xact: Any
        _transport: asyncio.Transport


# Seconds: a cancel is a connection of its own.
_CANCEL_TIMEOUT: Final = 5.0

_ARGUMENTS: Final = frozenset(inspect.signature(asyncpg.connect).parameters) - {"dsn", "loop"}

_send_cancel: Final[Any] = getattr(connect_utils, "_cancel", None)

# All of DISCARD ALL that `Connection.reset()` does not do, but for DEALLOCATE ALL: asyncpg would go
# on to use its prepared statements.
_RESET_SESSION: Final = (
    "SET SESSION AUTHORIZATION DEFAULT; DISCARD PLANS; DISCARD SEQUENCES; DISCARD TEMP"
)

# What asyncpg says of itself.
_CLOSED: Final = ("connection is closed", "connection has been released", "underlying connection")

# The server knows us and will not have us (wrong password, no such role, no such database), or does
# not understand what the URL or the session tells it (not supported, bad data, bad statement).
_REFUSED: Final = ("28", "3D000", "0A", "22", "23", "42")


class AsyncpgError(asyncpg.PostgresConnectionError, asyncpg.InterfaceError):
    """What the pool's errors derive from: whatever ``except`` clauses for asyncpg may name."""


class Asyncpg(_postgres.PostgresTraits["Connection"], AsyncDbapi["Connection"]):
    """The adapter of asyncpg."""

    name = "asyncpg"
    operational_error = AsyncpgError
    needs_is_alive = True
    supports = _postgres.PostgresTraits.supports - (frozenset() if _send_cancel else {"cancel"})
    why_not = {  # noqa: RUF012  a ClassVar in the base class
        "socket_timeout": "asyncpg has command_timeout, for connect_kwargs; statement_timeout and "
        "keepalive are what PostgreSQL has",
    }

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        connect_kwargs: Mapping[str, Any] | None = None,
        connect_timeout: float | None = None,
        options: SessionOptions = DEFAULTS,
    ) -> Asyncpg:
        """Return the adapter of the database that a URL names.

        Args:
            url: A URL that asyncpg understands; ``postgresql+asyncpg:`` is ``postgresql:``.
            connect_kwargs: Arguments of `asyncpg.connect()`, which win over those in the URL.
            connect_timeout: Seconds; ``None`` leaves it to asyncpg, where it is 60.
            options: What the session is to be like. What the URL or `connect_kwargs` say wins, but
                for flags, as in ``options=-c name=value``: the server reads these first.

        Raises:
            PoolConfigError: The URL or an argument is not valid.
        """
        for name in connect_kwargs or {}:
            if name not in _ARGUMENTS:
                refuse_unknown("connect_kwargs", name, "asyncpg", _ARGUMENTS)
        arguments, said = arguments_of(url)
        arguments |= connect_kwargs or {}
        if connect_timeout is not None:
            arguments.setdefault("timeout", connect_timeout)
        if options.profile:
            # Prepared statements are part of a session. Since 1.21 PgBouncer can follow them, and
            # who knows that it does says so with another statement_cache_size.
            arguments.setdefault("statement_cache_size", 0)
        told, carried = _settings(options)
        ours = {name: value for name, value in told.items() if name not in said}
        # In asyncpg these win over the URL.
        settings = {**ours, **_settings_of(arguments)}
        if settings:
            arguments["server_settings"] = settings

        # Not a partial: its repr would show the password.
        async def connect() -> Connection:
            with _transports.hang_ups_told():
                made: Any = await asyncpg.connect(**arguments)
            return cast("Connection", made)

        made = cls(connect, target=redact(url))
        made.carried = frozenset(carried)
        wanted = arguments.get("target_session_attrs", said.get("target_session_attrs"))
        made.wants_writable = str(getattr(wanted, "value", wanted)) in _postgres.WRITABLE
        return made

    def cannot(self, options: SessionOptions) -> Mapping[str, str]:
        """Say what PgBouncer forbids, and that there is no mode but autocommit."""
        why = {}
        if options.autocommit is False:
            why["autocommit"] = "asyncpg begins no transaction by itself; use pool.transaction()"
        return {**_postgres.forbidden(options, autocommit=True), **why}

    async def prepare(self, conn: Connection, options: SessionOptions = DEFAULTS) -> None:
        """Carry out what connecting has not."""
        if options.keepalive is not None:
            set_keepalive(_transports.fileno(conn._transport), options.keepalive)
        left = options.without({*self.carried, "autocommit", "profile"})
        await super().prepare(conn, left)

    @classmethod
    def is_alive(cls, conn: Connection) -> bool | None:
        """Ask asyncpg, and look at the socket for what the event loop has not seen yet."""
        return False if conn.is_closed() else _transports.is_alive(conn._transport)

    @staticmethod
    def transaction_status(conn: Connection) -> TransactionStatus:
        """Ask asyncpg."""
        if conn.is_closed():
            return TransactionStatus.UNKNOWN
        protocol = conn._protocol
        if protocol._is_cancelling():
            return TransactionStatus.OPEN
        if _is_busy(protocol):
            return TransactionStatus.ACTIVE
        is_open = protocol.is_in_transaction() or conn._top_xact is not None
        return TransactionStatus.OPEN if is_open else TransactionStatus.IDLE

    @staticmethod
    def is_clean(conn: Connection) -> bool:
        """Ask asyncpg."""
        protocol = conn._protocol
        return not (
            protocol is None
            or protocol.is_in_transaction()
            or conn._top_xact is not None
            or protocol._is_cancelling()
            or _is_busy(protocol)
            or conn.is_closed()
        )

    async def reset(self, conn: Connection) -> None:
        """Wait for a cancelled statement to end, and roll back if a transaction is open.

        Raises:
            InterfaceError: The connection is closed, or a statement of another task is under way.
        """
        _refuse_if_closed(conn)
        await conn._protocol._wait_for_cancellation()
        _refuse_if_closed(conn)
        if _is_busy(conn._protocol):
            msg = "the connection cannot be used again: a statement is under way"
            raise asyncpg.InterfaceError(msg)
        conn._top_xact = None
        if conn._protocol.is_in_transaction():
            await conn.execute("ROLLBACK")

    async def reset_session(self, conn: Connection) -> None:
        """Do what DISCARD ALL does, but keep prepared statements; and remove listeners."""
        await self.reset(conn)
        await conn.reset()
        await conn.execute(_RESET_SESSION)

    async def ping(self, conn: Connection) -> None:
        """Run ``SELECT 1``; an empty query has a result with which asyncpg does not get along."""
        await conn.execute("SELECT 1")

    async def execute(self, conn: Connection, statement: str) -> None:
        """Run a statement, without preparing it."""
        await conn.execute(statement)

    async def begin(
        self,
        conn: Connection,
        *,
        isolation: str | None = None,
        read_only: bool | None = None,
    ) -> None:
        """Begin a transaction as asyncpg does."""
        self.check_begin(isolation=isolation, read_only=read_only)
        level: Any = isolation and isolation.replace(" ", "_")
        await conn.transaction(isolation=level, readonly=bool(read_only)).start()
        if read_only is False:
            await conn.execute("SET TRANSACTION READ WRITE")

    async def commit(self, conn: Connection) -> None:
        """Commit what `begin` began, or what the borrower began by a statement.

        Raises:
            PoolError: The server rolled back instead, as it does where a statement has failed.
        """
        # As asyncpg's own commit, which does not look at what the server made of it. Before that
        # nobody can know: `transaction_status` is OPEN for a transaction that has failed, too.
        conn._top_xact = None
        if conn.is_in_transaction() and await conn.execute("COMMIT") == "ROLLBACK":
            raise for_driver(AsyncpgError).error(NOT_COMMITTED)

    async def rollback(self, conn: Connection) -> None:
        """Roll back, also a transaction with which asyncpg itself has come to no end."""
        conn._top_xact = None
        if conn.is_in_transaction():
            await conn.execute("ROLLBACK")

    async def cancel(self, conn: Connection) -> None:
        """Ask the server to end the running statement."""
        async with asyncio.timeout(_CANCEL_TIMEOUT):
            await _send_cancel(
                loop=asyncio.get_running_loop(),
                addr=conn._addr,
                params=conn._params,
                backend_pid=conn._protocol.backend_pid,
                backend_secret=conn._protocol.backend_secret,
            )

    async def close(self, conn: Connection) -> None:
        """Close the connection; where the server is gone already, that is all there is to do."""
        with suppress(OSError):
            await conn.close()

    def abort(self, conn: Connection) -> None:
        """Have asyncpg believe that the connection is closed, and close the socket."""
        # Not `terminate()`: it says goodbye first, which takes the thread of the loop, and a loop.
        conn._aborted = True
        _transports.drop(conn._transport, conn._loop)

    @classmethod
    def is_disconnect(cls, error: BaseException) -> bool:
        """Ask for the SQLSTATE, or, where only asyncpg spoke, for its words."""
        if isinstance(error, PoolError):
            return False
        if isinstance(error, asyncpg.InterfaceError):
            return any(words in str(error) for words in _CLOSED)
        if isinstance(error, ConnectionError) or _transports.is_hang_up(error):
            return True
        state = _postgres.sqlstate(error)
        return state is not None and _postgres.is_gone(state)

    def is_demoted(self, conn: Connection, error: BaseException) -> bool:
        """Say yes to a refused write, as with libpq."""
        if not self.wants_writable:
            return False
        told = conn.get_settings()
        return _postgres.is_demoted(error, lambda name: getattr(told, name, None))

    @classmethod
    def is_transient(cls, error: BaseException) -> bool:
        """Say no where the server refused what we are or say, or asyncpg the arguments.

        Say yes where each host is up and none is the one asked for: in a failover one soon will be.
        """
        state = _postgres.sqlstate(error)
        if state is not None:
            return not state.startswith(_REFUSED)
        if isinstance(error, asyncpg.ClientConfigurationError):  # an InterfaceError as well
            return False
        nobody_yet = isinstance(error, asyncpg.TargetServerAttributeNotMatched)
        return nobody_yet or _transports.is_hang_up(error) or Traits.is_transient(error)


def _settings(options: SessionOptions) -> tuple[dict[str, str], set[str]]:
    """Return what the server is told with the connection request, and the options that it says."""
    told = {} if options.profile else _postgres.settings(options)
    carried = {"application_name"}
    if not options.profile:  # PgBouncer refuses all others
        carried |= {"isolation_level", "read_only", "statement_timeout"}
    if options.application_name is not None:
        told["application_name"] = options.application_name
    return told, carried


def _settings_of(arguments: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the settings of the server that `connect_kwargs` has."""
    found = arguments.get("server_settings") or {}
    if isinstance(found, Mapping):
        return found
    kind = type(found).__name__
    msg = f"connect_kwargs: server_settings=<{kind}>: must be a dict of strings"
    raise PoolConfigError(msg)


def _is_busy(protocol: Any) -> bool:  # noqa: ANN401
    """Say whether a statement is under way, which asyncpg keeps to itself.

    What it calls at the end of a time limit compares its future with the one that it is given:
    without a future, that is None with None, and the next thing it asks is what None does not know.
    """
    try:
        protocol._on_timeout(None)
    except AttributeError:
        return False
    return True


def _refuse_if_closed(conn: Connection) -> None:
    if conn.is_closed():
        msg = "the connection cannot be used again: connection is closed"
        raise asyncpg.InterfaceError(msg)
