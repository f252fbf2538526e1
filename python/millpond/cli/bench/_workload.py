"""The workload: threads that acquire, query, hold and release as fast as the pool lets them.

Each thread times its acquires into an array of its own, so that the measuring shares nothing that
the pool would have to wait for; the arrays are merged when everybody has stopped.
"""

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from millpond.cli._database import select_one
from millpond.cli.bench._crew import run_crew
from millpond.cli.bench._measurement import Log, Measurement, sum_up
from millpond.cli.bench._peers import Handle

__all__ = ["PAUSE_AFTER_ERROR", "Measurement", "Workload", "measure", "warm_up"]

PAUSE_AFTER_ERROR = 0.01
"""Seconds: a pool that fails at once must not turn into a busy loop of failures."""

_clock = time.perf_counter_ns


@dataclass(frozen=True)
class Workload:
    """What every pool is put through.

    Attributes:
        threads: How many threads, or tasks, share the pool.
        size: How many connections the pool may have.
        hold: Seconds that a thread keeps a connection, beside its query.
        seconds: How long it goes on.
        query: What a thread does with each connection, or ``None`` for nothing. A task does what
            its driver calls the same.
        tasks: Whether these are asyncio tasks in one event loop and not threads.
        options: Further options of the pool: millpond's, which the peers don't know.
    """

    threads: int = 24
    size: int = 4
    hold: float = 0.01
    seconds: float = 2.0
    query: Callable[[Any], object] | None = select_one
    tasks: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def clients(self) -> str:
        """What shares the pool: ``"threads"`` or ``"tasks"``."""
        return "tasks" if self.tasks else "threads"

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

    def as_dict(self) -> dict[str, Any]:
        """Return what makes it this workload, as plain values; durations are seconds."""
        told = {
            self.clients: self.threads,
            "size": self.size,
            "hold": self.hold,
            "seconds": self.seconds,
        }
        return told | ({"options": dict(self.options)} if self.options else {})


def warm_up(handle: Handle, size: int) -> None:
    """Open all ``size`` connections, so that nobody is measured while connecting."""
    acquire = handle.patient or handle.acquire
    connections: list[Any] = []
    try:
        while len(connections) < size:
            connections.append(acquire())
    finally:
        for conn in connections:
            handle.release(conn)


def measure(
    handle: Handle,
    workload: Workload,
    on_tick: Callable[[float], None] = lambda _seconds: None,
) -> Measurement:
    """Run ``workload`` on an open pool, and return what happened; errors and hanging included."""
    logs = [Log() for _ in range(workload.threads)]

    def loop(index: int, stop: threading.Event) -> None:
        _work(handle, workload, logs[index], stop)

    elapsed, hung = run_crew(loop, workload.threads, workload.seconds, on_tick, workload.hold)
    return sum_up(logs, elapsed, _clock(), len(hung))


def _work(handle: Handle, workload: Workload, log: Log, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            _checkout(handle, workload, log, stop)
        except Exception as error:  # noqa: BLE001 - a pool's error is a result
            log.waiting_since = 0
            log.errors.append(f"{type(error).__name__}: {error}")
            stop.wait(PAUSE_AFTER_ERROR)


def _checkout(handle: Handle, workload: Workload, log: Log, stop: threading.Event) -> None:
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
        # What was cut off by the end would be more than there can be.
        if not stop.is_set():
            log.count += 1
    finally:
        handle.release(conn)
