"""`ThreadLocalPool`: each thread has a connection of its own, which lives no longer than it."""

from __future__ import annotations

import _thread
import gc
import sqlite3
import threading
from typing import TYPE_CHECKING

import pytest

import millpond
from helpers import PATIENCE, eventually, in_thread, remains, together
from threadlocal import Resident, used, waits

if TYPE_CHECKING:
    from pathlib import Path

    from fakes import FakeConnection, FakeDatabase
    from threadlocal import MakeThreads

pytestmark = pytest.mark.freethreaded


def test_a_thread_gets_the_same_connection_again_and_again(make_threads: MakeThreads) -> None:
    pool = make_threads()

    first = used(pool)

    assert all(used(pool) is first for _ in range(5))


def test_each_thread_has_another_one(make_threads: MakeThreads) -> None:
    pool = make_threads(max_size=4)

    def work(_: int) -> object:
        connection = used(pool)
        barrier.wait(PATIENCE)
        assert used(pool) is connection
        return connection

    barrier = threading.Barrier(4)

    assert len(set(together(4, work))) == 4


def test_a_block_inside_of_another_is_part_of_its_transaction(
    make_threads: MakeThreads, driver: FakeDatabase
) -> None:
    pool = make_threads()

    with pool.connection() as outer:
        outer.execute("INSERT")
        with pool.connection() as inner:
            assert inner is outer
            assert inner.in_transaction
        assert outer.in_transaction
        assert driver.rollbacks == 0

    assert driver.rollbacks == 1
    assert not outer.in_transaction


def test_acquire_and_release_nest_with_blocks(
    make_threads: MakeThreads, driver: FakeDatabase
) -> None:
    pool = make_threads()

    outer = pool.acquire()
    with pool.connection() as inner:
        assert pool.acquire() is inner is outer
        pool.release(inner)
    assert driver.rollbacks == 0
    pool.release(outer)

    assert driver.rollbacks == 1


def test_one_lease_can_be_entered_inside_of_itself(
    make_threads: MakeThreads, driver: FakeDatabase
) -> None:
    lease = make_threads().connection()

    with lease as outer, lease as inner:
        assert inner is outer

    assert driver.rollbacks == 1


def test_an_exception_ends_each_block_that_it_leaves(
    make_threads: MakeThreads, driver: FakeDatabase
) -> None:
    pool = make_threads()

    with pool.connection() as outer:
        with pytest.raises(ValueError, match="inner"), pool.connection():
            raise ValueError("inner")  # noqa: EM101
        assert driver.rollbacks == 0
        assert used(pool) is outer
    with pytest.raises(ValueError, match="outer"), pool.connection():
        raise ValueError("outer")  # noqa: EM101

    assert driver.rollbacks == 2
    assert pool.stats().in_use == 0


def test_a_second_release_is_an_error(make_threads: MakeThreads) -> None:
    pool = make_threads()
    connection = pool.acquire()
    pool.release(connection)

    with pytest.raises(millpond.PoolError, match=r"released to pool 'pool-.*' already"):
        pool.release(connection)

    assert used(pool) is connection


def test_a_connection_can_be_released_in_its_own_thread_only(make_threads: MakeThreads) -> None:
    pool = make_threads()
    connection = pool.acquire()

    error = in_thread(pool.release, connection).error()

    assert isinstance(error, millpond.PoolError)
    assert "no connection that this thread has" in str(error)
    pool.release(connection)


def test_a_block_that_was_not_entered_cannot_be_left(make_threads: MakeThreads) -> None:
    lease = make_threads().connection()

    with pytest.raises(millpond.PoolError, match="is not entered"):
        lease.__exit__(None, None, None)


# How many, and who waits.


def test_a_thread_too_many_waits_until_another_ends(
    make_threads: MakeThreads, driver: FakeDatabase
) -> None:
    pool = make_threads(max_size=1)
    resident = Resident(pool)
    first = resident.uses()
    waiter = waits(pool)

    resident.ends()

    assert waiter.result() is not first
    assert driver.peak_live == 1


def test_threads_that_wait_are_served_in_order(make_threads: MakeThreads) -> None:
    pool = make_threads(max_size=1)
    used(pool)
    order: list[int] = []

    def work(number: int) -> None:
        with pool.connection():
            order.append(number)

    running = []
    for number in range(4):
        running.append(in_thread(work, number))
        eventually(lambda number=number: pool.stats().waiting == number + 1)  # type: ignore[misc]
    pool.release_thread()
    for one in running:
        one.result()

    assert order == [0, 1, 2, 3]


def test_a_timeout_says_which_threads_have_the_connections(make_threads: MakeThreads) -> None:
    pool = make_threads(max_size=2, acquire_timeout=0.05, name="app")
    resident = Resident(pool)
    resident.thread.name = "resident"
    resident.uses()
    used(pool)

    error = in_thread(used, pool).error()

    assert isinstance(error, millpond.PoolTimeout)
    assert isinstance(error, TimeoutError)
    assert "0 of 2 in use, 2 idle" in str(error)
    assert "kept by thread resident, idle for" in str(error)
    assert "raise max_size to the number of threads" in str(error)


def test_the_timeout_of_one_block_wins(make_threads: MakeThreads) -> None:
    pool = make_threads(max_size=1, acquire_timeout=None)
    used(pool)

    def work() -> None:
        with pool.connection(timeout=0):
            pass

    assert isinstance(in_thread(work).error(), millpond.PoolTimeout)
    assert isinstance(in_thread(lambda: pool.acquire(timeout=0)).error(), millpond.PoolTimeout)
    assert pool.stats().waiting == 0


