"""What does ``async with pool.connection(): pass`` cost when a connection is idle?

Stub connections that never suspend, one task, defaults. What is done at the end of the block is
left to each: psycopg_pool asks the connection whether a transaction is open, and so does millpond
where the driver can tell ("as psycopg"); where it can't, both of millpond's and the others roll
back each time, and aiosqlitepool runs a SELECT before as well.
"""

import asyncio
import time

import pytest

from _harness_async import AS_PSYCOPG, CONTENDERS, AsyncContender, QuietStub
from conftest import Show
from millpond.cli.bench._peers import AsyncHandle

_REPEATS = 7
_SECONDS_PER_REPEAT = 0.01
_SIZE = 4


def block_of(contender: AsyncContender) -> float:
    """Return the seconds for the empty block: the best of several runs, less the empty loop."""
    return asyncio.run(_block_of(contender))


async def _block_of(contender: AsyncContender) -> float:
    async with contender.opened(_SIZE, QuietStub) as handle:
        once = await _blocks(handle, 100) / 100
        loops = max(100, int(_SECONDS_PER_REPEAT / once))
        best = min([await _blocks(handle, loops) for _ in range(_REPEATS)])
    return (best - min(_nothing(loops) for _ in range(_REPEATS))) / loops


async def _blocks(handle: AsyncHandle, loops: int) -> float:
    connection = handle.connection
    began = time.perf_counter()
    for _ in range(loops):
        async with connection():
            pass
    return time.perf_counter() - began


def _nothing(loops: int) -> float:
    began = time.perf_counter()
    for _ in range(loops):
        pass
    return time.perf_counter() - began


@pytest.mark.parametrize("contender", [AS_PSYCOPG, *CONTENDERS], ids=str)
def bench_async_with(contender: AsyncContender, show: Show) -> None:
    """The block that most code uses."""
    show(block_of, contender)
