"""PostgreSQL, through psycopg 3.

What both drivers of PostgreSQL share, and how URLs, timeouts and options work, is in `_libpq`.
"""

from __future__ import annotations

import itertools
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

from millpond.drivers import _postgres
from millpond.drivers._base import C
from millpond.drivers._libpq import INERROR, INTRANS, STATUS, Libpq
from millpond.drivers._libpq_session import LibpqSession
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from millpond.drivers._session import SessionOptions, TransactionStatus

    Connection = psycopg.Connection[Any]

# What `psycopg.connect()` takes for itself; all else goes to libpq.
_ARGUMENTS: Final = frozenset(
    {"autocommit", "context", "cursor_factory", "prepare_threshold", "row_factory"}
)
_numbers: Final = itertools.count(1)
# Seconds: a cancel is a connection of its own.
CANCEL_TIMEOUT: Final = 5.0


class Psycopg3(Libpq[C]):
    """What is the same for connections that block and for those that are awaited."""

    name = "psycopg"
    operational_error = psycopg.OperationalError
    # On `psycopg.AsyncConnection` some of them are set by a method, `set_autocommit` and so on.
    attributes = (
        "autocommit",
        "cursor_factory",
        "deferrable",
        "isolation_level",
        "prepare_threshold",
        "read_only",
        "row_factory",
        "server_cursor_factory",
    )

    @classmethod
    def _add(
        cls, options: SessionOptions, arguments: dict[str, Any], said: Mapping[str, Any]
    ) -> set[str]:
        if options.autocommit is not None:
            arguments.setdefault("autocommit", options.autocommit)
        if options.profile:
            # Prepared statements are part of a session. Since 1.21 PgBouncer can follow them, and
            # who knows that it does says so with another prepare_threshold.
            arguments.setdefault("prepare_threshold", None)
        return super()._add(options, arguments, said) | {"autocommit"}

    @classmethod
    def _check_arguments(cls, arguments: Mapping[str, Any]) -> None:
        known = _ARGUMENTS | {option.keyword.decode() for option in Conninfo.get_defaults()}
        unknown = sorted(arguments.keys() - known)
        if unknown:
            names = ", ".join(map(repr, unknown))
            msg = f"connect_kwargs: {names} is unknown to psycopg and to libpq"
            raise PoolConfigError(msg)

    @classmethod
    def _parse(cls, conninfo: str) -> Mapping[str, Any]:
        try:
            return conninfo_to_dict(conninfo)
        except psycopg.ProgrammingError as error:
            raise ValueError(str(error)) from None

    @staticmethod
    def transaction_status(conn: Connection) -> TransactionStatus:
        """Ask libpq."""
        return STATUS[conn.pgconn.transaction_status]

    @staticmethod
    def _reset_statement() -> str:
        # psycopg looks at what a statement has done to its prepared ones when it sees its text for
        # the first time, so each has to be another; else it goes on to use those that are gone.
        return f"{_postgres.RESET_SESSION} -- {next(_numbers)}"


class Psycopg(Psycopg3["Connection"], LibpqSession["Connection"]):
    """The adapter of `psycopg.Connection`."""

    @classmethod
    def _open(cls, conninfo: str, arguments: Mapping[str, Any]) -> Connection:
        return psycopg.connect(conninfo, **arguments)

    def _prepare_for_bouncer(self, conn: Connection, options: SessionOptions) -> None:
        if "autocommit" not in self.carried:  # a callable has opened it
            conn.prepare_threshold = None
        if options.isolation_level is not None:
            conn.isolation_level = level_of(options.isolation_level)
        if options.read_only is not None:
            conn.read_only = options.read_only

    @staticmethod
    def reset(conn: Connection) -> None:
        """Roll back if a transaction is open, and refuse a connection that is in use or broken."""
        # libpq knows without asking the server. IDLE is 0, and by far the most frequent; OFF, no
        # pipeline, is 0 as well.
        if conn.pgconn.transaction_status or conn.pgconn.pipeline_status:
            _clean(conn)

    def ping(self, conn: Connection) -> None:
        """Send an empty query, outside of any transaction."""
        # Within a transaction it cannot open one, and autocommit could not be changed.
        if conn.autocommit or conn.pgconn.transaction_status:
            self.execute(conn, "")
            return
        conn.autocommit = True
        try:
            self.execute(conn, "")
        finally:
            # On a connection that has just died this fails too, and would hide the first error.
            with suppress(psycopg.Error):
                conn.autocommit = False

    @staticmethod
    def execute(conn: Connection, statement: str) -> None:
        """Run a statement, which is not worth to be prepared.

        A prepared DISCARD ALL would even discard itself.
        """
        # Not the connection's own factories: a borrower may have changed them.
        with psycopg.Cursor(conn) as cursor:
            cursor.execute(statement, prepare=False)

    @classmethod
    def cancel(cls, conn: Connection) -> None:
        """Ask the server to end the running statement."""
        safely = getattr(conn, "cancel_safe", None)  # since psycopg 3.2
        if safely is None:
            conn.cancel()
        else:
            safely(timeout=CANCEL_TIMEOUT)


def _clean(conn: Connection) -> None:
    if may_roll_back(conn):
        conn.rollback()
        refuse_unless_idle(conn)


def may_roll_back(conn: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> bool:
    """Say whether a rollback is needed to make the connection usable.

    Raises:
        OperationalError: A rollback cannot make it so.
    """
    if conn.pgconn.pipeline_status:
        # Commands without an answer, and a block of the borrower's that believes in it still.
        msg = "the connection cannot be used again: it is in pipeline mode"
        raise psycopg.OperationalError(msg)
    if conn.pgconn.transaction_status in {INTRANS, INERROR}:
        return True
    refuse_unless_idle(conn)
    return False


def refuse_unless_idle(conn: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> None:
    """Refuse a connection that is in use or broken.

    Raises:
        OperationalError: It is.
    """
    status = conn.pgconn.transaction_status
    if status:
        name = psycopg.pq.TransactionStatus(status).name
        msg = f"the connection cannot be used again: its transaction status is {name}"
        raise psycopg.OperationalError(msg)


def level_of(level: str) -> psycopg.IsolationLevel:
    """Return psycopg's own constant for an isolation level."""
    return psycopg.IsolationLevel[level.upper().replace(" ", "_")]
