"""Connections and cursors that survive the loss of the connection.

Drop-in for ``dbutils.steady_db``. A statement that fails since the connection was lost is repeated
on a new one, unless `SteadyDBConnection.begin` began a transaction: then the application gets the
error.

```python
import pgdb
from millpond.dbutils.steady_db import connect

db = connect(pgdb, maxusage=10000, setsession=["set time zone 'utc'"], host="db.example.org")
cursor = db.cursor()
cursor.execute("select 1")
```
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, Self

from millpond._core import CoreCursor, CoreSteady, leak
from millpond.dbutils import _failover, _provider
from millpond.dbutils._version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = [
    "InvalidCursorError",
    "SteadyDBConnection",
    "SteadyDBCursor",
    "SteadyDBError",
    "connect",
]

_PING_ERROR = (
    "'ping' must be an integer, an SQL statement, a callable,"
    " or a tuple with an integer and one of the latter."
)


class SteadyDBError(Exception):
    """The root of this module's errors."""


class InvalidCursorError(SteadyDBError):
    """The cursor has no cursor of the driver's."""


# The name that it had before DBUtils 2.0.
InvalidCursor = InvalidCursorError


def _sql_pinger(sql: str) -> Callable[[Any], None]:
    """Return a check of connections that executes a statement."""

    def pinger(con: Any) -> None:
        cursor = con.cursor()
        try:
            cursor.execute(sql)
        finally:
            _failover.close_quietly(cursor)

    return pinger


def connect(
    creator: Any,
    maxusage: int | None = None,
    setsession: Iterable[Any] | None = None,
    failures: type[Exception] | tuple[type[Exception], ...] | None = None,
    ping: Any = 1,
    closeable: bool = True,
    isfatal: Callable[[BaseException], object] | None = None,
    *args: Any,
    **kwargs: Any,
) -> SteadyDBConnection:
    """Open a steady connection; see `SteadyDBConnection`."""
    return SteadyDBConnection(
        creator, maxusage, setsession, failures, ping, closeable, isfatal, *args, **kwargs
    )


