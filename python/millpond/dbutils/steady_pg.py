"""SteadyPg: a classic PyGreSQL connection that reopens itself.

``SteadyPgConnection`` is used like ``pg.DB``. When it finds its connection lost, closed or used too
often it resets or reopens it, prepares the session again, and runs the query once more. In a
transaction that was started with ``begin()`` nothing is replaced: there the error is passed on.

    db = SteadyPgConnection(1000, ["SET datestyle TO german"], dbname="shop")
    rows = db.query("SELECT * FROM orders").getresult()
    with db:  # begin, then commit or rollback
        db.insert("orders", item="net")

A connection is not to be used by two threads at once. Needs PyGreSQL.
"""

from __future__ import annotations

import functools
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Final

from millpond.dbutils import _fork
from millpond.dbutils._pg import PgConnection
from millpond.dbutils._version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType
    from typing import Self

__all__ = ["InvalidConnectionError", "SteadyPgConnection", "SteadyPgError"]

_TOUGH: Final = frozenset({"query", "get", "insert", "update", "delete"})


class SteadyPgError(Exception):
    """Base of the errors of this module."""


class InvalidConnectionError(SteadyPgError):
    """There is no connection: it could never be opened."""


InvalidConnection = InvalidConnectionError  # its name until DBUtils 2


class SteadyPgConnection:
    """A connection of PyGreSQL's class ``pg.DB`` that survives a restart of the server.

    Everything that ``pg.DB`` has is there. ``query``, ``get``, ``insert``, ``update``, ``delete``
    and whatever starts with ``get_`` are tough: they renew a lost connection first, or after they
    failed.

    Args:
        maxusage: After how many successful tough calls the connection is renewed, outside of a
            transaction. 0 or `None`, the default, is never.
        setsession: SQL commands that prepare each new session.
        closeable: Whether `close` closes; else it only resets a connection in a transaction.
        *args: Passed to ``pg.DB``.
        **kwargs: Passed to ``pg.DB``.

    Raises:
        TypeError: ``maxusage`` is no integer.
        Exception: What ``pg.DB`` or ``setsession`` raised.
    """

    version: ClassVar[str] = __version__

    # For the finalizer, and for who looks at an object whose constructor failed.
    _con: Any = None
    _closed: bool = True
    _transaction: bool = False

    def __init__(
        self,
        maxusage: int | None = None,
        setsession: Iterable[str] | None = None,
        closeable: bool = True,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Connect, and prepare the session."""
        self._maxusage = _checked(maxusage)
        self._setsession_sql = setsession
        self._closeable = closeable
        self._connect: Callable[[], Any] = functools.partial(PgConnection, *args, **kwargs)
        self._open()

    def __enter__(self) -> Self:
        """Begin a transaction."""
        self.begin()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Commit, or roll back when the block has raised."""
        if exc_type is None:
            self.commit()
        else:
            self.rollback()

    def close(self) -> None:
        """Close the connection, as often as you like; its next use opens it again.

        With ``closeable=False`` it stays open, and is reset if it is in a transaction.
        """
        if self._closeable:
            self._close()
        elif self._transaction:
            self.reset()

    def reopen(self) -> None:
        """Open the connection anew; if that fails, roll back and stay with the old one.

        Raises:
            Exception: What ``setsession`` raised.
        """
        if self._disown():
            self._open()
            return
        try:
            self._con.reopen()
        except Exception:  # noqa: BLE001  whatever it is, the next query tells
            if self._transaction:
                self._transaction = False
                with suppress(Exception):
                    self._con.query("rollback")
        else:
            self._begin_session()

    def reset(self) -> None:
        """Reset the connection; if that fails reopen it, and if that fails too, roll back."""
        try:
            self._own().reset()
            self._begin_session()
        except Exception:  # noqa: BLE001
            try:
                self.reopen()
            except Exception:  # noqa: BLE001
                with suppress(Exception):
                    self.rollback()

    def begin(self, sql: str | None = None) -> Any:
        """Begin a transaction: until it ends, the connection is not replaced.

        Args:
            sql: The command, for a driver that has no method for it; else that method's ``sql``.
        """
        connection = self._own()
        self._transaction = True
        return _run(connection, "begin", sql)

    def end(self, sql: str | None = None) -> Any:
        """Commit the transaction."""
        return self._finish("end", sql)

    def commit(self, sql: str | None = None) -> Any:
        """Commit the transaction."""
        return self._finish("commit", sql)

    def rollback(self, sql: str | None = None) -> Any:
        """Roll the transaction back."""
        return self._finish("rollback", sql)

    def __getattr__(self, name: str) -> Any:
        """Give what the connection has, made tough if it sends a query."""
        if not self._con:
            raise InvalidConnectionError
        attribute = getattr(self._own(), name)
        if name in _TOUGH or name.startswith("get_"):
            return self._get_tough_method(attribute)
        return attribute

    def __del__(self) -> None:
        """Close the connection."""
        with suppress(Exception):
            self._close()

    def _open(self) -> None:
        self._con = self._connect()
        self._generation = _fork.fork_generation()
        self._begin_session()

    def _begin_session(self) -> None:
        self._transaction = False
        self._closed = False
        self._setsession()
        self._usage = 0

    def _setsession(self) -> None:
        for sql in self._setsession_sql or ():
            self._con.query(sql)

    def _close(self) -> None:
        if self._closed or self._disown():
            return
        with suppress(Exception):
            self._con.close()
        self._transaction = False
        self._closed = True

    def _own(self) -> Any:
        """Give the connection: a new one, if ours is one of the parent of a fork."""
        if self._disown():
            self._open()
        return self._con

    def _disown(self) -> bool:
        """Let go of a connection of the parent, unknown to the server; tell if it was one."""
        if self._con is None or self._generation == _fork.fork_generation():
            return False
        _fork.leak(self._con)
        self._transaction = False
        self._closed = True
        return True

    def _finish(self, verb: str, sql: str | None) -> Any:
        connection = self._own()
        self._transaction = False
        return _run(connection, verb, sql)

    def _get_tough_method(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def tough_method(*args: Any, **kwargs: Any) -> Any:
            transaction = self._transaction
            if not (transaction or self._is_fit()):
                self.reset()
            try:
                result = method(*args, **kwargs)
            except Exception:
                if transaction:
                    self._transaction = False
                    raise
                if self._is_alive():
                    raise
                self.reset()
                result = method(*args, **kwargs)
            self._usage += 1
            return result

        return tough_method

    def _is_alive(self) -> bool:
        try:
            return bool(self._con.db.status)
        except Exception:  # noqa: BLE001  a closed one has no `db`
            return False

    def _is_fit(self) -> bool:
        worn = self._maxusage and self._usage >= self._maxusage
        return not worn and self._is_alive()


def _checked(maxusage: Any) -> int:
    if maxusage is None:
        return 0
    if isinstance(maxusage, int):
        return maxusage
    message = "'maxusage' must be an integer value."
    raise TypeError(message)


def _run(connection: Any, verb: str, sql: str | None) -> Any:
    """Call the connection's method of that name; query, if it has none."""
    try:
        method = getattr(connection, verb)
    except AttributeError:
        return connection.query(sql or verb)
    return method(sql=sql) if sql else method()
