"""Waiting for a connection of a `PooledDB`: in turn, interruptible, and never in vain."""

from __future__ import annotations

import sys
import threading
from typing import Any

import pytest

from helpers import PATIENCE, Running, eventually, in_thread, lines_of, remains
from millpond.dbutils.pooled_db import PooledDB, TooManyConnectionsError
from traced import TracedDriver

MAXSHARED = 3


def waiters_of(pool: PooledDB) -> int:
    return pool._tally()["waiting"]


def await_waiters(pool: PooledDB, count: int) -> None:
    eventually(lambda: waiters_of(pool) == count)


def in_line(pool: PooledDB, count: int) -> list[Running[Any]]:
    """Start threads that want a connection, each of them in the line before the next one asks."""
    callers = []
    for _ in range(count):
        before = waiters_of(pool)
        callers.append(in_thread(pool.dedicated_connection))
        await_waiters(pool, before + 1)
    return callers


@pytest.fixture
def driver() -> TracedDriver:
    return TracedDriver()


@pytest.fixture
def sharing_driver() -> TracedDriver:
    return TracedDriver(threadsafety=2)


def test_whoever_waits_is_served_in_turn(driver: TracedDriver) -> None:
    pool = PooledDB(driver, maxconnections=1, blocking=True)
    held = pool.connection()
    callers = in_line(pool, 5)

    for caller in callers:
        held.close()
        held = caller.result()

    assert len(driver.connections) == 1


@pytest.mark.freethreaded
def test_nobody_gets_ahead_of_a_crowd(driver: TracedDriver) -> None:
    pool = PooledDB(driver, maxconnections=2, blocking=True)
    held = [pool.connection(), pool.connection()]
    served: list[int] = []

    def want(number: int) -> None:
        with pool.connection():
            served.append(number)

    crowd = []
    for number in range(32):
        crowd.append(in_thread(want, number))
        await_waiters(pool, number + 1)
    # With one connection there is one order.
    held[0].close()
    for caller in crowd:
        caller.result()

    assert served == list(range(32))
    held[1].close()
    assert pool._connections == 0


def test_a_newcomer_waits_behind_those_who_wait(driver: TracedDriver) -> None:
    pool = PooledDB(driver, maxconnections=1, blocking=True)
    held = pool.connection()
    [first] = in_line(pool, 1)
    held.close()

    # The permit is the waiter's, whether it ran already or not.
    assert pool._try_permit() is None
    first.result().close()
    assert pool._connections == 0


def test_what_comes_back_while_nobody_waits_is_there_for_the_next_one(
    driver: TracedDriver,
) -> None:
    pool = PooledDB(driver, maxconnections=1)
    pool.connection().close()

    assert pool.connection()._con._con is driver.connections[0]


def test_without_blocking_nobody_waits(driver: TracedDriver) -> None:
    pool = PooledDB(driver, maxconnections=1)
    held = pool.connection()

    with pytest.raises(TooManyConnectionsError) as caught:
        pool.connection()

    assert caught.value.args == ()
    assert pool._tally()["refused"] == 1
    held.close()
    pool.connection()


def test_whether_it_blocks_is_looked_up_when_it_matters(driver: TracedDriver) -> None:
    pool = PooledDB(driver, maxconnections=1)
    held = pool.connection()
    pool._blocking = True
    [caller] = in_line(pool, 1)

    held.close()

    assert caller.result()._con is not None


def test_a_higher_limit_serves_those_who_wait(driver: TracedDriver) -> None:
    pool = PooledDB(driver, maxconnections=1, blocking=True)
    held = [pool.connection()]
    callers = in_line(pool, 3)

    pool._maxconnections = 2.5

    held += [caller.result() for caller in callers[:2]]
    assert pool._maxconnections == 2.5
    assert remains(lambda: not callers[2].done)
    pool._maxconnections = None
    held.append(callers[2].result())
    assert pool._connections == 4


def test_connections_that_are_said_to_be_back_serve_those_who_wait(driver: TracedDriver) -> None:
    pool = PooledDB(driver, maxconnections=1, blocking=True)
    held = pool.connection()
    [caller] = in_line(pool, 1)

    pool._connections -= 1

    assert caller.result()._con is not held._con
    assert pool._connections == 1


