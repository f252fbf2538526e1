"""Connects that fail or hang: the place comes back, and everybody learns why."""

from __future__ import annotations

import socket
import sys
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

import millpond
import servers
from fakes import OperationalError, ProgrammingError
from helpers import eventually, in_thread, pass_time, pass_time_until, waiting, waiting_in_order

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from fakes import FakeDatabase
    from helpers import MakePool
    from millpond._core import ManualClock


def test_a_passing_failure_is_tried_again_for_whoever_waits(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    """Scenario 14."""
    driver.fail_next(OperationalError("too many connections"), times=2)
    pool = make_pool(max_size=1)

    connection = pool.acquire(timeout=10)

    assert connection is driver.connections[0]
    assert driver.attempts == 3


def test_one_failed_connect_does_not_keep_the_others_from_being_served(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    """Scenario 14: the place of the failed connect is used again."""
    driver.fail_next(OperationalError("too many connections"))
    pool = make_pool(max_size=3)

    taken = [in_thread(pool.acquire, timeout=10) for _ in range(3)]

    assert len({one.result() for one in taken}) == 3
    assert driver.peak_underway <= 3


def test_a_timeout_has_the_last_connect_error_as_its_cause(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    refused = OperationalError("connection refused")
    driver.down(refused)
    pool = make_pool(max_size=1)

    with pytest.raises(millpond.PoolTimeout) as caught:
        pool.acquire(timeout=0.1)

    assert caught.value.__cause__ is refused
    assert "connection refused" in str(caught.value)


def test_the_cause_of_a_timeout_is_no_error_from_before_the_last_success(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    driver.fail_next(OperationalError("not yet"))
    pool = make_pool(max_size=1)
    pool.acquire(timeout=10)

    with pytest.raises(millpond.PoolTimeout) as caught:
        pool.acquire(timeout=0.01)

    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "mistake", [TypeError("takes 1 argument"), ImportError("no driver"), ProgrammingError("no")]
)
def test_a_mistake_is_raised_at_once_as_it_is(
    make_pool: MakePool, driver: FakeDatabase, mistake: Exception
) -> None:
    driver.fail_next(mistake)
    pool = make_pool(max_size=1)

    with pytest.raises(type(mistake)) as caught:
        pool.acquire(timeout=10)

    assert caught.value is mistake
    assert driver.attempts == 1
    assert pool.acquire() is driver.connections[0]


def test_a_mistake_goes_to_the_oldest_waiter_only(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    gate = driver.hang("connect")
    pool = make_pool(max_size=1)
    driver.fail_next(TypeError("takes 1 argument"))
    first, second = waiting_in_order(pool, 2)
    gate.release()

    assert isinstance(first.error(), TypeError)
    assert second.result() is driver.connections[0]


def test_the_database_that_comes_back_serves_those_who_waited(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    """Scenario 16."""
    driver.down()
    pool = make_pool(max_size=2)
    waiters = waiting_in_order(pool, 2, timeout=10)
    eventually(lambda: driver.attempts >= 2)

    driver.up()

    assert len({waiter.result() for waiter in waiters}) == 2


def test_nobody_knocks_at_a_database_that_nobody_waits_for(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    driver.down()
    pool = make_pool(max_size=4, _clock=clock)
    with pytest.raises(millpond.PoolTimeout):
        pool.acquire(timeout=0.05)
    eventually(lambda: driver.underway == 0)
    attempts = driver.attempts

    for _ in range(10):
        pass_time(pool, clock, 60)

    assert driver.attempts == attempts


def test_tries_follow_each_other_at_growing_distances(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    """Scenario 22, the spacing: a database that comes up is not knocked over again."""
    driver.down()
    pool = make_pool(max_size=1, acquire_timeout=None, _clock=clock, _inline=True)
    waiter = waiting(pool)
    tries = []

    for tenth in range(600):
        before = driver.attempts
        pass_time(pool, clock, 0.1)
        if driver.attempts > before:
            tries.append(tenth)
    distances = [later - earlier for earlier, later in pairwise(tries)]
    driver.up()
    for _ in range(600):
        pass_time(pool, clock, 0.1)

    assert len(tries) >= 3
    assert max(distances) > distances[0]
    assert waiter.result() is driver.connections[0]


def test_connects_that_fail_together_count_as_one_failure(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    """Scenario 16: ten refused at the same moment are no reason to stay away for long."""
    gate = driver.hang("connect")
    driver.fail_next(OperationalError("starting up"), times=10)
    pool = make_pool(max_size=10, acquire_timeout=None, _clock=clock)
    waiters = waiting_in_order(pool, 10)
    eventually(lambda: gate.arrived == 10)
    gate.release()
    eventually(lambda: driver.underway == 0)

    for _ in range(5):
        pass_time(pool, clock, 0.1)

    assert len({waiter.result(timeout=2) for waiter in waiters}) == 10


def test_a_hanging_connect_holds_its_caller_no_longer_than_the_callers_timeout(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    """Scenario 17."""
    driver.hang("connect")
    pool = make_pool(max_size=1, connect_timeout=None)

    with pytest.raises(millpond.PoolTimeout):
        pool.acquire(timeout=0.05)

    assert pool.stats().waiting == 0


def test_a_hanging_connect_is_given_up_and_its_place_used_again(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    """Scenario 17: from size 0 back to work."""
    gate = driver.hang("connect", times=1)
    pool = make_pool(max_size=1, connect_timeout=5.0, acquire_timeout=None, _clock=clock)
    waiter = waiting(pool)
    eventually(lambda: gate.arrived == 1)

    pass_time(pool, clock, 4.9)
    assert driver.attempts == 1
    pass_time(pool, clock, 0.2)
    pass_time_until(pool, clock, lambda: driver.attempts == 2)

    assert waiter.result() is driver.connections[0]


def test_a_connection_that_comes_after_its_connect_was_given_up_is_closed(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    gate = driver.hang("connect", times=1)
    pool = make_pool(max_size=1, connect_timeout=5.0, acquire_timeout=None, _clock=clock)
    waiter = waiting(pool)
    eventually(lambda: gate.arrived == 1)
    pass_time(pool, clock, 5.1)
    pass_time_until(pool, clock, lambda: driver.connects == 1)
    served = waiter.result()

    gate.release()
    eventually(lambda: driver.closes == 1)

    assert driver.connections[1].closed
    assert not served.closed
    assert (pool.stats().in_use, pool.stats().idle) == (1, 0)


def test_a_connect_timeout_is_told_as_the_cause(make_pool: MakePool, driver: FakeDatabase) -> None:
    driver.hang("connect")
    pool = make_pool(max_size=1, connect_timeout=0.02)

    with pytest.raises(millpond.PoolTimeout) as caught:
        pool.acquire(timeout=0.3)

    assert isinstance(caught.value.__cause__, TimeoutError)


def test_other_connects_go_on_while_one_hangs(make_pool: MakePool, driver: FakeDatabase) -> None:
    """Scenario 17."""
    gate = driver.hang("connect", times=1)
    pool = make_pool(max_size=3)
    callers = [in_thread(pool.acquire) for _ in range(3)]

    eventually(lambda: sum(caller.done for caller in callers) == 2)
    assert driver.connects == 2
    gate.release()

    assert len({caller.result() for caller in callers}) == 3


@pytest.mark.parametrize("way", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_not_even_an_exit_from_connect_costs_the_place(
    make_pool: MakePool, driver: FakeDatabase, way: type[BaseException]
) -> None:
    """Scenario 45."""
    driver.fail_next(way("out of the way"))
    pool = make_pool(max_size=1)

    error = in_thread(pool.acquire, timeout=10).error()

    assert isinstance(error, way)
    assert pool.acquire(timeout=10) is driver.connections[0]


def greeted_by(address: tuple[str, int]) -> Callable[[], socket.socket]:
    """Give a `connect` that waits for the server's first byte, as drivers do."""

    def connect() -> socket.socket:
        connection = socket.create_connection(address, timeout=2)
        if not connection.recv(1):
            connection.close()
            message = "the server closed the connection"
            raise ConnectionError(message)
        return connection

    return connect


@pytest.mark.parametrize(
    "server",
    [
        servers.nobody_listening,
        servers.accept_and_close,
        servers.accept_and_never_answer,
        pytest.param(
            servers.never_accept,
            marks=pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is refused"),
        ),
    ],
)
def test_acquire_keeps_to_its_timeout_whatever_the_server_does(
    make_pool: MakePool, server: Callable[[], AbstractContextManager[tuple[str, int]]]
) -> None:
    """Scenario 18."""
    with server() as address:
        pool: millpond.Pool[Any] = make_pool(greeted_by(address), reset="none")

        caught = in_thread(pool.acquire, timeout=0.2).error(timeout=1.5)

    assert isinstance(caught, millpond.PoolTimeout)
    assert pool.stats().waiting == 0
