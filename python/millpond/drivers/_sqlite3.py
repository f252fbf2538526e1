"""SQLite, through the standard library.

URLs: ``sqlite:///relative.db``, ``sqlite:////absolute.db`` and, for all that SQLite can,
``sqlite:///file:name?mode=memory&cache=shared``. Behind the ``?`` may stand arguments of
`sqlite3.connect()` and parameters of SQLite's own URIs (``mode``, ``immutable``, ...).

A database in memory lives as long as one connection to it is open: keep ``min_size`` at 1 or more.

SQLite has one isolation level, ``serializable``, and no transaction that is read-only.
``begin(read_only=False)`` takes the write lock at once, so that the transaction cannot fail later
because another one has written in the meantime.
"""

from __future__ import annotations

import functools
import sqlite3
import threading
from typing import TYPE_CHECKING, Any, Final

from millpond.drivers._base import C, redact
from millpond.drivers._dbapi import Dbapi
from millpond.drivers._session import DEFAULTS, SessionOptions, TransactionStatus
from millpond.drivers._sqlite3_url import arguments_of
from millpond.drivers._traits import Traits
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

# SQLite's ways to say that trying again will not help. It calls them operational errors too.
_PERMANENT: Final = frozenset(
    {
        sqlite3.SQLITE_AUTH,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_ERROR,  # a statement of the session that is none, or has no table
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
    }
)
_RETRYABLE: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_PRIMARY_CODE: Final = 0xFF

# What a borrower can set for the connection alone, and what SQLite tells again.
_PRAGMAS: Final = (
    "automatic_index",
    "busy_timeout",
    "cache_size",
    "cell_size_check",
    "foreign_keys",
    "ignore_check_constraints",
    "query_only",
    "read_uncommitted",
    "recursive_triggers",
    "reverse_unordered_selects",
    "synchronous",
    "trusted_schema",
)


class Sqlite(Traits[C]):
    """What is the same for connections that block and for those that are awaited."""

    operational_error = sqlite3.OperationalError
    supports = frozenset(
        {
            "autocommit",
            "cancel",
            "isolation_level",
            "read_only",
            "reset_session",
            "session",
        }
    )
    isolation_levels = frozenset({"serializable"})
    read_only_transactions = False
    why_not = {  # noqa: RUF012  a ClassVar in the base class
        "statement_timeout": "SQLite has none; use query_timeout of the pool",
    }

    # Whether it is known that another thread may use the connections.
    crosses_threads = False

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        connect_kwargs: Mapping[str, Any] | None = None,
        connect_timeout: float | None = None,  # noqa: ARG003  opening a file has no timeout
        options: SessionOptions = DEFAULTS,  # noqa: ARG003  all of them are for `prepare`
    ) -> Self:
        """Return the adapter of the database that a URL names.

        Args:
            url: A URL as in the head of this module.
            connect_kwargs: Arguments of `sqlite3.connect()`, which win over those in the URL.
            connect_timeout: Not used. SQLite's ``timeout`` is about locks.
            options: Not used; `prepare` carries them out.

        Raises:
            PoolConfigError: The URL or an argument is not valid, or the database is one in memory
                that each connection would have for itself.
        """
        database, arguments = arguments_of(url, connect_kwargs or {})
        made = cls(functools.partial(cls._open, database, arguments), target=redact(url))
        made.crosses_threads = True
        return made

    @classmethod
    def _open(cls, database: str, arguments: Mapping[str, Any]) -> Any:  # noqa: ANN401
        """Connect; each of the two says how."""
        raise NotImplementedError

    def statements(self, options: SessionOptions) -> list[str]:
        """Return the PRAGMA for ``read_only``; there is nothing to say for ``isolation_level``."""
        if options.read_only is None:
            return []
        return [f"PRAGMA query_only = {int(options.read_only)}"]

    @property
    def pings(self) -> bool:
        """Whether there is a server that could go away: no."""
        return False

    @classmethod
    def is_disconnect(cls, error: BaseException) -> bool:
        """Say yes if the connection was closed."""
        return isinstance(error, sqlite3.ProgrammingError) and "closed database" in str(error)

    @classmethod
    def is_cancelled(cls, error: BaseException) -> bool:
        """Say yes to an interrupt."""
        return _code(error) == sqlite3.SQLITE_INTERRUPT

    @classmethod
    def is_retryable(cls, error: BaseException) -> bool:
        """Say yes where somebody else held a lock for too long."""
        return _code(error) in _RETRYABLE

    @staticmethod
    def is_transient(error: BaseException) -> bool:
        """Say no for a file that cannot be opened, and otherwise what is usual."""
        return _code(error) not in _PERMANENT and Traits.is_transient(error)


