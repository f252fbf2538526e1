"""Timeouts: on time, with the whole story, and without taking a connection along."""

from __future__ import annotations

import random
import re
import threading
import time
from typing import TYPE_CHECKING

import pytest

import millpond
from fakes import OperationalError
from helpers import eventually, in_thread, lines_of, waiting

if TYPE_CHECKING:
    from fakes import FakeDatabase
    from helpers import MakePool


def test_acquire_gives_up_at_its_deadline_and_not_before(make_pool: MakePool) -> None:
    """Scenario 8."""
    pool = make_pool(max_size=1)
    pool.acquire()

    began = time.monotonic()
    with pytest.raises(millpond.PoolTimeout):
        pool.acquire(timeout=0.1)
    took = time.monotonic() - began

    assert 0.099 <= took < 0.5


def test_the_pools_own_timeout_counts_unless_the_call_has_another(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1, acquire_timeout=0.01)
    held = pool.acquire(timeout=10)

    with pytest.raises(millpond.PoolTimeout):
        pool.acquire()
    patient = waiting(pool, timeout=10)
    pool.release(held)

    assert patient.result() is held


def test_connection_has_a_timeout_of_its_own_too(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    pool.acquire()

    with pytest.raises(millpond.PoolTimeout), pool.connection(timeout=0.01):
        pytest.fail("there was nothing to lend")

    assert pool.stats().waiting == 0


def test_without_a_limit_a_caller_waits_until_it_is_served(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1, acquire_timeout=None)
    held = pool.acquire()
    waiter = waiting(pool)

    assert not waiter.done
    pool.release(held)

    assert waiter.result() is held


def test_a_waiter_that_gave_up_swallows_no_connection(make_pool: MakePool) -> None:
    """Scenario 8."""
    pool = make_pool(max_size=1)
    held = pool.acquire()
    impatient = in_thread(pool.acquire, timeout=0.01)
    assert isinstance(impatient.error(), millpond.PoolTimeout)

    pool.release(held)

    assert (pool.stats().idle, pool.stats().waiting) == (1, 0)
    assert pool.acquire(timeout=0) is held


def test_a_waiter_that_gave_up_is_passed_over(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    held = pool.acquire()
    impatient = waiting(pool, timeout=0.2)
    patient = waiting(pool, timeout=10)
    assert isinstance(impatient.error(), millpond.PoolTimeout)

    pool.release(held)

    assert patient.result() is held


def test_a_timeout_is_a_pool_error_and_a_timeout_error(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    pool.acquire()

    with pytest.raises(millpond.PoolTimeout) as caught:
        pool.acquire(timeout=0)

    assert isinstance(caught.value, millpond.PoolError)
    assert isinstance(caught.value, TimeoutError)


def test_a_timeout_is_the_drivers_operational_error_too(make_pool: MakePool) -> None:
    """Code that catches the driver's error today need not change."""
    pool = make_pool(max_size=1)
    pool.acquire()

    with pytest.raises(OperationalError) as caught:
        pool.acquire(timeout=0)

    assert isinstance(caught.value, millpond.PoolTimeout)


def test_a_timeout_tells_which_pool_how_long_how_full_and_who_waits(make_pool: MakePool) -> None:
    pool = make_pool(max_size=2, name="orders")
    held = [pool.acquire(), pool.acquire()]
    patient = waiting(pool)

    with pytest.raises(millpond.PoolTimeout) as caught:
        pool.acquire(timeout=0.05)

    message = str(caught.value)
    waited = re.search(r"in ([\d.]+) s:", message)
    assert waited is not None
    assert float(waited[1]) >= 0.05
    for fact in ("'orders'", "2 of 2", "1 waiting"):
        assert fact in message
    pool.release(held[0])
    patient.result()


@pytest.mark.slow
@pytest.mark.usefixtures("fast_switching")
def test_timeouts_and_garbage_collections_do_not_block_each_other() -> None:
    """To look at other threads' frames takes a lock of the interpreter (python/cpython#106883)."""
    printed = lines_of(
        """
        import gc, sys, threading
        import millpond
        from fakes import FakeDatabase
        from helpers import in_thread, together

        pool = millpond.Pool(FakeDatabase().connect, max_size=1)
        held = in_thread(pool.acquire).result()
        over = threading.Event()

        class Garbage:
            def __init__(self):
                self.cycle = self

            def __del__(self):
                work(5)

        def work(depth):
            if depth:
                work(depth - 1)

        def keep_busy():
            while not over.is_set():
                work(20)

        def time_out(_number):
            for _ in range(4000):
                Garbage(), Garbage(), Garbage()
                try:
                    pool.acquire(timeout=0)
                except millpond.PoolTimeout:
                    pass

        sys.setswitchinterval(1e-6)
        gc.set_threshold(25)
        threads = [in_thread(keep_busy) for _ in range(4)]
        together(3, time_out)
        over.set()
        print("done")
    """,
    )

    assert printed == ["done"]


def test_a_timeout_against_a_hand_over_loses_no_connection(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    """Scenario 9: deadline and release meet; either the waiter has it or the pool does."""
    pool = make_pool(max_size=1)
    dice = random.Random(9)
    outcomes = {"served": 0, "gave up": 0}

    for _ in range(300):
        held = pool.acquire()
        timeout = dice.uniform(0.0, 0.001)
        waiter = in_thread(pool.acquire, timeout=timeout)
        threading.Event().wait(timeout * dice.uniform(0.8, 1.2))
        pool.release(held)
        if waiter.error() is None:
            outcomes["served"] += 1
            pool.release(waiter.result())
        else:
            assert isinstance(waiter.error(), millpond.PoolTimeout)
            outcomes["gave up"] += 1
        assert (pool.stats().idle, pool.stats().in_use) == (1, 0)

    assert driver.connects == 1
    assert all(outcomes.values())


def test_a_caller_that_gave_up_leaves_the_connection_it_asked_for_to_the_next(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    """Scenario 11, for a thread."""
    pool = make_pool(max_size=1)
    gate = driver.hang("connect")
    with pytest.raises(millpond.PoolTimeout):
        pool.acquire(timeout=0.05)

    gate.release()
    eventually(lambda: pool.stats().idle == 1)

    assert pool.acquire(timeout=0) is driver.connections[0]
    assert driver.attempts == 1
