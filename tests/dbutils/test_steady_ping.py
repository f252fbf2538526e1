"""When and how a steady connection is checked."""

from __future__ import annotations

from typing import Any

import pytest

from millpond.dbutils import steady_db
from traced import Connection, OperationalError, PingableConnection, TracedDriver


class PingableDriver(TracedDriver):
    """A driver whose connections have a ping like PyMySQL's."""

    def connect(self, *args: Any, **kwargs: Any) -> Connection:
        connection = super().connect(*args, **kwargs)
        connection.__class__ = PingableConnection
        return connection


@pytest.fixture
def driver() -> PingableDriver:
    return PingableDriver()


def test_a_check_that_is_not_due_does_nothing(driver: PingableDriver) -> None:
    con = steady_db.connect(driver, ping=2)
    driver.take()

    assert con._ping_check() is None
    assert con._ping_check(4, reconnect=True) is None
    assert driver.take() == []


def test_the_driver_is_asked_not_to_reconnect_by_itself(driver: PingableDriver) -> None:
    con = steady_db.connect(driver)
    driver.take()

    assert con._ping_check() is True
    assert driver.take() == ["c1.ping(False)"]


def test_a_ping_without_arguments_is_called_without(driver: PingableDriver) -> None:
    con = steady_db.connect(driver)
    pings: list[None] = []
    con._con.ping = lambda: pings.append(None)

    assert con._ping_check() is True
    assert len(pings) == 1


def test_a_driver_without_ping_is_asked_only_once() -> None:
    con = steady_db.connect(TracedDriver(), ping=7)

    assert con._ping_check() is None
    assert con._ping == 0


@pytest.mark.parametrize("answer", [False, 0])
def test_an_answer_that_is_false_means_dead(driver: PingableDriver, answer: object) -> None:
    con = steady_db.connect(driver, ping=lambda _: answer)

    assert con._ping_check(reconnect=False) == answer
    assert con._con.name == "c1"
    assert con._ping_check() is True
    assert con._con.name == "c2"


def test_a_pinger_is_never_given_up(driver: PingableDriver) -> None:
    def pinger(_: object) -> None:
        raise AttributeError

    con = steady_db.connect(driver, ping=pinger)
    driver.fail("connect", OperationalError("down"))

    assert con._ping_check() is False
    assert con._ping == 1


def test_nothing_is_replaced_in_a_transaction(driver: PingableDriver) -> None:
    con = steady_db.connect(driver, ping=7)
    con.begin()
    driver.fail("ping", OperationalError("lost"))

    assert con._ping_check() is False
    assert con._con.name == "c1"
    assert con._transaction


@pytest.mark.parametrize(
    ("ping", "pings_by_cursor", "pings_by_execute"),
    [(1, 0, 0), (2, 1, 0), (4, 0, 1), (7, 1, 1), (None, 0, 0), (True, 0, 0)],
)
def test_the_bits_say_when(
    driver: PingableDriver, ping: Any, pings_by_cursor: int, pings_by_execute: int
) -> None:
    con = steady_db.connect(driver, ping=ping)
    cursor = con.cursor()
    by_cursor = driver.calls("ping")
    cursor.execute("x")
    by_execute = driver.calls("ping") - by_cursor

    assert (by_cursor, by_execute) == (pings_by_cursor, pings_by_execute)


def test_transactions_are_not_pinged(driver: PingableDriver) -> None:
    con = steady_db.connect(driver, ping=7)
    con.begin()
    con.cursor().execute("x")

    assert driver.calls("ping") == 0


def test_a_statement_can_be_the_ping(driver: PingableDriver) -> None:
    con = steady_db.connect(driver, ping=(4, "select 1"))
    cursor = con.cursor()
    driver.take()

    cursor.execute("x")

    assert driver.take() == [
        "c1.cursor()",
        "c1.k2.execute('select 1')",
        "c1.k2.close()",
        "c1.k1.execute('x')",
    ]
    assert con._usage == 1


@pytest.mark.parametrize("ping", [(1, 2, 3), (1,), (4, 5)])
def test_other_pings_are_refused(driver: PingableDriver, ping: Any) -> None:
    with pytest.raises(TypeError, match="'ping' must be an integer, an SQL statement"):
        steady_db.connect(driver, ping=ping)


def test_an_argument_that_is_no_integer_is_refused(driver: PingableDriver) -> None:
    con = steady_db.connect(driver)

    with pytest.raises(TypeError):
        con._ping_check("1")  # type: ignore[arg-type]
