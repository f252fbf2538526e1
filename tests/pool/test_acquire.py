"""Acquiring: an idle connection first, a new one next, and never more than `max_size`."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

import millpond
from fakes import FakeConnection
from helpers import PATIENCE, eventually, in_thread, waiting

if TYPE_CHECKING:
    from fakes import FakeDatabase
    from helpers import MakePool


def test_acquire_opens_a_connection_when_the_pool_is_empty(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = make_pool()

    connection = pool.acquire()

    assert connection is driver.connections[0]
    assert pool.stats().in_use == 1


def test_acquire_takes_an_idle_connection_before_it_opens_another(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = make_pool(max_size=4)
    first = pool.acquire()
    pool.release(first)

    again = pool.acquire()

    assert again is first
    assert driver.connects == 1


def test_a_connection_is_opened_by_a_worker_and_not_by_the_caller(make_pool: MakePool) -> None:
    pool = make_pool(name="orders")

    connection = pool.acquire()

    assert connection.opened_in.startswith("millpond-orders-worker-")


def test_twenty_threads_on_four_connections_open_exactly_four(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    """Scenario 2."""
    pool = make_pool(max_size=4)
    enough = threading.Event()

    def work() -> None:
        with pool.connection() as connection, connection.held_by(threading.get_ident()):
            assert enough.wait(PATIENCE)

    threads = [in_thread(work) for _ in range(20)]
    eventually(lambda: pool.stats().waiting == 16)
    enough.set()
    for thread in threads:
        thread.result()

    assert driver.connects == 4
    assert driver.peak_underway == 4


def test_connection_lends_the_drivers_own_object_and_takes_it_back(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)

    with pool.connection() as connection:
        assert type(connection) is FakeConnection
        assert pool.stats().in_use == 1

    assert pool.stats().in_use == 0
    assert pool.try_acquire() is connection


def test_connection_acquires_at_the_start_of_the_block_and_not_before(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)

    lease = pool.connection()
    assert pool.stats().in_use == 0

    with lease:
        assert pool.stats().in_use == 1


def test_connection_is_returned_when_the_block_raises(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)

    with pytest.raises(ZeroDivisionError), pool.connection() as connection:
        connection.execute(1 / 0)

    assert pool.acquire(timeout=0) is connection


def test_connection_blocks_nest(make_pool: MakePool) -> None:
    pool = make_pool(max_size=2)

    with pool.connection() as outer, pool.connection() as inner:
        assert outer is not inner

    assert (pool.stats().idle, pool.stats().in_use) == (2, 0)


def test_try_acquire_never_waits(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    held = pool.acquire()

    assert pool.try_acquire() is None
    pool.release(held)

    assert pool.try_acquire() is held


def test_try_acquire_does_not_overtake_a_waiter(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    held = pool.acquire()
    waiter = waiting(pool)

    assert pool.try_acquire() is None
    pool.release(held)

    assert waiter.result() is held
    assert pool.try_acquire() is None


def test_try_acquire_gives_nothing_when_nobody_may_wait(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1, max_waiting=0)
    pool.acquire()

    assert pool.try_acquire() is None


def test_acquire_without_patience_takes_an_idle_connection(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    held = pool.acquire()

    with pytest.raises(millpond.PoolTimeout):
        pool.acquire(timeout=0)
    pool.release(held)

    assert pool.acquire(timeout=0) is held


def test_a_pool_that_serves_its_own_holder_times_out_instead_of_deadlocking(
    make_pool: MakePool,
) -> None:
    """Scenario 43."""
    pool = make_pool(max_size=1)

    with pool.connection() as outer:
        with pytest.raises(millpond.PoolTimeout):
            pool.acquire(timeout=0.05)
        assert pool.stats().in_use == 1

    assert pool.acquire() is outer


def test_new_credentials_are_for_new_connections_only(make_pool: MakePool) -> None:
    """Scenario 44."""
    passwords = ["old"]
    used: list[str] = []

    class Connection:
        def __init__(self) -> None:
            used.append(passwords[-1])

        def rollback(self) -> None:
            """Nothing was changed."""

        def close(self) -> None:
            """Nothing is open."""

    pool = make_pool(Connection, max_size=2)
    old = pool.acquire()
    passwords.append("new")

    pool.acquire()
    pool.release(old)

    assert used == ["old", "new"]
    assert pool.acquire() is old