class SteadyDBConnection(CoreSteady):
    """A DB-API 2 connection that reopens itself.

    Args:
        creator: A DB-API 2 module, or a callable that returns a new connection.
        maxusage: After how many statements the connection is replaced. ``None`` and 0, the default,
            mean never. It is not replaced within a transaction that `begin` began.
        setsession: Statements to execute on each new connection, for example
            ``["set time zone 'utc'"]``.
        failures: The errors that mean a lost connection, by default the driver's
            ``OperationalError``, ``InterfaceError`` and ``InternalError``.
        ping: When to check whether the connection is alive, as a sum: 1, the default, when a pool
            hands it out; 2, when a cursor is made; 4, when a statement is executed; 0 or ``None``,
            never. Or how to check, as an SQL statement or a callable that is given the driver's
            connection; its result, unless it is ``None``, or its failure tells. Or a tuple of both.
            By default the driver's ``ping`` is called, if there is one.
        closeable: Whether `close` closes; by default it does.
        isfatal: A callable that is given one of the `failures` and tells whether the connection is
            really lost. By default it is.
        *args: Passed to the creator.
        **kwargs: Passed to the creator.

    Raises:
        TypeError: One of the arguments can't be what it has to be.
        AttributeError: The `failures` were not given, and the driver does not tell.
        Exception: What connecting, or a statement of `setsession`, raised.
    """

    version = __version__

    def __init__(
        self,
        creator: Any,
        maxusage: int | None = None,
        setsession: Iterable[Any] | None = None,
        failures: type[Exception] | tuple[type[Exception], ...] | None = None,
        ping: Any = 1,
        closeable: bool = True,
        isfatal: Callable[[BaseException], object] | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Open a connection, and prepare it."""
        # For the finalizer, should anything below fail.
        self._con = None
        self._closed = True
        self._creator, self._dbapi = _provider.connector_of(creator)
        self._threadsafety = _provider.threadsafety_of(creator, self._dbapi)
        if not callable(self._creator):
            message = f"{creator!r} is not a connection provider."
            raise TypeError(message)
        self._maxusage = _checked_maxusage(maxusage)
        self._setsession_sql = setsession
        self._failures = _checked_failures(failures)
        self._isfatal = _checked_isfatal(isfatal)
        self._ping, self._pinger = self._parse_ping(ping)
        self._closeable = closeable
        self._args, self._kwargs = args, kwargs
        self._store(self._create())

    @staticmethod
    def _parse_ping(ping: Any) -> tuple[int, Callable[[Any], Any] | None]:
        """Return when to check, as bits, and how, with ``None`` for the driver's ``ping``."""
        how = None
        if isinstance(ping, tuple):
            if len(ping) != 2:  # noqa: PLR2004  when and how
                raise TypeError(_PING_ERROR)
            ping, how = ping
        elif isinstance(ping, str) or callable(ping):
            ping, how = 1, ping
        if isinstance(how, str):
            how = _sql_pinger(how)
        if how is not None and not callable(how):
            raise TypeError(_PING_ERROR)
        return ping if isinstance(ping, int) else 0, how

    def __enter__(self) -> Self:
        """Return the connection."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Commit, or roll back after an exception. The connection stays open."""
        if exc[0] is exc[1] is exc[2] is None:
            self.commit()
        else:
            self.rollback()

    def _create(self) -> Any:
        """Return a new, prepared connection of the driver's."""
        con = self._creator(*self._args, **self._kwargs)
        try:
            self._learn_from(con)
            self._setsession(con)
        except Exception:
            _failover.close_quietly(con)
            raise
        return con

    def _learn_from(self, con: Any) -> None:
        """Find out from a connection what the creator did not tell."""
        if not _provider.leads_to(self._dbapi, self._creator):
            self._dbapi = _provider.module_of(con)
        if self._threadsafety is None:
            self._threadsafety = _provider.threadsafety_of(self._dbapi, con)
        if self._failures is None:
            self._failures = _provider.failures_of(self._dbapi, self._creator, con)
        failures = self._failures
        self._failure = failures[0] if isinstance(failures, tuple) else failures

    def _setsession(self, con: Any = None) -> None:
        """Execute what prepares a session."""
        if con is None:
            con = self._con
        if not self._setsession_sql:
            return
        cursor = con.cursor()
        for sql in self._setsession_sql:
            cursor.execute(sql)
        cursor.close()

    def _close(self) -> None:
        """Close the connection, whatever `close` is allowed to."""
        if self._closed:
            return
        if self._inherited:
            leak(self._con)  # a farewell would end the session of the process that opened it
        else:
            _failover.close_quietly(self._con)
        self._transaction = False
        self._closed = True

    def _check_alive(self, ping: int = 1, reconnect: bool = True) -> Any:
        """Check whether the connection is alive, if now is the time, and reopen it if it is not.

        Returns:
            ``None`` if it was not checked or can't be; else something true if it is alive now.
        """
        if not ping & self._ping:
            return None
        return self._conclude(self._ask(), reconnect)

    def _check_after(self, error: Exception | None) -> Any:
        """Go on with a check after the driver's ``ping`` raised this, or said no."""
        try:
            return self._conclude(self._ask(error) if error is not None else False, True)
        finally:
            error = None  # its traceback has this frame

    def _conclude(self, alive: Any, reconnect: bool) -> Any:
        if alive or alive is None or not reconnect or self._transaction:
            return alive
        return _failover.reopen(self) or alive

    def _ask(self, error: Exception | None = None) -> Any:
        """Return whether the connection is alive, ``None`` if the driver can't tell."""
        if self._inherited:
            return False  # the process that opened it would get the answer
        try:
            alive = self._ping_driver(error) if self._pinger is None else self._pinger(self._con)
        except (AttributeError, IndexError, TypeError, ValueError):
            if self._pinger is not None:
                return False
            self._ping = 0  # there is no such method, and there won't be
            return None
        except Exception:  # noqa: BLE001  however it says so
            return False
        finally:
            error = None  # its traceback has this frame
        return True if alive is None else alive

    def _ping_driver(self, error: Exception | None) -> Any:
        """Ping, unless that was tried before, and raised this."""
        try:
            if error is not None:
                raise error
            # PyMySQL would reconnect by itself, to a session that is not prepared.
            return self._con.ping(False)
        except TypeError:
            return self._con.ping()
        finally:
            error = None  # its traceback has this frame

    def dbapi(self) -> Any:
        """Return the driver's module.

        Raises:
            AttributeError: It could not be found out.
        """
        if self._dbapi is None:
            message = "Could not determine DB-API 2 module (please set creator.dbapi)."
            raise AttributeError(message)
        return self._dbapi

    @property
    def dbapi_connection(self) -> Any:
        """The driver's connection; what is done on it is neither repeated nor counted."""
        return self._con

    def _fatal_check(self, error: BaseException) -> object:
        """Return whether an error means that the connection is lost."""
        return self._isfatal is None or self._isfatal(error)

    def _threadsafety_unknown(self) -> int:
        """Return the level of a driver that states none."""
        if self._dbapi is None:
            message = (
                "Could not determine threadsafety"
                " (please set creator.dbapi or creator.threadsafety)."
            )
            raise AttributeError(message)
        return 0

    def close(self) -> None:
        """Close the connection, if that is allowed; else only roll back what `begin` began.

        Another time does nothing. A connection that is used after it was closed may reopen itself.
        """
        if self._closeable:
            self._close()
        elif self._transaction:
            self._reset()

    def cancel(self) -> None:
        """End the transaction by the driver's ``cancel``, if it has one."""
        self._transaction = False
        try:
            cancel = self._con.cancel
        except AttributeError:
            return
        cancel()

    def ping(self, *args: Any, **kwargs: Any) -> Any:
        """Call the driver's ``ping``."""
        return self._con.ping(*args, **kwargs)

    _reopen_after = _failover.reopen_after
    _reopen_cursor = _failover.reopen_cursor

    def cursor(self, *args: Any, **kwargs: Any) -> SteadyDBCursor:
        """Return a steady cursor. The arguments are the driver's."""
        if args or kwargs:
            return SteadyDBCursor(self, *args, **kwargs)
        return SteadyDBCursor(self)  # which takes half the time


def _checked_maxusage(maxusage: Any) -> int:
    if maxusage is None:
        return 0
    if not isinstance(maxusage, int):
        message = "'maxusage' must be an integer value."
        raise TypeError(message)
    return min(maxusage, sys.maxsize)


def _checked_failures(failures: Any) -> Any:
    if failures is None or isinstance(failures, tuple) or issubclass(failures, Exception):
        return failures
    message = "'failures' must be a tuple of exceptions."
    raise TypeError(message)


def _checked_isfatal(isfatal: Any) -> Any:
    if isfatal is None or callable(isfatal):
        return isfatal
    message = "'isfatal' must be a callable."
    raise TypeError(message)


class SteadyDBCursor(CoreCursor):
    """A cursor of a steady connection.

    Methods that execute something (``execute…``, ``call…``) are repeated if the connection was
    lost. All other attributes are read from the driver's cursor; what is written stays here.

    Args:
        con: The steady connection.
        *args: Passed to the driver's ``cursor``, whenever one is made.
        **kwargs: Passed to the driver's ``cursor``.

    Raises:
        TypeError: The connection is not a steady one.
    """

    version = __version__

    def __enter__(self) -> Self:
        """Return the cursor."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close the cursor."""
        self.close()

    def __iter__(self) -> Iterator[Any]:
        """Return an iterator over the rows."""
        cursor = self._cursor
        try:
            return iter(cursor)
        except TypeError:
            return iter(cursor.fetchone, None)

    @property
    def dbapi_cursor(self) -> Any:
        """The driver's cursor; what is done on it is neither repeated nor counted.

        Raises:
            InvalidCursorError: There is none.
        """
        return self._cursor or self._raise_invalid()

    def _raise_invalid(self) -> NoReturn:
        raise InvalidCursorError

    @contextmanager
    def no_failover(self) -> Iterator[Self]:
        """Let statements fail without another attempt, within a ``with`` block.

        For statements that are meant to fail, for example by a timeout of the server's.
        """
        self._no_failover += 1
        try:
            yield self
        finally:
            self._no_failover -= 1

    def setinputsizes(self, sizes: Any) -> None:
        """Store the sizes for the next statement."""
        self._inputsizes = sizes

    def setoutputsize(self, size: Any, column: Any = None) -> None:
        """Store the size of a column, or of all, for the next statement."""
        self._outputsizes[column] = size

    def _setsizes(self, cursor: Any = None) -> None:
        """Pass the stored sizes on to a cursor of the driver's."""
        if cursor is None:
            cursor = self._cursor
        if self._inputsizes:
            cursor.setinputsizes(self._inputsizes)
        for column, size in self._outputsizes.items():
            if column is None:
                cursor.setoutputsize(size)
            else:
                cursor.setoutputsize(size, column)

    _run_statement = _failover.run_statement
    _retry_statement = _failover.retry_statement
