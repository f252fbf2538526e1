"""Connections that several callers use at once.

Sharing is rare, and Python's. All of it happens under the pool's lock, except that a connection is
opened or tested. Who has to wait for a share waits for two things: for that lock to be notified,
which every return, every end of a shared transaction and every opened connection does, and in the
line for a permit, by its turn.
"""

from __future__ import annotations

from functools import partial, total_ordering
from threading import get_ident
from typing import TYPE_CHECKING, Any, Self

from millpond._core import PooledSharedDBConnection
from millpond.dbutils._line import Deadline, Waiting

if TYPE_CHECKING:
    from collections.abc import Callable
    from weakref import WeakKeyDictionary

    from millpond._core import Place
    from millpond.dbutils.steady_db import SteadyDBConnection


@total_ordering
class SharedDBConnection:
    """A connection and how many share it.

    In order, those in no transaction come first, and among them those with few shares.
    """

    __module__ = "millpond.dbutils.pooled_db"

    def __init__(self, con: SteadyDBConnection) -> None:
        """Begin with one share."""
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


class _Turn:
    """A caller's place in the line, as long as a permit would be of use to it."""

    def __init__(self, pool: Sharing) -> None:
        self._pool = pool
        self._place: Place | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._leave()

    def permit(self) -> Place | None:
        """Return the permit to open a connection, if there is one, and room."""
        if not self._pool._has_room():
            self._leave()
            return None
        place = self._place or self._pool._try_permit()
        if place is None or not place.granted:
            return None
        self._place = None
        return place

    def comes_at_once(self) -> bool:
        """Join the line, if that is of use. True when the permit came while that was done."""
        if self._place is not None or not self._pool._has_room():
            return False
        self._place = self._pool._join(self._pool._tell_watchers)
        return self._place.granted

    def _leave(self) -> None:
        place, self._place = self._place, None
        if place is not None:
            place.leave()


class Sharing(Waiting):
    """A pool in so far as it shares connections."""

    _shared_cache: list[SharedDBConnection]
    # The permits of the threads that are opening a connection to be shared. Weak, so that a permit
    # that is lost to a signal does not count.
    _openers: WeakKeyDictionary[Place, int]

    def unshare(self, con: SharedDBConnection) -> None:
        """Take a share of a connection back; with the last one, the connection itself."""
        with self._lock:
            con.unshare()
            shared = con.shared
            if not shared:
                try:
                    self._shared_cache.remove(con)
                except ValueError:
                    # The pool was closed meanwhile, and gave back the permit that `cache` will give
                    # back.
                    self._force_permit()
        # Those who wait are told by `cache`: before, they would not find the connection.
        if not shared:
            self.cache(con.con)

    def _share(self) -> PooledSharedDBConnection:
        """Lend a connection that others may use, too. Called by Rust."""
        found = self._find_share()
        if isinstance(found, SharedDBConnection):
            shared = found
            self._check_share(shared)
        else:
            shared = self._open_share(found)
        try:
            return PooledSharedDBConnection(self, shared)
        except BaseException:
            self.unshare(shared)
            raise

    def _find_share(self) -> SharedDBConnection | Place:
        """Return a connection with one share more, or the permit to open one."""
        deadline = Deadline(self._checked_options.acquire_timeout)
        with _Turn(self) as turn, self._lock:
            while True:
                if (permit := turn.permit()) is not None:
                    self._openers[permit] = get_ident()
                    return permit
                if (shared := self._least_shared()) is not None:
                    return shared
                if self._count_openers():
                    # There soon is one to share, or room for another attempt.
                    self._lock.wait()
                elif not turn.comes_at_once():
                    self._wait_for_share(deadline)

    def _has_room(self) -> bool:
        """Tell whether one more connection may be shared."""
        return bool(len(self._shared_cache) + self._count_openers() < self._maxshared)

    def _count_openers(self) -> int:
        """Return how many other threads open a connection to be shared.

        This one's own attempts do not count: a creator that asks the pool can't wait for itself.
        """
        me = get_ident()
        return sum(opener != me for opener in self._openers.values())

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
        if self._has_its_own_way() or not self._may_wait():
            self._wait_lock()
        elif not self._lock.wait(deadline.left()):
            self._time_out(deadline.started)

    def _open_share(self, permit: Place) -> SharedDBConnection:
        """Find or open a connection to be shared."""
        try:
            shared = SharedDBConnection(self._obtain())
            with self._lock:
                self._openers.pop(permit, None)
                self._shared_cache.append(shared)
                permit.take()
        except BaseException:
            with self._lock:
                self._openers.pop(permit, None)
            permit.leave()
            raise
        finally:
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
        """Return what ends a transaction on a shared connection, and tells those who wait for it.

        Called by Rust.
        """
        return partial(self._end_and_wake, end)

    def _end_and_wake(self, end: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        try:
            return end(*args, **kwargs)
        finally:
            self._tell_watchers()
