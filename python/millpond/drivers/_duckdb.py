"""DuckDB, in our own process.

URLs: ``duckdb:///relative.db``, ``duckdb:////absolute.db``, and ``duckdb:///:memory:name`` for a
database in memory that all connections share; it lives as long as one of them is open, so keep
``min_size`` at 1 or more. Behind the ``?`` may stand settings of DuckDB, such as ``threads=4``.

Each connection of the pool is a ``duckdb.connect()`` of its own. Those of one process share one
database, whose file is locked against other processes until the last of them is closed: so closing
the pool gives the file free, which cursors of a parent connection would not.

DuckDB does not tell whether a transaction is open. So there is a rollback at each release, and in
most cases an exception that says that there was nothing to roll back; a statement costs more.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, unquote

import duckdb

from millpond.drivers._base import redact
from millpond.drivers._dbapi import Dbapi
from millpond.drivers._session import AT_CONNECT, DEFAULTS, SessionOptions
from millpond.drivers._traits import NOT_COMMITTED, Traits
from millpond.drivers._url import refuse, refuse_unknown
from millpond.errors import for_driver

if TYPE_CHECKING:
    from collections.abc import Mapping

    Connection = duckdb.DuckDBPyConnection

_ARGUMENTS: Final = frozenset({"config", "read_only"})

# DuckDB has no codes, only kinds of errors and words.
_NO_TRANSACTION: Final = "no transaction is active"
_CONFLICT: Final = re.compile("conflict", re.IGNORECASE)
_LOCKED: Final = re.compile("lock on file", re.IGNORECASE)


class Duckdb(Dbapi["Connection"]):
    """The adapter of `duckdb`."""

    name = "duckdb"
    operational_error = duckdb.OperationalError
    supports = frozenset({"autocommit", "cancel", "isolation_level", "read_only", "session"})
    savepoint_sql = None
    isolation_levels = frozenset({"snapshot"})
    read_only_transactions = True
    only_at_connect = AT_CONNECT | {"read_only"}
    why_not = {  # noqa: RUF012  a ClassVar in the base class
        "statement_timeout": "DuckDB has none; use query_timeout of the pool",
        "reset_session": "DuckDB cannot forget what a session has set",
    }

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        connect_kwargs: Mapping[str, Any] | None = None,
        connect_timeout: float | None = None,  # noqa: ARG003  opening a file has no timeout
        options: SessionOptions = DEFAULTS,
    ) -> Duckdb:
        """Return the adapter of the database that a URL names.

        Args:
            url: A URL as in the head of this module.
            connect_kwargs: Arguments of `duckdb.connect()`, which win over those in the URL.
            connect_timeout: Not used.
            options: What the session is to be like.

        Raises:
            PoolConfigError: The URL or an argument is not valid, or the database is one in memory
                that each connection would have for itself.
        """
        path, config = _parse(url)
        arguments = dict(connect_kwargs or {})
        for name in arguments.keys() - _ARGUMENTS:
            refuse_unknown("connect_kwargs", name, cls.name, _ARGUMENTS)
        config |= arguments.pop("config", {})
        if options.read_only is not None:
            arguments.setdefault("read_only", options.read_only)

        # Not a partial: a setting may be a secret, which its repr would show.
        def connect() -> Connection:
            return duckdb.connect(path, config=config, **arguments)

        made = cls(connect, target=redact(url))
        made.carried = frozenset({"read_only"})
        return made

    def cannot(self, options: SessionOptions) -> Mapping[str, str]:
        """Say that there is no way without autocommit."""
        if options.autocommit is False:
            return {"autocommit": "DuckDB begins no transaction by itself"}
        return {}

    @staticmethod
    def set_autocommit(conn: Connection, *, value: bool) -> None:
        """Do nothing: autocommit is what DuckDB does."""

    @staticmethod
    def reset(conn: Connection) -> None:
        """Roll back if a transaction is open, which DuckDB only tells when it is tried."""
        _roll_back(conn)

    @classmethod
    def is_alive(cls, conn: Connection) -> bool:
        """Say whether it is open: there is nothing else that could die."""
        with suppress(duckdb.ConnectionException):
            conn.query_progress()  # looks at the connection, and at nothing else
            return True
        return False

    @property
    def pings(self) -> bool:
        """Whether there is a server that could go away: no."""
        return False

    def ping(self, conn: Connection) -> None:
        """Run ``SELECT 1``, which opens no transaction that would stay."""
        conn.execute("SELECT 1").fetchall()

    @staticmethod
    def execute(conn: Connection, statement: str) -> None:
        """Run a statement on the connection: what DuckDB calls a cursor is another connection."""
        conn.execute(statement)

    @classmethod
    def cancel(cls, conn: Connection) -> None:
        """Interrupt whatever statement is running."""
        conn.interrupt()

    def begin(
        self, conn: Connection, *, isolation: str | None = None, read_only: bool | None = None
    ) -> None:
        """Begin a transaction; its isolation level is ``"snapshot"`` in any case."""
        self.check_begin(isolation=isolation, read_only=read_only)
        modes = {None: "", False: " READ WRITE", True: " READ ONLY"}
        conn.execute(f"BEGIN TRANSACTION{modes[read_only]}")

    @classmethod
    def commit(cls, conn: Connection) -> None:
        """Commit, unless a statement has failed.

        Raises:
            PoolError: One has. DuckDB would roll back without a word.
        """
        try:
            conn.execute("SELECT 1")
        except duckdb.TransactionException as error:
            _roll_back(conn)
            raise for_driver(cls.operational_error).error(NOT_COMMITTED) from error
        conn.commit()

    @staticmethod
    def rollback(conn: Connection) -> None:
        """Roll back, unless a failed commit has done it."""
        _roll_back(conn)

    @classmethod
    def is_disconnect(cls, error: BaseException) -> bool:
        """Say yes if the connection was closed, or the whole database is out of order."""
        return isinstance(error, (duckdb.ConnectionException, duckdb.FatalException))

    @classmethod
    def is_cancelled(cls, error: BaseException) -> bool:
        """Say yes to an interrupt."""
        return isinstance(error, duckdb.InterruptException)

    @classmethod
    def is_retryable(cls, error: BaseException) -> bool:
        """Say yes where two transactions have changed the same."""
        is_one = isinstance(error, duckdb.TransactionException)
        return is_one and _CONFLICT.search(str(error)) is not None

    @staticmethod
    def is_transient(error: BaseException) -> bool:
        """Say yes as long as another process has the file, and to an `OSError`."""
        if isinstance(error, duckdb.Error):
            return _LOCKED.search(str(error)) is not None
        return Traits.is_transient(error)


def _roll_back(conn: Connection) -> None:
    try:
        conn.rollback()
    except duckdb.TransactionException as error:
        if _NO_TRANSACTION not in str(error):
            raise


def _parse(url: str) -> tuple[str, dict[str, Any]]:
    rest, _, query = url.partition("://")[2].partition("?")
    if not rest.startswith("/"):
        refuse(
            url,
            "a file needs three slashes (duckdb:///relative.db), "
            "or four if its path is absolute (duckdb:////srv/app.db)",
        )
    path = unquote(rest[1:])
    if path in {"", ":memory:"}:
        refuse(
            url,
            "each connection would be an empty database of its own; "
            "use a file, or share one: duckdb:///:memory:name",
        )
    return path, dict(parse_qsl(query, keep_blank_values=True))
