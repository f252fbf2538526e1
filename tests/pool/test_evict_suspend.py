"""Evicting and suspending: everybody gets a new connection, or none for the time being."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import millpond
from helpers import eventually, in_thread, remains, together, waiting, waiting_in_order

if TYPE_CHECKING:
    from fakes import FakeDatabase
    from helpers import MakePool


def test_evict_closes_what_is_idle(make_pool: MakePool, driver: FakeDatabase) -> None:
    pool = make_pool(max_size=3)
    for connection in [pool.acquire() for _ in range(3)]:
        pool.release(connection)

    pool.evict()
    eventually(lambda: driver.live == 0)

    assert pool.acquire() is driver.connections[3]


def test_evict_closes_what_is_in_use_when_it_comes_back_and_not_earlier(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = make_pool(max_size=1)
    held = pool.acquire()

    pool.evict()
    held.execute()
    assert not held.closed
    pool.release(held)
    fresh = pool.acquire()

    assert held.closed
    assert fresh is driver.connections[1]


def test_evict_spares_what_is_opened_afterwards(make_pool: MakePool) -> None:
    pool = make_pool(max_size=2)
    before = pool.acquire()
    pool.evict()
    after = pool.acquire()

    pool.release(after)
    pool.release(before)
    eventually(lambda: before.closed)

    assert pool.acquire() is after


def test_evict_applies_to_a_connection_that_is_being_opened(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    gate = driver.hang("connect")
    pool = make_pool(max_size=1)
    waiter = waiting(pool)
    eventually(lambda: gate.arrived == 1)

    pool.evict()
    gate.release()
    pool.release(waiter.result())
    eventually(lambda: driver.connections[0].closed)

    assert pool.acquire() is not driver.connections[0]


def test_what_is_evicted_while_it_is_opened_keeps_its_place_until_it_is_closed(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    """Else there would be more connections than `max_size`, and the server may refuse them."""
    connecting, closing = driver.hang("connect", times=1), driver.hang("close", times=1)
    pool = make_pool(max_size=1)
    waiter = waiting(pool)
    eventually(lambda: connecting.arrived == 1)

    pool.evict()
    connecting.release()

    eventually(lambda: closing.arrived == 1 or waiter.done)
    assert remains(lambda: driver.underway == 1)
    closing.release()
    assert waiter.result() is not None
    assert driver.peak_underway == 1


def test_ten_threads_that_evict_close_each_connection_once(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    """Scenario 33; a second close of the same connection is a violation that `driver` reports."""
    pool = make_pool(max_size=8)
    held = [pool.acquire() for _ in range(8)]
    for connection in held[:4]:
        pool.release(connection)

    together(10, lambda _number: pool.evict())
    for connection in held[4:]:
        pool.release(connection)
    eventually(lambda: driver.live == 0)

    assert driver.closes == 8
    assert pool.stats().size == 0


def test_an_evicted_pool_fills_up_to_min_size_again(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = make_pool(min_size=2, max_size=2)
    pool.wait(timeout=10)

    pool.evict()
    eventually(lambda: driver.closes == 2)
    eventually(lambda: pool.stats().idle == 2)

    assert driver.connects == 4


def test_a_suspended_pool_lets_callers_wait(make_pool: MakePool) -> None:
    """Scenario 39."""
    pool = make_pool(max_size=2)
    pool.release(pool.acquire())

    pool.suspend()
    waiter = waiting(pool)
    with pytest.raises(millpond.PoolTimeout):
        pool.acquire(timeout=0.01)
    assert pool.try_acquire() is None
    pool.resume()

    assert not waiter.result().closed


def test_a_suspended_pool_serves_in_order_when_it_is_resumed(make_pool: MakePool) -> None:
    """Scenario 39."""
    pool = make_pool(max_size=1)
    pool.release(pool.acquire())
    pool.suspend()
    first, second, third = waiting_in_order(pool, 3)

    pool.resume()
    pool.release(first.result())
    pool.release(second.result())

    assert third.result() is first.result()


def test_a_suspended_pool_takes_connections_back_and_keeps_them(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    held = pool.acquire()
    pool.suspend()
    waiter = waiting(pool)

    pool.release(held)

    assert not waiter.done
    assert pool.stats().idle == 1
    pool.resume()
    assert waiter.result() is held


def test_evicting_while_suspended_makes_everything_new(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    """Scenario 39: the moment to fail over."""
    pool = make_pool(max_size=2)
    held = pool.acquire()
    pool.suspend()
    waiters = waiting_in_order(pool, 2)

    pool.evict()
    pool.release(held)
    eventually(lambda: held.closed)
    assert driver.connects == 1
    pool.resume()

    assert {waiter.result().number for waiter in waiters} == {2, 3}


def test_suspending_and_resuming_twice_is_once(make_pool: MakePool) -> None:
    pool = make_pool()

    pool.suspend()
    pool.suspend()
    pool.resume()
    assert pool.acquire(timeout=10) is not None
    pool.resume()

    assert in_thread(pool.acquire).result() is not None


def test_a_suspended_pool_can_be_closed(make_pool: MakePool) -> None:
    pool = make_pool()
    pool.suspend()
    waiter = waiting(pool)

    pool.close()

    assert isinstance(waiter.error(), millpond.PoolClosed)
