"""Waiting: in order, nobody overtaken, nobody forgotten, and no more than `max_waiting`."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

import millpond
from helpers import PATIENCE, eventually, in_thread, together, waiting, waiting_in_order

if TYPE_CHECKING:
    from fakes import FakeDatabase
    from helpers import MakePool


def test_release_serves_the_longest_waiter_first(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    held = pool.acquire()
    first, second = waiting_in_order(pool, 2)

    pool.release(held)

    assert first.result() is held
    assert not second.served
    assert pool.stats().waiting == 1


def test_forty_waiters_are_served_in_the_order_in_which_they_asked(make_pool: MakePool) -> None:
    """Scenario 6."""
    pool = make_pool(max_size=1)
    held = pool.acquire()
    waiters = waiting_in_order(pool, 40)

    for number, waiter in enumerate(waiters):
        pool.release(held)
        assert waiter.result() is held
        assert not any(later.served for later in waiters[number + 1 :])


def test_a_connection_goes_to_the_waiter_and_not_to_whoever_releases_it(
    make_pool: MakePool,
) -> None:
    pool = make_pool(max_size=1)
    held = pool.acquire()
    waiter = waiting(pool)

    pool.release(held)

    assert pool.try_acquire() is None
    assert waiter.result() is held


def test_nobody_is_starved_however_short_the_others_hold(make_pool: MakePool) -> None:
    """Scenario 7, counted instead of timed: how many are served between asking and being served."""
    pool = make_pool(max_size=2)
    served = 0
    worst = 0
    lock = threading.Lock()

    def work(_number: int) -> None:
        nonlocal served, worst
        for _ in range(100):
            asked = served
            with pool.connection():
                with lock:
                    worst = max(worst, served - asked)
                    served += 1
                threading.Event().wait(0.0002)

    together(4, work)

    assert served == 400
    assert worst <= 40


def test_more_than_max_waiting_are_refused_at_once(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1, max_waiting=2, name="orders")
    held = pool.acquire()
    first, second = waiting_in_order(pool, 2)

    with pytest.raises(millpond.PoolExhausted, match="orders"):
        pool.acquire()

    assert pool.stats().waiting == 2
    pool.release(held)
    pool.release(first.result())
    assert second.result() is held


def test_the_queue_has_room_again_after_a_waiter_gave_up(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1, max_waiting=1)
    held = pool.acquire()

    with pytest.raises(millpond.PoolTimeout):
        pool.acquire(timeout=0.01)
    waiter = waiting(pool)
    pool.release(held)

    assert waiter.result() is held


def test_nobody_may_wait_when_max_waiting_is_nought(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1, max_waiting=0)
    pool.acquire()  # to wait until it is opened is not to wait for a release

    with pytest.raises(millpond.PoolExhausted):
        pool.acquire()

    assert pool.stats().waiting == 0


def test_several_places_that_open_up_serve_several_waiters(make_pool: MakePool) -> None:
    pool = make_pool(max_size=3)
    held = [pool.acquire() for _ in range(3)]
    waiters = waiting_in_order(pool, 3)

    for connection in held:
        pool.release(connection)

    assert {waiter.result() for waiter in waiters} == set(held)


@pytest.mark.usefixtures("fast_switching")
@pytest.mark.parametrize("policy", ["fair", "throughput"])
def test_no_wake_up_is_lost_between_a_release_and_a_wait(
    make_pool: MakePool, driver: FakeDatabase, policy: str
) -> None:
    """Scenario 12. A lost wake-up would end in a timeout."""
    pool = make_pool(max_size=1, policy=policy, acquire_timeout=PATIENCE)

    def work(number: int) -> None:
        for _ in range(500):
            connection = pool.acquire()
            connection.enter(number)
            connection.leave(number)
            pool.release(connection)

    together(3, work)

    assert driver.connects == 1
    assert pool.stats().waiting == 0


def test_a_pool_with_all_places_held_burns_no_time_on_its_waiters(make_pool: MakePool) -> None:
    """Scenario 13: parked means parked."""
    pool = make_pool(max_size=1)
    held = pool.acquire()
    waiters = waiting_in_order(pool, 30)

    before = time.process_time()
    threading.Event().wait(0.3)
    spent = time.process_time() - before

    assert spent < 0.1
    for waiter in waiters:
        pool.release(held)
        assert waiter.result() is held


def test_a_waiter_is_served_by_a_connection_that_is_opened_for_it(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = make_pool(max_size=2)
    pool.acquire()
    gate = driver.hang("connect", times=1)
    waiter = waiting(pool)
    eventually(lambda: gate.arrived == 1)

    gate.release()

    assert waiter.result() is driver.connections[1]


def test_a_release_serves_a_waiter_whose_connection_is_still_being_opened(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = make_pool(max_size=2)
    held = pool.acquire()
    gate = driver.hang("connect", times=1)
    waiter = waiting(pool)
    eventually(lambda: gate.arrived == 1)

    pool.release(held)
    assert waiter.result() is held
    gate.release()

    # What was opened for nobody waits for the next caller.
    eventually(lambda: pool.stats().idle == 1)
    assert in_thread(pool.acquire).result() is driver.connections[1]
