"""The one thread of the process that looks after the deadlines of all pools.

It sleeps until the earliest deadline and does nothing that could block: what is due becomes a job
of the pool's workers. It holds no pool alive, starts with the first deadline, and ends with the
last pool.
"""

from __future__ import annotations

import logging
import threading
import weakref
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final, Protocol

from millpond._threads import start

if TYPE_CHECKING:
    from collections.abc import Iterator

# A sleep may end a little early, and a look before the deadline would be in vain.
LATE_SECONDS: Final = 0.001

RETRY_SECONDS: Final = 1.0

logger = logging.getLogger("millpond.pool")


class Timed(Protocol):
    """What has deadlines."""

    def _advance(self) -> float | None:
        """Do what is due, and return the seconds until the next deadline."""


class Timer:
    """See the head of this file."""

    def __init__(self) -> None:
        """Begin without pools and without a thread."""
        self._begin()

    def _begin(self) -> None:
        # Reentrant, and SimpleQueue: a pool may be finalized while this very thread is in here.
        self._lock = threading.RLock()
        self._pools: dict[int, weakref.ref[Timed]] = {}
        self._calls: SimpleQueue[None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def wake(self, pool: Timed) -> None:
        """Have the thread look at a pool, whose next deadline came closer."""
        with self._lock:
            key = id(pool)
            if key not in self._pools:
                self._pools[key] = weakref.ref(pool, lambda _: self._drop(key))
            starts = self._thread is None
            if starts:
                self._thread = threading.Thread(
                    target=self._run, name="millpond-timer", daemon=True
                )
                thread = self._thread
        if starts and not start(thread):
            self._thread = None
        self._calls.put(None)

    def forget(self, pool: Timed) -> None:
        """Look at a pool no more. After the last one the thread ends, which is waited for."""
        with self._lock:
            self._drop(id(pool))
            thread = None if self._pools else self._thread
        if thread is not None and thread is not threading.current_thread() and thread.is_alive():
            thread.join(1.0)

    def after_fork(self) -> None:
        """Begin anew in the child of a fork, where the thread does not exist."""
        self._begin()

    def _drop(self, key: int) -> None:
        with self._lock:
            self._pools.pop(key, None)
        self._calls.put(None)

    def _run(self) -> None:
        while True:
            soonest = min(self._advance_all(), default=None)
            with self._lock:
                if not self._pools:
                    self._thread = None
                    return
            try:
                self._calls.get(timeout=None if soonest is None else soonest + LATE_SECONDS)
            except Empty:
                continue
            while not self._calls.empty():
                self._calls.get()

    def _advance_all(self) -> Iterator[float]:
        for reference in list(self._pools.values()):
            pool = reference()
            try:
                seconds = None if pool is None else pool._advance()  # noqa: SLF001  its only caller
            except Exception:
                # One pool's trouble must not leave all others without a timer.
                extra = {"pool": getattr(pool, "name", None), "event": "timer_failed"}
                logger.exception("the deadlines of %r were not looked after", pool, extra=extra)
                seconds = RETRY_SECONDS
            del pool  # or the thread would hold it during its sleep
            if seconds is not None:
                yield seconds


TIMER: Final = Timer()
