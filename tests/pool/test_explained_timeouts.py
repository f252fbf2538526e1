"""A timeout says why no connection came, and who has them all: real pools in trouble."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest

import millpond
from fakes import OperationalError
from helpers import eventually, in_thread, lines_of, pass_time, waiting
from millpond._explain import Wait, reason_of
from threadlocal import Resident

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fakes import FakeDatabase
    from helpers import MakePool
    from millpond._core import ManualClock
    from threadlocal import MakeThreads


@pytest.fixture
def residents() -> Iterator[list[Any]]:
    """Give a list of threads that end with the test."""
    threads: list[Any] = []
    yield threads
    for thread in threads:
        thread._calls.append(None)
        thread._called.release()


def resident(pool: Any, residents: list[Any]) -> Resident:
    """Give a thread that lives on after what it was told to do."""
    residents.append(Resident(pool))
    made: Resident = residents[-1]
    return made


def timeout_of(pool: Any, seconds: float = 0.0) -> millpond.PoolTimeout:
    """Time out, and give the error."""
    with pytest.raises(millpond.PoolTimeout) as caught:
        pool.acquire(timeout=seconds)
    return caught.value


def test_an_exhausted_pool_says_so(make_pool: MakePool, residents: list[Any]) -> None:
    pool = make_pool(max_size=1)
    held = resident(pool, residents).does(pool.acquire)

    error = timeout_of(pool, 0.01)

    assert error.reason == "exhausted"
    assert error.stats is not None
    assert error.stats.in_use == 1
    assert error.stats.timed_out == 1
    assert "release connections sooner, or raise max_size or acquire_timeout" in str(error)
    pool.release(held)


def test_a_leak_is_suspected_where_others_turn_over(
    make_pool: MakePool, clock: ManualClock, residents: list[Any]
) -> None:
    pool = make_pool(max_size=2, _clock=clock, _inline=True)
    for _ in range(3):
        conn = pool.acquire()
        clock.advance(0.01)
        pool.release(conn)
        pool.evict()  # the first use of each connection is measured
    leaked = resident(pool, residents).does(lambda: pool.acquire(timeout=1))
    pool.stats()  # notes since when
    clock.advance(60)
    held = resident(pool, residents).does(lambda: pool.acquire(timeout=1))

    error = timeout_of(pool)

    assert error.reason == "leak_suspected"
    assert "connection 0 held for at least 60 s" in str(error)
    assert "leak_threshold= shows the lines" in str(error)
    pool.release(leaked)
    pool.release(held)


def test_a_leak_over_the_threshold_has_its_line(
    make_pool: MakePool, clock: ManualClock, residents: list[Any]
) -> None:
    pool = make_pool(max_size=1, leak_threshold=5.0, _clock=clock, _inline=True)

    def acquire() -> object:
        return pool.acquire()

    held = resident(pool, residents).does(acquire)
    pass_time(pool, clock, 6.0)

    error = timeout_of(pool)

    assert error.reason == "leak_suspected"
    assert f"acquired at {__file__}:" in str(error)
    assert "the lines are above" in str(error)
    pool.release(held)


def test_a_connection_of_a_thread_that_has_ended_is_a_leak(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    gone = in_thread(pool.acquire)
    held = gone.result()
    gone.thread.join()

    error = timeout_of(pool)

    assert error.reason == "leak_suspected"
    pool.release(held)


def test_slow_holders_are_told_from_too_many(
    make_pool: MakePool, clock: ManualClock, residents: list[Any]
) -> None:
    pool = make_pool(max_size=2, _clock=clock, _inline=True)
    held = [resident(pool, residents).does(pool.acquire) for _ in range(2)]
    pool.stats()
    clock.advance(3.0)

    assert timeout_of(pool).reason == "slow_queries"

    for conn in held:
        pool.release(conn)


def test_a_database_that_is_down_is_named_with_its_error(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = make_pool(fail_fast_after=None)
    driver.down()
    assert pool.try_acquire() is None
    eventually(lambda: pool.stats().last_error)

    error = timeout_of(pool)

    assert error.reason == "database_down"
    assert "the last attempt to connect failed: OperationalError: connection refused" in str(error)
    assert error.stats is not None
    assert error.stats.last_error == "OperationalError: connection refused"
    assert isinstance(error.__cause__, OperationalError)


def test_who_is_turned_away_is_told_the_same(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    pool = make_pool(fail_fast_after=1.0, _clock=clock, _inline=True)
    driver.down()
    timeout_of(pool)
    clock.advance(2.0)

    error = timeout_of(pool)

    assert error.reason == "database_down"
    assert error.stats is not None
    assert error.stats.turned_away == 1
    assert error.stats.failed == 2


def test_a_connect_that_hangs_is_told_with_its_age(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    pool = make_pool(_clock=clock)
    gate = driver.hang("connect")
    assert pool.try_acquire() is None
    clock.advance(2.0)

    error = timeout_of(pool)

    assert error.reason == "connects_slow"
    assert "connection 0 being opened for 2 s" in str(error)
    assert "connecting is slow" in str(error)
    gate.release()


def test_a_caller_that_others_with_priority_overtook_is_told(
    make_pool: MakePool, residents: list[Any]
) -> None:
    pool = make_pool(max_size=1)
    held = resident(pool, residents).does(pool.acquire)
    normal = waiting(pool, timeout=0.3)
    urgent = [waiting(pool, priority="high") for _ in range(2)]

    for waiter in urgent:
        pool.release(held)
        held = waiter.result()
    error = normal.error()

    assert isinstance(error, millpond.PoolTimeout)
    # Their threads have ended with what they got, which is worse.
    assert error.reason == "leak_suspected"
    assert error.stats is not None
    assert reason_of(error.stats, Wait(0.3, overtaken=2)) == "starved_by_priority"
    pool.release(held)


def test_priority_alone_is_told_as_well(make_pool: MakePool, residents: list[Any]) -> None:
    pool = make_pool(max_size=1)
    held = pool.acquire()
    thread = resident(pool, residents)
    normal = waiting(pool, timeout=0.3)
    urgent = in_thread(thread.does, lambda: pool.acquire(priority="high"))
    eventually(lambda: pool.stats().waiting_high == 1)

    pool.release(held)
    error = normal.error()

    assert isinstance(error, millpond.PoolTimeout)
    assert error.reason == "starved_by_priority"
    assert "1 of them during this wait" in str(error)
    pool.release(urgent.result())


def test_a_ticket_knows_by_how_many_it_was_overtaken(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    held = pool.acquire()
    ticket = pool._register_waiter(lambda: None)
    assert ticket.overtaken == 0

    for overtaken in (1, 2):
        urgent = waiting(pool, priority="high")
        pool.release(held)
        held = urgent.result()
        assert ticket.overtaken == overtaken

    pool.release(held)
    assert ticket.claim() is held
    pool.release(held)


def test_a_suspended_pool_says_so(make_pool: MakePool) -> None:
    pool = make_pool(_inline=True)
    pool.suspend()

    error = timeout_of(pool)

    assert error.reason == "exhausted"
    assert str(error).endswith("the pool is suspended: call resume()")
    pool.resume()


def test_a_caller_that_was_shed_is_told_as_much(make_pool: MakePool, clock: ManualClock) -> None:
    pool = make_pool(max_size=1, shed=True, _clock=clock)
    held = pool.acquire()
    first, *_ = [waiting(pool) for _ in range(3)]
    clock.advance(10.0)
    pool.release(held)
    first.result()

    error = timeout_of(pool, 1.0)

    assert error.reason == "exhausted"
    assert error.stats is not None
    assert (error.stats.refused, error.stats.waiting) == (1, 2)
    pool.close(timeout=0)


def test_threads_that_keep_their_connections_exhaust_a_thread_local_pool(
    make_threads: MakeThreads, residents: list[Any]
) -> None:
    pool = make_threads(max_size=1)
    thread = resident(pool, residents)
    thread.does(lambda: pool.release(pool.acquire()))

    error = timeout_of(pool, 0.01)

    assert error.reason == "exhausted"
    assert "raise max_size to the number of threads" in str(error)
    assert error.stats is not None
    assert error.stats.timed_out == error.stats.failed == 1


def test_wait_is_explained_and_is_no_acquire(make_pool: MakePool, driver: FakeDatabase) -> None:
    driver.down()
    pool = make_pool(min_size=1)
    eventually(lambda: pool.stats().open_failed)

    with pytest.raises(millpond.PoolTimeout) as caught:
        pool.wait(timeout=0.05)

    assert caught.value.reason == "database_down"
    assert str(caught.value).startswith("couldn't open min_size=1 connections of pool ")
    assert pool.stats().timed_out == pool.stats().failed == 0


def test_an_error_goes_to_another_process_with_all_that_it_knows(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    held = pool.acquire()

    error = timeout_of(pool)
    copy = pickle.loads(pickle.dumps(error))

    assert copy.reason == error.reason
    assert copy.stats == error.stats
    pool.release(held)


def test_an_error_that_somebody_else_makes_knows_nothing() -> None:
    error = millpond.PoolTimeout("too late")

    assert (error.reason, error.stats) == (None, None)


def test_a_thread_that_python_did_not_start_has_not_ended() -> None:
    printed = lines_of(
        """
        import _thread, threading
        import millpond
        from fakes import FakeDatabase

        pool = millpond.Pool(FakeDatabase().connect, max_size=1)
        there, stay = threading.Event(), threading.Event()

        def hold():
            with pool.connection():
                there.set()
                stay.wait()

        _thread.start_new_thread(hold, ())
        there.wait()
        try:
            pool.acquire(timeout=0)
        except millpond.PoolTimeout as error:
            print(error.reason)
        stay.set()
        """
    )

    assert printed == ["exhausted"]
