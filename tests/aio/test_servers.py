"""Real servers through `AsyncPool`: whatever is cancelled, the next one gets its own answer."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

import millpond
from drivers.aio.cases import CASES, LOOPS, AsyncCase

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PARAMETERS = [
    pytest.param(
        (kind, loop),
        id=f"{kind.name}-{loop}",
        marks=[pytest.mark.server] if kind.twin.has_server else [],
    )
    for kind in CASES
    for loop in LOOPS
]


@pytest.fixture(params=PARAMETERS)
def case(request: pytest.FixtureRequest) -> AsyncCase:
    """Give a driver with its database, and the loop to use."""
    kind, loop = request.param
    made: AsyncCase = kind(request, loop)
    return made


Pool = millpond.AsyncPool[Any]


def play(case: AsyncCase, act: Callable[[Pool], Awaitable[None]], **options: Any) -> None:
    """Do something with a pool, in a loop of its own."""

    async def main() -> None:
        async with millpond.AsyncPool(case.url, **options) as pool:
            await act(pool)
            assert pool.stats().in_use == 0

    case.start(main())


async def ask(case: AsyncCase, conn: Any, number: int) -> None:
    """Ask something of which nobody else gets the answer."""
    assert [tuple(row) for row in await case.rows(conn, f"SELECT {number}")] == [(number,)]


async def all_can_be_lent(case: AsyncCase, pool: Pool) -> None:
    """See that no place was lost, and that each connection is in order."""
    lent = await asyncio.gather(*(pool.acquire(timeout=20) for _ in range(pool.max_size)))
    for number, conn in enumerate(lent):
        await ask(case, conn, number)
    for conn in lent:
        await pool.release(conn)


def test_many_tasks_get_their_own_answers_whoever_is_cancelled(case: AsyncCase) -> None:
    async def act(pool: Pool) -> None:
        dice = random.Random(7)
        answered = 0

        async def work(number: int) -> None:
            nonlocal answered
            async with pool.connection(timeout=30) as conn:
                await ask(case, conn, number)
                await ask(case, conn, -number)
            answered += 1

        tasks = [asyncio.create_task(work(number)) for number in range(1, 101)]
        for _ in range(25):
            await asyncio.sleep(dice.uniform(0, 0.003))
            dice.choice(tasks).cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)

        errors = [one for one in ended if isinstance(one, Exception)]
        assert errors == []
        assert answered >= 75
        await all_can_be_lent(case, pool)

    play(case, act, max_size=4)


def test_a_statement_may_be_cancelled_at_any_moment(case: AsyncCase) -> None:
    async def cancel_at(steps: range) -> None:
        async with millpond.AsyncPool(case.url, max_size=1) as pool:
            began = time.perf_counter()
            async with pool.connection() as conn:
                await case.rows(conn, case.waiting)
            took = time.perf_counter() - began

            async def work() -> None:
                async with pool.connection(timeout=30) as conn:
                    await case.rows(conn, case.waiting)

            for step in steps:
                task = asyncio.create_task(work())
                await asyncio.sleep(took * step / 10)
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
                async with pool.connection(timeout=30) as conn:
                    await ask(case, conn, step)

    async def at_the_same_time() -> None:
        await asyncio.gather(*(cancel_at(range(first, 12, 4)) for first in range(4)))

    case.start(at_the_same_time())


def test_what_is_cancelled_in_a_transaction_is_undone(case: AsyncCase) -> None:
    table = f"undone_{case.name}_{case.loop}"

    async def act(pool: Pool) -> None:
        driver = pool._driver
        async with pool.connection() as conn:
            await driver.execute(conn, f"DROP TABLE IF EXISTS {table}")
            await driver.execute(conn, f"CREATE TABLE {table} (n INTEGER)")
            if case.implicit:
                await driver.commit(conn)
        committed = 0

        async def work(number: int) -> None:
            nonlocal committed
            async with pool.transaction() as conn:
                await pool._driver.execute(conn, f"INSERT INTO {table} VALUES ({number})")
                await asyncio.sleep(0.002)
                await pool._driver.execute(conn, f"INSERT INTO {table} VALUES ({number})")
            committed += 1

        for number in range(20):
            task = asyncio.create_task(work(number))
            await asyncio.sleep(0.0007 * number)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        async with pool.connection(timeout=30) as conn:
            rows = await case.rows(conn, f"SELECT n, count(*) FROM {table} GROUP BY n")
        # Who is cancelled while it commits does not know; but there is never half of it.
        assert all(count == 2 for _, count in rows)
        assert len(rows) >= committed
        async with pool.transaction() as conn:
            await pool._driver.execute(conn, f"DROP TABLE {table}")

    play(case, act, max_size=1)


def test_a_query_timeout_ends_the_statement_and_not_the_next(case: AsyncCase) -> None:
    async def act(pool: Pool) -> None:
        for number in range(3):
            with pytest.raises(millpond.QueryTimeout):
                async with pool.connection(query_timeout=0.05, timeout=30) as conn:
                    await case.rows(conn, case.blocking.endless)
            async with pool.connection(timeout=30) as conn:
                await ask(case, conn, number)

    play(case, act, max_size=1)


def test_what_a_borrower_leaves_open_is_not_the_next_ones(case: AsyncCase) -> None:
    table = f"left_{case.name}_{case.loop}"

    async def act(pool: Pool) -> None:
        async with pool.transaction() as conn:
            await pool._driver.execute(conn, f"CREATE TABLE {table} (n INTEGER)")
        async with pool.connection() as conn:
            await pool._driver.begin(conn)
            await pool._driver.execute(conn, f"INSERT INTO {table} VALUES (1)")
        async with pool.connection() as again:
            assert again is conn
            assert await case.rows(again, f"SELECT n FROM {table}") in ([], ())
        async with pool.transaction() as conn:
            await pool._driver.execute(conn, f"DROP TABLE {table}")

    play(case, act, max_size=1)