def test_more_threads_than_may_wait_are_refused(make_threads: MakeThreads) -> None:
    pool = make_threads(max_size=1, max_waiting=1)
    used(pool)
    waiter = waits(pool)

    assert isinstance(in_thread(used, pool).error(), millpond.PoolExhausted)

    pool.release_thread()
    waiter.result()


def test_nobody_waits_in_a_pool_that_raises_when_it_is_exhausted(
    make_threads: MakeThreads,
) -> None:
    pool = make_threads(max_size=1, on_exhausted="raise")
    used(pool)

    assert isinstance(in_thread(used, pool).error(), millpond.PoolExhausted)


def test_what_connecting_raises_goes_to_who_asked(
    make_threads: MakeThreads, driver: FakeDatabase
) -> None:
    pool = make_threads()
    driver.fail_next(ZeroDivisionError("no"))

    with pytest.raises(ZeroDivisionError), pool.connection():
        pass

    assert used(pool).number == 1


def test_connections_that_are_kept_open_are_for_new_threads(
    make_threads: MakeThreads, driver: FakeDatabase
) -> None:
    pool = make_threads(min_size=2)
    pool.wait()

    connection = used(pool)

    assert connection in driver.connections[:2]
    assert remains(lambda: driver.connects == 2, 0.02)


# When a thread ends.


def test_the_connection_is_closed_when_its_thread_has_ended(
    make_threads: MakeThreads, driver: FakeDatabase
) -> None:
    pool = make_threads()
    resident = Resident(pool)
    connection = resident.uses()
    assert not connection.closed

    resident.ends()

    eventually(lambda: connection.closed)
    assert pool.stats().closed["discarded"] == 1
    assert driver.live == 0


def test_it_is_as_well_for_a_thread_that_threading_does_not_know(make_threads: MakeThreads) -> None:
    pool = make_threads()
    had: list[FakeConnection] = []

    _thread.start_new_thread(lambda: had.append(used(pool)), ())

    eventually(lambda: had and had[0].closed)


def test_a_thousand_short_threads_leave_nothing_behind(
    make_threads: MakeThreads, driver: FakeDatabase
) -> None:
    pool = make_threads(max_size=4, acquire_timeout=30)

    def work(_: int) -> None:
        for _ in range(125):
            thread = threading.Thread(target=used, args=(pool,))
            thread.start()
            thread.join()

    together(8, work)

    eventually(lambda: driver.live == 0)
    assert driver.connects == 1000
    assert driver.peak_live <= 4


def test_a_block_that_its_thread_never_left_costs_no_place(
    make_threads: MakeThreads, driver: FakeDatabase
) -> None:
    pool = make_threads(max_size=1)

    in_thread(pool.acquire).thread.join()

    assert used(pool).number == 2
    assert driver.connections[0].closed
    assert pool.stats().closed["leaked"] == 1


def test_a_connection_can_be_let_go_early(make_threads: MakeThreads, driver: FakeDatabase) -> None:
    pool = make_threads(max_size=1)
    first = used(pool)

    pool.release_thread()

    eventually(lambda: first.closed)
    assert in_thread(used, pool).result() is not first
    pool.release_thread()
    assert driver.rollbacks == 2


def test_in_a_block_it_goes_with_the_end_of_the_block(make_threads: MakeThreads) -> None:
    pool = make_threads()

    with pool.connection() as first:
        pool.release_thread()
        first.execute()
        with pool.connection() as inner:
            assert inner is first
        assert not first.closed

    eventually(lambda: first.closed)
    assert used(pool) is not first


def test_a_pool_that_nobody_has_any_more_closes_its_connections(driver: FakeDatabase) -> None:
    pool = millpond.ThreadLocalPool(driver.connect)
    resident = Resident(pool)
    used(pool)
    resident.uses()
    resident._pool = None  # type: ignore[assignment]

    del pool
    gc.collect()

    eventually(lambda: driver.live == 0)
    resident.ends()


def test_each_thread_works_on_a_real_database(tmp_path: Path) -> None:
    with millpond.ThreadLocalPool(f"sqlite:///{tmp_path / 'app.db'}", max_size=4) as pool:
        with pool.connection() as connection:
            connection.execute("CREATE TABLE t (n INTEGER)")

        def work(number: int) -> None:
            with pool.connection() as outer:
                outer.execute("INSERT INTO t VALUES (?)", (number,))
                with pool.connection() as inner:
                    inner.commit()

        together(3, work)

        with pool.connection() as connection:
            assert connection.execute("SELECT count(*) FROM t").fetchone() == (3,)


def test_a_connection_that_only_its_own_thread_may_use_is_refused(tmp_path: Path) -> None:
    pool = millpond.ThreadLocalPool(lambda: sqlite3.connect(tmp_path / "app.db"))

    with pytest.raises(millpond.PoolConfigError, match="check_same_thread=False"):
        used(pool)

    pool.close()


def test_many_threads_that_come_and_go_never_share_a_connection(
    make_threads: MakeThreads, driver: FakeDatabase, fast_switching: None
) -> None:
    del fast_switching
    pool = make_threads(max_size=3, acquire_timeout=30, max_uses=7)

    def work(number: int) -> None:
        for turn in range(30):
            owner = (number, turn)

            def short(owner: object = owner) -> None:
                for _ in range(5):
                    with pool.connection() as connection, connection.held_by(owner):
                        used(pool)

            in_thread(short).result()
            if turn % 10 == 0:
                pool.evict()

    together(6, work)

    eventually(lambda: driver.live == 0)
    assert driver.peak_live <= 3
