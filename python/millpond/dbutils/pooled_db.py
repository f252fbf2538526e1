"""A pool of DB-API 2 connections, shared or dedicated.

Drop-in for ``dbutils.pooled_db``. Lending and taking back happens in Rust (`millpond._core.CorePooledDB`);
here is what a pool is made of, what waits, and what shares connections.

```python
import pymysql
from millpond.dbutils.pooled_db import PooledDB

pool = PooledDB(pymysql, mincached=2, maxconnections=10, blocking=True, host="db.example.org")
with pool.connection() as db, db.cursor() as cursor:
    cursor.execute("select 1")
```
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial, total_ordering
from threading import get_ident
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from millpond import _lifecycle
from millpond._core import (
    CorePooledDB,
    PooledDedicatedDBConnection,
    PooledSharedDBConnection,
    leak,
)
from millpond.dbutils._line import Deadline, PoolLock, wait_in_line
from millpond.dbutils._version import __version__
from millpond.dbutils.steady_db import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from millpond._core import Place
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


class PooledDBError(Exception):
    """The root of this module's errors."""


class InvalidConnectionError(PooledDBError):
    """The connection was closed, so it has no attributes any more."""


class NotSupportedError(PooledDBError):
    """The driver is not safe for use by threads."""


class TooManyConnectionsError(PooledDBError):
    """The pool is at its limit, and may not or can't wait."""


# The names that they had before DBUtils 2.0.
InvalidConnection = InvalidConnectionError
TooManyConnections = TooManyConnectionsError

PooledDedicatedDBConnection.version = __version__
PooledSharedDBConnection.version = __version__


class _Figure:
    """A number for monitoring. Unlike a property it lets subclasses use the name for something else."""

    def __init__(self, count: Callable[[Any], int]) -> None:
        self._count = count
        self.__doc__ = count.__doc__

    def __get__(self, pool: Any, _: type | None = None) -> Any:
        return self if pool is None else self._count(pool)


