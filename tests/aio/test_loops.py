"""Several event loops on one pool: one budget, each connection in its own loop, nobody starved."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import millpond
from async_loops import Home, loop_in_thread, run_in_threads, until
from helpers import eventually, in_thread
from millpond._aio import _budget

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.freethreaded, pytest.mark.usefixtures("each_loop")]


@pytest.mark.parametrize(("loops", "size"), [(10, 10), (10, 25), (10, 3), (4, 1)])
def test_loops_in_threads_share_one_budget_and_all_are_served(loops: int, size: int) -> None:
    home = Home(max_size=size)
    turns: dict[int, int] = {}

    async def main(number: int) -> None:
        async def work() -> None:
            for _ in range(5):
                await home.borrow(0.001)

        began = time.monotonic()
        await asyncio.gather(*(work() for _ in range(6)))
        turns[number] = int((time.monotonic() - began) * 1000)

    run_in_threads(loops, main)

    assert home.served == loops * 30
    assert len(turns) == loops
    home.check(size)
    assert home.database.live == 0


def test_loops_that_come_and_go_find_the_whole_budget() -> None:
    home = Home(max_size=4)
    over = threading.Event()

    async def steady() -> None:
        while not over.is_set():
            await asyncio.gather(*(home.borrow(0.001) for _ in range(3)))

    running = in_thread(asyncio.run, steady())
    eventually(lambda: home.served > 0)

    async def brief(_: int) -> None:
        await asyncio.gather(*(home.borrow(0.001) for _ in range(6)))

    for _ in range(10):
        run_in_threads(2, brief)
    over.set()
    running.result()

    async def alone() -> None:
        async with asyncio.timeout(10):
            lent = await asyncio.gather(*(home.pool.acquire(timeout=10) for _ in range(4)))
        for conn in lent:
            await home.pool.release(conn)

    asyncio.run(alone())
    home.check(4)
    assert home.database.live == 0


def test_a_loop_that_holds_everything_gives_up_what_it_releases() -> None:
    home = Home(max_size=2)
    with loop_in_thread() as there:
        held = [there(home.pool.acquire()) for _ in range(2)]
        waiter = in_thread(asyncio.run, home.borrow(patience=20))
        eventually(lambda: home.pool.stats().waiting == 1)

        there(home.pool.release(held.pop()))

        waiter.result()
        there(home.pool.release(held.pop()))
    home.check(2)


def test_a_loop_that_had_everything_gets_its_turn_again_for_who_queued_meanwhile() -> None:
    home = Home(max_size=1)
    with loop_in_thread() as here, loop_in_thread() as there:
        held = here(home.pool.acquire())
        waiters = [in_thread(here, home.borrow(patience=20))]
        eventually(lambda: home.pool.stats().waiting == 1)
        waiters.append(in_thread(there, home.borrow(patience=20)))
        eventually(lambda: not any(home.pool._budget._limits.values()))

        here(home.pool.release(held))

        for waiter in waiters:
            waiter.result(10)
    home.check(1)


def test_a_pool_that_grows_serves_those_who_queued_when_one_loop_had_everything() -> None:
    home = Home(max_size=1)
    with loop_in_thread() as here, loop_in_thread() as there:
        held = here(home.pool.acquire())
        assert there(home.pool.try_acquire()) is None
        waiter = in_thread(here, home.borrow(patience=20))
        eventually(lambda: home.pool.stats().waiting == 1)

        home.pool.resize(max_size=3)

        waiter.result(10)
        here(home.pool.release(held))
    home.check(2)


def test_who_only_tries_in_a_second_loop_has_one_opened_for_the_next_attempt() -> None:
    home = Home(max_size=2)
    with loop_in_thread() as here, loop_in_thread() as there:
        held = here(home.pool.acquire())
        assert there(home.pool.try_acquire()) is None

        eventually(lambda: home.pool.stats().idle == 1)
        conn = there(home.pool.try_acquire())

        assert conn is not None
        assert there(home.pool.try_acquire()) is None
        assert here(home.pool.try_acquire()) is None
        there(home.pool.release(conn))
        here(home.pool.release(held))
    home.check(2)


@pytest.mark.usefixtures("fast_switching")
def test_counters_never_go_back_while_loops_come_and_go() -> None:
    """Whoever draws rates from them would take it for a new beginning."""
    home = Home(max_size=2)
    over = threading.Event()

    def look() -> None:
        before = home.pool.stats().acquired
        while not over.is_set():
            now = home.pool.stats().acquired
            assert now >= before
            assert now <= asked
            before = now

    asked = 0
    looking = in_thread(look)
    for asked in range(1, 61):  # noqa: B007  the other thread reads it
        asyncio.run(home.borrow())
    over.set()
    looking.result()
    assert home.pool.stats().acquired == 60


CONTROLS: dict[str, Callable[[millpond.AsyncPool[Any]], object]] = {
    "evict": lambda pool: pool.evict(),
    "resize": lambda pool: pool.resize(max_size=5),
    "suspend": lambda pool: [pause() for pause in (pool.suspend, pool.resume)],
    "stats": lambda pool: pool.stats(),
    "repr": repr,
}


@pytest.mark.parametrize("control", CONTROLS)
def test_a_pool_is_controlled_from_a_thread_without_a_loop(control: str) -> None:
    home = Home(max_size=4)
    over = threading.Event()

    async def load() -> None:
        while not over.is_set():
            await asyncio.gather(*(home.borrow() for _ in range(8)))

    running = in_thread(asyncio.run, load())
    eventually(lambda: home.served > 0)
    for _ in range(50):
        CONTROLS[control](home.pool)
        time.sleep(0.0005)  # another thread has the loop, and is to get on in between
    served = home.served
    eventually(lambda: home.served > served + 20 or running.done)
    over.set()
    running.result()

    home.check(5)


def test_a_connection_may_be_released_in_another_loop() -> None:
    home = Home(max_size=1)
    with loop_in_thread() as there:
        conn = there(home.pool.acquire())
        there(conn.execute())

        asyncio.run(home.pool.release(conn))

        assert there(home.pool.acquire(timeout=10)) is conn
        assert not conn.in_transaction
        there(home.pool.release(conn))
    home.check(1)


def test_a_release_in_another_loop_wakes_the_waiter_in_its_own() -> None:
    home = Home(max_size=1, reset="none")
    with loop_in_thread() as there:
        conn = there(home.pool.acquire())
        waiter = in_thread(there, home.borrow())
        eventually(lambda: home.pool.stats().waiting == 1)

        asyncio.run(home.pool.release(conn))

        waiter.result()


def test_close_in_one_loop_ends_the_waits_in_all() -> None:
    home = Home(max_size=1)
    with loop_in_thread() as there:
        conn = there(home.pool.acquire())
        waiters = [in_thread(there, home.pool.acquire()) for _ in range(2)]
        waiters.append(in_thread(asyncio.run, home.borrow()))
        eventually(lambda: home.pool.stats().waiting == 3)

        asyncio.run(home.pool.close(timeout=0.01))

        for waiter in waiters:
            assert isinstance(waiter.error(), millpond.PoolClosed)
        there(home.pool.release(conn))
        eventually(lambda: home.database.live == 0)
    home.check(1)


def test_a_loop_that_is_closed_without_a_word_costs_nothing() -> None:
    home = Home(max_size=2)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(home.borrow())
    held = loop.run_until_complete(home.pool.acquire())
    loop.close()

    async def both() -> None:
        async with asyncio.timeout(10):
            lent = await asyncio.gather(*(home.pool.acquire(timeout=10) for _ in range(2)))
        assert held not in lent
        for conn in lent:
            await home.pool.release(conn)

    asyncio.run(both())
    assert held.closed
    home.check(2)
    assert home.database.live == 0


def test_a_wait_ends_though_the_alarm_of_the_loop_is_early(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As that of uvloop, which counts whole milliseconds, may be."""
    home = Home(max_size=1)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        held = await home.pool.acquire()
        if isinstance(loop, asyncio.BaseEventLoop):
            began = loop.time()
            monkeypatch.setattr(loop, "time", lambda: began)
            loop.call_later = lambda _, ring, *args: loop.call_soon(ring, *args)  # type: ignore[method-assign, assignment]
        with pytest.raises(millpond.PoolTimeout):
            await home.pool.acquire(timeout=0.005)
        monkeypatch.undo()
        await home.pool.release(held)

    asyncio.run(main())
    home.check(1)


