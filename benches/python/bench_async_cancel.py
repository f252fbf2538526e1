"""How many connections does a pool still have after its users were cancelled at random?

50 tasks share 10 stub connections, in the pool's own block, and a task is cancelled every
millisecond or so, wherever it is: waiting, holding, giving back. After that all are cancelled, and
the pool is asked for its full capacity at once: what it can't give within two seconds is lost. The
dice are the same for all pools.
"""

import asyncio
import random
import time
from contextlib import suppress
from dataclasses import dataclass

import pytest

from _harness_async import CONTENDERS, AsyncContender
from conftest import Show
from millpond.cli.bench._peers import AsyncHandle

SIZE, TASKS, SECONDS = 10, 50, 1.0

_HOLD = 0.002
_PATIENCE = 2.0


@dataclass(frozen=True)
class Damage:
    """What a storm did to a pool.

    Attributes:
        cancelled: How many tasks were cancelled.
        lost: How many connections of its capacity it could not give afterwards.
        shared: How many times a connection was lent to two at the same time.
    """

    cancelled: int
    lost: int
    shared: int


def storm(contender: AsyncContender) -> Damage:
    """Cancel at random, then count."""
    return asyncio.run(_storm(contender))


async def _storm(contender: AsyncContender) -> Damage:
    dice = random.Random(5)  # noqa: S311 - no secret
    async with contender.opened(SIZE) as handle:
        crowd = _Crowd(handle)
        tasks = [crowd.start() for _ in range(TASKS)]
        cancelled, until = 0, time.perf_counter() + SECONDS
        while time.perf_counter() < until:
            await asyncio.sleep(dice.uniform(0.0, 0.002))
            victim = dice.randrange(TASKS)
            cancelled += tasks[victim].cancel()
            # The next one comes while this one still cleans up, as in a server under load.
            tasks[victim] = crowd.start()
        await crowd.end()
        return Damage(cancelled, SIZE - await _capacity(handle), crowd.shared)


class _Crowd:
    """Tasks that use a pool until they are cancelled."""

    def __init__(self, handle: AsyncHandle) -> None:
        self._connection = handle.connection
        self._held: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.shared = 0

    def start(self) -> asyncio.Task[None]:
        """Start one more."""
        task = asyncio.create_task(self._work())
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def end(self) -> None:
        """Cancel all that are left."""
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks, timeout=_PATIENCE)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        # An error of the pool is its own affair here, but has to be looked at.
        if not task.cancelled():
            task.exception()

    async def _work(self) -> None:
        while True:
            async with self._connection() as conn:
                # Of a wrapper, whatever it wraps.
                real = id(getattr(conn, "dbapi_connection", getattr(conn, "_con", conn)))
                self.shared += real in self._held
                self._held.add(real)
                try:
                    await asyncio.sleep(_HOLD)
                finally:
                    self._held.discard(real)


async def _capacity(handle: AsyncHandle) -> int:
    """Return how many connections the pool can lend at the same time."""
    served, enough = asyncio.Semaphore(0), asyncio.Event()

    async def hold() -> None:
        async with handle.connection():
            served.release()
            await enough.wait()

    tasks = [asyncio.create_task(hold()) for _ in range(SIZE)]
    count = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE):
            for _ in range(SIZE):
                await served.acquire()
                count += 1
    enough.set()
    _done, waiting = await asyncio.wait(tasks, timeout=0.1)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return count


@pytest.mark.parametrize("contender", CONTENDERS, ids=str)
def bench_async_cancel(contender: AsyncContender, show: Show) -> None:
    """Connections lost, as seconds: there is no other column."""
    show(lambda each: float(storm(each).lost), contender, rounds=1)
