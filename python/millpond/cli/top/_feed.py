"""Servers that are asked for their ``/pool.json`` again and again, each by a thread of its own.

So a server that doesn't answer holds up nobody: not the other servers, not the keyboard.
"""

import threading
import time
from collections.abc import Callable

from millpond.cli._reading import Reading, take
from millpond.doctor.ask import Endpoint

__all__ = ["Feed"]


class Feed:
    """One server, asked every ``interval`` seconds by a thread of its own until ``stop()``."""

    def __init__(
        self, at: Endpoint, interval: float, timeout: float, on_news: Callable[[], object]
    ) -> None:
        """Start asking.

        Args:
            at: Whom.
            interval: Seconds between two times.
            timeout: Seconds that an answer may take.
            on_news: Called, in the feed's thread, after each reading.
        """
        self._at, self._interval, self._timeout, self._on_news = at, interval, timeout, on_news
        self._latest = Reading(at, time.time(), error="asking")
        self._stop = threading.Event()
        threading.Thread(target=self._run, name=f"millpond-top-{at.where}", daemon=True).start()

    def latest(self) -> Reading:
        """Return the newest reading, or how long there has been none."""
        latest = self._latest
        silent = time.time() - latest.time
        # A server may also send its answer one byte at a time.
        if silent > self._interval + 2 * self._timeout:
            return Reading(self._at, latest.time, error=f"no answer for {silent:.0f} s")
        return latest

    def stop(self) -> None:
        """Ask no more. The thread ends by itself; nobody waits for it."""
        self._stop.set()

    def _run(self) -> None:
        before: Reading | None = None
        while not self._stop.is_set():
            self._latest = reading = take(self._at, self._timeout, before)
            before = reading if reading.error is None else before
            self._on_news()
            self._stop.wait(self._interval)
