"""Closing: waiters learn it, connections come home, and no thread is left."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

import millpond
from fakes import OperationalError
from helpers import eventually, in_thread, lines_of, threads_of, together, waiting, waiting_in_order

if TYPE_CHECKING:
    from collections.abc import Callable

    from fakes import FakeDatabase
    from helpers import MakePool


def test_close_wakes_every_waiter_with_pool_closed(make_pool: MakePool) -> None:
    """Scenario 36."""
    pool = make_pool(max_size=1, acquire_timeout=None)
    held = pool.acquire()
    waiters = waiting_in_order(pool, 10)

    closing = in_thread(pool.close)
    errors = [waiter.error(timeout=1) for waiter in waiters]
    pool.release(held)
    closing.result()

    assert all(isinstance(error, millpond.PoolClosed) for error in errors)
    assert not any(isinstance(error, millpond.PoolTimeout) for error in errors)


def test_close_leaves_neither_connection_nor_thread(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    """Scenario 36."""
    pool = make_pool(min_size=3, max_size=5)
    pool.wait(timeout=10)

    pool.close()

    assert driver.live == 0
    assert threads_of(pool) == []
    assert pool.closed


def test_closing_twice_is_closing_once(make_pool: MakePool, driver: FakeDatabase) -> None:
    """Scenario 36."""
    pool = make_pool()
    pool.release(pool.acquire())

    pool.close()
    pool.close()

    assert driver.closes == 1


def test_ten_threads_may_close_at_once(make_pool: MakePool, driver: FakeDatabase) -> None:
    """Scenario 36."""
    pool = make_pool(max_size=4)
    for connection in [pool.acquire() for _ in range(4)]:
        pool.release(connection)

    together(10, lambda _number: pool.close())

    assert driver.closes == 4
    assert threads_of(pool) == []


@pytest.mark.parametrize(
    "use",
    [
        lambda pool: pool.acquire(),
        lambda pool: pool.try_acquire(),
        lambda pool: pool.connection().__enter__(),
        lambda pool: pool.wait(timeout=1),
        lambda pool: pool.resize(max_size=3),
        lambda pool: pool.evict(),
        lambda pool: pool.suspend(),
        lambda pool: pool.resume(),
        lambda pool: pool.__enter__(),
    ],
    ids=[
        "acquire",
        "try_acquire",
        "connection",
        "wait",
        "resize",
        "evict",
        "suspend",
        "resume",
        "enter",
    ],
)
def test_a_closed_pool_says_so(
    make_pool: MakePool, use: Callable[[millpond.Pool[object]], object]
) -> None:
    pool = make_pool(name="orders")
    pool.close()

    with pytest.raises(millpond.PoolClosed, match="orders"):
        use(pool)


def test_a_closed_pool_can_still_be_looked_at(make_pool: MakePool) -> None:
    pool = make_pool(name="orders", max_size=3)
    pool.close()

    assert (pool.stats().size, pool.stats().waiting) == (0, 0)
    assert (pool.name, pool.max_size, pool.closed) == ("orders", 3, True)
    assert "closed" in repr(pool)


def test_close_waits_for_connections_that_are_in_use(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = make_pool()
    held = pool.acquire()

    closing = in_thread(pool.close)
    eventually(lambda: pool.closed)
    assert not closing.done
    held.execute()
    pool.release(held)
    closing.result()

    assert held.closed
    assert driver.live == 0


def test_close_gives_up_waiting_after_its_timeout(make_pool: MakePool) -> None:
    pool = make_pool()
    held = pool.acquire()

    began = time.monotonic()
    pool.close(timeout=0.05)
    took = time.monotonic() - began

    assert took < 1
    assert not held.closed
    held.execute()


def test_a_connection_that_comes_back_after_close_is_closed(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = make_pool()
    held = pool.acquire()
    pool.close(timeout=0)

    pool.release(held)
    eventually(lambda: held.closed)

    assert driver.live == 0
    eventually(lambda: threads_of(pool) == [])


def test_a_connection_that_is_being_opened_at_close_is_closed_and_never_lent(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    """Scenario 37."""
    gate = driver.hang("connect")
    pool = make_pool(max_size=1)
    waiter = waiting(pool)
    eventually(lambda: gate.arrived == 1)

    closing = in_thread(pool.close)
    error = waiter.error()
    gate.release()
    closing.result()

    assert isinstance(error, millpond.PoolClosed)
    eventually(lambda: driver.closes == 1)
    assert driver.live == 0


def test_close_does_not_hang_on_a_connect_that_hangs(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    """Scenario 37."""
    gate = driver.hang("connect")
    pool = make_pool(min_size=1)
    eventually(lambda: gate.arrived == 1)

    in_thread(pool.close, timeout=0.1).result(timeout=2)
    gate.release()
    eventually(lambda: driver.closes == 1)

    assert driver.live == 0


def test_a_connection_that_takes_long_to_close_keeps_nobody_waiting(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    """Scenario 20."""
    gate = driver.hang("close")
    pool = make_pool(max_size=2)
    pool.discard(pool.acquire())
    eventually(lambda: gate.arrived == 1)

    assert pool.acquire(timeout=5) is driver.connections[1]
    assert driver.live == 2


def test_close_without_patience_does_not_wait(make_pool: MakePool, driver: FakeDatabase) -> None:
    driver.slow("connect", 0.02)
    pool = make_pool(min_size=3)

    began = time.monotonic()
    pool.close(timeout=0)

    assert time.monotonic() - began < 0.5


def test_the_timer_thread_ends_with_the_last_pool() -> None:
    """Also when a connection was being opened and another one was in use at the close."""
    printed = lines_of("""
        import threading
        import millpond
        from fakes import FakeDatabase
        from helpers import eventually

        def timers():
            return [one for one in threading.enumerate() if one.name == "millpond-timer"]

        database = FakeDatabase()
        pool = millpond.Pool(database.connect, max_size=2)
        held = pool.acquire()
        gate = database.hang("connect")
        pool.resize(min_size=2)
        eventually(lambda: gate.arrived == 1)
        print(len(timers()))
        pool.close(timeout=0)
        gate.release()
        pool.release(held)
        eventually(lambda: not timers())
        print(len(timers()))
    """)

    assert printed == ["1", "0"]


def test_connections_are_closed_side_by_side(make_pool: MakePool, driver: FakeDatabase) -> None:
    pool = make_pool(max_size=3)
    for connection in [pool.acquire() for _ in range(3)]:
        pool.release(connection)
    gate = driver.hang("close")

    closing = in_thread(pool.close)
    eventually(lambda: gate.arrived == 3)
    gate.release()
    closing.result()

    assert driver.live == 0


def test_an_error_on_close_is_nobodys_problem(make_pool: MakePool, driver: FakeDatabase) -> None:
    pool = make_pool(max_size=1)
    driver.fail_next(OperationalError("already gone"), at="close")

    pool.discard(pool.acquire())
    fresh = pool.acquire()
    pool.release(fresh)
    pool.close()

    assert driver.closes == 2
    assert pool.stats().size == 0


def test_leaving_the_with_block_closes_the_pool(make_pool: MakePool, driver: FakeDatabase) -> None:
    with make_pool() as pool, pool.connection() as connection:
        assert pool.stats().in_use == 1

    assert pool.closed
    assert connection.closed
    assert driver.live == 0