def test_a_burst_in_a_second_loop_is_opened_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the only one: what the first loop does not use is nobody's."""
    monkeypatch.setattr(_budget, "LOOK_AGAIN", 60.0)
    home = Home(max_size=10)
    with loop_in_thread() as there:
        there(home.borrow())
        gate = home.database.hang("connect")

        async def burst() -> None:
            async with asyncio.timeout(10), asyncio.TaskGroup() as group:
                for _ in range(9):
                    group.create_task(home.borrow())
                await until(lambda: gate.arrived == 9, 5)
                gate.release()

        asyncio.run(burst())
    home.check(10)


def test_loops_that_do_nothing_leave_their_connections_to_one_that_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_budget, "QUIET", 0.05)
    home = Home(max_size=4)
    with loop_in_thread() as one, loop_in_thread() as two, loop_in_thread() as three:
        for there in (one, two, three):
            there(home.borrow())

        async def all_of_them() -> None:
            async with asyncio.timeout(10):
                lent = await asyncio.gather(*(home.pool.acquire(timeout=10) for _ in range(4)))
            for conn in lent:
                await home.pool.release(conn)

        asyncio.run(all_of_them())
    home.check(4)


def test_a_loop_that_is_closed_without_a_word_leaves_its_places_to_who_waits_already() -> None:
    home = Home(max_size=1)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(home.pool.acquire())
    with loop_in_thread() as there:
        waiter = in_thread(there, home.borrow(patience=20))
        eventually(lambda: home.pool.stats().waiting == 1)

        loop.close()

        waiter.result(10)
    home.check(1)


@pytest.mark.parametrize("control", ["evict", "suspend", "resize"])
def test_a_pool_is_controlled_while_one_of_its_loops_ends(control: str) -> None:
    home = Home(max_size=4)
    with loop_in_thread() as ending, loop_in_thread() as there:
        for loop in (ending, there):
            loop(home.borrow())
        first, second = home.pool._all()
        first._shut()  # as at its end, which may take a second

        CONTROLS[control](home.pool)

        if control == "evict":
            eventually(lambda: second.own_stats().closed["evicted"] == 1)
        there(home.borrow())
    home.check(5)
