"""What is told of what happens in a pool: each kind of event, and what is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import millpond
from fake_drivers import Pinging
from fakes import OperationalError
from helpers import eventually, pass_time, waiting
from observing import Diary

if TYPE_CHECKING:
    from fakes import FakeDatabase
    from helpers import MakePool
    from millpond._core import ManualClock
    from threadlocal import MakeThreads


@pytest.fixture
def diary() -> Diary:
    return Diary()


def test_the_life_of_a_connection_is_told(
    make_pool: MakePool, diary: Diary, clock: ManualClock
) -> None:
    pool = make_pool(max_size=1, name="orders", _clock=clock, _inline=True)
    pool.add_listener(diary)

    conn = pool.acquire()
    clock.advance(1.5)
    pool.release(conn)
    pool.evict()

    assert diary.kinds == ["opened", "waited", "acquired", "released", "closed"]
    assert {(event.pool, event.slot) for event in diary.events} == {("orders", 0)}
    assert diary.only("released").seconds == 1.5
    assert diary.only("released").reason is None
    assert diary.only("closed").reason == "evicted"
    times = [event.time for event in diary.events]
    assert times == sorted(times)


def test_a_caller_that_had_to_queue_is_told_of_with_its_wait(
    make_pool: MakePool, diary: Diary
) -> None:
    pool = make_pool(max_size=1)
    held = pool.acquire()
    pool.add_listener(diary, "waited")
    waiter = waiting(pool)

    pool.release(held)
    waiter.result()

    event = diary.only("waited")
    assert event.seconds is not None
    assert 0 < event.seconds < 10


def test_who_does_not_have_to_queue_has_not_waited(make_pool: MakePool, diary: Diary) -> None:
    pool = make_pool(_inline=True)
    pool.release(pool.acquire())
    pool.add_listener(diary, "waited")

    pool.release(pool.acquire())
    pool.release(pool.acquire(timeout=1))

    assert diary.events == []


def test_a_timeout_is_told_with_its_error(make_pool: MakePool, diary: Diary) -> None:
    pool = make_pool(max_size=1)
    pool.acquire()
    pool.add_listener(diary, "timed_out")

    with pytest.raises(millpond.PoolTimeout) as caught:
        pool.acquire(timeout=0.01)

    event = diary.only("timed_out")
    assert event.error is caught.value
    assert event.slot is None
    assert event.seconds is not None
    assert event.seconds >= 0.01


@pytest.mark.parametrize(
    ("end", "reason"), [("discard", "discarded"), ("detach", "detached"), ("release", None)]
)
def test_the_end_of_a_use_is_told_whichever_it_is(
    make_pool: MakePool, diary: Diary, end: str, reason: str | None
) -> None:
    pool = make_pool(_inline=True)
    pool.add_listener(diary, "acquired", "released")

    getattr(pool, end)(pool.acquire())

    assert diary.kinds == ["acquired", "released"]
    assert diary.only("released").reason == reason
    assert diary.only("released").seconds is not None


def test_blocks_are_acquires_and_releases(make_pool: MakePool, diary: Diary) -> None:
    pool = make_pool(_inline=True)
    pool.add_listener(diary, "acquired", "released")

    with pool.connection():
        assert diary.kinds == ["acquired"]
    with pytest.raises(LookupError), pool.connection():
        raise LookupError

    assert diary.kinds == ["acquired", "released"] * 2


def test_a_leak_is_told_with_its_line(
    make_pool: MakePool, diary: Diary, clock: ManualClock
) -> None:
    pool = make_pool(leak_threshold=1.0, _clock=clock, _inline=True)
    pool.add_listener(diary, "leaked")
    held = pool.acquire()

    pass_time(pool, clock, 2.0)

    event = diary.only("leaked")
    assert event.seconds == 2.0
    assert event.reason is not None
    assert __file__ in event.reason
    pool.release(held)


def test_a_failed_validation_is_told(
    make_pool: MakePool, diary: Diary, driver: FakeDatabase, clock: ManualClock
) -> None:
    pool = make_pool(validation_interval=10.0, driver=Pinging(driver), _clock=clock)
    pool.add_listener(diary, "validation_failed")
    pool.release(pool.acquire())
    driver.kill_all()

    pass_time(pool, clock, 11.0)

    event = diary.only("validation_failed")
    assert isinstance(event.error, OperationalError)
    assert event.reason == "OperationalError: server closed the connection unexpectedly"


def test_an_outage_and_its_end_are_told_once(
    make_pool: MakePool, diary: Diary, driver: FakeDatabase, clock: ManualClock
) -> None:
    pool = make_pool(min_size=3, connect_timeout=None, _clock=clock)
    pool.wait()
    pool.add_listener(diary, "open_failed", "recovered")
    driver.down()
    pool.evict()
    eventually(lambda: "open_failed" in diary.kinds)
    assert pool.stats().last_error == "OperationalError: connection refused"

    driver.up()
    while pool.stats().size < 3:
        pass_time(pool, clock, 0.5)

    assert pool.stats().last_error is None
    assert isinstance(diary.only("recovered").error, OperationalError)
    assert diary.kinds[-1] == "recovered"
    pool.evict()
    eventually(lambda: pool.stats().opened == 9)
    assert diary.kinds.count("recovered") == 1


def test_a_connect_that_takes_too_long_is_told(
    make_pool: MakePool, diary: Diary, driver: FakeDatabase, clock: ManualClock
) -> None:
    pool = make_pool(connect_timeout=2.0, _clock=clock)
    pool.add_listener(diary, "open_failed")
    driver.hang("connect")
    assert pool.try_acquire() is None

    pass_time(pool, clock, 2.5)

    event = diary.only("open_failed")
    assert isinstance(event.error, TimeoutError)
    assert event.seconds == 2.0


def test_a_thread_local_pool_tells_of_outermost_blocks(
    make_threads: MakeThreads, diary: Diary
) -> None:
    pool = make_threads(name="mine")
    pool.add_listener(diary, "opened", "acquired", "released", "waited")

    with pool.connection(), pool.connection():
        pass
    with pool.connection():
        pass

    eventually(lambda: "opened" in diary.kinds)
    told = [kind for kind in diary.kinds if kind != "opened"]
    assert told == ["waited", "acquired", "released", "acquired", "released"]
    assert {event.pool for event in diary.events} == {"mine"}
