"""What a pool tells of itself when loops come and go: all is counted once, and nothing stays."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import millpond
from async_fakes import AsyncFakeDatabase
from async_loops import loop_in_thread
from fakes import OperationalError
from helpers import in_thread, lines_of
from millpond._aio._engine import LoopEngine
from observing import Diary, async_pool

if TYPE_CHECKING:
    from millpond._core import ManualClock


def pool_of(database: AsyncFakeDatabase, **options: Any) -> millpond.AsyncPool[Any]:
    return millpond.AsyncPool(database.aconnect, driver=database.driver(), **options)


async def use(pool: millpond.AsyncPool[Any]) -> None:
    async with pool.connection():
        pass


def test_what_happened_in_a_loop_that_has_ended_is_forgotten_after_a_minute(
    clock: ManualClock,
) -> None:
    pool = pool_of(AsyncFakeDatabase(), _clock=clock)
    seen = []
    for _ in range(8):
        asyncio.run(use(pool))
        clock.advance(20.0)
        window = pool.stats().window
        seen.append((window.seconds, window.acquired, window.opened, window.open_time.count))

    assert seen == [*((20.0 * n, n, n, n) for n in (1, 2)), *[(60.0, 3, 3, 3)] * 6]
    clock.advance(60.0)
    assert pool.stats().window.acquired == 0
    assert pool.stats().acquired == 8
    asyncio.run(pool.close())


def test_the_timer_of_any_loop_takes_a_sample_of_all(clock: ManualClock) -> None:
    pool = pool_of(AsyncFakeDatabase(), _clock=clock)

    async def main() -> None:
        await use(pool)
        clock.advance(500.0)
        pool._run_due()
        await use(pool)
        clock.advance(20.0)

    asyncio.run(main())

    window = pool.stats().window
    assert (window.seconds, window.acquired) == (20.0, 1)
    asyncio.run(pool.close())


def test_an_error_of_a_loop_that_has_ended_is_not_the_last_one() -> None:
    database = AsyncFakeDatabase()
    pool = pool_of(database, fail_fast_after=None)
    database.fail_next(OperationalError("refused"))

    async def fail() -> str | None:
        with pytest.raises(millpond.PoolTimeout):
            await pool.acquire(timeout=0.02)
        return pool.stats().last_error

    assert asyncio.run(fail()) == "OperationalError: refused"

    assert pool.stats().last_error is None
    asyncio.run(pool.close())


@pytest.mark.usefixtures("fast_switching")
def test_counters_never_go_back_while_loops_come_and_go() -> None:
    pool = pool_of(AsyncFakeDatabase(), max_size=4)

    def come_and_go() -> None:
        for _ in range(60):
            asyncio.run(use(pool))

    running = [in_thread(come_and_go) for _ in range(2)]
    seen = [0]
    while not all(one.done for one in running):
        seen.append(pool.stats().acquired)

    for one in running:
        one.result()
    assert seen == sorted(seen)
    assert max(seen) <= pool.stats().acquired == 120
    asyncio.run(pool.close())


def test_a_loop_tells_a_listener_that_came_at_the_same_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool, diary = pool_of(AsyncFakeDatabase()), Diary()
    learn = LoopEngine._learn

    def come_between(engine: LoopEngine[Any]) -> None:
        learn(engine)
        if not pool._all():
            pool.add_listener(diary, "acquired")

    monkeypatch.setattr(LoopEngine, "_learn", come_between)
    asyncio.run(use(pool))

    assert diary.kinds == ["acquired"]
    asyncio.run(pool.close())


def test_statistics_can_be_asked_for_in_any_thread() -> None:
    async def main() -> tuple[millpond.PoolStats, millpond.PoolStats]:
        async with async_pool(name="orders", max_size=2) as pool, pool.connection():
            return pool.stats(), await asyncio.to_thread(pool.stats)

    here, there = asyncio.run(main())

    for stats in (here, there):
        assert (stats.in_use, stats.acquired) == (1, 1)
        assert stats.connections[0].holder_name == here.connections[0].holder_name is not None


def test_a_task_that_waits_for_itself_is_told_so() -> None:
    async def main() -> millpond.PoolTimeout:
        async with async_pool(max_size=1) as pool, pool.connection():
            with pytest.raises(millpond.PoolTimeout) as caught:
                await pool.acquire(timeout=0.25)
            return caught.value

    error = asyncio.run(main())

    assert error.reason == "exhausted"
    assert "by this same task" in str(error)
    assert "this task waits for itself: release a connection first" in str(error)


def test_in_the_child_of_a_fork_everything_counts_from_zero() -> None:
    script = """
        import asyncio
        import os
        import millpond
        from async_fakes import AsyncFakeDatabase

        database = AsyncFakeDatabase()
        pool = millpond.AsyncPool(database.aconnect, driver=database.driver())

        async def use():
            async with pool.connection():
                pass

        asyncio.run(use())
        if child := os.fork():
            os.waitpid(child, 0)
        else:
            stats = pool.stats()
            print(stats.acquired, stats.opened, stats.window.acquired, flush=True)
            asyncio.run(use())
            print(pool.stats().acquired, flush=True)
            os._exit(0)
    """

    assert lines_of(script) == ["0 0 0", "1"]


def test_a_pool_in_two_loops_is_one_to_who_looks(clock: ManualClock) -> None:
    pool = pool_of(AsyncFakeDatabase(), max_size=4, _clock=clock)
    with loop_in_thread() as one, loop_in_thread() as other:
        held = [call(pool.acquire()) for call in (one, other)]
        clock.advance(10.0)

        stats = pool.stats()

        assert (stats.in_use, stats.utilization, stats.window.utilization) == (2, 0.5, 0.5)
        assert (stats.window.seconds, stats.window.acquired) == (10.0, 2)
        for call, conn in zip((one, other), held, strict=True):
            call(pool.release(conn))
            call(pool.close())