def test_a_limit_below_zero_lets_nobody_in(driver: TracedDriver) -> None:
    pool = PooledDB(driver)
    pool._maxconnections = -1

    with pytest.raises(TooManyConnectionsError):
        pool.connection()

    with pytest.raises(TypeError, match="_maxconnections must be a number"):
        pool._maxconnections = "many"


def test_a_hanging_connect_holds_up_nobody_else(driver: TracedDriver) -> None:
    pool = PooledDB(driver, maxconnections=4, blocking=True)
    meeting = threading.Barrier(4)
    connect = driver.connect

    def slowly() -> Any:
        # All four are in here at once, or none comes through.
        meeting.wait(PATIENCE)
        return connect()

    driver.connect = slowly  # type: ignore[method-assign]

    callers = [in_thread(pool.connection) for _ in range(4)]

    assert len({caller.result()._con for caller in callers}) == 4


def test_a_hanging_reset_holds_up_nobody_else(driver: TracedDriver) -> None:
    pool = PooledDB(driver)
    slow, quick = pool.connection(), pool.connection()
    reached, go_on = threading.Event(), threading.Event()

    def rollback() -> None:
        reached.set()
        assert go_on.wait(PATIENCE)

    slow._con._con.rollback = rollback
    closing = in_thread(slow.close)
    assert reached.wait(PATIENCE)

    quick.close()
    again = pool.connection()

    go_on.set()
    closing.result()
    again.close()
    assert (pool._connections, len(pool._idle_cache)) == (0, 2)


RINGING = """
import signal, sys, threading
from helpers import eventually, in_thread
from millpond.dbutils.pooled_db import PooledDB
from traced import TracedDriver

class Rang(BaseException): ...

armed = rang = threading.Event()

def ring(*_):
    if armed:
        rang.set()
        raise Rang

signal.signal(signal.SIGALRM, ring)
main = threading.main_thread().ident
pool = PooledDB(TracedDriver(), maxconnections=1, blocking=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no signals between processes")
def test_a_signal_ends_the_wait_and_nothing_is_lost() -> None:
    printed = lines_of(
        RINGING
        + """
held = pool.connection()

def interrupt():
    eventually(lambda: pool._tally()["waiting"] == 1)
    # Without the GIL, one that comes just before the lock is waited for is noticed after that wait.
    while not rang.is_set():
        signal.pthread_kill(main, signal.SIGALRM)
        rang.wait(0.2)

for _ in range(20):
    rang.clear()
    interrupting = in_thread(interrupt)
    try:
        pool.connection()
    except Rang:
        pass
    print(pool._connections, pool._tally()["waiting"])
    interrupting.result()
held.close()
print(pool._connections)
"""
    )

    assert printed == ["1 0"] * 20 + ["0"]


@pytest.mark.skipif(sys.platform == "win32", reason="no signals between processes")
def test_a_signal_that_meets_a_hand_over_loses_no_permit() -> None:
    printed = lines_of(
        RINGING
        + """
sys.setswitchinterval(1e-6)

def meet(held):
    eventually(lambda: pool._tally()["waiting"] == 1)
    held.close()
    signal.pthread_kill(main, signal.SIGALRM)

for turn in range(300):
    armed, got = None, None
    held = pool.connection()
    meeting = in_thread(meet, held)
    try:
        armed = rang
        got = pool.connection()
        armed = None
    except Rang:
        pass
    armed = None
    meeting.result()
    del got
    eventually(lambda: pool._connections == 0)
