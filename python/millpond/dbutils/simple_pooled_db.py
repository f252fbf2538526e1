"""SimplePooledDB: a fixed number of DB-API 2 connections, and nothing else.

    pool = PooledDB(pgdb, 5, database="shop")
    db = pool.connection()
    ...
    db.close()  # back into the pool

A driver whose threads may share the module (``threadsafety`` 1) has each connection in one hand at
a time, and a caller waits while all are in use. With a driver whose threads may share connections
(2 and 3) the connections are handed out in turn, to any number of callers: mind your transactions.
Nothing is reset and nothing reopened: `pooled_db` does that.
"""

from __future__ import annotations

import functools
import threading
from queue import Queue
from typing import TYPE_CHECKING, Any, ClassVar

from millpond.dbutils import _fork
from millpond.dbutils._simple import SimplePool, SimpleProxy
from millpond.dbutils._version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NotSupportedError", "PooledDB", "PooledDBConnection", "PooledDBError"]

_SHAREABLE = (2, 3)


class PooledDBError(Exception):
    """Base of the errors of this module."""


class NotSupportedError(PooledDBError):
    """The driver can't be used by several threads, or does not tell."""


class PooledDBConnection(SimpleProxy):
    """A connection taken from a `PooledDB`; it has everything that the driver's connection has."""

    _pool: PooledDB

    def _give_back(self, connection: Any) -> None:
        self._pool.returnConnection(connection)


class PooledDB(SimplePool):
    """A pool of a driver's connections, all of which it opens at once.

    Args:
        dbapi: The driver: a module as DB-API 2 describes it.
        maxconnections: How many connections are opened.
        *args: Passed to the driver's ``connect``.
        **kwargs: Passed to the driver's ``connect``.

    Raises:
        NotSupportedError: The driver can't be used by several threads, or does not tell.
        Exception: What the driver's ``connect`` raised.
    """

    version: ClassVar[str] = __version__

    #: Take a connection. If they can't be shared, wait while all are in use.
    connection: Callable[[], PooledDBConnection]
    #: Add one of the driver's connections.
    addConnection: Callable[[Any], None]  # noqa: N815  DBUtils' name
    #: Give one of the driver's connections back, as closing what `connection` gave does.
    returnConnection: Callable[[Any], None]  # noqa: N815

    def __init__(self, dbapi: Any, maxconnections: int, *args: Any, **kwargs: Any) -> None:
        """Open the connections."""
        try:
            threadsafety = dbapi.threadsafety
        except Exception:  # noqa: BLE001  then it does not tell
            threadsafety = None
        if threadsafety == 0:
            message = "Database module does not support any level of threading."
            raise NotSupportedError(message)
        if threadsafety == 1:
            self._queue: Queue[Any] = Queue(maxconnections)
            self.connection = self._unthreadsafe_get_connection
            self.addConnection = self._unthreadsafe_add_connection
            self.returnConnection = self._unthreadsafe_return_connection
        elif threadsafety in _SHAREABLE:
            self._begin_ring()
            self.connection = self._threadsafe_get_connection
            self.addConnection = self._threadsafe_add_connection
            self.returnConnection = self._threadsafe_return_connection
        else:
            message = "Database module threading support cannot be determined."
            raise NotSupportedError(message)
        self._fill(maxconnections, functools.partial(dbapi.connect, *args, **kwargs))

    def _add(self, con: Any) -> None:
        self.addConnection(con)

    def _begin_in_child(self) -> None:
        if hasattr(self, "_queue"):
            _fork.leak(self._queue)
            self._queue = Queue(self._queue.maxsize)
        else:
            _fork.leak(self._connections)
            self._begin_ring()
        self._expect_all()

    def _unthreadsafe_get_connection(self) -> PooledDBConnection:
        self._open_missing()
        return PooledDBConnection(self, self._queue.get())

    def _unthreadsafe_add_connection(self, con: Any) -> None:
        self._queue.put(con)

    def _unthreadsafe_return_connection(self, con: Any) -> None:
        self._unthreadsafe_add_connection(con)

    def _begin_ring(self) -> None:
        self._lock = threading.Lock()
        self._connections: list[Any] = []
        self._nextConnection = 0

    def _threadsafe_get_connection(self) -> PooledDBConnection:
        self._open_missing()
        with self._lock:
            position = self._nextConnection
            connection = self._connections[position]
            self._nextConnection = (position + 1) % len(self._connections)
        return PooledDBConnection(self, connection)

    def _threadsafe_add_connection(self, con: Any) -> None:
        self._connections.append(con)

    def _threadsafe_return_connection(self, con: Any) -> None:
        """Do nothing: it never left."""