class PooledDB(CorePooledDB):
    """A pool of steady connections to a database.

    Args:
        creator: A DB-API 2 module, or a callable that returns a new connection.
        mincached: How many connections are opened at once. They are idle afterwards, in the reverse
            order.
        maxcached: How many connections may be idle; 0 or ``None`` for any number. At least `mincached`.
        maxshared: How many connections may be shared, if the driver's ``threadsafety`` is above 1; 0 or
            ``None`` for none. When there are as many, whoever asks for a shareable connection gets one
            that others use, too.
        maxconnections: How many connections there may be at once; 0 or ``None`` for any number. At least
            `maxcached` and `maxshared`.
        blocking: Whether to wait when all of these are in use; otherwise that is an error.
        maxusage: After how many statements a connection is replaced; 0 or ``None`` for never.
        setsession: Statements to execute on each new connection.
        reset: Whether each connection is rolled back when it comes back; otherwise only one on which
            ``begin`` was called.
        failures: The errors that mean a lost connection, by default the driver's ``OperationalError``,
            ``InterfaceError`` and ``InternalError``.
        ping: When and how to check whether a connection is alive; see `SteadyDBConnection`.
        isfatal: A callable that is given one of the `failures` and tells whether the connection is really
            lost. By default it is.
        *args: Passed to the creator.
        pool_options: What DBUtils has not.
        **kwargs: Passed to the creator.

    Raises:
        NotSupportedError: The driver says that it is not safe for use by threads.
        TooManyConnectionsError: `mincached` is above `maxconnections`.
        Exception: What connecting raised.
    """

    version = __version__

    pool_options: Mapping[str, Any] | None = None

    # Seconds to wait for a connection, and how many may wait; `None` for any number.
    _acquire_timeout: float | None = None
    _max_waiting: int | None = None

    _checkedout: ClassVar[Any] = _Figure(lambda pool: pool._connections)
    _cached: ClassVar[Any] = _Figure(lambda pool: len(pool._idle_cache))
    _overflow: ClassVar[Any] = _Figure(lambda pool: pool._count_overflow())

    def __init__(
        self,
        creator: Any,
        mincached: int | None = 0,
        maxcached: float | None = 0,
        maxshared: float | None = 0,
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
        threadsafety = _threadsafety_of(creator)
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
            self._shared_cache: list[SharedDBConnection] = []
        else:
            self._maxshared = 0
        self._maxconnections = (
            max(maxconnections, maxcached, maxshared or 0) if maxconnections else 0
        )
        if pool_options is not None:
            self.pool_options = pool_options
        self._begin()
        _lifecycle.inherit(self)
        self._fill(mincached)

    def _begin(self) -> None:
        """Start with nothing open."""
        self._idle_cache = []
        # Threads that are opening a connection to be shared.
        self._openers: list[int] = []
        self._lock = PoolLock(self._watch())
        self._connections = 0

    def _begin_in_child(self) -> None:
        """Start anew in the child of a fork. What is open is the parent's, and never closed here."""
        leak(self._idle_cache)
        if hasattr(self, "_shared_cache"):
            leak(self._shared_cache)
            self._shared_cache = []
        self._new_line()
        self._begin()

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
            True,  # noqa: FBT003  closeable
            self._isfatal,
            *self._args,
            **self._kwargs,
        )

    def unshare(self, con: SharedDBConnection) -> None:
        """Take a share of a connection back; with the last one, the connection itself."""
        with self._lock:
            con.unshare()
            shared = con.shared
            if not shared:
                try:
                    self._shared_cache.remove(con)
                except ValueError:
                    # The pool was closed meanwhile, and took the permit that `cache` is about to give back.
                    self._force_permit()
            self._lock.notify_all()
        if not shared:
            self.cache(con.con)

    def close(self) -> None:
        """Close what is idle or shared. What is lent otherwise is not touched, and the pool goes on."""
        idle = self._idle_cache
        for _ in range(len(idle)):
            try:
                con = idle.pop(0)
            except IndexError:
                break
            with suppress(Exception):
                con.close()
        while self._maxshared and self._shared_cache:
            with self._lock:
                if not self._shared_cache:
                    break
                shared = self._shared_cache.pop(0)
            with suppress(Exception):
                shared.con.close()
            self._release_permit()
        self._tell_watchers()

    def _wait_lock(self) -> None:
        """Wait, with the pool's lock, until something was given back; or raise, if the pool may not block."""
        if not self._blocking:
            self._refuse()
            raise TooManyConnectionsError
        self._lock.wait()

    def _tell_watchers(self) -> None:
        """Wake those who wait for the pool's lock to be notified."""
        try:
            with self._lock:
                self._lock.notify_all()
        except BaseException:  # a signal; they have to be told nevertheless
            with self._lock:
                self._lock.notify_all()
            raise

    def _await_permit(self) -> Place:
        """Return a permit, though there is none right now."""
        if self._has_its_own_way():
            with self._lock:
                while (place := self._try_permit()) is None:
                    self._wait_lock()
            return place
        self._check_may_wait()
        place = wait_in_line(self, self._acquire_timeout)
        if place is None:
            self._time_out()
        return place

    def _has_its_own_way(self) -> bool:
        """Tell whether `_wait_lock` is somebody else's, who knows of the pool's lock only."""
        return getattr(self._wait_lock, "__func__", None) is not _WAIT_LOCK

    def _check_may_wait(self) -> None:
        """Raise unless one more caller may wait."""
        limit = self._max_waiting
        if self._blocking and (limit is None or self._tally()["waiting"] < limit):
            return
        self._refuse()
        if not self._blocking:
            raise TooManyConnectionsError
        message = f"{limit} callers are waiting already"
        raise TooManyConnectionsError(message)

    def _time_out(self) -> NoReturn:
        message = f"no connection became free in {self._acquire_timeout} s"
        raise TooManyConnectionsError(message)

    def _count_overflow(self) -> int:
        """Return how many connections there are over `maxcached`, which will not all stay."""
        if not self._maxcached:
            return 0
        return max(0, self._connections + len(self._idle_cache) - self._maxcached)

    # Sharing

    def _share(self) -> PooledSharedDBConnection:
        """Lend a connection that others may use, too."""
        shared, permit = self._find_share()
        if shared is None:
            shared = self._open_share(permit)
        else:
            self._check_share(shared)
        try:
            return PooledSharedDBConnection(self, shared)
        except BaseException:
            self.unshare(shared)
            raise

    def _find_share(self) -> tuple[SharedDBConnection | None, Place | None]:
        """Return a connection with one share more, or the permit to open one."""
        me = get_ident()
        deadline = Deadline(self._acquire_timeout)
        place: Place | None = None
        try:
            with self._lock:
                while True:
                    opening = len(self._openers) - self._openers.count(me)
                    room = len(self._shared_cache) + opening < self._maxshared
                    if not room and place is not None:
                        place.leave()
                        place = None
                    if room:
                        place = place or self._try_permit()
                        if place is not None and place.granted:
                            self._openers.append(me)
                            return None, place
                    if (shared := self._least_shared()) is not None:
                        break
                    if opening:
                        self._lock.wait()
                        continue
                    if room and place is None:
                        place = self._join(self._tell_watchers)
                        if place.granted:
                            continue
                    self._wait_for_share(deadline)
        except BaseException:
            if place is not None:
                place.leave()
            raise
        if place is not None:
            place.leave()
        return shared, None

    def _least_shared(self) -> SharedDBConnection | None:
        """Take a share of the connection with the fewest, unless all are in transactions."""
        self._shared_cache.sort()
        if not self._shared_cache or self._shared_cache[0].con._transaction:
            return None
        shared = self._shared_cache.pop(0)
        shared.share()
        self._shared_cache.append(shared)
        return shared

    def _wait_for_share(self, deadline: Deadline) -> None:
        if self._has_its_own_way() or not self._blocking:
            self._wait_lock()
        elif not self._lock.wait(deadline.left()):
            self._time_out()

    def _open_share(self, permit: Place) -> SharedDBConnection:
        """Find or open a connection to be shared."""
        me = get_ident()
        try:
            shared = SharedDBConnection(self._obtain())
            with self._lock:
                self._shared_cache.append(shared)
                permit.take()
        except BaseException:
            permit.leave()
            raise
        finally:
            self._openers.remove(me)
            self._tell_watchers()
        return shared

    def _check_share(self, shared: SharedDBConnection) -> None:
        """Check a connection that others are using."""
        try:
            shared.con._ping_check()
        except BaseException:
            self.unshare(shared)
            raise

    def _waking(self, end: Callable[..., Any]) -> Callable[..., Any]:
        """Return what ends a transaction of a shared connection, and tells those who wait to share it."""
        return partial(self._end_and_wake, end)

    def _end_and_wake(self, end: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        try:
            return end(*args, **kwargs)
        finally:
            self._tell_watchers()


_WAIT_LOCK = PooledDB._wait_lock


def _threadsafety_of(creator: Any) -> Any:
    """Return the level that the creator tells, or a guess."""
    try:
        return creator.threadsafety
    except AttributeError:
        pass
    try:
        return creator.dbapi.threadsafety
    except AttributeError:
        pass
    # A driver without a level is taken to be unsafe, and a function to know what it does.
    return 0 if callable(getattr(creator, "connect", None)) else 1


@total_ordering
class SharedDBConnection:
    """A connection and how many share it. Those that are not in a transaction, and have few shares, come first."""

    def __init__(self, con: SteadyDBConnection) -> None:
        self.con = con
        self.shared = 1

    def __lt__(self, other: SharedDBConnection) -> bool:
        """Tell which one is to be shared rather."""
        if self.con._transaction == other.con._transaction:
            return self.shared < other.shared
        return not self.con._transaction

    # The order is for choosing only: two connections are never the same.
    def __eq__(self, other: object) -> bool:
        """Tell whether this is that very connection."""
        return self is other

    def __hash__(self) -> int:
        """Hash the identity."""
        return id(self)

    def share(self) -> None:
        """Count one more."""
        self.shared += 1

    def unshare(self) -> None:
        """Count one less."""
        self.shared -= 1
