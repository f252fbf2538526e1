"""Validation: the dead are found before a caller meets them, the living are left in peace."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

import millpond
from fakes import FakeConnection, OperationalError
from helpers import eventually, in_thread, pass_time, together, waiting

if TYPE_CHECKING:
    from fakes import FakeDatabase
    from helpers import MakePool
    from millpond._core import ManualClock

PING = {"validate": FakeConnection.ping}


def test_a_connection_that_was_just_used_is_not_validated(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    """Scenario 28."""
    pool = make_pool(validation_interval=30, _clock=clock, _inline=True, **PING)
    pool.release(pool.acquire())

    clock.advance(29)
    pool.release(pool.acquire())
    clock.advance(29)
    pool.release(pool.acquire())

    assert driver.pings == 0


def test_a_connection_that_was_idle_for_long_is_validated_once(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    """Scenario 28."""
    pool = make_pool(validation_interval=30, _clock=clock, _inline=True, **PING)
    connection = pool.acquire()
    pool.release(connection)

    clock.advance(31)
    again = pool.acquire()
    pool.release(again)
    pool.release(pool.acquire())

    assert again is connection
    assert driver.pings == 1


def test_without_an_interval_nothing_is_validated(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    pool = make_pool(
        validation_interval=None,
        idle_timeout=None,
        max_lifetime=None,
        _clock=clock,
        _inline=True,
        **PING,
    )
    pool.release(pool.acquire())

    pass_time(pool, clock, 86400)
    pool.release(pool.acquire())

    assert driver.pings == 0


def test_a_dead_connection_is_replaced_before_the_caller_sees_it(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    """Scenario 26."""
    pool = make_pool(validation_interval=30, _clock=clock, _inline=True, **PING)
    dead = pool.acquire()
    pool.release(dead)
    driver.kill_all()

    clock.advance(31)
    alive = pool.acquire()

    assert alive is not dead
    assert dead.closed
    alive.execute()


def test_idle_connections_are_validated_in_the_background(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    """Scenario 26: a dead one is found although nobody acquires."""
    pool = make_pool(min_size=1, validation_interval=30, _clock=clock, _inline=True, **PING)
    pool.wait(timeout=10)
    driver.kill_all()

    pass_time(pool, clock, 31)

    assert driver.connections[0].closed
    assert driver.live == 1
    assert pool.acquire() is driver.connections[1]


def test_validation_keeps_a_connection_alive_that_the_server_would_cut_off(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    """Scenario 26: the server ends sessions after 60 s without a word."""
    last_word: dict[FakeConnection, float] = {}
    now = 0.0

    def ping(connection: FakeConnection) -> None:
        if now - last_word.get(connection, 0.0) > 60:
            connection.kill()
        connection.ping()
        last_word[connection] = now

    pool = make_pool(min_size=1, validation_interval=30, validate=ping, _clock=clock, _inline=True)
    pool.wait(timeout=10)
    for _ in range(60):
        now += 10
        pass_time(pool, clock, 10)

    assert driver.connects == 1
    assert 10 <= driver.pings <= 20


@pytest.mark.parametrize("verdict", [None, True, 1])
def test_any_answer_but_false_is_good(
    make_pool: MakePool, clock: ManualClock, verdict: object
) -> None:
    pool = make_pool(validate=lambda _connection: verdict, _clock=clock, _inline=True)
    connection = pool.acquire()
    pool.release(connection)
    clock.advance(31)

    assert pool.acquire() is connection


def test_false_is_bad(make_pool: MakePool, clock: ManualClock) -> None:
    pool = make_pool(validate=lambda _connection: False, _clock=clock, _inline=True)
    connection = pool.acquire()
    pool.release(connection)
    clock.advance(31)

    assert pool.acquire() is not connection
    assert connection.closed


@pytest.mark.parametrize("error", [OperationalError, TypeError, KeyboardInterrupt, SystemExit])
def test_whatever_validate_raises_the_place_is_not_lost(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock, error: type[BaseException]
) -> None:
    """Scenario 45."""
    pool = make_pool(max_size=1, _clock=clock, **PING)
    dead = pool.acquire()
    pool.release(dead)
    clock.advance(31)
    driver.fail_next(error("no"), at="ping")

    alive = pool.acquire(timeout=10)

    assert alive is not dead
    assert dead.closed
    assert pool.stats().size == 1


def test_validation_runs_in_a_worker_and_not_in_the_caller(
    make_pool: MakePool, clock: ManualClock
) -> None:
    where: list[str] = []

    def validate(_connection: FakeConnection) -> None:
        where.append(threading.current_thread().name)

    pool = make_pool(validate=validate, _clock=clock)
    pool.release(pool.acquire())
    clock.advance(31)
    pool.acquire()

    assert len(where) == 1
    assert where[0].startswith(f"millpond-{pool.name}-worker-")


def test_a_validation_that_hangs_is_given_up_and_its_connection_replaced(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    pool = make_pool(max_size=1, validation_timeout=2, acquire_timeout=60, _clock=clock, **PING)
    stuck = pool.acquire()
    pool.release(stuck)
    clock.advance(31)
    gate = driver.hang("ping")

    waiter = waiting(pool)
    eventually(lambda: gate.arrived == 1)
    pass_time(pool, clock, 2.1)

    assert waiter.result() is not stuck
    gate.release()
    eventually(lambda: stuck.closed)


def test_a_validation_that_hangs_holds_its_caller_no_longer_than_the_callers_timeout(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    pool = make_pool(max_size=1, _clock=clock, **PING)
    pool.release(pool.acquire())
    clock.advance(31)
    driver.hang("ping")

    with pytest.raises(millpond.PoolTimeout):
        pool.acquire(timeout=0.05)

    assert pool.stats().waiting == 0


def test_others_are_served_while_one_validation_hangs(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    pool = make_pool(max_size=2, _clock=clock, **PING)
    pool.release(pool.acquire())
    clock.advance(31)
    gate = driver.hang("ping")
    first = waiting(pool)
    eventually(lambda: gate.arrived == 1)

    second = in_thread(pool.acquire)
    # A new connection goes to the oldest waiter, the validated one to the next.
    assert first.result() is driver.connections[1]
    gate.release()

    assert second.result() is driver.connections[0]


def test_one_acquire_survives_a_restart_that_killed_fifty_idle_connections(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    """Scenario 21."""
    pool = make_pool(max_size=50, _clock=clock, **PING)
    for connection in [pool.acquire() for _ in range(50)]:
        pool.release(connection)
    driver.kill_all()

    clock.advance(31)
    alive = pool.acquire(timeout=10)

    alive.execute()
    assert not alive.killed


def test_connections_of_every_sort_together_stay_within_max_size(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    """Scenario 3: half of the validations fail, and to close takes a while."""
    driver.slow("close", 0.02)
    votes = iter(range(10**9))
    pool = make_pool(max_size=4, validate=lambda _: next(votes) % 2 == 0, _clock=clock)

    def work(_number: int) -> None:
        for _ in range(15):
            clock.advance(31)
            with pool.connection():
                pass

    together(8, work)

    assert driver.peak_underway <= 4
    assert driver.closes > 0


def test_a_jump_of_the_wall_clock_evicts_nobody(
    make_pool: MakePool, driver: FakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scenario 40."""
    pool = make_pool(min_size=2, idle_timeout=60, max_lifetime=600, **PING)
    pool.wait(timeout=10)
    now = time.time()

    for hours in (1, -1):
        monkeypatch.setattr(time, "time", lambda hours=hours: now + hours * 3600)
        for _ in range(3):
            pool.release(pool.acquire())

    assert (driver.connects, driver.closes, driver.pings) == (2, 0, 0)


def test_after_a_long_sleep_connections_are_validated_before_they_are_lent(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    """Scenario 40: ten minutes have passed, and no timer has run in them."""
    pool = make_pool(idle_timeout=None, _clock=clock, _inline=True, **PING)
    held = [pool.acquire() for _ in range(3)]
    for connection in held:
        pool.release(connection)
    driver.kill_all()

    clock.advance(600)
    awake = [pool.acquire() for _ in range(3)]

    assert not set(awake) & set(held)
    for connection in awake:
        connection.execute()
