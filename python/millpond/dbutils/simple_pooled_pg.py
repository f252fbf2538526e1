"""SimplePooledPg: a fixed number of classic PyGreSQL connections, and nothing else.

    pool = PooledPg(5, dbname="shop")
    db = pool.connection()  # waits while all are in use
    rows = db.query("SELECT * FROM orders").getresult()
    db.close()  # back into the pool

Nothing is reset and nothing reopened: `pooled_pg` does that. Needs PyGreSQL.
"""

from __future__ import annotations

import functools
from queue import Queue
from typing import Any, ClassVar

from millpond.dbutils import _fork
from millpond.dbutils._pg import PgConnection
from millpond.dbutils._simple import SimplePool, SimpleProxy
from millpond.dbutils._version import __version__

__all__ = ["PooledPg", "PooledPgConnection"]


class PooledPgConnection(SimpleProxy):
    """A connection taken from a `PooledPg`; it has everything that ``pg.DB`` has."""

    _pool: PooledPg

    def _give_back(self, connection: Any) -> None:
        self._pool.cache(connection)


class PooledPg(SimplePool):
    """A pool of PyGreSQL connections, each in one hand at a time.

    Args:
        maxconnections: How many connections are opened, all of them at once.
        *args: Passed to ``pg.DB``.
        **kwargs: Passed to ``pg.DB``.

    Raises:
        Exception: What ``pg.DB`` raised.
    """

    version: ClassVar[str] = __version__

    def __init__(self, maxconnections: int, *args: Any, **kwargs: Any) -> None:
        """Open the connections."""
        self._queue: Queue[Any] = Queue(maxconnections)
        self._fill(maxconnections, functools.partial(PgConnection, *args, **kwargs))

    def cache(self, con: Any) -> None:
        """Add a connection, or give one back."""
        self._queue.put(con)

    def connection(self) -> PooledPgConnection:
        """Take a connection; wait while all are in use."""
        self._open_missing()
        return PooledPgConnection(self, self._queue.get())

    def _add(self, con: Any) -> None:
        self.cache(con)

    def _begin_in_child(self) -> None:
        _fork.leak(self._queue)
        self._queue = Queue(self._queue.maxsize)
        self._expect_all()
