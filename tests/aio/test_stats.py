"""What a pool tells of itself when loops come and go: all is counted once, and nothing stays."""

from __future__ import annotations

import asyncio
import weakref
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import millpond
from async_fakes import AsyncFakeDatabase
from async_loops import loop_in_thread
from fakes import OperationalError
from helpers import in_thread, lines_of
from millpond._aio import _tasks
from millpond._aio._engine import LoopEngine
from observing import Diary, async_pool

if TYPE_CHECKING:
    from collections.abc import Iterator

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


@pytest.mark.freethreaded
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
        one(pool.close())


def test_a_thousand_timeouts_at_once_look_at_all_tasks_a_few_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[float] = []
    all_tasks = asyncio.all_tasks

    def counted(loop: asyncio.AbstractEventLoop) -> set[asyncio.Task[Any]]:
        looks.append(loop.time())
        return all_tasks(loop)

    async def main() -> list[str | None]:
        async with async_pool(max_size=3) as pool:
            held = [await asyncio.create_task(pool.acquire()) for _ in range(2)]

            async def hold() -> None:
                async with pool.connection():
                    await over.wait()

            async def give_up() -> str | None:
                with pytest.raises(millpond.PoolTimeout) as caught:
                    await pool.acquire(timeout=0.1)
                return caught.value.reason

            over = asyncio.Event()
            holder = asyncio.create_task(hold())
            monkeypatch.setattr(asyncio, "all_tasks", counted)
            reasons = await asyncio.gather(*(give_up() for _ in range(1000)))
            over.set()
            await holder
            for one in held:
                await pool.release(one)
            return reasons

    # Two of the tasks that hold connections have ended.
    assert set(asyncio.run(main())) == {"leak_suspected"}
    assert len(looks) < 500


class TestTasks:
    """Who looks for tasks, however many there are."""

    @pytest.fixture
    def now(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        """Give the time, to change."""
        made = [100.0]
        monkeypatch.setattr(_tasks, "time", SimpleNamespace(perf_counter=lambda: made[0]))
        return made

    @pytest.fixture
    def looks(self, monkeypatch: pytest.MonkeyPatch, now: list[float]) -> Iterator[list[float]]:
        """Give when all were looked at, and have that take as long as the first of them says."""
        made = [0.0]
        all_tasks = asyncio.all_tasks

        def slowly(loop: asyncio.AbstractEventLoop) -> set[asyncio.Task[Any]]:
            now[0] += made[0]
            made.append(now[0])
            return all_tasks(loop)

        monkeypatch.setattr(asyncio, "all_tasks", slowly)
        yield made
        monkeypatch.undo()

    def test_who_was_found_is_not_looked_for_again(self, looks: list[float]) -> None:
        async def main() -> None:
            tasks, own = _tasks.Tasks(), asyncio.current_task()
            tasks.watch(asyncio.get_running_loop())
            number = _tasks.number_of(own)

            assert [tasks.find([number]) for _ in range(3)] == [{number: own}] * 3
            assert tasks.name_of(number) == "this same task"
            assert not tasks.has_ended(number)

        asyncio.run(main())
        assert len(looks) == 2

    def test_one_look_answers_for_all_who_have_ended(self, looks: list[float]) -> None:
        async def main() -> None:
            tasks = _tasks.Tasks()
            tasks.watch(asyncio.get_running_loop())
            assert tasks.find([1, 3, 5]) == {}

            assert [tasks.has_ended(number) for number in (1, 3, 5)] == [True] * 3
            assert tasks.name_of(3) == "a task that has ended"

        asyncio.run(main())
        assert len(looks) == 2

    def test_who_has_ended_is_looked_for_again_after_a_moment(
        self, looks: list[float], now: list[float]
    ) -> None:
        async def main() -> None:
            tasks = _tasks.Tasks()
            tasks.watch(asyncio.get_running_loop())
            for _ in range(3):
                assert tasks.has_ended(1)
                now[0] += 2 * _tasks.LONG

        asyncio.run(main())
        assert len(looks) == 4

    def test_a_long_look_is_not_repeated_at_once_and_nobody_is_slandered_meanwhile(
        self, looks: list[float], now: list[float]
    ) -> None:
        async def main() -> None:
            tasks = _tasks.Tasks()
            tasks.watch(asyncio.get_running_loop())
            looks[0] = 0.5
            assert tasks.has_ended(1)
            now[0] += 4.9

            assert tasks.has_ended(1)
            assert not tasks.has_ended(3)
            assert tasks.name_of(3) == "a task"
            assert len(looks) == 2

            now[0] += 0.2
            assert tasks.has_ended(3)

        asyncio.run(main())
        assert len(looks) == 3

    def test_a_task_that_was_found_is_not_kept_alive(self) -> None:
        async def main() -> None:
            tasks = _tasks.Tasks()
            tasks.watch(asyncio.get_running_loop())
            other = asyncio.create_task(asyncio.sleep(0))
            number, reference = _tasks.number_of(other), weakref.ref(other)
            assert other in tasks.find([number]).values()
            await other
            assert tasks.has_ended(number)

            del other
            await asyncio.sleep(0)  # the loop has it in its hands until then
            assert reference() is None

        asyncio.run(main())