print(pool._connections, pool._tally()["waiting"])
"""
    )

    assert printed == ["0 0"]


def test_a_pool_that_would_wait_for_itself_says_so(driver: TracedDriver) -> None:
    with pytest.raises(TooManyConnectionsError, match=r"mincached=3 .* maxconnections=2"):
        PooledDB(driver, mincached=3, maxconnections=2, blocking=True)

    assert driver.calls("connect") == driver.calls("close") == 2
    with pytest.raises(TooManyConnectionsError) as caught:
        PooledDB(driver, mincached=3, maxconnections=2)
    assert caught.value.args == ()


# Mixed crowds


def shared(pool: PooledDB) -> list[int]:
    return [shared.shared for shared in pool._shared_cache]


def test_the_limit_holds_for_shared_connections_too(sharing_driver: TracedDriver) -> None:
    pool = PooledDB(sharing_driver, maxshared=MAXSHARED, maxconnections=3)
    held = [pool.connection(), pool.dedicated_connection(), pool.dedicated_connection()]

    held.append(pool.connection())

    assert pool._connections == len(sharing_driver.connections) == 3
    assert shared(pool) == [2]


@pytest.mark.parametrize("end", ["commit", "rollback", "cancel"])
def test_the_end_of_a_shared_transaction_wakes_who_waits_for_it(
    sharing_driver: TracedDriver, end: str
) -> None:
    pool = PooledDB(sharing_driver, maxshared=1, blocking=True)
    held = pool.connection()
    held.begin()
    caller = in_thread(pool.connection)
    assert remains(lambda: not caller.done, 0.02)

    getattr(held, end)()

    assert caller.result()._con is held._con


def test_a_shareable_waiter_swallows_no_dedicated_ones_permit(
    sharing_driver: TracedDriver,
) -> None:
    pool = PooledDB(sharing_driver, maxshared=1, maxconnections=2, blocking=True)
    busy = pool.connection()
    busy.begin()
    dedicated = pool.dedicated_connection()
    shareable = in_thread(pool.connection)
    assert remains(lambda: not shareable.done, 0.02)
    [waiting] = in_line(pool, 1)

    dedicated.close()

    assert waiting.result()._con is not busy._con
    assert not shareable.done
    busy.commit()
    assert shareable.result()._con is busy._con


def test_a_shareable_waiter_has_its_turn_among_dedicated_ones(
    sharing_driver: TracedDriver,
) -> None:
    pool = PooledDB(sharing_driver, maxshared=2, maxconnections=2, blocking=True)
    held, others = pool.dedicated_connection(), pool.dedicated_connection()
    first = in_thread(pool.connection)
    await_waiters(pool, 1)
    [second] = in_line(pool, 1)

    held.close()

    lent = first.result()
    assert shared(pool) == [1]
    assert not second.done
    lent.close()
    second.result().close()
    others.close()
    assert pool._connections == 0


def test_who_shares_waits_for_the_connection_that_another_opens(
    sharing_driver: TracedDriver,
) -> None:
    pool = PooledDB(sharing_driver, maxshared=1)
    reached, go_on = threading.Event(), threading.Event()
    open_steady = pool.steady_connection

    def slowly() -> Any:
        reached.set()
        assert go_on.wait(PATIENCE)
        return open_steady()

    pool.steady_connection = slowly  # type: ignore[method-assign]
    opening = in_thread(pool.connection)
    assert reached.wait(PATIENCE)
    sharing = in_thread(pool.connection)
    assert remains(lambda: not sharing.done, 0.02)

    go_on.set()

    assert opening.result()._con is sharing.result()._con
    assert shared(pool) == [2]


def test_an_attempt_that_failed_is_another_ones_chance(sharing_driver: TracedDriver) -> None:
    pool = PooledDB(sharing_driver, maxshared=1, maxconnections=1)
    sharing_driver.fail("connect", ConnectionError("no"))

    with pytest.raises(ConnectionError):
        pool.connection()

    assert (pool._connections, len(pool._openers)) == (0, 0)
    assert pool.connection()._con is not None


@pytest.mark.freethreaded
def test_a_mixed_crowd_comes_to_an_end(sharing_driver: TracedDriver) -> None:
    pool = PooledDB(sharing_driver, maxshared=2, maxconnections=3, blocking=True)
    most: list[int] = []

    def use(number: int) -> None:
        for turn in range(40):
            with pool.connection(shareable=(number + turn) % 3 > 0) as lent:
                most.append(pool._connections)
                if (number + turn) % 4 == 0:
                    lent.begin()
                    lent.commit()

    for caller in [in_thread(use, number) for number in range(16)]:
        caller.result(60.0)

    assert max(most) <= 3
    assert (pool._connections, waiters_of(pool), pool._shared_cache) == (0, 0, [])
