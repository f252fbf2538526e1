"""The workload: threads that acquire, query, hold and release as fast as the pool lets them.

Each thread times its acquires into an array of its own, so that the measuring shares nothing that
the pool would have to wait for; the arrays are merged when everybody has stopped.
"""

import math
import threading
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from millpond.cli._crew import run_crew
from millpond.cli._database import select_one
from millpond.cli._peers import Handle

__all__ = ["Measurement", "Workload", "measure", "warm_up"]

_PAUSE_AFTER_ERROR = 0.01

_clock = time.perf_counter_ns


@dataclass(frozen=True)
class Workload:
    """What every pool is put through.

    Attributes:
        threads: How many threads share the pool.
        size: How many connections the pool may have.
        hold: Seconds that a thread keeps a connection, beside its query.
        seconds: How long it goes on.
        query: What a thread does with each connection, or ``None`` for nothing.
    """

    threads: int = 24
    size: int = 4
    hold: float = 0.01
    seconds: float = 2.0
    query: Callable[[Any], object] | None = select_one

    @property
    def patience(self) -> float:
        """Seconds that an acquire may wait: so long that only a hanging pool runs out of them."""
        return self.seconds + 30.0

    @property
    def fair_wait(self) -> float:
        """Seconds that a thread would wait if all were served in turn and holding were all."""
        return max(0.0, self.threads / self.size - 1.0) * self.hold

    @property
    def ceiling(self) -> float:
        """Checkouts per second that no pool can exceed, because connections are held that long."""
        return min(self.size, self.threads) / self.hold if self.hold else math.inf


@dataclass(frozen=True)
class Measurement:
    """What one pool did.

    Attributes:
        elapsed: Seconds it was measured for.
        counts: Checkouts of each thread before the end.
        waits: Nanoseconds of every acquire, sorted, also of those that the end cut short.
        errors: How many acquires, queries and releases raised.
        first_error: What the first of them said.
        hung: Threads that had not come back when everybody was told to stop.
    """

    elapsed: float
    counts: list[int]
    waits: "array[int]"
    errors: int = 0
    first_error: str | None = None
    hung: int = 0

    @property
    def checkouts(self) -> int:
        """Checkouts of all threads together."""
        return sum(self.counts)

    @property
    def rate(self) -> float:
        """Checkouts per second."""
        return self.checkouts / self.elapsed

    @property
    def fairness(self) -> float | None:
        """Fewest checkouts of a thread divided by the most; ``None`` if there were none."""
        return min(self.counts) / max(self.counts) if any(self.counts) else None

    def wait(self, share: float) -> float | None:
        """Return the seconds that ``share`` of the acquires (0.5, 0.99, 1) did not exceed."""
        if not self.waits:
            return None
        rank = max(1, math.ceil(share * len(self.waits)))
        return self.waits[rank - 1] / 1e9


@dataclass
class _Log:
    """What one thread writes down. Nobody else touches it before the end."""

    count: int = 0
    waits: "array[int]" = field(default_factory=lambda: array("q"))
    waiting_since: int = 0
    errors: list[str] = field(default_factory=list)


def warm_up(handle: Handle, size: int) -> None:
    """Open all ``size`` connections, so that nobody is measured while connecting."""
    connections = [handle.acquire() for _ in range(size)]
    for conn in connections:
        handle.release(conn)


def measure(
    handle: Handle,
    workload: Workload,
    on_tick: Callable[[float], None] = lambda _seconds: None,
) -> Measurement:
    """Run ``workload`` on an open pool, and return what happened; errors and hanging included."""
    logs = [_Log() for _ in range(workload.threads)]

    def loop(index: int, stop: threading.Event) -> None:
        _work(handle, workload, logs[index], stop)

    elapsed, hung = run_crew(loop, workload.threads, workload.seconds, on_tick)
    now = _clock()
    waits = array("q")
    for log in logs:
        waits.extend(log.waits)
        if since := log.waiting_since:
            waits.append(now - since)
    errors = [text for log in logs for text in log.errors]
    return Measurement(
        elapsed=elapsed,
        counts=[log.count for log in logs],
        waits=array("q", sorted(waits)),
        errors=len(errors),
        first_error=errors[0] if errors else None,
        hung=len(hung),
    )


def _work(handle: Handle, workload: Workload, log: _Log, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            _checkout(handle, workload, log, stop)
        except Exception as error:  # noqa: BLE001 - a pool's error is a result
            log.waiting_since = 0
            log.errors.append(f"{type(error).__name__}: {error}")
            # A pool that fails at once must not turn into a busy loop of failures.
            stop.wait(_PAUSE_AFTER_ERROR)


def _checkout(handle: Handle, workload: Workload, log: _Log, stop: threading.Event) -> None:
    log.waiting_since = asked = _clock()
    conn = handle.acquire()
    log.waits.append(_clock() - asked)
    log.waiting_since = 0
    try:
        # Who is served only because the others have stopped was not served in time.
        if stop.is_set():
            return
        if workload.query is not None:
            workload.query(conn)
        if workload.hold:
            time.sleep(workload.hold)
        log.count += 1
    finally:
        handle.release(conn)
