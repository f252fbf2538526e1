"""`pool.stats()`: what is counted, for each acquire once, and what each connection is like."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import millpond
from fake_drivers import Asked
from fakes import OperationalError
from helpers import PATIENCE, eventually, in_thread, together, waiting
from millpond._times import TimeStats

if TYPE_CHECKING:
    from fakes import FakeDatabase
    from helpers import MakePool
    from millpond._core import ManualClock
    from pooled import MakePooled


class TestFailures:
    """An acquire that ends by an error is counted once, where its caller is told."""

    def test_a_timeout(self, make_pool: MakePool) -> None:
        pool = make_pool(max_size=1)
        held = pool.acquire()

        with pytest.raises(millpond.PoolTimeout):
            pool.acquire(timeout=0)
        with pytest.raises(millpond.PoolTimeout), pool.connection(timeout=0.01):
            pytest.fail("there was nothing to lend")

        stats = pool.stats()
        assert (stats.acquired, stats.timed_out, stats.failed) == (1, 2, 2)
        assert stats.failure_rate == pytest.approx(2 / 3)
        pool.release(held)

    def test_a_refusal(self, make_pool: MakePool) -> None:
        pool = make_pool(max_size=1, max_waiting=0)
        held = pool.acquire()

        with pytest.raises(millpond.PoolExhausted):
            pool.acquire()

        stats = pool.stats()
        assert (stats.refused, stats.timed_out, stats.failed) == (1, 0, 1)
        pool.release(held)

    def test_an_attempt_to_connect_whose_error_the_caller_gets(
        self, make_pool: MakePool, driver: FakeDatabase
    ) -> None:
        pool = make_pool()
        driver.fail_next(LookupError("no such database"))

        with pytest.raises(LookupError):
            pool.acquire()

        stats = pool.stats()
        assert (stats.open_failed, stats.timed_out, stats.failed) == (1, 0, 1)
        assert stats.last_error == "LookupError: no such database"

    def test_a_close_before_and_during_the_wait(self, make_pool: MakePool) -> None:
        pool = make_pool(max_size=1)
        held = pool.acquire()
        waiter = waiting(pool)

        pool.close(timeout=0)

        assert isinstance(waiter.error(), millpond.PoolClosed)
        with pytest.raises(millpond.PoolClosed):
            pool.acquire()
        assert (pool.stats().timed_out, pool.stats().failed) == (0, 2)
        pool.release(held)

    def test_a_stand_in_is_no_connection(self, make_pool: MakePool) -> None:
        pool = make_pool(max_size=1, on_exhausted=lambda _: None)
        held = pool.acquire()

        assert pool.acquire(timeout=0) is None

        assert (pool.stats().timed_out, pool.stats().failed) == (1, 1)
        pool.release(held)

    def test_who_only_tries_does_not_fail(self, make_pool: MakePool) -> None:
        pool = make_pool(max_size=1, max_waiting=0)
        held = pool.acquire()

        assert pool.try_acquire() is None

        assert (pool.stats().refused, pool.stats().failed) == (0, 0)
        pool.release(held)

    def test_who_only_tries_is_not_turned_away(
        self, make_pool: MakePool, driver: FakeDatabase
    ) -> None:
        driver.down()
        pool = make_pool(max_size=1, fail_fast_after=0)
        with pytest.raises(millpond.PoolTimeout):
            pool.acquire(timeout=0.01)
        eventually(lambda: pool.stats().open_failed)
        before = pool.stats()

        assert pool.try_acquire() is None
        with pytest.raises(millpond.PoolTimeout):
            pool.acquire(timeout=0)

        stats = pool.stats()
        assert stats.turned_away == before.turned_away + 1
        assert stats.failed == before.failed + 1

    def test_a_ticket_counts_as_a_thread_does(self, make_pool: MakePool) -> None:
        pool = make_pool(max_size=1)
        held = pool.acquire()
        ticket = pool._register_waiter(lambda: None)

        pool.close(timeout=0)
        with pytest.raises(millpond.PoolClosed):
            ticket.claim()
        with pytest.raises(millpond.PoolClosed):
            pool._register_waiter(lambda: None)

        assert pool.stats().failed == 2
        pool.release(held)

    def test_who_finds_a_dead_connection_and_gets_another_has_not_failed(
        self, make_pool: MakePool, driver: FakeDatabase
    ) -> None:
        pool = make_pool(driver=Asked(driver), max_size=1)
        pool.release(pool.acquire())
        driver.kill_all()

        pool.release(pool.acquire())

        assert (pool.stats().failed, pool.stats().closed["dead"]) == (0, 1)


class TestConnections:
    """Each connection, and who has it."""

    def test_a_connection_has_a_number_that_no_other_had(self, make_pool: MakePool) -> None:
        pool = make_pool(max_size=2, _inline=True)
        first, second = pool.acquire(), pool.acquire()
        assert [one.id for one in pool.stats().connections] == [1, 2]

        pool.discard(first)
        pool.acquire()

        assert [(one.slot, one.id) for one in pool.stats().connections] == [(0, 3), (1, 2)]
        pool.release(second)

    def test_a_connection_keeps_its_number_when_the_pool_moves_it(
        self, make_pool: MakePool
    ) -> None:
        pool = make_pool(max_size=2, _inline=True)
        first, second = pool.acquire(), pool.acquire()
        pool.discard(first)

        pool.resize(max_size=1)
        pool.release(second)

        assert [(one.slot, one.id) for one in pool.stats().connections] == [(0, 2)]

    def test_an_attempt_to_connect_has_the_age_of_the_attempt(
        self, make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
    ) -> None:
        pool = make_pool(max_size=1, _clock=clock)
        clock.advance(100)
        pool.discard(pool.acquire())
        eventually(lambda: not pool.stats().connections)
        driver.hang("connect")
        assert pool.try_acquire() is None

        clock.advance(2)

        (connection,) = pool.stats().connections
        assert (connection.state, connection.age, connection.id) == ("connecting", 2.0, None)
        assert pool.stats().mean_age is None

    def test_a_holder_has_a_name(self, make_pool: MakePool) -> None:
        pool = make_pool(max_size=1, _inline=True)
        there, stay = threading.Event(), threading.Event()

        def hold() -> None:
            with pool.connection():
                there.set()
                stay.wait()

        thread = threading.Thread(target=hold, name="billing")
        thread.start()
        assert there.wait(PATIENCE)

        assert [one.holder_name for one in pool.stats().connections] == ["billing"]
        stay.set()
        thread.join()
        assert [one.holder_name for one in pool.stats().connections] == [None]

    def test_the_mean_age_is_that_of_the_open_ones(
        self, make_pool: MakePool, clock: ManualClock
    ) -> None:
        pool = make_pool(max_size=4, _clock=clock, _inline=True)
        pool.acquire()
        clock.advance(30)
        pool.acquire()
        clock.advance(10)

        assert pool.stats().mean_age == 25.0
        assert pool.stats().utilization == 0.5


def test_who_waits_is_listed_the_longest_first(make_pool: MakePool, clock: ManualClock) -> None:
    pool = make_pool(max_size=1, _clock=clock)
    held = pool.acquire()
    for priority in ("normal", "high", *["normal"] * 10):
        waiting(pool, priority=priority)
        clock.advance(1.0)

    stats = pool.stats()

    assert (stats.waiting, stats.waiting_high, stats.longest_wait) == (12, 1, 12.0)
    assert stats.waits == tuple(map(float, range(12, 2, -1)))
    pool.close(timeout=0)
    pool.release(held)


def test_the_last_error_is_that_of_the_last_attempt(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = make_pool(fail_fast_after=None)
    assert pool.stats().last_error is None
    driver.fail_next(OperationalError("refused"))
    assert pool.try_acquire() is None
    eventually(lambda: pool.stats().last_error == "OperationalError: refused")

    pool.release(pool.acquire())

    eventually(lambda: pool.stats().last_error is None)


def test_in_the_child_of_a_fork_nothing_has_failed_yet(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = make_pool(fail_fast_after=None)
    driver.fail_next(OperationalError("refused"))
    assert pool.try_acquire() is None
    eventually(lambda: pool.stats().last_error)
    recovered: list[millpond.PoolEvent] = []
    pool.add_listener(recovered.append, "recovered")

    pool._begin_in_child()

    assert pool.stats().last_error is None
    pool.release(pool.acquire())
    assert recovered == []


def test_a_failure_of_an_attempt_that_began_before_the_last_success_is_no_news(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = make_pool(max_size=2, connect_timeout=None)
    gate = driver.hang("connect", times=1)
    driver.fail_next(OperationalError("too late"))
    seen: list[str | None] = []
    opened = threading.Event()
    pool.add_listener(lambda _: seen.append(pool.stats().last_error), "open_failed", "recovered")
    pool.add_listener(lambda _: opened.set(), "opened")
    waiters = [in_thread(pool.acquire)]
    eventually(lambda: gate.arrived)
    waiters += [in_thread(pool.acquire)]
    assert opened.wait(PATIENCE)

    gate.release()

    for waiter in waiters:
        pool.release(waiter.result())
    eventually(lambda: seen)
    assert seen == [None]


@pytest.mark.freethreaded
def test_counters_are_exact_under_eight_threads(make_pool: MakePool, driver: FakeDatabase) -> None:
    pool = make_pool(max_size=3, max_waiting=2, reset="none", fail_fast_after=None)

    def work(number: int) -> dict[str, int]:
        told = {"acquired": 0, "timed_out": 0, "refused": 0, "connect": 0}
        for turn in range(400):
            if turn % 100 == 50:
                driver.fail_next(LookupError("no"))
                pool.evict()
            try:
                conn = pool.acquire(timeout=(turn + number) % 3 / 1000)
            except millpond.PoolTimeout:
                told["timed_out"] += 1
            except millpond.PoolExhausted:
                told["refused"] += 1
            except LookupError:
                told["connect"] += 1
            else:
                told["acquired"] += 1
                if turn % 7 == 0:
                    threading.Event().wait(0.001)  # or hardly anybody would have to wait
                (pool.discard if turn % 50 == 0 else pool.release)(conn)
        return told

    told = together(8, work)

    total = {key: sum(one[key] for one in told) for key in told[0]}
    stats = pool.stats()
    assert sum(total.values()) == 8 * 400
    assert stats.acquired == total["acquired"]
    assert stats.timed_out == total["timed_out"]
    assert stats.refused == total["refused"]
    assert stats.failed == total["timed_out"] + total["refused"] + total["connect"]
    assert total["timed_out"] > 0
    assert total["refused"] > 0
    eventually(lambda: pool.stats().opening == 0 and not closing(pool))
    stats = pool.stats()
    assert stats.opened == driver.connects
    assert stats.opened - sum(stats.closed.values()) == stats.size
    assert sum(stats.closed.values()) == driver.closes
    assert stats.wait_time.count == sum(count for _, count in stats.wait_time.buckets)


def closing(pool: millpond.Pool[Any]) -> bool:
    """Tell whether a connection is being closed."""
    return any(one.state == "closing" for one in pool.stats().connections)


def test_a_dbutils_pool_has_the_same_statistics(make_pooled: MakePooled) -> None:
    pool = make_pooled(maxconnections=1, pool_options={"acquire_timeout": 0.01})
    held = pool.connection()
    with pytest.raises(millpond.PoolTimeout) as caught:
        pool.connection()

    stats = pool.stats()

    assert (stats.timed_out, stats.failed, stats.utilization) == (1, 1, 1.0)
    assert (stats.window.acquired, stats.window.failed) == (1, 1)
    assert [one.holder_name for one in stats.connections] == ["MainThread"]
    assert caught.value.reason == "exhausted"
    assert caught.value.stats is not None
    held.close()


def test_a_look_is_cheap_enough_for_every_second(make_pool: MakePool) -> None:
    pool = make_pool(max_size=10, _inline=True)
    for _ in range(10):
        pool.acquire()

    calls: list[str] = []
    sys.setprofile(lambda _frame, event, _: calls.append(event))
    pool.stats()
    sys.setprofile(None)

    assert len(calls) < 1000


def test_distributions_have_their_sum_and_buckets(make_pool: MakePool, clock: ManualClock) -> None:
    pool = make_pool(_clock=clock, _inline=True)
    conn = pool.acquire()
    clock.advance(0.5)
    pool.release(conn)

    use_time = pool.stats().use_time

    assert isinstance(use_time, TimeStats)
    assert use_time.sum == 0.5
    ((upper, count),) = use_time.buckets
    assert count == 1
    assert 0.5 <= upper <= 0.5 * 1.25
