"""Waiting for a permit of a pool, such that signals interrupt it and greenlets go on meanwhile."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from millpond._core import CorePooledDB, Place, Watch


def wait_in_line(pool: CorePooledDB, timeout: float | None) -> Place | None:
    """Join the line and return a permit, or ``None`` after `timeout` seconds; ``None`` waits for ever.

    The lock is made here and now, since gevent may have replaced the class. Whoever gives a permit to
    this caller releases it.
    """
    arrival = threading.Lock()
    arrival.acquire()
    place = pool._join(arrival.release)
    try:
        arrived = arrival.acquire(timeout=-1 if timeout is None else max(0.0, timeout))
    except BaseException:
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
        self._at = None if seconds is None else time.monotonic() + seconds

    def left(self) -> float | None:
        """Return the seconds until then, not below zero."""
        return None if self._at is None else max(0.0, self._at - time.monotonic())


class _WatchedLock:
    """A reentrant lock; as long as somebody has it or wants it, each release of a connection tells so.

    Counted before the lock is taken and after it is given back. So whoever finds, with the lock in his
    hands, that there is no permit, and waits, is told of the next one: it does not come unnoticed between
    the look and the wait.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._lock: Any = threading.RLock()
        # What `Condition` wants of its lock. A wait lets go of the lock, and goes on watching.
        self._is_owned = self._lock._is_owned
        self._release_save = self._lock._release_save
        self._acquire_restore = self._lock._acquire_restore

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        self._watch.begin()
        taken = False
        try:
            taken = self._lock.acquire(blocking, timeout)
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
