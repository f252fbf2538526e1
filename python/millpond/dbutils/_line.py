"""Waiting for a permit of a pool, such that signals interrupt it and greenlets go on meanwhile.

A permit is the right to have one of the pool's connections. Who waits for one has a place in a
line, which is Rust's; the waiting itself is done with a lock of Python's.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, NoReturn

from millpond import _explain
from millpond._core import CorePooledDB
from millpond.dbutils._pool_errors import (
    AcquireTimeoutError,
    TooManyConnectionsError,
    TooManyWaitersError,
)

if TYPE_CHECKING:
    from millpond._core import Place, Watch
    from millpond._stats import PoolStats
    from millpond.dbutils._notes import Notes
    from millpond.dbutils._options import PoolOptions


def wait_in_line(pool: CorePooledDB, timeout: float | None) -> Place | None:
    """Join the line and return a permit, or ``None`` after `timeout` seconds.

    The lock is made here and now, since gevent may have replaced the class. Whoever gives a permit
    to this caller releases it.
    """
    arrival = threading.Lock()
    arrival.acquire()
    place = None
    try:
        place = pool._join(arrival.release)
        arrived = arrival.acquire(timeout=-1 if timeout is None else max(0.0, timeout))
    except BaseException:  # a signal; one that comes before the assignment drops the place
        if place is not None:
            place.leave()
        raise
    if arrived or place.granted:
        return place
    place.leave()
    return None


class Deadline:
    """A moment until which somebody waits, if there is one."""

    def __init__(self, seconds: float | None) -> None:
        """Begin the countdown; ``None`` never ends."""
        self.started = time.monotonic()
        self._at = None if seconds is None else self.started + seconds

    def left(self) -> float | None:
        """Return the seconds until then, not below zero."""
        return None if self._at is None else max(0.0, self._at - time.monotonic())


class _WatchedLock:
    """A reentrant lock. While somebody has it or wants it, each release of a connection tells.

    Counted before the lock is taken and after it is given back. So whoever finds, with the lock in
    his hands, that there is no permit, and waits, is told of the next one: it does not come
    unnoticed between the look and the wait.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        lock: Any = threading.RLock()
        self._lock = lock
        # What `Condition` wants of its lock. A wait lets go of the lock, and goes on watching.
        self._is_owned = lock._is_owned
        self._release_save = lock._release_save
        self._acquire_restore = lock._acquire_restore

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        self._watch.begin()
        taken = False
        try:
            taken = bool(self._lock.acquire(blocking, timeout))
        finally:
            if not taken:
                self._watch.end()
        return taken

    def release(self) -> None:
        self._lock.release()
        self._watch.end()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc: object) -> None:
        self.release()


class PoolLock(threading.Condition):
    """The lock of a pool, and the condition that a connection was given back.

    The pool does not need it to lend and to take back. But who holds it keeps others from sharing
    connections, and who waits for it is told of each connection that comes back.
    """

    def __init__(self, watch: Watch) -> None:
        """Make the lock of the pool that `watch` belongs to."""
        lock: Any = _WatchedLock(watch)
        super().__init__(lock)


class Waiting(CorePooledDB):
    """A pool in so far as its callers wait."""

    _blocking: object
    _lock: PoolLock
    _notes: Notes
    _checked_options: PoolOptions
    _pool_name: str

    if TYPE_CHECKING:

        def stats(self) -> PoolStats: ...

    def _wait_lock(self) -> None:
        """Wait, with the pool's lock, until something came back.

        Raises:
            TooManyConnectionsError: The pool may not block.
        """
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
        started = time.monotonic()
        with self._notes.waiting():
            place = wait_in_line(self, self._checked_options.acquire_timeout)
            if place is None:
                self._time_out(started)
        return place

    def _has_its_own_way(self) -> bool:
        """Tell whether `_wait_lock` is somebody else's, who knows of the pool's lock only."""
        return getattr(self._wait_lock, "__func__", None) is not _PLAIN_WAIT

    def _check_may_wait(self) -> None:
        """Raise unless one more caller may wait."""
        if not self._may_wait():
            self._refuse()
            raise TooManyConnectionsError
        limit = self._checked_options.max_waiting
        waiting = self._tally()["waiting"]
        if limit is not None and waiting >= limit:
            self._refuse()
            message = (
                f"pool {self._pool_name!r} has {waiting} callers waiting already, and"
                f" max_waiting={limit}: try again later, or raise max_waiting or maxconnections"
            )
            raise TooManyWaitersError(message)

    def _may_wait(self) -> bool:
        return bool(self._blocking) or self._checked_options.acquire_timeout is not None

    def _time_out(self, started: float) -> NoReturn:
        waited = time.monotonic() - started
        self._notes.count_timeout()
        stats, threshold = self.stats(), self._checked_options.leak_threshold
        wait = _explain.Wait(waited, leak_threshold=threshold, limit="maxconnections")
        reason = _explain.reason_of(stats, wait)
        error = AcquireTimeoutError(_explain.message_of(stats, wait, reason))
        error.reason, error.stats = reason, stats
        raise error


_PLAIN_WAIT = Waiting._wait_lock
