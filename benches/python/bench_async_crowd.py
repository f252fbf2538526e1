"""How long do 200 tasks wait for 10 connections, and how much do they get done?

Stub connections, defaults, the workload of `millpond bench --async` without its query: each task
holds a connection for 10 ms, or gives it back at the next turn of the loop. Held in turn, nobody
would wait longer than 19 holds; what a hold really takes in a loop with so many tasks is measured
without a pool, in the same run.
"""

import asyncio
import time

import pytest

from _harness_async import CONTENDERS, AsyncContender
from conftest import Show
from millpond.cli.bench._tasks import measure_tasks
from millpond.cli.bench._workload import Measurement, Workload

HELD = Workload(threads=200, size=10, hold=0.01, seconds=1.5, query=None, tasks=True)
AT_ONCE = Workload(threads=200, size=10, hold=0.0, seconds=0.5, query=None, tasks=True)


def contest(contender: AsyncContender, workload: Workload = HELD) -> Measurement:
    """Put a pool through a workload."""

    async def measure() -> Measurement:
        async with contender.opened(workload.size) as handle:
            return await measure_tasks(handle, workload)

    return asyncio.run(measure())


def ideal_wait(workload: Workload = HELD) -> float:
    """Return the worst wait if all were served in turn, at the pace of this loop's holds."""

    async def hold() -> None:
        for _ in range(_HOLDS):
            await asyncio.sleep(workload.hold)

    async def side_by_side() -> float:
        began = time.perf_counter()
        await asyncio.gather(*(hold() for _ in range(workload.size)))
        return (time.perf_counter() - began) / _HOLDS

    return (workload.threads / workload.size - 1) * asyncio.run(side_by_side())


_HOLDS = 50


def worst_wait(contender: AsyncContender) -> float:
    """Return the longest wait of any task, in seconds."""
    return contest(contender).wait(1) or 0.0


@pytest.mark.parametrize("contender", CONTENDERS, ids=str)
def bench_async_crowd(contender: AsyncContender, show: Show) -> None:
    """200 tasks, 10 connections, 10 ms."""
    show(worst_wait, contender, rounds=1)
