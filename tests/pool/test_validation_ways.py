"""Ways to validate: a ping, a statement, a callable; before each use, or in the background."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import millpond
from fake_drivers import Pinging
from fakes import FakeConnection, OperationalError
from helpers import eventually, pass_time, together, waiting

if TYPE_CHECKING:
    from pathlib import Path

    from fakes import FakeDatabase
    from helpers import MakePool
    from millpond._core import ManualClock

PING = {"validate": FakeConnection.ping}


class Cursor:
    """A cursor that keeps account of what was asked, and of results that nobody read."""

    def __init__(self, connection: FakeConnection, asked: list[str]) -> None:
        self._connection = connection
        self.asked = asked
        self.description: object = None

    def execute(self, statement: str) -> None:
        self._connection.execute(statement)
        self.asked.append(statement)
        self.description = "one column"

    def fetchall(self) -> list[Any]:
        self.asked.append("fetchall")
        return []

    def close(self) -> None:
        self.asked.append("close")


class QueryConnection(FakeConnection):
    """A connection with cursors."""

    asked: list[str]

    def cursor(self) -> Cursor:
        self.asked = []
        return Cursor(self, self.asked)


def test_a_known_driver_is_pinged_without_being_told_how(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    pool = make_pool(driver.connect, driver=Pinging(driver), min_size=1, _clock=clock, _inline=True)
    pool.wait(timeout=10)

    pass_time(pool, clock, 31)
    driver.kill_all()
    pass_time(pool, clock, 31)

    assert driver.pings == 2
    assert pool.stats().closed["invalid"] == 1
    assert pool.acquire() is driver.connections[1]


@pytest.mark.parametrize(
    ("error", "level"),
    [(NameError("pnig"), "WARNING"), (OperationalError("server has gone away"), "INFO")],
    ids=["a mistake", "the end"],
)
def test_a_validation_that_is_wrong_itself_is_warned_of(
    make_pool: MakePool,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    level: str,
) -> None:
    def validate(_: object) -> None:
        raise error

    caplog.set_level("INFO", "millpond.pool")
    pool = make_pool(min_size=1, validate=validate, _clock=clock, _inline=True)
    pool.wait(timeout=10)

    pass_time(pool, clock, 31)

    said = [(one.levelname, one.getMessage()) for one in caplog.records]
    why = f"pool {pool.name!r}: connection 0 failed its validation: {type(error).__name__}: {error}"
    assert (level, why) in said


def test_before_each_use_means_once_for_each(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    pool = make_pool(validation_interval=0, max_size=1, _clock=clock, **PING)

    for _ in range(5):
        pool.release(pool.acquire())

    # A new one needs no validation.
    assert driver.pings == 4
    assert driver.connects == 1


def test_before_each_use_there_is_nothing_to_do_in_between(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    pool = make_pool(
        validation_interval=0, max_size=1, idle_timeout=None, _clock=clock, _inline=True, **PING
    )
    pool.release(pool.acquire())

    for _ in range(10):
        pass_time(pool, clock, 100)

    assert driver.pings == 0


def test_before_each_use_holds_for_who_is_handed_what_another_releases(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = make_pool(validation_interval=0, max_size=1, **PING)
    held = pool.acquire()
    waiter = waiting(pool)
    held.kill()

    pool.release(held)

    assert waiter.result() is driver.connections[1]


def test_before_each_use_serves_all_under_contention(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = make_pool(validation_interval=0, max_size=2, acquire_timeout=30, **PING)

    def work(_number: int) -> None:
        for _ in range(20):
            with pool.connection() as connection:
                connection.execute()

    together(6, work)

    stats = pool.stats()
    assert stats.acquired == 120
    assert driver.pings >= 120 - driver.connects - stats.checks_failed


def test_a_driver_without_ping_needs_to_be_told_how_to_validate(tmp_path: Path) -> None:
    with pytest.raises(millpond.PoolConfigError, match="driver sqlite3 has no ping"):
        millpond.Pool(f"sqlite:///{tmp_path}/db", validation_interval=0)


def test_a_callable_of_an_unknown_driver_is_told_so_by_its_first_connection(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = make_pool(validation_interval=0)

    with pytest.raises(millpond.PoolConfigError, match="driver dbapi has no ping"):
        pool.acquire()
    eventually(lambda: driver.live == 0)


def test_a_statement_validates_and_leaves_neither_result_nor_transaction(
    make_pool: MakePool, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fakes.FakeConnection", QueryConnection)
    pool = make_pool(validate="SELECT 42", _clock=clock, _inline=True)
    connection: Any = pool.acquire()
    pool.release(connection)
    clock.advance(31)

    assert pool.acquire() is connection

    assert connection.asked == ["SELECT 42", "fetchall", "close"]
    assert not connection.in_transaction


def test_a_statement_that_fails_costs_the_connection(
    make_pool: MakePool, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fakes.FakeConnection", QueryConnection)
    pool = make_pool(validate="SELECT 42", _clock=clock, _inline=True)
    connection = pool.acquire()
    pool.release(connection)
    connection.kill()
    clock.advance(31)

    assert pool.acquire() is not connection


def test_a_statement_goes_to_the_driver_where_there_are_no_cursors(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    said: list[str] = []

    class Direct(Pinging):
        @staticmethod
        def execute(conn: FakeConnection, statement: str) -> None:
            conn.ping()
            said.append(statement)

    pool = make_pool(
        driver.connect, driver=Direct(driver), validate="PING", _clock=clock, _inline=True
    )
    pool.release(pool.acquire())
    clock.advance(31)
    pool.acquire()

    assert said == ["PING"]


def test_how_long_a_validation_took_is_known(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    driver.slow("ping", 0.02)
    pool = make_pool(min_size=1, _clock=clock, **PING)
    pool.wait(timeout=10)
    assert pool.stats().connections[0].latency is None

    pass_time(pool, clock, 31)
    eventually(lambda: pool.stats().checks == 1)

    stats = pool.stats()
    latency = stats.connections[0].latency
    assert latency is not None
    assert latency >= 0.02
    assert stats.check_time.count == 1


def test_a_connection_that_is_alive_but_slow_is_closed(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    pool = make_pool(max_size=2, max_latency=0.01, _clock=clock, **PING)
    first, second = pool.acquire(), pool.acquire()
    pool.release(first)
    pool.release(second)
    driver.slow("ping", 0.02)

    pass_time(pool, clock, 31)

    eventually(lambda: first.closed and second.closed)
    stats = pool.stats()
    assert (stats.closed["slow"], stats.closed["invalid"]) == (2, 0)


def test_who_waits_for_a_validation_that_is_late_gets_a_new_connection_beside_it(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    pool = make_pool(max_size=2, acquire_timeout=60, _clock=clock, **PING)
    late = pool.acquire()
    pool.release(late)
    clock.advance(31)
    gate = driver.hang("ping")
    waiter = waiting(pool)
    eventually(lambda: gate.arrived == 1)
    assert driver.connects == 1

    pass_time(pool, clock, 0.2)

    assert waiter.result() is driver.connections[1]
    gate.release()
    eventually(lambda: pool.stats().idle == 1)
    assert not late.closed
