"""A timeout says why no connection came: the rules one by one, and real pools in trouble."""

from __future__ import annotations

import pickle
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

import millpond
from fakes import OperationalError
from helpers import eventually, in_thread, lines_of, pass_time, waiting
from millpond import _explain, _stats
from millpond._explain import Wait, message_of, reason_of
from millpond._times import NO_TIMES, TimeStats
from threadlocal import Resident

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fakes import FakeDatabase
    from helpers import MakePool
    from millpond._core import ManualClock
    from threadlocal import MakeThreads

OTHER = 1
"""A thread that runs, and is not this one."""

# Uses that take a hundredth of a second.
BRISK = TimeStats.from_buckets({0.01: 1000}, 10.0, 0.01)


def connection(slot: int, **details: Any) -> millpond.ConnectionStats:
    """Give an idle connection, or whatever the details say."""
    state = "in use" if "held" in details else "idle"
    blank: dict[str, Any] = {
        "state": state,
        "age": 100.0,
        "uses": 1,
        "idle": None,
        "held": None,
        "holder": OTHER if state == "in use" else None,
        "latency": None,
        "site": None,
    }
    return millpond.ConnectionStats(slot=slot, **{**blank, **details})


def pool_of(
    *connections: millpond.ConnectionStats, max_size: int | None = None, **details: Any
) -> millpond.PoolStats:
    """Give the statistics of a pool with these connections."""
    nothing = _stats.merge("orders", (0, max_size or len(connections)), [])
    counted = _stats._count(connections)
    return replace(nothing, connections=connections, **counted, **details)


def held_for(*seconds: float) -> list[millpond.ConnectionStats]:
    """Give connections in use for so long."""
    return [connection(slot, held=held) for slot, held in enumerate(seconds)]


def why(stats: millpond.PoolStats, seconds: float = 5.0, **details: Any) -> str:
    """Give the reason of a timeout after five seconds."""
    running = frozenset({OTHER, threading.get_ident()})
    return reason_of(stats, Wait(seconds, **{"running": running, **details}))


