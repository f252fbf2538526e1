"""PersistentPg: for each thread a classic PyGreSQL connection of its own.

    persist = PersistentPg(1000, dbname="shop")
    db = persist.connection()  # in this thread always the same
    rows = db.query("SELECT * FROM orders").getresult()

The connections reopen themselves, see `steady_pg`, and are closed when their thread ends. Needs
PyGreSQL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from millpond.dbutils._persistent import PerThread
from millpond.dbutils._persistent import local as local  # noqa: PLC0414  importable, as in DBUtils
from millpond.dbutils._version import __version__
from millpond.dbutils.steady_pg import SteadyPgConnection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["PersistentPg"]


class PersistentPg(PerThread[SteadyPgConnection]):
    """Gives each thread a steady connection of its own.

    Args:
        maxusage: After how many successful calls a connection is renewed; 0 or `None`, the default,
            is never.
        setsession: SQL commands that prepare each new session.
        closeable: Whether closing a connection closes it; by default it only ends its transaction.
        threadlocal: A class to use in place of `local`, for example `threading.local`.
        *args: Passed to ``pg.DB``.
        **kwargs: Passed to ``pg.DB``.
    """

    version: ClassVar[str] = __version__

    def __init__(
        self,
        maxusage: int | None = None,
        setsession: Iterable[str] | None = None,
        closeable: bool = False,
        threadlocal: Callable[[], object] | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Remember how to connect; nothing is opened yet."""
        self._maxusage = maxusage
        self._setsession = setsession
        self._closeable = closeable
        self._args, self._kwargs = args, kwargs
        self._begin(threadlocal)

    def steady_connection(self) -> SteadyPgConnection:
        """Open a connection that belongs to no thread.

        Raises:
            TypeError: ``maxusage`` is no integer.
            Exception: What ``pg.DB`` or ``setsession`` raised.
        """
        return SteadyPgConnection(
            self._maxusage, self._setsession, self._closeable, *self._args, **self._kwargs
        )

    def connection(self) -> SteadyPgConnection:
        """Give the connection of this thread, and open it the first time.

        Raises:
            TypeError: ``maxusage`` is no integer.
            Exception: What ``pg.DB`` or ``setsession`` raised.
        """
        connection = self._mine()
        if connection is None:
            connection = self.steady_connection()
            self._keep(connection)
        return connection
