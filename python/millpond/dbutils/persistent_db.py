"""PersistentDB: for each thread a DB-API 2 connection of its own.

    persist = PersistentDB(pymysql, 1000, host="db", database="shop")
    connection = persist.connection()  # in this thread always the same
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM orders")

The connections reopen themselves, see `steady_db`; tell them by ``begin()`` when that must not
happen. They are closed when their thread ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from millpond.dbutils import _provider
from millpond.dbutils._persistent import PerThread
from millpond.dbutils._persistent import local as local  # noqa: PLC0414  importable, as in DBUtils
from millpond.dbutils._version import __version__
from millpond.dbutils.steady_db import SteadyDBConnection, connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["NotSupportedError", "PersistentDB", "PersistentDBError"]

_UNSAFE: Final = "Database module is not thread-safe."


class PersistentDBError(Exception):
    """Base of the errors of this module."""


class NotSupportedError(PersistentDBError):
    """The driver can't be used by several threads."""


class PersistentDB(PerThread[SteadyDBConnection]):
    """Gives each thread a steady connection of its own.

    Args:
        creator: The driver's module, or a function that opens a connection.
        maxusage: After how many successful statements a connection is renewed; 0 or `None`, the
            default, is never.
        setsession: SQL commands that prepare each new session.
        failures: The driver's exceptions, a class or a tuple of them, after which a connection is
            renewed. Default: its ``OperationalError``, ``InterfaceError`` and ``InternalError``.
        ping: When a connection is checked: the sum of 1, the default, when it is asked for, 2 when
            it makes a cursor and 4 when a statement is executed; 0 or `None` is never. Or an SQL
            command, or a function of the driver's connection, which is the check; or a tuple of the
            two.
        closeable: Whether closing a connection closes it; by default it only ends its transaction.
        threadlocal: A class to use in place of `local`, for example `threading.local`.
        isfatal: Tells of one of the ``failures`` whether the connection is to be renewed; by
            default it is.
        *args: Passed to the creator.
        **kwargs: Passed to the creator.

    Raises:
        NotSupportedError: The driver can't be used by several threads.
    """

    version: ClassVar[str] = __version__

    def __init__(
        self,
        creator: Any,
        maxusage: int | None = None,
        setsession: Iterable[str] | None = None,
        failures: type[Exception] | tuple[type[Exception], ...] | None = None,
        ping: Any = 1,
        closeable: bool = False,
        threadlocal: Callable[[], object] | None = None,
        isfatal: Callable[[Any], object] | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Remember how to connect; nothing is opened yet."""
        if not _provider.threadsafety_assumed_of(creator):
            raise NotSupportedError(_UNSAFE)
        self._creator = creator
        self._maxusage = maxusage
        self._setsession = setsession
        self._failures = failures
        self._isfatal = isfatal
        self._ping = ping
        self._closeable = closeable
        self._args, self._kwargs = args, kwargs
        self._begin(threadlocal)

    def steady_connection(self) -> SteadyDBConnection:
        """Open a connection that belongs to no thread.

        Raises:
            TypeError: One of the parameters is of a wrong type.
            Exception: What the creator or ``setsession`` raised.
        """
        return connect(
            self._creator,
            self._maxusage,
            self._setsession,
            self._failures,
            self._ping,
            self._closeable,
            self._isfatal,
            *self._args,
            **self._kwargs,
        )

    def connection(self, shareable: bool = False) -> SteadyDBConnection:  # noqa: ARG002
        """Give the connection of this thread, checked, and open it the first time.

        Args:
            shareable: Has no meaning here; it is a parameter of `PooledDB.connection`.

        Raises:
            NotSupportedError: The driver can't be used by several threads.
            TypeError: One of the parameters is of a wrong type.
            Exception: What the creator or ``setsession`` raised.
        """
        connection = self._mine()
        if connection is None:
            connection = self._open()
        connection._ping_check()
        return connection

    def dedicated_connection(self) -> SteadyDBConnection:
        """Give the connection of this thread: the same as `connection`."""
        return self.connection()

    def _open(self) -> SteadyDBConnection:
        connection = self.steady_connection()
        if not connection.threadsafety():
            raise NotSupportedError(_UNSAFE)
        self._keep(connection)
        return connection
