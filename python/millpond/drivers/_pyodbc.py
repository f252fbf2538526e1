"""Any database with an ODBC driver, through pyodbc.

`_odbc_url` has the URLs. Which database there is, and what can be had of it, shows the first
connection: PostgreSQL and SQL Server are known here, of others no more is asked than what every
ODBC driver has.

ODBC tells neither the state of a transaction nor a socket: there is a rollback at each release, and
only the server knows whether a connection is alive. A statement could be cancelled by its cursor,
which the pool does not have.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import pyodbc

from millpond.drivers import _postgres
from millpond.drivers._base import redact
from millpond.drivers._dbapi import Dbapi
from millpond.drivers._odbc_dialects import Dialect, dialect_of
from millpond.drivers._odbc_url import connection_string, is_sql_server
from millpond.drivers._session import DEFAULTS, SessionOptions
from millpond.drivers._traits import RETRYABLE, Traits
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

# Otherwise unixODBC and Windows keep a pool of their own beneath ours. Without effect on who has
# connected already.
pyodbc.pooling = False

# What `pyodbc.connect()` takes for itself; all else are keywords of the ODBC driver.
_ARGUMENTS: Final = frozenset(
    {"ansi", "attrs_before", "autocommit", "encoding", "readonly", "timeout"}
)
_COMMON: Final = frozenset({"autocommit", "session"})
_BY_DATABASE: Final = frozenset(
    {"application_name", "isolation_level", "read_only", "reset_session", "statement_timeout"}
)
# No such data source, no such driver, wrong user or password.
_PERMANENT: Final = ("IM", "28")


class Pyodbc(Dbapi[pyodbc.Connection]):
    """The adapter of `pyodbc`."""

    name = "pyodbc"
    operational_error = pyodbc.OperationalError
    # All that any database has, until the first connection shows which one it is.
    supports = _COMMON | _BY_DATABASE
    isolation_levels = _postgres.ISOLATION_LEVELS | {"snapshot"}
    why_not = {  # noqa: RUF012  a ClassVar in the base class
        "cancel": "ODBC cancels by the cursor, which only the borrower has",
        **dict.fromkeys(_BY_DATABASE, "not with this database behind ODBC"),
    }
    attributes = ("autocommit", "timeout")
    dialect = Dialect()

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        connect_kwargs: Mapping[str, Any] | None = None,
        connect_timeout: float | None = None,
        options: SessionOptions = DEFAULTS,
    ) -> Pyodbc:
        """Return the adapter of the database that a URL names.

        Args:
            url: A URL as in the head of `_odbc_url`.
            connect_kwargs: Arguments of `pyodbc.connect()`, and keywords of the ODBC driver, which
                win over those in the URL.
            connect_timeout: Seconds for ODBC's login timeout, rounded up.
            options: What the session is to be like.

        Raises:
            PoolConfigError: The URL is not valid.
        """
        further = dict(connect_kwargs or {})
        arguments = {name: further.pop(name) for name in _ARGUMENTS & further.keys()}
        carried = {"autocommit"}
        if options.autocommit is not None:
            arguments.setdefault("autocommit", options.autocommit)
        if connect_timeout is not None:
            arguments.setdefault("timeout", math.ceil(connect_timeout))
        if is_sql_server(url):
            carried.add("application_name")
            if options.application_name is not None:
                further.setdefault("APP", options.application_name)
        text = connection_string(url, further)

        # Not a partial: its repr would show the password.
        def connect() -> pyodbc.Connection:
            return pyodbc.connect(text, **arguments)

        made = cls(connect, target=redact(url))
        made.carried = frozenset(carried)
        return made

    def adopt(self, conn: pyodbc.Connection) -> Dbapi[pyodbc.Connection]:
        """Ask the connection which database it leads to."""
        super().adopt(conn)
        self.dialect = dialect = dialect_of(str(conn.getinfo(pyodbc.SQL_DBMS_NAME)))
        self.supports = _COMMON | dialect.supports
        self.isolation_levels = dialect.isolation_levels
        self.read_only_transactions = dialect.modes is not None
        self.savepoint_sql = dialect.savepoint
        return self

    def prepare(self, conn: pyodbc.Connection, options: SessionOptions = DEFAULTS) -> None:
        """Carry out what connecting has not."""
        if options.statement_timeout is not None and self.dialect.timeout:
            conn.timeout = math.ceil(options.statement_timeout)
        super().prepare(conn, options)

    def statements(self, options: SessionOptions) -> list[str]:
        """Return what the database wants to hear."""
        return self.dialect.statements(options)

    @classmethod
    def is_alive(cls, conn: pyodbc.Connection) -> bool | None:
        """Say no to one that is closed; ODBC knows no more without asking the server."""
        return False if conn.closed else None

    # Not a static method: what autocommit mode needs, the database decides.
    def reset(self, conn: pyodbc.Connection) -> None:  # type: ignore[override]
        """Roll back."""
        conn.rollback()
        if self.dialect.rollback is None or not conn.autocommit:
            return
        try:
            self.execute(conn, self.dialect.rollback)
        except pyodbc.Error as error:
            if self.dialect.nothing_open is None or self.dialect.nothing_open not in str(error):
                raise

    def reset_session(self, conn: pyodbc.Connection) -> None:
        """Roll back, and make the session new in the way of the database."""
        if self.dialect.reset_session is None:
            super().reset_session(conn)
            return
        self.reset(conn)
        conn.autocommit = True
        self.execute(conn, self.dialect.reset_session)
        self.restore_attributes(conn)

    def begin(
        self,
        conn: pyodbc.Connection,
        *,
        isolation: str | None = None,
        read_only: bool | None = None,
    ) -> None:
        """Begin a transaction; without autocommit the first statement does it."""
        self.check_begin(isolation=isolation, read_only=read_only)
        modes = _postgres.modes(isolation, read_only)
        if modes and self.dialect.modes is None:
            msg = f"isolation={isolation!r}: with this database it holds for the whole session"
            raise PoolConfigError(msg)
        if conn.autocommit:
            self.execute(conn, f"{self.dialect.begin} {modes}".rstrip())
        elif modes:
            self.execute(conn, f"{self.dialect.modes} {modes}")

    # In autocommit mode the methods of the connection do nothing, or what the ODBC driver likes.

    @classmethod
    def commit(cls, conn: pyodbc.Connection) -> None:
        """Commit, in autocommit mode too."""
        if conn.autocommit:
            cls.execute(conn, "COMMIT")
        else:
            conn.commit()

    @classmethod
    def rollback(cls, conn: pyodbc.Connection) -> None:
        """Roll back, in autocommit mode too."""
        if conn.autocommit:
            cls.execute(conn, "ROLLBACK")
        else:
            conn.rollback()

    @staticmethod
    def close(conn: pyodbc.Connection) -> None:
        """Close the connection, unless it is."""
        if not conn.closed:
            conn.close()

    @classmethod
    def is_disconnect(cls, error: BaseException) -> bool:
        """Ask the SQLSTATE."""
        if isinstance(error, pyodbc.ProgrammingError):
            return "closed connection" in str(error)
        return _postgres.is_gone(_state(error))

    @classmethod
    def is_retryable(cls, error: BaseException) -> bool:
        """Say yes to a conflict and a deadlock."""
        return _state(error) in RETRYABLE

    @staticmethod
    def is_transient(error: BaseException) -> bool:
        """Say no where nothing will change by itself."""
        return not _state(error).startswith(_PERMANENT) and Traits.is_transient(error)


def _state(error: BaseException) -> str:
    is_one = isinstance(error, pyodbc.Error) and error.args
    return str(error.args[0]) if is_one else ""
