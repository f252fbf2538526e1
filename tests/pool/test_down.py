"""A database out of reach: how many knock, how often, and who is told."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

import millpond
from fakes import OperationalError, ProgrammingError
from helpers import (
    eventually,
    in_thread,
    pass_time,
    pass_time_until,
    remains,
    waiting,
    waiting_in_order,
)

if TYPE_CHECKING:
    from typing import Any

    from fakes import FakeDatabase
    from helpers import MakePool
    from millpond._core import ManualClock


def down_for(
    pool: millpond.Pool[Any], driver: FakeDatabase, clock: ManualClock, seconds: float
) -> None:
    """Let attempts fail for so long, while somebody waits for one to succeed."""
    driver.down()
    waiter = in_thread(pool.acquire, timeout=0.3)
    eventually(lambda: pool.stats().failing is not None)
    for _ in range(int(seconds * 10)):
        pass_time(pool, clock, 0.1)
    assert isinstance(waiter.error(), millpond.PoolTimeout)


def test_no_more_than_max_connecting_connect_at_once(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    """Scenario 22."""
    gate = driver.hang("connect")
    pool = make_pool(max_size=10, max_connecting=3)
    waiters = waiting_in_order(pool, 10, timeout=30)
    eventually(lambda: gate.arrived == 3)
    assert remains(lambda: driver.underway == 3)

    gate.release()

    assert len({waiter.result() for waiter in waiters}) == 10


def test_without_max_connecting_all_connect_at_once(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    gate = driver.hang("connect")
    pool = make_pool(max_size=40, max_connecting=None)

    waiters = waiting_in_order(pool, 40, timeout=30)

    eventually(lambda: gate.arrived == 40)
    gate.release()
    assert len({waiter.result() for waiter in waiters}) == 40


def test_a_warm_up_keeps_to_max_connecting_as_well(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    driver.slow("connect", 0.01)
    pool = make_pool(min_size=8, max_size=8, max_connecting=2)

    pool.wait(timeout=10)

    assert driver.connects == 8
    assert driver.peak_underway <= 8


def test_after_a_failure_one_at_a_time_is_tried(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    """Scenario 22: whoever comes back is not run over."""
    gate = driver.hang("connect", times=8)
    driver.fail_next(OperationalError("not now"), times=8)
    pool = make_pool(max_size=8, _clock=clock)
    waiters = waiting_in_order(pool, 8, timeout=30)
    eventually(lambda: gate.arrived == 8)
    gate.release()
    eventually(lambda: driver.underway == 0)
    gate = driver.hang("connect")
    attempts = driver.attempts

    pass_time(pool, clock, 0.05 * 1.25)

    eventually(lambda: driver.attempts == attempts + 1)
    assert remains(lambda: driver.attempts == attempts + 1)
    gate.release()
    assert len({waiter.result() for waiter in waiters}) == 8


def test_a_probe_that_hangs_is_followed_by_another(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    driver.down()
    pool = make_pool(max_size=8, _clock=clock)
    waiters = waiting_in_order(pool, 2, timeout=30)
    eventually(lambda: driver.underway == 0)
    gate = driver.hang("connect", times=1)
    driver.up()
    attempts = driver.attempts

    pass_time_until(pool, clock, lambda: driver.attempts >= attempts + 2)
    eventually(lambda: any(waiter.done for waiter in waiters))

    gate.release()
    assert len({waiter.result() for waiter in waiters}) == 2


def test_a_caller_is_told_at_once_when_nothing_can_be_opened_for_long(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    pool = make_pool(max_size=2, fail_fast_after=1.0, acquire_timeout=1.0, _clock=clock)
    down_for(pool, driver, clock, 1.2)

    began = time.monotonic()
    with pytest.raises(millpond.PoolTimeout) as caught:
        pool.acquire()

    assert time.monotonic() - began < 0.5
    assert isinstance(caught.value.__cause__, OperationalError)
    assert "no attempt to connect has succeeded" in str(caught.value)
    assert pool.stats().turned_away == 1
    assert (pool.stats().failing or 0.0) >= 1.0
    assert pool.try_acquire() is None
    with pytest.raises(millpond.PoolTimeout):
        pool._register_waiter(lambda: None)


def test_who_is_ready_to_wait_for_longer_than_it_has_lasted_waits(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    """Scenario 16: a blip that is shorter than the caller's timeout costs it no error."""
    pool = make_pool(max_size=2, fail_fast_after=1.0, acquire_timeout=1.0, _clock=clock)
    down_for(pool, driver, clock, 1.2)
    patient = waiting(pool, timeout=20)

    driver.up()
    pass_time_until(pool, clock, lambda: patient.done)

    assert patient.result() is driver.connections[0]
    assert pool.stats().failing is None


def test_while_a_connection_is_open_everybody_waits_for_it(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    pool = make_pool(
        max_size=2, fail_fast_after=1.0, acquire_timeout=1.0, reset="none", _clock=clock
    )
    held = pool.acquire()
    down_for(pool, driver, clock, 1.2)
    assert (pool.stats().failing or 0.0) >= 1.0

    waiter = waiting(pool, timeout=0.9)
    pool.release(held)

    assert waiter.result() is held


def test_who_is_told_orders_the_next_attempt_and_its_success_serves_all(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    pool = make_pool(max_size=2, fail_fast_after=1.0, acquire_timeout=1.0, _clock=clock)
    down_for(pool, driver, clock, 1.2)
    with pytest.raises(millpond.PoolTimeout):
        pool.acquire()
    driver.up()

    pass_time_until(pool, clock, lambda: pool.stats().idle == 1)

    assert pool.acquire() is driver.connections[0]
    assert pool.acquire() is driver.connections[1]


def test_what_nobody_has_tried_for_long_is_not_taken_for_known(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    pool = make_pool(max_size=2, fail_fast_after=1.0, acquire_timeout=1.0, _clock=clock)
    down_for(pool, driver, clock, 1.2)
    for _ in range(100):
        pass_time(pool, clock, 0.1)
    driver.up()

    waiter = in_thread(pool.acquire, timeout=10)
    pass_time_until(pool, clock, lambda: waiter.done)

    assert waiter.result() is driver.connections[0]
    assert pool.stats().turned_away == 0


def test_never_failing_fast_means_waiting_each_time(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    pool = make_pool(max_size=2, fail_fast_after=None, _clock=clock)
    down_for(pool, driver, clock, 10)

    with pytest.raises(millpond.PoolTimeout):
        pool.acquire(timeout=0.05)

    assert pool.stats().turned_away == 0


def test_a_mistake_in_the_middle_of_an_outage_says_that_somebody_answers(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    pool = make_pool(max_size=1, fail_fast_after=1.0, acquire_timeout=1.0, _clock=clock)
    down_for(pool, driver, clock, 1.2)
    driver.down(ProgrammingError("no such database"))
    with pytest.raises(millpond.PoolTimeout):
        pool.acquire()
    pass_time_until(pool, clock, lambda: pool.stats().failing is None)

    waiter = in_thread(pool.acquire, timeout=10)

    assert isinstance(waiter.error(), ProgrammingError)