class TestRules:
    """What the statistics say."""

    def test_connections_that_come_and_go_are_too_few(self) -> None:
        assert why(pool_of(*held_for(0.1, 2.4, 0.3), use_time=BRISK)) == "exhausted"

    def test_a_pool_without_anybody_in_it_is_just_exhausted(self) -> None:
        assert why(pool_of(max_size=0)) == "exhausted"

    def test_holders_that_keep_their_connections_for_half_of_the_wait_are_slow(self) -> None:
        assert why(pool_of(*held_for(2.6, 3.0, 0.1, 0.2))) == "slow_queries"
        assert why(pool_of(*held_for(2.6, 2.4, 0.1, 0.2))) == "exhausted"

    def test_who_does_not_wait_can_not_call_others_slow(self) -> None:
        assert why(pool_of(*held_for(0.05, 0.05)), seconds=0.0) == "exhausted"
        assert why(pool_of(*held_for(0.2, 0.2)), seconds=0.0) == "slow_queries"

    def test_one_holder_that_is_much_slower_than_all_others_may_be_a_leak(self) -> None:
        stats = pool_of(*held_for(300.0, 0.01, 0.01), use_time=BRISK)

        assert why(stats) == "leak_suspected"
        assert why(stats, seconds=400.0) == "exhausted"

    @pytest.mark.parametrize(
        "use_time",
        [NO_TIMES, TimeStats.from_buckets({0.01: 2}, 0.02, 0.01), TimeStats(9, 1, 60, 60, 60, 60)],
    )
    def test_it_is_none_where_nobody_knows_what_is_usual_or_that_is(
        self, use_time: TimeStats
    ) -> None:
        assert why(pool_of(*held_for(300.0, 0.01, 0.01), use_time=use_time)) == "exhausted"

    def test_a_use_under_a_second_is_no_leak(self) -> None:
        stats = pool_of(*held_for(0.9, 0.01, 0.01), use_time=BRISK)

        assert why(stats, seconds=0.5) == "exhausted"

    def test_all_that_leaked_one_after_the_other_are_leaks(self) -> None:
        assert why(pool_of(*held_for(900.0, 600.0, 60.0), use_time=BRISK)) == "leak_suspected"

    def test_all_that_stand_still_together_wait_for_something(self) -> None:
        assert why(pool_of(*held_for(61.0, 60.0, 60.0), use_time=BRISK)) == "slow_queries"

    def test_the_only_one_is_a_leak_if_it_is_unusual(self) -> None:
        assert why(pool_of(*held_for(60.0), use_time=BRISK)) == "leak_suspected"

    def test_the_threshold_says_what_a_leak_is(self) -> None:
        stats = pool_of(*held_for(3.0, 3.0), use_time=BRISK)

        assert why(stats, leak_threshold=2.0) == "leak_suspected"
        assert why(stats, leak_threshold=4.0) == "slow_queries"

    def test_what_a_thread_holds_that_has_ended_is_a_leak(self) -> None:
        ended = connection(0, held=0.2, holder=99)

        assert why(pool_of(ended, *held_for(0.2))) == "leak_suspected"
        assert why(pool_of(ended, *held_for(0.2)), running=None) == "exhausted"

    def test_a_thread_that_has_all_waits_for_itself(self) -> None:
        own = [connection(slot, held=60.0, holder=threading.get_ident()) for slot in range(2)]

        stats = pool_of(*own, use_time=BRISK)

        assert why(stats) == "exhausted"
        assert "waits for itself" in message_of(stats, Wait(5.0), "exhausted")

    def test_who_did_not_wait_reads_no_microseconds(self) -> None:
        stats = pool_of(*held_for(0.1))

        assert " in 0 s: " in message_of(stats, Wait(7.64e-06), "exhausted")
        assert " in 0.00204 s: " in message_of(stats, Wait(0.00204), "exhausted")

    def test_a_database_is_down_when_there_is_room_and_the_last_attempt_failed(self) -> None:
        error = OperationalError("connection refused")

        assert why(pool_of(*held_for(9.0), max_size=2), error=error) == "database_down"
        assert why(pool_of(*held_for(0.1, 0.1)), error=error) == "exhausted"

    def test_connecting_is_slow_when_there_is_room_and_attempts_are_under_way(self) -> None:
        opening = connection(1, state="connecting", age=4.0)

        assert why(pool_of(*held_for(0.1), opening)) == "connects_slow"
        assert why(pool_of(*held_for(0.1), connection(1, state="checking"))) == "connects_slow"
        assert why(pool_of(*held_for(0.1), connection(1))) == "exhausted"

    def test_who_was_overtaken_by_more_than_were_before_it_starved(self) -> None:
        stats = pool_of(*held_for(0.1, 0.1), waiting=2, waits=(6.0, 5.5))

        assert why(stats, overtaken=3) == "starved_by_priority"
        assert why(stats, overtaken=2) == "exhausted"

    def test_behind_a_long_queue_nobody_knows_whether_priority_was_to_blame(self) -> None:
        stats = pool_of(*held_for(0.1), waiting=50, waits=(9.0,) * _stats.MAX_WAITS)

        assert why(stats, overtaken=30) == "exhausted"

    @pytest.mark.parametrize("limit", ["max_size", "maxconnections"])
    @pytest.mark.parametrize("reason", sorted(_explain._ADVICE))
    def test_each_reason_has_an_advice_without_gaps(self, reason: str, limit: str) -> None:
        said = message_of(pool_of(*held_for(1.0)), Wait(5.0, 3, limit=limit), reason)

        assert "{" not in said
        assert len(said.splitlines()) == 3


class TestMessage:
    """What else is told."""

    def test_it_lists_who_else_waits(self) -> None:
        stats = pool_of(*held_for(1.0), waiting=7, waiting_high=2, waits=(4.0, 3.0, 2.0, 1.0))

        said = message_of(stats, Wait(5.0), "exhausted")

        assert "\n  7 callers wait, the first for 4 s, 3 s, 2 s; 2 of them with priority\n" in said

    def test_it_lists_the_connects_in_flight_the_oldest_first(self) -> None:
        opening = [connection(slot, state="connecting", age=float(slot)) for slot in range(1, 8)]

        said = message_of(pool_of(*opening), Wait(5.0), "connects_slow")

        assert "\n  connection 7 being opened for 7 s\n  connection 6 being opened for 6 s" in said
        assert "\n  and 2 more\n" in said

    def test_it_lists_no_more_holders_than_fit(self) -> None:
        said = message_of(pool_of(*held_for(*range(1, 9))), Wait(5.0), "exhausted")

        assert said.count("held for at least") == _explain.MAX_HOLDERS
        assert "and 3 more" in said


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
