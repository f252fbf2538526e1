"""Releasing: exactly once, what was acquired here, from any thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import millpond
from fakes import OperationalError
from helpers import eventually, in_thread, waiting

if TYPE_CHECKING:
    from fakes import FakeDatabase
    from helpers import MakePool


def test_release_makes_the_connection_idle(make_pool: MakePool) -> None:
    pool = make_pool()
    connection = pool.acquire()

    pool.release(connection)

    assert (pool.stats().idle, pool.stats().in_use) == (1, 0)
    assert not connection.closed


def test_releasing_twice_raises_and_changes_nothing(make_pool: MakePool) -> None:
    """Scenario 31."""
    pool = make_pool(max_size=2)
    connection = pool.acquire()
    pool.release(connection)
    before = pool.stats()

    with pytest.raises(millpond.PoolError, match="released"):
        pool.release(connection)

    assert (pool.stats().idle, pool.stats().in_use) == (before.idle, before.in_use)
    assert pool.acquire() is connection


def test_a_second_release_inside_a_block_does_not_free_the_next_owners_connection(
    make_pool: MakePool,
) -> None:
    """Scenario 31: the block's own release comes second, when somebody else has the connection."""
    pool = make_pool(max_size=1)

    lease = pool.connection()
    connection = lease.__enter__()
    pool.release(connection)
    assert pool.acquire() is connection
    with pytest.raises(millpond.PoolError):
        lease.__exit__(None, None, None)

    assert pool.stats().in_use == 1
    assert pool.try_acquire() is None


def test_releasing_a_foreign_object_raises_and_leaves_it_alone(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = make_pool()
    pool.acquire()
    foreign = driver.connect()

    with pytest.raises(millpond.PoolError, match="is no connection of"):
        pool.release(foreign)

    assert not foreign.closed
    assert pool.stats().in_use == 1


def test_releasing_to_another_pool_raises_in_that_pool_and_not_in_its_own(
    make_pool: MakePool,
) -> None:
    own, other = make_pool(), make_pool()
    connection = own.acquire()
    other.acquire()

    with pytest.raises(millpond.PoolError):
        other.release(connection)
    own.release(connection)

    assert (own.stats().idle, other.stats().in_use) == (1, 1)


@pytest.mark.parametrize("nothing", [None, 1, "connection", object()])
def test_releasing_what_is_no_connection_raises(make_pool: MakePool, nothing: object) -> None:
    pool = make_pool()
    pool.acquire()

    with pytest.raises((millpond.PoolError, TypeError)):
        pool.release(nothing)

    assert pool.stats().in_use == 1


def test_a_connection_may_be_released_by_another_thread(make_pool: MakePool) -> None:
    """Scenario 32."""
    pool = make_pool(max_size=1)
    connection = pool.acquire()

    in_thread(pool.release, connection).result()

    assert (pool.stats().idle, pool.stats().in_use) == (1, 0)
    assert in_thread(pool.acquire).result() is connection


def test_discard_closes_the_connection_and_frees_its_place(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = make_pool(max_size=1)
    broken = pool.acquire()

    pool.discard(broken)
    fresh = pool.acquire()

    assert fresh is not broken
    assert broken.closed
    assert driver.live == 1


def test_discard_does_not_reset_the_connection(make_pool: MakePool, driver: FakeDatabase) -> None:
    pool = make_pool(max_size=1)
    connection = pool.acquire()

    pool.discard(connection)
    eventually(lambda: connection.closed)

    assert driver.rollbacks == 0


def test_discard_lets_a_new_connection_be_opened_for_the_waiter(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    broken = pool.acquire()
    waiter = waiting(pool)

    pool.discard(broken)

    assert waiter.result() is not broken


def test_discarding_twice_raises(make_pool: MakePool, driver: FakeDatabase) -> None:
    pool = make_pool()
    connection = pool.acquire()
    pool.discard(connection)

    with pytest.raises(millpond.PoolError):
        pool.discard(connection)
    with pytest.raises(millpond.PoolError):
        pool.release(connection)
    eventually(lambda: connection.closed)

    assert driver.closes == 1


def test_a_connection_which_cannot_be_reset_is_closed_and_not_lent_again(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = make_pool(max_size=1)
    connection = pool.acquire()
    driver.fail_next(OperationalError("gone"), at="rollback")

    pool.release(connection)

    assert pool.acquire() is not connection
    assert connection.closed


def test_closing_a_broken_connection_holds_up_neither_its_releaser_nor_the_next_caller(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    """Scenario 19."""
    pool = make_pool(max_size=2)
    broken = pool.acquire()
    broken.kill()
    gate = driver.hang("close")

    pool.release(broken)
    eventually(lambda: gate.arrived == 1)
    fresh = pool.acquire()

    assert fresh is not broken
    assert broken.closed_in is not None
    assert broken.closed_in.startswith(f"millpond-{pool.name}-worker-")
