"""Resizing: at once for those who wait, and without pulling a connection out of anyone's hands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import millpond
from helpers import eventually, waiting_in_order

if TYPE_CHECKING:
    from fakes import FakeDatabase
    from helpers import MakePool


def test_a_smaller_maximum_kills_nothing_and_shrinks_on_return(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    """Scenario 38."""
    pool = make_pool(max_size=10)
    held = [pool.acquire() for _ in range(10)]

    pool.resize(max_size=4)
    assert driver.live == 10
    for connection in held:
        connection.execute()
        pool.release(connection)
    eventually(lambda: pool.stats().idle == driver.live <= 4)

    # One more than needed may be closed, when its new place was still being emptied.
    assert pool.max_size == 4
    assert pool.stats().idle >= 1


def test_a_smaller_maximum_closes_idle_connections(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = make_pool(max_size=5)
    for connection in [pool.acquire() for _ in range(5)]:
        pool.release(connection)

    pool.resize(max_size=2)
    eventually(lambda: driver.live == 2)

    assert pool.stats().idle == 2


def test_a_larger_maximum_serves_the_waiters_at_once(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    """Scenario 38."""
    pool = make_pool(max_size=4)
    held = {pool.acquire() for _ in range(4)}
    waiters = waiting_in_order(pool, 6)

    pool.resize(max_size=10)

    assert held.isdisjoint({waiter.result() for waiter in waiters})
    assert driver.live == 10


def test_a_larger_minimum_is_filled(make_pool: MakePool, driver: FakeDatabase) -> None:
    pool = make_pool(max_size=6)

    pool.resize(min_size=3)
    pool.wait(timeout=10)

    assert driver.live == 3
    assert pool.min_size == 3


def test_both_bounds_can_move_together(make_pool: MakePool) -> None:
    pool = make_pool(min_size=1, max_size=2)

    pool.resize(min_size=4, max_size=8)
    pool.wait(timeout=10)

    assert (pool.min_size, pool.max_size) == (4, 8)
    assert pool.stats().idle == 4


def test_a_smaller_maximum_is_kept_although_somebody_waits(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = make_pool(max_size=2)
    held = [pool.acquire(), pool.acquire()]
    (waiter,) = waiting_in_order(pool, 1)
    pool.resize(max_size=1)

    for connection in held:
        pool.release(connection)
    served = waiter.result()
    eventually(lambda: driver.live == 1)

    assert driver.open_connections == [served]
    assert pool.try_acquire() is None


def test_nothing_is_opened_while_more_than_the_new_maximum_are_in_use(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = make_pool(max_size=4)
    held = [pool.acquire() for _ in range(4)]
    pool.discard(held[0])
    eventually(lambda: driver.live == 3)

    pool.resize(max_size=2)
    with pytest.raises(millpond.PoolTimeout):
        pool.acquire(timeout=0.05)

    assert driver.connects == 4


def test_idle_connections_make_room_for_those_in_use(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = make_pool(max_size=4)
    held = [pool.acquire() for _ in range(4)]
    for connection in held[:2]:
        pool.release(connection)

    pool.resize(max_size=2)
    eventually(lambda: driver.live == 2)

    assert not any(connection.closed for connection in held[2:])


def test_shrinking_and_growing_while_connections_are_out_counts_right(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = make_pool(max_size=8)
    held = [pool.acquire() for _ in range(8)]

    pool.resize(max_size=1)
    pool.resize(max_size=8)
    for connection in held:
        pool.release(connection)
    eventually(lambda: pool.stats().idle == driver.live)
    again = [pool.acquire() for _ in range(8)]

    assert len(set(again)) == 8
    assert driver.live == 8
    with pytest.raises(millpond.PoolTimeout):
        pool.acquire(timeout=0)


@pytest.mark.parametrize(
    ("bounds", "complaint"),
    [
        ({"max_size": 0}, "max_size"),
        ({"max_size": -1}, "max_size"),
        ({"min_size": -1}, "min_size"),
        ({"min_size": 5}, "min_size"),
        ({"max_size": 1}, "min_size"),
        ({"max_size": 2.5}, "max_size"),
    ],
)
def test_impossible_bounds_are_refused_and_change_nothing(
    make_pool: MakePool, bounds: dict[str, int], complaint: str
) -> None:
    pool = make_pool(min_size=2, max_size=4)

    with pytest.raises((millpond.PoolConfigError, TypeError), match=complaint):
        pool.resize(**bounds)

    assert (pool.min_size, pool.max_size) == (2, 4)


def test_a_pool_that_is_suspended_shrinks_as_well(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = make_pool(max_size=2, _inline=True)
    first, _held = pool.acquire(), pool.acquire()
    pool.release(first)
    pool.suspend()

    pool.resize(max_size=1)

    assert driver.live == 1
    assert first.closed
