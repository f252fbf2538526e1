"""What a `PooledDB` has done so far, and `PooledDB.stats()`."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from millpond._core import Histogram
from millpond._stats import PoolStats
from millpond._times import NO_TIMES, TimeStats
from millpond._window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from millpond.dbutils._upkeep import Upkeep
    from millpond.dbutils.pooled_db import PooledDB

_numbers: Final = itertools.count(1)


def new_name() -> str:
    """Return the name of a pool that was given none."""
    return f"PooledDB-{next(_numbers)}"


class Notes:
    """Counters of what is slow anyway: opening, waiting, closing. The rest is counted in Rust.

    Closing may happen in a finalizer that interrupts this very code, so the lock is reentrant.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self._lock = threading.RLock()
        self._opening = 0
        self._waiting: dict[object, float] = {}
        self.closed: Counter[str] = Counter()
        self.open_time = Histogram()
        self.open_failures = Histogram()
        self.wait_time = Histogram()
        self._timed_out = 0
        self._window = Window(time.monotonic)

    def open(self, connect: Callable[[], Any]) -> Any:
        """Open a connection, and note how long that took."""
        started = time.perf_counter()
        with self._lock:
            self._opening += 1
        took = self.open_failures
        try:
            con = connect()
            took = self.open_time
        finally:
            with self._lock:
                self._opening -= 1
            took.record(time.perf_counter() - started)
        return con

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Note how long the block takes, if it ends well."""
        started = time.monotonic()
        key = object()
        self._waiting[key] = started
        try:
            yield
        finally:
            self._waiting.pop(key, None)
        self.wait_time.record(time.monotonic() - started)

    def count_timeout(self) -> None:
        """Count a caller that waited for as long as it wanted to."""
        with self._lock:
            self._timed_out += 1

    def count_closed(self, reason: str) -> None:
        """Count a connection that is being closed."""
        with self._lock:
            self.closed[reason] += 1

    def stats(self, pool: PooledDB, upkeep: Upkeep | None) -> PoolStats:
        """Return what the pool is like right now, and what it has done so far."""
        tally = pool._tally()
        opening = self._opening
        idle = len(pool._idle_cache) + (upkeep.away if upkeep else 0)
        in_use = max(0, tally["in_use"] - opening)
        now = time.monotonic()
        with self._lock:
            closed = dict(self.closed)
            timed_out = self._timed_out
        values: dict[str, Any] = {
            "name": pool._pool_name,
            "min_size": 0,
            "max_size": int(pool._maxconnections or 0),
            "size": in_use + idle,
            "idle": idle,
            "in_use": in_use,
            "opening": opening,
            "waiting": tally["waiting"],
            "longest_wait": max(
                (now - since for since in list(self._waiting.values())), default=0.0
            ),
            "acquired": tally["acquired"],
            "queued": tally["queued"],
            "gave_up": tally["gave_up"],
            "refused": tally["refused"],
            "turned_away": 0,
            "opened": self.open_time.count,
            "open_failed": self.open_failures.count,
            "closed": closed,
            "checks": upkeep.checks if upkeep else 0,
            "checks_failed": upkeep.checks_failed if upkeep else 0,
            "leaks": upkeep.leaks if upkeep else 0,
            "wait_time": TimeStats(**self.wait_time.snapshot()),
            "use_time": NO_TIMES,
            "open_time": TimeStats(**self.open_time.snapshot()),
            "check_time": NO_TIMES,
            "failing": None,
            "connections": tuple(upkeep.connections(pool)) if upkeep else (),
            "timed_out": timed_out,
            # Whoever asks for a connection opens it, and is told why that failed.
            "failed": timed_out + tally["refused"] + self.open_failures.count,
        }
        return PoolStats(**values, window=self._window.measure(values))
