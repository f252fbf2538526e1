"""Pools with something to see, for whoever looks at them."""

from __future__ import annotations

import threading
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fakes import FakeDatabase
from helpers import eventually, in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import millpond
    from fakes import FakeConnection
    from millpond._core import ManualClock


def use(pool: millpond.Pool[Any], clock: ManualClock, *seconds: float) -> None:
    """Hold a new connection for each of these times; of a new one the first use is timed."""
    for duration in seconds:
        connection = pool.acquire()
        clock.advance(duration)
        pool.release(connection)
        pool.evict()


def time_out(pool: millpond.Pool[Any], times: int) -> None:
    """Let callers run out of patience, while the pool is exhausted."""
    import millpond  # noqa: PLC0415  the servers are found without it

    for _ in range(times):
        try:
            pool.acquire(timeout=0)
        except millpond.PoolTimeout:
            continue
        message = "the pool was not exhausted"
        raise AssertionError(message)


def break_down(pool: millpond.Pool[Any], driver: FakeDatabase, clock: ManualClock) -> None:
    """Take the database away for so long that callers are told at once."""
    import millpond  # noqa: PLC0415  as above

    driver.down()
    pool.evict()
    waiter = in_thread(pool.acquire, timeout=0.05)
    eventually(lambda: pool.stats().failing is not None)
    for _ in range(100):
        clock.advance(0.1)
        pool._run_due()
    assert isinstance(waiter.error(), millpond.PoolTimeout)
    error = in_thread(pool.acquire, timeout=1.0).error()
    assert isinstance(error, millpond.PoolTimeout)


@asynccontextmanager
async def async_pool(**options: Any) -> AsyncIterator[millpond.AsyncPool[Any]]:
    """Open a pool for asyncio whose connections do nothing."""
    import millpond  # noqa: PLC0415  as above

    async def connect() -> FakeConnection:
        return database.connect()

    database = FakeDatabase()
    async with millpond.AsyncPool(connect, **options) as pool:
        yield pool


class Told:
    """Something with statistics that are as the test says."""

    def __init__(self, stats: millpond.PoolStats) -> None:
        self._stats = stats

    def stats(self) -> millpond.PoolStats:
        """Return them."""
        return self._stats

    def set(self, *, window: dict[str, Any] | None = None, **values: Any) -> None:
        """Change some of them, and some of the window's."""
        made = replace(self._stats.window, **(window or {}))
        self._stats = replace(self._stats, window=made, **values)


class Diary:
    """A listener that writes everything down."""

    def __init__(self) -> None:
        self.events: list[millpond.PoolEvent] = []

    def __call__(self, event: millpond.PoolEvent) -> None:
        self.events.append(event)

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    def only(self, kind: str) -> millpond.PoolEvent:
        """Give the one event of a kind, once it is there."""
        eventually(lambda: kind in self.kinds)
        (event,) = [event for event in self.events if event.kind == kind]
        return event


def monitoring() -> list[threading.Thread]:
    """Return the threads that evaluate."""
    return [thread for thread in threading.enumerate() if thread.name == "millpond-health"]
