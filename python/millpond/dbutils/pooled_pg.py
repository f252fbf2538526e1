"""PooledPg: a pool of classic PyGreSQL connections.

    pool = PooledPg(mincached=2, maxconnections=10, blocking=True, dbname="shop")
    with pool.connection() as db:
        rows = db.query("SELECT * FROM orders").getresult()

A connection belongs to whoever has it until it is closed, or the last reference to it goes; so keep
one for as long as you use its results. What was started with ``begin()`` and not ended is rolled
back then. The connections reopen themselves, see `steady_pg`. Needs PyGreSQL.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from queue import Empty, Full, Queue
from typing import TYPE_CHECKING, Any, ClassVar, Final

from millpond.dbutils import _fork
from millpond.dbutils._proxy import Proxy
from millpond.dbutils._version import __version__
from millpond.dbutils.steady_pg import SteadyPgConnection

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from typing import Self

__all__ = [
    "RESET_ALWAYS_ROLLBACK",
    "RESET_COMPLETELY",
    "InvalidConnectionError",
    "PooledPg",
    "PooledPgConnection",
    "PooledPgError",
    "TooManyConnectionsError",
]

RESET_ALWAYS_ROLLBACK: Final = 1
RESET_COMPLETELY: Final = 2


class PooledPgError(Exception):
    """Base of the errors of this module."""


class InvalidConnectionError(PooledPgError):
    """The connection was closed, and is back in its pool."""


class TooManyConnectionsError(PooledPgError):
    """All connections are in use."""


InvalidConnection = InvalidConnectionError  # their names until DBUtils 2
TooManyConnections = TooManyConnectionsError


class PooledPg:
    """A pool of steady PyGreSQL connections, each in one hand at a time.

    Args:
        mincached: How many connections are opened at once.
        maxcached: How many idle connections are kept, at least ``mincached``; 0 or `None`, the
            default, is no limit.
        maxconnections: How many connections there may be, at least ``maxcached``; 0 or `None`, the
            default, is no limit.
        blocking: Whether a caller waits while all connections are in use; by default it is an
            error.
        maxusage: After how many successful calls a connection is renewed; 0 or `None`, the default,
            is never.
        setsession: SQL commands that prepare each new session.
        reset: What happens to a connection that comes back: 0 or `None`, the default, rolls back
            what was started with ``begin()``, `RESET_ALWAYS_ROLLBACK` always rolls back, and
            `RESET_COMPLETELY` resets the connection.
        *args: Passed to ``pg.DB``.
        **kwargs: Passed to ``pg.DB``.

    Raises:
        TooManyConnectionsError: ``mincached`` is more than ``maxconnections``.
        Exception: What ``pg.DB`` or ``setsession`` raised.
    """

    version: ClassVar[str] = __version__

    def __init__(
        self,
        mincached: int | None = 0,
        maxcached: int | None = 0,
        maxconnections: int | None = 0,
        blocking: bool = False,
        maxusage: int | None = None,
        setsession: Iterable[str] | None = None,
        reset: int | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Open ``mincached`` connections."""
        self._args, self._kwargs = args, kwargs
        self._maxusage = maxusage
        self._setsession = setsession
        self._reset = reset or 0
        mincached = mincached or 0
        maxcached = max(maxcached, mincached) if maxcached else 0
        if maxconnections:
            maxconnections = max(maxconnections, maxcached)
            self._blocking = blocking
            if blocking and mincached > maxconnections:
                message = f"mincached={mincached} is more than maxconnections={maxconnections}"
                raise TooManyConnectionsError(message)
        self._limit = maxconnections
        self._begin(maxcached)
        _fork.register(self)
        idle = [self.connection() for _ in range(mincached)]
        while idle:
            idle.pop().close()

    def steady_connection(self) -> SteadyPgConnection:
        """Open a connection that has nothing to do with the pool."""
        return SteadyPgConnection(
            self._maxusage,
            self._setsession,
            True,
            *self._args,
            **self._kwargs,
        )

    def pooled_connection(self) -> SteadyPgConnection:
        """Take a connection, which has to be given back by `cache`.

        Raises:
            TooManyConnectionsError: All connections are in use, and the pool is not ``blocking``.
            Exception: What ``pg.DB`` or ``setsession`` raised.
        """
        permits = self._connections
        if permits and not permits.acquire(self._blocking):
            raise TooManyConnectionsError
        try:
            return self._idle_or_new()
        except BaseException:  # Ctrl-C while it connects, too
            if permits:
                permits.release()
            raise

    def connection(self) -> PooledPgConnection:
        """Take a connection, which goes back when it is closed, or not referred to any more.

        Raises:
            TooManyConnectionsError: All connections are in use, and the pool is not ``blocking``.
            Exception: What ``pg.DB`` or ``setsession`` raised.
        """
        return PooledPgConnection(self, self.pooled_connection())

    def cache(self, con: SteadyPgConnection) -> None:
        """Give back what `pooled_connection` returned."""
        permits = self._connections
        try:
            self._clean(con)
            self._cache.put_nowait(con)
        except Full:
            con.close()
        except BaseException:
            con.close()  # nobody knows in which state it is
            raise
        finally:
            # Last, so that whoever gets the permit finds the connection.
            if permits:
                permits.release()

    def close(self) -> None:
        """Close the idle connections. Those in use stay, and the pool can be used on."""
        with suppress(Empty):
            while True:
                connection = self._cache.get_nowait()
                with suppress(Exception):
                    connection.close()

    def __del__(self) -> None:
        """Close the idle connections."""
        with suppress(Exception):
            self.close()

    def _begin(self, maxcached: int) -> None:
        # Both are the stdlib's, so that waiting is interruptible, and cooperative with gevent.
        self._connections = threading.Semaphore(self._limit) if self._limit else None
        self._cache: Queue[SteadyPgConnection] = Queue(maxcached)

    def _begin_in_child(self) -> None:
        # Its lock may be held by a thread that does not exist here, so it is not even looked at.
        _fork.leak(self._cache)
        self._begin(self._cache.maxsize)

    def _idle_or_new(self) -> SteadyPgConnection:
        try:
            return self._cache.get_nowait()
        except Empty:
            return self.steady_connection()

    def _clean(self, con: SteadyPgConnection) -> None:
        if self._reset == RESET_COMPLETELY:
            con.reset()
        elif self._reset == RESET_ALWAYS_ROLLBACK or con._transaction:
            with suppress(Exception):
                con.rollback()