class Sqlite3(Sqlite[sqlite3.Connection], Dbapi[sqlite3.Connection]):
    """The adapter of `sqlite3`."""

    name = "sqlite3"
    attributes = ("isolation_level", "row_factory", "text_factory")

    @classmethod
    def _open(cls, database: str, arguments: Mapping[str, Any]) -> sqlite3.Connection:
        conn: sqlite3.Connection = sqlite3.connect(database, **arguments)
        return conn

    def adopt(self, conn: sqlite3.Connection) -> Dbapi[sqlite3.Connection]:
        """Check that the connection can be used by another thread than the one that opened it."""
        if not self.crosses_threads:
            self._check_threads(conn)
        super().adopt(conn)
        self._pragmas = {name: _pragma(conn, name) for name in _PRAGMAS}
        return self

    def _check_threads(self, conn: sqlite3.Connection) -> None:
        refused: list[sqlite3.Error] = []

        def touch() -> None:
            try:
                conn.cursor().close()
            except sqlite3.ProgrammingError as error:
                refused.append(error)

        thread = threading.Thread(target=touch, name="millpond-sqlite3-check", daemon=True)
        thread.start()
        thread.join()
        if refused:
            msg = (
                f"connect={self.target}: must open SQLite with check_same_thread=False, "
                "as the pool moves connections between threads"
            )
            raise PoolConfigError(msg) from refused[0]

    @staticmethod
    def set_autocommit(conn: Any, *, value: bool) -> None:  # noqa: ANN401
        """Set it, by the attribute that works in all versions if the other one is not in use."""
        if isinstance(getattr(conn, "autocommit", None), bool):
            conn.autocommit = value
        else:
            conn.isolation_level = None if value else ""

    @classmethod
    def is_alive(cls, conn: sqlite3.Connection) -> bool:
        """Say whether it is open: there is nothing else that could die."""
        try:
            return conn.in_transaction in {True, False}
        except sqlite3.ProgrammingError:
            return False

    @staticmethod
    def transaction_status(conn: sqlite3.Connection) -> TransactionStatus:
        """Ask SQLite."""
        return TransactionStatus.OPEN if conn.in_transaction else TransactionStatus.IDLE

    @staticmethod
    def reset(conn: sqlite3.Connection) -> None:
        """Roll back if a transaction is open, and refuse a connection with an unread result.

        Whoever still holds a cursor with rows to come holds a snapshot of the database open: the
        next borrower would read from that one, and could not write.
        """
        if conn.in_transaction:
            _roll_back(conn)
        # An interrupt without a statement under way is forgotten, and with one it holds for what
        # comes next as well. The empty statement asks, without running anything: half a
        # microsecond, for which SQLite has no cheaper question.
        conn.interrupt()
        conn("")

    def reset_session(self, conn: sqlite3.Connection) -> None:
        """Roll back, drop what is temporary, detach databases, and restore attributes and PRAGMAs.

        Functions, collations and the like stay: SQLite does not tell which there are.
        """
        self.reset(conn)
        self.restore_attributes(conn)
        for statement in self._restoring(sqlite3.Cursor(conn)):
            self.execute(conn, statement)
        conn.set_authorizer(None)
        conn.set_progress_handler(None, 0)
        conn.set_trace_callback(None)

    def _restoring(self, cursor: sqlite3.Cursor) -> list[str]:
        # Indexes go with their tables; triggers and views first, as they need them.
        temporary = cursor.execute(
            "SELECT type, name FROM temp.sqlite_master WHERE type IN ('table', 'view', 'trigger') "
            "AND name NOT LIKE 'sqlite^_%' ESCAPE '^' ORDER BY type DESC"
        ).fetchall()
        attached = cursor.execute("SELECT name FROM pragma_database_list WHERE seq > 1").fetchall()
        return [
            *(f"PRAGMA {name} = {value}" for name, value in self._pragmas.items()),
            *(f"DROP {kind} IF EXISTS temp.{_quoted(name)}" for kind, name in temporary),
            *(f"DETACH {_quoted(name)}" for (name,) in attached),
        ]

    def ping(self, conn: sqlite3.Connection) -> None:
        """Run ``SELECT 1``, which opens no transaction that would stay."""
        sqlite3.Cursor(conn).execute("SELECT 1").fetchall()

    @classmethod
    def cancel(cls, conn: sqlite3.Connection) -> None:
        """Interrupt whatever statement is running."""
        conn.interrupt()

    def begin(
        self,
        conn: sqlite3.Connection,
        *,
        isolation: str | None = None,
        read_only: bool | None = None,
    ) -> None:
        """Begin a transaction, with ``read_only=False`` one that has the right to write."""
        self.check_begin(isolation=isolation, read_only=read_only or None)
        # With autocommit=False one is open already, and always.
        if not conn.in_transaction:
            self.execute(conn, "BEGIN" if read_only is None else "BEGIN IMMEDIATE")

    @staticmethod
    def commit(conn: sqlite3.Connection) -> None:
        """Commit, also where `commit` of the connection would do nothing."""
        conn.commit()
        if conn.in_transaction and getattr(conn, "autocommit", None) is True:
            conn.execute("COMMIT")

    @staticmethod
    def rollback(conn: sqlite3.Connection) -> None:
        """Roll back, also where `rollback` of the connection would do nothing."""
        _roll_back(conn)


def _code(error: BaseException) -> int | None:
    code = getattr(error, "sqlite_errorcode", None)
    return code & _PRIMARY_CODE if isinstance(code, int) else None


def _pragma(conn: sqlite3.Connection, name: str) -> object:
    return sqlite3.Cursor(conn).execute(f"PRAGMA {name}").fetchone()[0]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _roll_back(conn: sqlite3.Connection) -> None:
    conn.rollback()
    # With autocommit=True `rollback` does nothing, and a BEGIN of the borrower is still open. With
    # autocommit=False a new transaction is always open, as it should be.
    if conn.in_transaction and getattr(conn, "autocommit", None) is True:
        conn.execute("ROLLBACK")
