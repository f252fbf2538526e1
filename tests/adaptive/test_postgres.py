"""A sizer on a real pool and a real server."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg

import millpond
from helpers import eventually, in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from millpond._adaptive import Resizable

NAME = "millpond-adaptive-test"
QUERY = "SELECT pg_sleep(0.01)"
TARGET = 0.004


def sizer_of(pool: Resizable, clock: Callable[[], float]) -> millpond.AdaptiveSizer:
    return millpond.AdaptiveSizer(
        pool,
        min_size=2,
        max_size=20,
        target_wait=TARGET,
        cool_down=5.0,
        window=10.0,
        clock=clock,
    )


@contextmanager
def callers(pool: millpond.Pool[Any], count: int) -> Iterator[None]:
    """Have threads query one after the other, without a pause, while the block runs."""
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            with pool.connection() as conn:
                conn.execute(QUERY)

    threads = [in_thread(work) for _ in range(count)]
    try:
        yield
    finally:
        over.set()
    for thread in threads:
        thread.result()


def test_the_size_follows_the_load_up_and_down(postgres_url: str) -> None:
    """Every step is a second by the sizer's clock, and as long as a query by the server's."""
    now = [0.0]
    with (
        psycopg.connect(postgres_url, autocommit=True) as outside,
        millpond.Pool(postgres_url, max_size=2, application_name=NAME) as pool,
    ):
        sizer = sizer_of(pool, lambda: now[0])

        def steps(count: int) -> None:
            for _ in range(count):
                outside.execute(QUERY)
                now[0] += 1.0
                sizer.step()

        def sessions() -> int:
            query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
            row = outside.execute(query, [NAME]).fetchone()
            return int(row[0]) if row else 0

        with callers(pool, 16):
            steps(60)
            before = pool.stats()
            steps(10)
            after = pool.stats()
            busy = pool.max_size
        with callers(pool, 1):
            steps(150)
            quiet = pool.max_size
            eventually(lambda: sessions() <= quiet)

    # Without a pause, 16 callers have no wait with 16 connections, and a fourth of it with 12.
    assert 12 <= busy <= 20
    waited = after.wait_time.sum - before.wait_time.sum
    assert waited / (after.acquired - before.acquired) <= TARGET
    # One of four in use is under 0.3, and of three only if it was seen between two queries.
    assert 2 <= quiet <= 3
    ups = [change for change in sizer.history if change.after > change.before]
    assert sizer.history[: len(ups)] == tuple(ups)
    assert len(ups) <= 6


def test_the_size_of_a_pool_for_asyncio_follows_the_load(postgres_url: str) -> None:
    async def main() -> tuple[int, int]:
        now = 0.0
        pool: millpond.AsyncPool[Any] = millpond.AsyncPool(postgres_url, max_size=2)
        async with pool, await psycopg.AsyncConnection.connect(postgres_url) as outside:
            sizer = sizer_of(pool, lambda: now)

            async def work() -> None:
                while not over.is_set():
                    async with pool.connection() as conn:
                        await conn.execute(QUERY)

            async def steps(count: int) -> int:
                nonlocal now
                for _ in range(count):
                    await outside.execute(QUERY)
                    now += 1.0
                    sizer.step()
                return pool.max_size

            over = asyncio.Event()
            async with asyncio.TaskGroup() as tasks:
                for _ in range(16):
                    tasks.create_task(work())
                busy = await steps(60)
                over.set()
            quiet = await steps(60)
        return busy, quiet

    busy, quiet = asyncio.run(main())

    assert 12 <= busy <= 20
    assert quiet < busy / 2