class PooledPgConnection(Proxy):
    """A connection taken from a `PooledPg`; it has everything that `SteadyPgConnection` has."""

    _pool: PooledPg
    _con: SteadyPgConnection | None = None

    def reopen(self) -> None:
        """Reopen the connection; if it is back in the pool, take one again.

        Raises:
            TooManyConnectionsError: All connections are in use, and the pool is not ``blocking``.
            Exception: What ``pg.DB`` or ``setsession`` raised.
        """
        if self._con:
            self._con.reopen()
            return
        vars(self).pop("_con", None)
        connection = self._pool.pooled_connection()
        self._generation = _fork.fork_generation()
        if vars(self).setdefault("_con", connection) is not connection:
            self._pool.cache(connection)  # another thread was faster

    def __getattr__(self, name: str) -> Any:
        """Give what the connection has.

        Raises:
            InvalidConnectionError: It was closed.
        """
        connection = self._con
        if connection:
            return getattr(connection, name)
        raise InvalidConnectionError

    def __enter__(self) -> Self:
        """Give the connection itself."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give the connection back to the pool."""
        self.close()

    def _give_back(self, connection: SteadyPgConnection) -> None:
        self._pool.cache(connection)

    def _let_go(self, connection: SteadyPgConnection) -> None:
        connection.close()  # which leaks what is the parent's, and closes what is ours
