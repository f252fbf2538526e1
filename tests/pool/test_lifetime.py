"""Lifetime and uses: a connection retires in time, once, and not in anybody's hands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from helpers import in_thread, pass_time

if TYPE_CHECKING:
    from fakes import FakeDatabase
    from helpers import MakePool
    from millpond._core import ManualClock


def test_an_idle_connection_retires_at_the_end_of_its_life(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    pool = make_pool(max_lifetime=3600, idle_timeout=None, _clock=clock, _inline=True)
    connection = pool.acquire()
    pool.release(connection)

    pass_time(pool, clock, 3200)
    assert not connection.closed
    pass_time(pool, clock, 400)

    assert connection.closed
    assert driver.closes == 1
    assert pool.stats().size == 0


def test_a_connection_in_use_retires_on_return_and_not_earlier(
    make_pool: MakePool, clock: ManualClock
) -> None:
    """Scenario 24."""
    pool = make_pool(max_lifetime=3600, _clock=clock, _inline=True)
    connection = pool.acquire()

    pass_time(pool, clock, 7200)
    connection.execute()
    assert not connection.closed
    pool.release(connection)

    assert connection.closed


def test_the_end_of_a_life_is_seen_at_the_return_even_if_no_timer_has_run(
    make_pool: MakePool, clock: ManualClock
) -> None:
    pool = make_pool(max_lifetime=3600, _clock=clock, _inline=True)
    connection = pool.acquire()

    clock.advance(3601)
    pool.release(connection)

    assert connection.closed


def test_connections_that_were_opened_together_retire_one_by_one(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    """Scenario 23."""
    pool = make_pool(max_size=100, max_lifetime=3600, idle_timeout=None, _clock=clock, _inline=True)
    for connection in [pool.acquire() for _ in range(100)]:
        pool.release(connection)
    pass_time(pool, clock, 3200)
    assert driver.closes == 0

    retired = []
    for _ in range(401):
        before = driver.closes
        pass_time(pool, clock, 1)
        retired.append(driver.closes - before)

    assert sum(retired) == 100
    assert max(retired) <= 12
    assert sum(1 for count in retired if count) >= 30


@pytest.mark.usefixtures("fast_switching")
def test_a_connection_whose_life_ends_on_the_way_to_a_waiter_is_closed_once(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    """Scenario 25; `driver` reports a second close as a violation."""
    pool = make_pool(max_size=1, max_lifetime=60, _clock=clock)

    for _ in range(50):
        held = pool.acquire()
        waiter = in_thread(pool.acquire)
        timer = in_thread(pass_time, pool, clock, 61)
        pool.release(held)
        timer.result()
        served = waiter.result()
        assert not served.closed
        pool.release(served)

    pool.close()
    assert driver.live == 0
    assert driver.closes == driver.connects


def test_the_retired_are_replaced_up_to_min_size(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    pool = make_pool(min_size=2, max_lifetime=3600, _clock=clock, _inline=True)
    pool.wait(timeout=10)

    pass_time(pool, clock, 3601)

    assert driver.closes == 2
    assert pool.stats().idle == 2


def test_without_a_limit_a_connection_lives_for_ever(
    make_pool: MakePool, clock: ManualClock
) -> None:
    pool = make_pool(max_lifetime=None, idle_timeout=None, _clock=clock, _inline=True)
    connection = pool.acquire()
    pool.release(connection)

    pass_time(pool, clock, 10 * 365 * 86400)

    assert pool.acquire() is connection


def test_a_connection_is_closed_after_so_many_uses(make_pool: MakePool, clock: ManualClock) -> None:
    pool = make_pool(max_size=1, max_uses=3, _clock=clock, _inline=True)

    numbers = []
    for _ in range(7):
        with pool.connection() as connection:
            numbers.append(connection.number)

    assert numbers == [1, 1, 1, 2, 2, 2, 3]
