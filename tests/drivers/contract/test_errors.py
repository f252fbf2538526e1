"""What an error means: gone, cancelled, worth repeating, or the program's own fault."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from millpond.errors import PoolTimeout, for_driver

if TYPE_CHECKING:
    from drivers.contract.cases import Case, Session


def meanings(driver: Any, error: BaseException) -> set[str]:
    """Return what a driver says about an error."""
    asked = {
        "cancelled": driver.is_cancelled,
        "disconnect": driver.is_disconnect,
        "retryable": driver.is_retryable,
    }
    return {name for name, ask in asked.items() if ask(error)}


def test_a_connection_that_the_server_ended_is_a_disconnect(served: Case, session: Session) -> None:
    served.kill(session)

    for _ in range(2):  # the first error is the server's, the second the driver's own
        with pytest.raises(Exception, match=r".") as caught:
            session.value("SELECT 1")
        assert meanings(session.driver, caught.value) == {"disconnect"}


def test_a_closed_connection_is_a_disconnect(case: Case, session: Session) -> None:
    session.driver.close(session.conn)

    with pytest.raises(Exception, match=case.closed) as caught:
        session.value("SELECT 1")

    assert meanings(session.driver, caught.value) == {"disconnect"}


def test_a_mistake_of_the_program_means_nothing(case: Case, session: Session) -> None:
    with pytest.raises(Exception, match=r"(?i)syntax") as caught:
        session.run(case.not_a_statement)

    assert meanings(session.driver, caught.value) == set()


def test_a_conflict_is_worth_repeating(case: Case, session: Session) -> None:
    expected = {"retryable"} if case.knows_conflicts else set()

    assert meanings(session.driver, case.conflict()) == expected


def test_errors_of_others_mean_nothing(session: Session) -> None:
    timeout = for_driver(session.driver.operational_error).timeout
    for error in (ValueError("closed"), PoolTimeout("connection closed"), timeout("lost")):
        assert meanings(session.driver, error) == set()


def test_the_errors_of_the_driver_are_known(session: Session) -> None:
    kind = session.driver.operational_error

    assert issubclass(kind, Exception)
    assert kind.__name__ == "OperationalError"
