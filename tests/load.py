"""Threads that use a pool while a test breaks what it stands on, and keep account."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from helpers import Running, eventually

if TYPE_CHECKING:
    import millpond


def fill(pool: millpond.Pool[Any], count: int) -> None:
    """Open `count` connections, and leave them idle."""
    held = [pool.acquire(timeout=30) for _ in range(count)]
    for connection in held:
        pool.release(connection)


class Load:
    """Threads that send a query each, over and over, and keep account.

    Args:
        pool: The pool that they share.
        threads: How many.
    """

    def __init__(self, pool: millpond.Pool[Any], threads: int) -> None:
        self._pool = pool
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.answers: list[float] = []
        self.errors: list[tuple[float, BaseException]] = []
        self._running = [Running(self._work) for _ in range(threads)]

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                with self._pool.connection() as conn:
                    conn.execute("SELECT 1").fetchone()
            except Exception as error:  # noqa: BLE001  that is what is counted
                with self._lock:
                    self.errors.append((time.monotonic(), error))
                self._stop.wait(0.01)
            else:
                with self._lock:
                    self.answers.append(time.monotonic())

    def answered_since(self, moment: float) -> int:
        """Count the queries that were answered after a moment."""
        with self._lock:
            return sum(answer > moment for answer in self.answers)

    def first_answer(self, since: float) -> float:
        """Wait for an answer after a moment, and return the seconds that it took."""
        eventually(lambda: self.answered_since(since), 30.0)
        with self._lock:
            return min(answer for answer in self.answers if answer > since) - since

    def end(self) -> None:
        """Stop, and wait for all threads."""
        self._stop.set()
        for one in self._running:
            one.result(30.0)
