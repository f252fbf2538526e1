"""Scenarios that are asyncio's own: order, cancellation, the cost of waiting, hooks, leaks."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import sys
import time
from typing import Any
from unittest.mock import Mock

import pytest

import millpond
from async_fakes import AsyncFakeDatabase
from async_loops import Home, until
from async_scripts import PRELUDE, printed

pytestmark = [pytest.mark.freethreaded, pytest.mark.usefixtures("each_loop")]


def test_a_timeout_against_a_hand_over_loses_no_connection() -> None:
    """Scenario 9: deadline and release meet; either the waiter has it or the pool does."""

    async def main() -> None:
        home = Home(max_size=1)
        dice = random.Random(9)
        outcomes = {"served": 0, "gave up": 0}
        for _ in range(300):
            held = await home.pool.acquire()
            timeout = dice.uniform(0.0, 0.002)
            waiter = asyncio.create_task(home.pool.acquire(timeout=timeout))
            await asyncio.sleep(timeout * dice.uniform(0.5, 1.5))
            await home.pool.release(held)
            try:
                await home.pool.release(await waiter)
                outcomes["served"] += 1
            except millpond.PoolTimeout:
                outcomes["gave up"] += 1
            stats = home.pool.stats()
            assert (stats.idle, stats.in_use) == (1, 0)

        assert home.database.connects == 1
        assert all(outcomes.values())
        await home.pool.close()

    asyncio.run(main())


def test_who_is_cancelled_while_waiting_leaves_the_line_to_the_others() -> None:
    """Scenario 10."""

    async def main() -> None:
        home = Home(max_size=1)
        served: list[int] = []
        conn = await home.pool.acquire()

        async def wait(number: int) -> None:
            one = await home.pool.acquire()
            served.append(number)
            await home.pool.release(one)

        tasks = [asyncio.create_task(wait(number)) for number in range(20)]
        await asyncio.sleep(0)
        assert home.pool.stats().waiting == 20
        for task in tasks[::2]:
            task.cancel()
        await asyncio.sleep(0)
        assert home.pool.stats().waiting == 10
        await home.pool.release(conn)
        await asyncio.gather(*tasks, return_exceptions=True)

        assert served == list(range(1, 20, 2))
        assert home.database.connects == 1
        await home.pool.close()

    asyncio.run(main())


@pytest.mark.parametrize("others", [0, 1])
def test_what_is_opened_for_who_was_cancelled_serves_the_next(others: int) -> None:
    """Scenario 11."""

    async def main() -> None:
        home = Home(max_size=1)
        gate = home.database.hang("connect")
        first = asyncio.create_task(home.pool.acquire())
        await until(lambda: gate.arrived)
        waiting = [asyncio.create_task(home.pool.acquire()) for _ in range(others)]
        await asyncio.sleep(0)

        first.cancel()
        gate.release()

        with pytest.raises(asyncio.CancelledError):
            await first
        async with asyncio.timeout(5):
            await until(lambda: others or home.pool.stats().idle)
            conn = await (waiting[0] if others else home.pool.acquire(timeout=0))
        assert home.database.connects == home.database.attempts == 1
        await home.pool.release(conn)
        await home.pool.close()

    asyncio.run(main())


def test_tasks_are_served_in_the_order_in_which_they_asked() -> None:
    async def main() -> None:
        home = Home(max_size=3)
        served: list[int] = []

        async def use(number: int) -> None:
            async with home.pool.connection():
                served.append(number)
                await asyncio.sleep(0)

        await asyncio.gather(*(use(number) for number in range(200)))

        assert served == list(range(200))
        await home.pool.close()

    asyncio.run(main())


def test_two_thousand_tasks_that_wait_cost_no_time() -> None:
    async def main() -> None:
        home = Home(max_size=50, acquire_timeout=None)
        held = [await home.pool.acquire() for _ in range(50)]
        tasks = [asyncio.create_task(home.borrow(patience=float("inf"))) for _ in range(2000)]
        await until(lambda: home.pool.stats().waiting == 2000)

        # Of this thread: the pool has no other, and those of other tests are not meant.
        before = time.thread_time()
        await asyncio.sleep(0.5)
        spent = time.thread_time() - before

        assert spent < 0.05
        for conn in held:
            await home.pool.release(conn)
        await asyncio.gather(*tasks)
        assert home.served == 2000
        assert home.database.connects == 50
        await home.pool.close()

    asyncio.run(main())


def test_a_hook_that_would_have_to_wait_for_its_own_pool_is_told_so() -> None:
    async def main() -> None:
        pools: list[millpond.AsyncPool[Any]] = []

        async def nested(_: Any) -> None:
            await pools[0].acquire(timeout=30)

        home = Home(max_size=1, on_acquire=nested)
        pools.append(home.pool)

        with pytest.raises(millpond.PoolError, match="hook") as caught:
            await home.pool.acquire()

        assert not isinstance(caught.value, millpond.PoolTimeout)
        assert home.pool.stats().in_use == 0
        await home.pool.close()

    asyncio.run(main())


def test_a_hook_may_start_a_task_that_waits() -> None:
    """It is the hook that must not wait for its own pool, and not what it has begun."""

    async def main() -> None:
        tasks: list[asyncio.Task[None]] = []

        def begin(_: Any) -> None:
            if not tasks:
                tasks.append(asyncio.create_task(home.borrow()))

        home = Home(max_size=1, on_acquire=begin)
        async with home.pool.connection():
            await asyncio.sleep(0.01)
        await tasks[0]
        await home.pool.close()

    asyncio.run(main())


def test_a_block_that_is_garbage_collected_gives_its_connection_back() -> None:
    async def main() -> None:
        home = Home(max_size=1, name="orders")
        block = home.pool.connection()
        await block.__aenter__()
        cycle: list[Any] = [block]
        cycle.append(cycle)
        waiter = asyncio.create_task(home.borrow())
        await asyncio.sleep(0)
        del block, cycle
        with pytest.warns(ResourceWarning, match="orders"):
            gc.collect()

        await waiter
        assert home.database.connects == 2
        await home.pool.close()

    asyncio.run(main())


@pytest.mark.parametrize("has_ended", [False, True])
def test_a_leak_is_reported_with_its_task_and_its_line(
    caplog: pytest.LogCaptureFixture,
    has_ended: bool,  # noqa: FBT001  a parameter of the test
) -> None:
    line = 0
    over = asyncio.Event()

    async def forgetful(home: Home) -> None:
        nonlocal line
        line = sys._getframe().f_lineno + 1
        await home.pool.acquire()
        if not has_ended:
            await over.wait()

    async def main() -> None:
        home = Home(max_size=1, leak_threshold=0.05)
        task = asyncio.create_task(forgetful(home), name="the forgetful one")
        for _ in range(200):
            if "has been held" in caplog.text:
                break
            await asyncio.sleep(0.01)
        over.set()
        await task
        (conn,) = home.database.connections
        await home.pool.release(conn)
        await home.pool.close()

    with caplog.at_level(logging.WARNING):
        asyncio.run(main())

    assert f"test_scenarios.py:{line}" in caplog.text
    assert "the forgetful one" in caplog.text


def test_a_timeout_names_the_task_that_holds_the_connection() -> None:
    async def main() -> None:
        home = Home(max_size=1)
        holder = asyncio.create_task(home.borrow(5), name="the greedy one")
        await until(lambda: any(one.held for one in home.pool.stats().connections))

        with pytest.raises(millpond.PoolTimeout, match="the greedy one"):
            await home.pool.acquire(timeout=0)

        assert home.pool.stats().connections[0].holder_name == "the greedy one"
        holder.cancel()
        await asyncio.wait([holder])
        await home.pool.close()

    asyncio.run(main())


def test_the_child_of_a_fork_has_connections_of_its_own() -> None:
    lines = printed(
        PRELUDE
        + """\
