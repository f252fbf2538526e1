"""Serialization failures and deadlocks, which real servers find, and `AsyncPool.run` gets over."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

import millpond
from async_cancel import no_task_is_left
from drivers.aio.cases import CASES, LOOPS, AsyncCase

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Work = Callable[[Any, int], Awaitable[None]]

pytestmark = pytest.mark.server

PARAMETERS = [
    pytest.param((kind, loop), id=f"{kind.name}-{loop}")
    for kind in CASES
    if kind.twin.has_server
    for loop in LOOPS
]


@pytest.fixture(params=PARAMETERS)
def case(request: pytest.FixtureRequest) -> AsyncCase:
    """Give a driver with its server, and the loop to use."""
    kind, loop = request.param
    made: AsyncCase = kind(request, loop)
    return made


class Meeting:
    """Two tasks that meet in their first attempts, and not again."""

    def __init__(self) -> None:
        self.attempts = 0
        self._both = asyncio.Event()

    async def attempt(self, before: Awaitable[None]) -> None:
        """Do something, and wait until the other has come as far."""
        self.attempts += 1
        await before
        if self.attempts >= 2:
            self._both.set()
        async with asyncio.timeout(20):
            await self._both.wait()


class Table:
    """A table with the rows (1, 0) and (2, 0), and a pool of two connections."""

    def __init__(self, case: AsyncCase, pool: millpond.AsyncPool[Any]) -> None:
        self.case = case
        self.pool = pool
        self.name = f"aio_conflicts_{time.monotonic_ns()}"
        self.meeting = Meeting()

    async def run(self, conn: Any, statement: str) -> None:
        await self.pool._driver.execute(conn, statement)

    async def add(self, conn: Any, to: int) -> None:
        await self.run(conn, f"UPDATE {self.name} SET n = n + 1 WHERE id = {to}")

    async def value(self, conn: Any, of: int) -> int:
        rows = await self.case.rows(conn, f"SELECT n FROM {self.name} WHERE id = {of}")
        return int(rows[0][0])

    async def values(self) -> list[int]:
        async with self.pool.transaction() as conn:
            return [await self.value(conn, 1), await self.value(conn, 2)]

    async def both(self, work: Work, **options: Any) -> None:
        """Have two tasks run `work` with 1 and with 2."""

        async def one(which: int) -> None:
            await self.pool.run(lambda conn: work(conn, which), **options)

        async with asyncio.timeout(40), asyncio.TaskGroup() as group:
            group.create_task(one(1))
            group.create_task(one(2))


def play(case: AsyncCase, act: Callable[[Table], Awaitable[None]]) -> None:
    """Do something with a table."""
    # PostgreSQL looks for deadlocks after a second, if one does not say otherwise.
    soon = "SET deadlock_timeout = '20ms'" if case.scheme.startswith("postgresql") else ()

    async def main() -> None:
        async with millpond.AsyncPool(case.url, max_size=2, session=soon) as pool:
            table = Table(case, pool)
            create = f"CREATE TABLE {table.name} (id INTEGER PRIMARY KEY, n INTEGER)"
            async with pool.transaction() as conn:
                await table.run(conn, create)
                await table.run(conn, f"INSERT INTO {table.name} VALUES (1, 0), (2, 0)")
            try:
                await act(table)
                assert pool.stats().in_use == 0
                assert pool.stats().opened == 2
            finally:
                async with pool.transaction() as conn:
                    await table.run(conn, f"DROP TABLE {table.name}")
        await no_task_is_left()

    case.start(main())


def test_of_two_serializable_transactions_one_is_repeated(case: AsyncCase) -> None:
    """Write skew: each sets its row to one more than the other's."""

    async def act(table: Table) -> None:
        async def work(conn: Any, mine: int) -> None:
            found: list[int] = []

            async def look() -> None:
                found.append(await table.value(conn, 3 - mine))

            await table.meeting.attempt(look())
            new = f"UPDATE {table.name} SET n = {found[0] + 1} WHERE id = {mine}"
            await table.run(conn, new)

        await table.both(work, isolation="serializable")

        assert sorted(await table.values()) == [1, 2]
        assert table.meeting.attempts >= 3  # the repetition may run into the other once more

    play(case, act)


@pytest.mark.parametrize("within", ["", "a savepoint"])
def test_of_two_transactions_in_a_deadlock_one_is_repeated(case: AsyncCase, within: str) -> None:
    """MySQL forgets the whole transaction, PostgreSQL goes back to the savepoint."""

    async def act(table: Table) -> None:
        async def work(conn: Any, first: int) -> None:
            await table.meeting.attempt(table.add(conn, first))
            if within:
                async with table.pool.transaction() as inner:
                    assert inner is conn
                    await table.add(inner, 3 - first)
            else:
                await table.add(conn, 3 - first)

        await table.both(work)

        assert await table.values() == [2, 2]
        assert table.meeting.attempts >= 3  # the repetition may run into the other once more

    play(case, act)


def test_who_waits_for_a_lock_may_be_cancelled_and_the_other_goes_on(case: AsyncCase) -> None:
    async def act(table: Table) -> None:
        begun = asyncio.Event()

        async def wait_for_the_row() -> None:
            async with table.pool.transaction() as conn:
                await table.add(conn, 2)
                begun.set()
                await table.add(conn, 1)

        async with table.pool.transaction() as conn:
            await table.add(conn, 1)
            waiting = asyncio.create_task(wait_for_the_row())
            await begun.wait()
            await asyncio.sleep(0.05)  # the statement is on its way; the row is ours in any case
            waiting.cancel()
            await asyncio.wait([waiting], timeout=20)
            assert waiting.cancelled()
            await table.add(conn, 1)

        assert await table.values() == [2, 0]

    play(case, act)
