"""A pool of DB-API 2 connections, shared or dedicated.

Drop-in for ``dbutils.pooled_db``. Lending and taking back happens in Rust
(`millpond._core.CorePooledDB`); here is what a pool is made of, what waits, and what shares
connections.

```python
import pymysql
from millpond.dbutils.pooled_db import PooledDB

pool = PooledDB(pymysql, mincached=2, maxconnections=10, blocking=True, host="db.example.org")
with pool.connection() as db, db.cursor() as cursor:
    cursor.execute("select 1")
```
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from millpond import _lifecycle
from millpond._core import PooledDedicatedDBConnection, PooledSharedDBConnection, leak
from millpond.dbutils import _notes, _options, _pool_errors
from millpond.dbutils._line import PoolLock
from millpond.dbutils._pool_errors import (
    InvalidConnectionError,
    NotSupportedError,
    PooledDBError,
    TooManyConnectionsError,
)
from millpond.dbutils._provider import threadsafety_assumed_of
from millpond.dbutils._sharing import SharedDBConnection, Sharing
from millpond.dbutils._upkeep import Upkeep
from millpond.dbutils._version import __version__
from millpond.dbutils.steady_db import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from millpond._stats import PoolStats
    from millpond.dbutils.steady_db import SteadyDBConnection

__all__ = [
    "InvalidConnectionError",
    "NotSupportedError",
    "PooledDB",
    "PooledDBError",
    "PooledDedicatedDBConnection",
    "PooledSharedDBConnection",
    "SharedDBConnection",
    "TooManyConnectionsError",
]


# The names that they had before DBUtils 2.0.
InvalidConnection = InvalidConnectionError
TooManyConnections = TooManyConnectionsError

# What `pool_options` bring with them.
AcquireTimeoutError = _pool_errors.AcquireTimeoutError
TooManyWaitersError = _pool_errors.TooManyWaitersError

PooledDedicatedDBConnection.version = __version__
PooledSharedDBConnection.version = __version__


class _Figure:
    """A number for monitoring.

    Unlike a property it lets subclasses use the name for something else.
    """

    def __init__(self, count: Callable[[Any], int]) -> None:
        self._count = count
        self.__doc__ = count.__doc__

    def __get__(self, pool: Any, _: type | None = None) -> Any:
        return self if pool is None else self._count(pool)


class PooledDB(Sharing):
    """A pool of steady connections to a database.

    Args:
        creator: A DB-API 2 module, or a callable that returns a new connection.
        mincached: How many connections are opened at once. They are idle afterwards, in the reverse
            order.
        maxcached: How many connections may be idle; 0 or ``None`` for any number. At least
            `mincached`.
        maxshared: How many connections may be shared, if the driver's ``threadsafety`` is above 1;
            0 or ``None`` for none. When there are as many, whoever asks for a shareable connection
            gets one that others use, too.
        maxconnections: How many connections there may be at once; 0 or ``None`` for any number. At
            least `maxcached` and `maxshared`.
        blocking: Whether to wait when all of these are in use; otherwise that is an error.
        maxusage: After how many statements a connection is replaced; 0 or ``None`` for never.
        setsession: Statements to execute on each new connection.
        reset: Whether each connection is rolled back when it comes back; otherwise only one on
            which ``begin`` was called.
        failures: The errors that mean a lost connection, by default the driver's
            ``OperationalError``, ``InterfaceError`` and ``InternalError``.
        ping: When and how to check whether a connection is alive; see `SteadyDBConnection`.
        isfatal: A callable that is given one of the `failures` and tells whether the connection is
            really lost. By default it is.
        *args: Passed to the creator.
        pool_options: What DBUtils has not; see `millpond.dbutils._options.PoolOptions`. A subclass
            may have an attribute with this name, of which single options can be replaced here.
        **kwargs: Passed to the creator.

    Raises:
        NotSupportedError: The driver says that it is not safe for use by threads.
        TooManyConnectionsError: `mincached` is above `maxconnections`.
        PoolConfigError: One of the `pool_options` is unknown, or can't be what it has to be.
        Exception: What connecting raised.
    """

    version = __version__

    pool_options: Mapping[str, Any] | None = None

    _checkedout: Any = _Figure(lambda pool: pool._connections)
    _cached: Any = _Figure(lambda pool: len(pool._idle_cache))
    _overflow: Any = _Figure(lambda pool: pool._count_overflow())

    def __init__(
        self,
        creator: Any,
        mincached: int | None = 0,
        maxcached: float | None = 0,
        maxshared: Any = 0,
        maxconnections: float | None = 0,
        blocking: object = False,
        maxusage: int | None = None,
        setsession: Iterable[Any] | None = None,
        reset: object = True,
        failures: type[Exception] | tuple[type[Exception], ...] | None = None,
        ping: Any = 1,
        isfatal: Callable[[BaseException], object] | None = None,
        *args: Any,
        pool_options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Open the first connections."""
        threadsafety = threadsafety_assumed_of(creator)
        if not threadsafety:
            message = "Database module is not thread-safe."
            raise NotSupportedError(message)
        self._creator = creator
        self._args, self._kwargs = args, kwargs
        self._blocking = blocking
        self._maxusage = maxusage
        self._setsession = setsession
        self._reset = reset
        self._failures = failures
        self._isfatal = isfatal
        self._ping = ping
        mincached = 0 if mincached is None else mincached
        maxcached = max(maxcached, mincached) if maxcached else 0
        self._maxcached = maxcached
        if isinstance(maxshared, int) and maxshared < 0:
            maxshared = 0  # as with the other limits; DBUtils would share what is not there
        if threadsafety > 1 and maxshared:
            self._maxshared = maxshared
            self._shared_cache = []
        else:
            self._maxshared = 0
        self._maxconnections = (
            max(maxconnections, maxcached, maxshared or 0) if maxconnections else 0
        )
        self._checked_options = _options.parse(self.pool_options, pool_options)
        self._pool_name = self._checked_options.name or _notes.new_name()
        if self._checked_options.needs_upkeep:
            self._upkeep = Upkeep(self, self._checked_options)
        self._begin()
        _lifecycle.inherit(self)
        self._fill(mincached)

    def _begin(self) -> None:
        """Start with nothing open."""
        self._idle_cache = []
        self._openers = WeakKeyDictionary()
        self._lock = PoolLock(self._watch())
        self._notes = _notes.Notes()
        self._connections = 0

    def _begin_in_child(self) -> None:
        """Start anew in the child of a fork.

        What is open is the parent's, and never closed here.
        """
        leak(self._idle_cache)
        if hasattr(self, "_shared_cache"):
            leak(self._shared_cache)
            self._shared_cache = []
        self._new_line()
        self._begin()
        if self._upkeep is not None:
            self._upkeep.begin()

    def _fill(self, mincached: int) -> None:
        """Open the first connections, all of them before any is given back."""
        held: list[Any] = []
        for _ in range(mincached):
            limit = self._maxconnections
            if self._blocking and limit and len(held) >= limit:
                message = (
                    f"mincached={mincached} connections can't be open at once under"
                    f" maxconnections={limit}: the pool would wait for itself"
                )
                raise TooManyConnectionsError(message)
            held.append(self.dedicated_connection())
        while held:
            held.pop().close()

    def __del__(self) -> None:
        """Close what is idle or shared."""
        # At the end of the interpreter anything may be gone.
        with suppress(BaseException):
            self.close()

    def steady_connection(self) -> SteadyDBConnection:
        """Open a connection that the pool does not count."""
        return connect(
            self._creator,
            self._maxusage,
            self._setsession,
            self._failures,
            self._ping,
            True,
            self._isfatal,
            *self._args,
            **self._kwargs,
        )

    def stats(self) -> PoolStats:
        """Return what the pool is like right now, and what it has done so far.

        `max_size` is `maxconnections`, 0 for no limit. Single connections, their checks and leaks
        are known to a pool whose `pool_options` look after connections; `use_time` to none.
        """
        return self._notes.stats(self, self._upkeep)

    def _open_noted(self) -> Any:
        """Open a connection for Rust, and note it."""
        return self._notes.open(self.steady_connection)

    def _close_surplus(self, con: Any) -> None:
        """Close a connection for Rust that would be one too many idle ones."""
        self._notes.count_closed("surplus")
        con.close()

    def close(self) -> None:
        """Close what is idle or shared.

        What is lent otherwise is not touched, and the pool goes on.
        """
        if self._upkeep is not None:
            self._upkeep.closing()
        idle = self._idle_cache
        for _ in range(len(idle)):
            try:
                con = idle.pop(0)
            except IndexError:
                break
            self._notes.count_closed("closed")
            with suppress(Exception):
                con.close()
        while self._maxshared and self._shared_cache:
            with self._lock:
                if not self._shared_cache:
                    break
                shared = self._shared_cache.pop(0)
            self._notes.count_closed("closed")
            with suppress(Exception):
                shared.con.close()
            self._release_permit()
        self._tell_watchers()

    def _count_overflow(self) -> int:
        """Return how many connections there are over `maxcached`, which will not all stay."""
        if not self._maxcached:
            return 0
        surplus: int = self._connections + len(self._idle_cache) - math.ceil(self._maxcached)
        return max(0, surplus)