import os

pool = make(max_size=2)

async def use():
    async with pool.connection() as one, pool.connection() as other:
        await one.execute()
        return sorted([one.number, other.number])

async def parent():
    before = await use()
    held = await pool.acquire()
    sys.stdout.flush()
    child = os.fork()
    if not child:
        return None
    assert os.waitpid(child, 0)[1] == 0
    await pool.release(held)
    print(before == await use(), database.violations, flush=True)
    await pool.close()
    return child

if asyncio.run(parent()) is None:
    print("child", asyncio.run(use()), [one.closed for one in database.connections[:2]], flush=True)
    os._exit(0)
"""
    )

    assert lines == ["child [3, 4] [False, False]", "True []"]


def test_a_block_is_described_where_no_loop_runs_and_entered_in_one() -> None:
    home = Home(max_size=1)
    wrong: list[dict[str, Any]] = [
        {"timeout": -1},
        {"timeout": "5"},
        {"priority": "low"},
        {"priority": []},
    ]
    for terms in wrong:
        with pytest.raises(millpond.PoolConfigError, match=next(iter(terms))):
            home.pool.connection(**terms)
    block = home.pool.connection(timeout=5, priority="high")

    async def main() -> None:
        async with block as conn:
            await conn.execute()
        await home.pool.close()

    asyncio.run(main())


def test_what_stood_in_for_a_connection_is_forgotten_after_its_block() -> None:
    async def main() -> None:
        home = Home(max_size=1, acquire_timeout=0.001, on_exhausted=lambda _: object())
        held = await home.pool.acquire()
        for _ in range(3):
            async with home.pool.connection() as stand_in:
                assert stand_in is not held

        assert home.pool._stand_ins == []
        await home.pool.release(held)
        await home.pool.close()

    asyncio.run(main())


@pytest.mark.parametrize("reset", ["none", "rollback"])
@pytest.mark.parametrize("way", ["block", "release", "transaction"])
def test_a_driver_that_fails_to_say_how_a_connection_stands_loses_none(
    caplog: pytest.LogCaptureFixture, reset: str, way: str
) -> None:
    async def use(home: Home) -> None:
        if way == "release":
            await home.pool.release(await home.pool.acquire())
        elif way == "block":
            async with home.pool.connection():
                pass
        else:
            with pytest.raises(asyncio.CancelledError):
                async with home.pool.transaction():
                    raise asyncio.CancelledError

    def fail(_: Any) -> Any:
        raise AttributeError(way)

    async def main() -> None:
        home = Home(max_size=1, reset=reset)
        driver: Any = home.pool._driver
        driver.is_clean = driver.transaction_status = fail
        for _ in range(2):
            await use(home)
            assert home.pool.stats().in_use == 0
        await home.pool.close()
        assert home.database.live == 0

    asyncio.run(main())
    assert "couldn't say" in caplog.text


def test_an_error_that_names_many_holders_looks_at_all_tasks_only_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """When one waits in vain, so may thousands, and each of them would look at thousands."""

    async def main() -> None:
        home = Home(max_size=5)
        holders = [asyncio.create_task(home.borrow(60), name=f"greedy {n}") for n in range(5)]
        await until(lambda: home.pool.stats().in_use == 5)
        look = Mock(side_effect=asyncio.all_tasks)
        monkeypatch.setattr(asyncio, "all_tasks", look)
        with pytest.raises(millpond.PoolTimeout, match=r"(?s)greedy 0.*greedy 4"):
            await home.pool.acquire(timeout=0)
        monkeypatch.undo()

        assert look.call_count <= 1  # none, if the last one is young
        for holder in holders:
            holder.cancel()
        await asyncio.wait(holders)
        await home.pool.close()

    asyncio.run(main())


def test_a_transaction_that_outlives_its_pool_is_rolled_back_when_it_is_cancelled() -> None:
    async def main() -> None:
        home = Home(max_size=1)
        begun = asyncio.Event()

        async def work() -> None:
            async with home.pool.transaction() as conn:
                await conn.execute()
                begun.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await begun.wait()
        await home.pool.close(timeout=0)
        assert home.database.live == 1

        task.cancel()
        await asyncio.wait([task])
        await until(lambda: home.database.live == 0)
        assert home.pool.stats().in_use == 0

    asyncio.run(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there are no eager tasks")
def test_a_loop_whose_tasks_are_eager_runs_no_job_within_a_call_of_the_pool() -> None:
    """Its hooks would not be known as such, and be called with whatever lock that call has."""
    began: list[bool] = []

    # Not asyncio.eager_task_factory, whose 3.13 does not take all that uvloop gives it.
    def eagerly(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
        return asyncio.Task(work, loop=loop, **{**options, "eager_start": True})

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(eagerly)
        database = AsyncFakeDatabase()

        async def connect() -> Any:
            database._begin()
            return database._opened()  # without having suspended

        async def configure(_: Any) -> None:
            began.append(True)
            with pytest.raises(millpond.PoolError, match="hook"):
                await pool.acquire(timeout=5)

        pool = millpond.AsyncPool(
            connect, driver=database.driver(), configure=configure, min_size=1, max_size=1
        )
        pool.resize(min_size=1, max_size=1)
        assert not began
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(_use(pool))
        await pool.close()

    asyncio.run(main())
    assert began == [True]


async def _use(pool: millpond.AsyncPool[Any]) -> None:
    async with pool.connection() as conn:
        await conn.execute()
