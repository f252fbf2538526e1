"""Finding the driver, and what it looks like to the pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from millpond import drivers
from millpond.drivers import Driver

if TYPE_CHECKING:
    from drivers.contract.cases import Case, Session


def test_the_driver_follows_the_protocol(case: Case, session: Session) -> None:
    assert isinstance(session.driver, Driver)
    assert session.driver.name == case.name


def test_a_url_gives_connections_that_work(session: Session) -> None:
    assert session.value("SELECT 77") == 77


def test_the_connection_of_a_callable_is_recognised(case: Case) -> None:
    with case.open(by_callable=True) as session:
        assert session.driver.name == case.name
        assert session.value("SELECT 77") == 77


def test_each_connection_is_one_of_its_own(case: Case) -> None:
    driver = drivers.find(case.url)
    first, second = driver.connect(), driver.connect()
    try:
        assert first is not second
        driver.close(first)
        driver.ping(second)
    finally:
        driver.close(second)


def test_the_method_that_stands_for_reset_exists(session: Session) -> None:
    method = session.driver.reset_method

    assert method is None or callable(getattr(session.conn, method))
    assert session.driver.needs_reset


def test_a_limit_for_connecting_does_no_harm(case: Case) -> None:
    driver = drivers.find(case.url, connect_timeout=5.0)

    driver.close(driver.connect())


def test_closing_can_be_repeated(session: Session) -> None:
    session.driver.close(session.conn)
    session.driver.close(session.conn)

    assert session.driver.is_alive(session.conn) is not True
