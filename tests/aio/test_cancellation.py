"""A cancellation, wherever it comes, loses no connection, lends none half used, leaves no task."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import millpond
from async_cancel import MOMENTS, Moment, Plan, Scenario, run, sweep, sweep_level, sweep_twice

if TYPE_CHECKING:
    from async_cancel import Pool
    from async_fakes import AsyncFakeDatabase

    Database = AsyncFakeDatabase


async def fill(pool: Pool, _: Database) -> None:
    """Open all that may be, and have them idle."""
    lent = [await pool.acquire() for _ in range(pool.max_size)]
    for conn in lent:
        await pool.release(conn)


class Held:
    """All connections are in use until somebody lets them go."""

    def __init__(self) -> None:
        self.held: list[Any] = []

    async def take(self, pool: Pool, _: Database) -> None:
        self.held = [await pool.acquire() for _ in range(pool.max_size)]

    async def let_go(self, pool: Pool, _: Database | None = None) -> None:
        while self.held:
            await pool.release(self.held.pop())

    async def let_go_soon(self, pool: Pool) -> None:
        await asyncio.sleep(0)
        await self.let_go(pool)


async def acquire(pool: Pool, _: Database) -> None:
    conn = await pool.acquire()
    await pool.release(conn)


async def block(pool: Pool, _: Database) -> None:
    async with pool.connection() as conn:
        await conn.execute()
        await conn.execute()


async def limited_block(pool: Pool, _: Database) -> None:
    async with pool.connection(query_timeout=0.01) as conn:
        await conn.execute("SLEEP")


async def in_time(pool: Pool, _: Database) -> None:
    async with pool.connection(query_timeout=30) as conn:
        await conn.execute()


async def transaction(pool: Pool, _: Database) -> None:
    async with pool.transaction(isolation="serializable") as conn:
        await conn.execute()


async def failing_transaction(pool: Pool, _: Database) -> None:
    async with pool.transaction() as conn:
        await conn.execute()
        raise KeyError


async def savepoints(pool: Pool, _: Database) -> None:
    async with pool.transaction() as conn:
        await conn.execute()
        async with pool.transaction():
            await conn.execute()
        try:
            async with pool.savepoint(conn):
                await conn.execute()
                raise KeyError  # noqa: TRY301  the savepoint is what it goes back to
        except KeyError:
            await conn.execute()


class ConflictError(Exception):
    sqlstate = "40001"


async def repeated(pool: Pool, _: Database) -> None:
    attempts = 0

    async def work(conn: Any) -> None:
        nonlocal attempts
        attempts += 1
        await conn.execute()
        if attempts == 1:
            raise ConflictError

    await pool.run(work)


async def dirty_release(pool: Pool, _: Database) -> None:
    conn = await pool.acquire()
    try:
        await conn.execute()
    finally:
        await pool.release(conn)


async def hook(_: Any) -> None:
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def own_reset(conn: Any) -> None:
    if conn.in_transaction:
        await conn.rollback()


async def wait(pool: Pool, _: Database) -> None:
    await pool.wait(timeout=5)


async def close(pool: Pool, _: Database) -> None:
    await pool.close()


async def close_in_use(pool: Pool, _: Database) -> None:
    closing = asyncio.ensure_future(asyncio.sleep(0))
    async with pool.connection() as conn:
        await conn.execute()
        await closing
    await pool.close()


async def pool_as_block(pool: Pool, _: Database) -> None:
    async with pool, pool.connection() as conn:
        await conn.execute()


async def discarded(pool: Pool, _: Database) -> None:
    conn = await pool.acquire()
    try:
        await conn.execute()
    finally:
        await pool.discard(conn)


async def tried(pool: Pool, _: Database) -> None:
    conn = await pool.try_acquire()
    if conn is not None:
        await pool.release(conn)


HOOKS = {"configure": hook, "on_acquire": hook, "on_release": hook, "on_close": hook}


def scenarios() -> dict[str, Scenario]:
    """Everything that is awaited of a pool."""
    busy, serving = Held(), Held()

    async def wait_in_line(pool: Pool, _: Database) -> None:
        letting_go = asyncio.ensure_future(serving.let_go_soon(pool))
        try:
            async with pool.connection() as conn:
                await conn.execute()
        finally:
            await letting_go

    async def in_vain(pool: Pool, _: Database) -> None:
        with pytest.raises(millpond.PoolTimeout):
            await pool.acquire(timeout=0.005)

    validated = {"validation_interval": 0}
    return {
        "acquire while connecting": Scenario(acquire),
        "acquire an idle one": Scenario(acquire, prepare=fill),
        "acquire and wait": Scenario(wait_in_line, prepare=serving.take, release=serving.let_go),
        "acquire in vain": Scenario(in_vain, prepare=busy.take, release=busy.let_go),
        "acquire and validate": Scenario(acquire, validated, prepare=fill),
        "acquire and validate by statement": Scenario(
            acquire, {**validated, "validate": "SELECT 1"}, prepare=fill
        ),
        "try_acquire": Scenario(tried, prepare=fill),
        "block": Scenario(block),
        "block on an idle one": Scenario(block, prepare=fill),
        "block without reset": Scenario(acquire, {"reset": "none"}),
        "block with hooks": Scenario(block, HOOKS),
        "block with hooks on an idle one": Scenario(block, HOOKS, prepare=fill),
        "block with a reset of one's own": Scenario(block, {"reset": own_reset}, prepare=fill),
        "block in time": Scenario(in_time, prepare=fill),
        "block out of time": Scenario(limited_block, prepare=fill, raises=(millpond.QueryTimeout,)),
        "transaction": Scenario(transaction),
        "transaction on an idle one": Scenario(transaction, prepare=fill),
        "transaction that fails": Scenario(failing_transaction, prepare=fill, raises=(KeyError,)),
        "transaction without reset": Scenario(transaction, {"reset": "none"}, prepare=fill),
        "transaction that fails without reset": Scenario(
            failing_transaction, {"reset": "none"}, prepare=fill, raises=(KeyError,)
        ),
        "savepoints": Scenario(savepoints, prepare=fill),
        "savepoints without reset": Scenario(savepoints, {"reset": "none"}, prepare=fill),
        "run with a retry": Scenario(repeated, prepare=fill),
        "release with a reset": Scenario(dirty_release, prepare=fill),
        "discard": Scenario(discarded, prepare=fill),
        "wait": Scenario(wait, {"min_size": 2}),
        "close": Scenario(close, prepare=fill, closes=True),
        "close while connecting": Scenario(close, {"min_size": 2}, closes=True),
        "close after use": Scenario(close_in_use, HOOKS, closes=True),
        "pool as a block": Scenario(pool_as_block, {"min_size": 1}, closes=True),
    }


NAMES = list(scenarios())


@pytest.mark.usefixtures("each_loop")
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("name", NAMES)
def test_a_caller_may_be_cancelled_wherever_it_suspends(name: str, moment: Moment) -> None:
    points = sweep(scenarios()[name], moment=moment)

    assert points or name in {"acquire an idle one", "try_acquire"}


# Whoever cancels the task that is to cancel a statement has it run for ever.
ENDING = [name for name in NAMES if name != "block out of time"]


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("name", ENDING)
def test_each_task_of_a_pool_may_be_cancelled_wherever_it_suspends(
    name: str, moment: Moment
) -> None:
    """As the end of a loop does, or somebody who cancels all tasks that there are."""
    sweep(scenarios()[name], of="millpond-", moment=moment)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("name", NAMES)
def test_a_caller_may_be_cancelled_twice(name: str, moment: Moment) -> None:
    sweep_twice(scenarios()[name], moment=moment)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("name", NAMES)
def test_a_caller_may_be_cancelled_whenever_it_suspends_again(name: str, moment: Moment) -> None:
    sweep_level(scenarios()[name], moment=moment)


def test_the_harness_sees_a_connection_that_is_lost() -> None:
    """Else it would prove nothing."""

    async def careless(pool: Pool, _: Database) -> None:
        conn = await pool.acquire()
        await conn.execute()
        await pool.release(conn)

    with pytest.raises(AssertionError, match="1 in use"):
        sweep(Scenario(careless))


def test_the_harness_sees_a_transaction_that_is_lent() -> None:
    async def dirty(pool: Pool, _: Database) -> None:
        conn = await pool.acquire()
        await conn.execute()
        await pool.release(conn)

    with pytest.raises(AssertionError, match="has a transaction open"):
        run(Scenario(dirty, {"reset": "none"}), Plan(()))
