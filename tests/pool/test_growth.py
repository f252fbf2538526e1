"""Growth: in parallel, as much as is asked for, and never beyond `max_size`."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

import millpond
from helpers import eventually, in_thread, pass_time, together, waiting, waiting_in_order

if TYPE_CHECKING:
    from fakes import FakeDatabase
    from helpers import MakePool
    from millpond._core import ManualClock


def test_a_new_pool_without_min_size_opens_nothing(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = make_pool(max_size=5)

    pool.wait(timeout=1)

    assert driver.attempts == 0
    assert (pool.min_size, pool.max_size) == (0, 5)


def test_min_size_is_opened_before_anybody_asks(make_pool: MakePool, driver: FakeDatabase) -> None:
    pool = make_pool(min_size=3, max_size=5)

    pool.wait(timeout=10)

    assert driver.connects == 3
    assert pool.stats().idle == 3


def test_min_size_is_opened_in_parallel(make_pool: MakePool, driver: FakeDatabase) -> None:
    gate = driver.hang("connect")
    pool = make_pool(min_size=4, max_size=5)

    eventually(lambda: gate.arrived == 4)
    gate.release()
    pool.wait(timeout=10)

    assert driver.connects == 4


def test_wait_gives_up_when_the_connections_do_not_come(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    driver.hang("connect")
    pool = make_pool(min_size=1)

    with pytest.raises(millpond.PoolTimeout):
        pool.wait(timeout=0.05)

    assert pool.stats().idle == 0


def test_the_constructor_does_not_wait_for_a_database_that_is_down(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    """Scenario 15: the pool starts, and is complete as soon as the database is there."""
    driver.down()
    pool = make_pool(min_size=2)
    eventually(lambda: driver.attempts >= 1)

    driver.up()
    pool.wait(timeout=10)

    assert pool.stats().idle == 2


def test_a_burst_opens_its_connections_all_at_once(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    gate = driver.hang("connect")
    pool = make_pool(max_size=20)

    waiters = waiting_in_order(pool, 20)
    eventually(lambda: gate.arrived == 20)
    gate.release()

    assert len({waiter.result() for waiter in waiters}) == 20
    assert driver.attempts == 20


def test_no_more_connects_are_begun_than_max_size_allows(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    gate = driver.hang("connect")
    pool = make_pool(max_size=3)
    waiters = waiting_in_order(pool, 8)
    eventually(lambda: gate.arrived == 3)

    gate.release()
    for waiter in waiters:
        pool.release(waiter.result())

    assert driver.peak_underway == 3
    assert driver.attempts == 3


def test_a_steady_load_does_not_go_on_opening_connections(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    """Scenario 4: 50 threads, 20 ms to connect, 1 ms of work."""
    driver.slow("connect", 0.02)
    pool = make_pool(max_size=100)

    def work(_number: int) -> None:
        for _ in range(10):
            with pool.connection():
                threading.Event().wait(0.001)

    together(50, work)
    eventually(lambda: pool.stats().idle == driver.live == pool.stats().size)
    after = driver.attempts

    assert after <= 55
    together(50, work)
    assert driver.attempts <= max(after, 50)


def test_a_spike_is_served_by_what_is_open_while_every_new_connect_hangs(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    """Scenario 5: 50 requests of 2 ms on 5 open connections do not wait for a slow connect."""
    pool = make_pool(min_size=5, max_size=50, _clock=clock)
    pool.wait(timeout=10)
    gate = driver.hang("connect")

    def work(_number: int) -> int:
        with pool.connection() as connection:
            threading.Event().wait(0.002)
            number: int = connection.number
            return number

    served_by = together(50, work)
    assert set(served_by) <= {1, 2, 3, 4, 5}
    gate.release()

    # What came too late is of no use for long: the pool is back at its floor after idle_timeout.
    eventually(lambda: pool.stats().idle == driver.live == driver.attempts)
    pass_time(pool, clock, 1300)
    eventually(lambda: driver.live == 5)


def test_the_first_to_ask_gets_the_first_connection_even_if_its_own_connect_hangs(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    gate = driver.hang("connect", times=1)
    pool = make_pool(max_size=2)
    first = waiting(pool)
    eventually(lambda: gate.arrived == 1)

    second = in_thread(pool.acquire)
    assert first.result() is driver.connections[0]
    assert not second.done
    gate.release()

    assert second.result() is driver.connections[1]


def test_what_min_size_lost_is_opened_again(make_pool: MakePool, driver: FakeDatabase) -> None:
    pool = make_pool(min_size=2, max_size=4)
    pool.wait(timeout=10)

    pool.discard(pool.acquire())

    eventually(lambda: driver.connects == 3)
    eventually(lambda: pool.stats().idle == 2)
