"""The errors, and what they become when the driver is known."""

from __future__ import annotations

import pickle
import sqlite3
from threading import Barrier, Thread
from typing import Any

import psycopg
import pytest

from millpond import errors
from millpond.errors import (
    ErrorSet,
    PoolClosed,
    PoolConfigError,
    PoolError,
    PoolExhausted,
    PoolTimeout,
    for_driver,
)

PUBLIC = [PoolError, PoolTimeout, PoolClosed, PoolExhausted]
MESSAGE = "too late"
DRIVERS: list[type[Exception] | None] = [None, sqlite3.OperationalError, psycopg.OperationalError]


class AwkwardError(Exception):
    """Like adbc's errors: cannot be made from a message alone."""

    def __init__(self, message: str, *, status_code: int) -> None:
        super().__init__(message)
        self.status_code = status_code


class FinalError(Exception):
    """Cannot be derived from."""

    def __init_subclass__(cls) -> None:
        msg = "final"
        raise RuntimeError(msg)


def classes_of(made: ErrorSet) -> list[type[PoolError]]:
    """Return the classes of a set in the order of PUBLIC."""
    return [made.error, made.timeout, made.closed, made.exhausted]


@pytest.mark.parametrize("kind", [*PUBLIC, PoolConfigError])
def test_every_error_is_a_pool_error_with_a_code_of_its_own(kind: type[PoolError]) -> None:
    assert issubclass(kind, PoolError)
    assert kind.code.startswith("pool-")
    assert [other.code for other in [*PUBLIC, PoolConfigError]].count(kind.code) == 1
    assert kind.__doc__


@pytest.mark.parametrize("kind", [*PUBLIC, PoolConfigError])
def test_a_traceback_shows_the_public_path(kind: type[PoolError]) -> None:
    assert f"{kind.__module__}.{kind.__qualname__}" == f"millpond.{kind.__name__}"


def test_a_timeout_can_be_caught_as_a_timeout_error() -> None:
    assert isinstance(PoolTimeout("too late"), TimeoutError)
    assert str(PoolTimeout("too late")) == "too late"


def test_a_config_error_can_be_caught_as_a_value_error() -> None:
    assert issubclass(PoolConfigError, ValueError)


@pytest.mark.parametrize("driver_error", DRIVERS)
def test_every_error_of_a_driver_is_the_public_error_too(
    driver_error: type[Exception] | None,
) -> None:
    for made, public in zip(classes_of(for_driver(driver_error)), PUBLIC, strict=True):
        assert issubclass(made, public)
        assert (made.__name__, made.__module__) == (public.__name__, "millpond")
        assert made.code == public.code
        assert made.__doc__ == public.__doc__


@pytest.mark.parametrize("driver_error", DRIVERS[1:])
def test_every_error_of_a_driver_is_its_operational_error(driver_error: type[Exception]) -> None:
    for made in classes_of(for_driver(driver_error)):
        assert issubclass(made, driver_error)


@pytest.mark.parametrize("driver_error", DRIVERS)
def test_a_timeout_of_a_driver_is_a_timeout_error(driver_error: type[Exception] | None) -> None:
    assert issubclass(for_driver(driver_error).timeout, TimeoutError)


def test_psycopgs_own_attributes_work_on_the_errors_of_the_pool() -> None:
    error: Any = for_driver(psycopg.OperationalError).timeout("too late")

    assert error.diag.sqlstate is None
    assert error.pgconn is None


@pytest.mark.parametrize("driver_error", DRIVERS)
def test_the_same_driver_always_gets_the_same_classes(
    driver_error: type[Exception] | None,
) -> None:
    assert for_driver(driver_error) is for_driver(driver_error)


def test_threads_that_ask_together_get_the_same_classes() -> None:
    class NewError(Exception):
        pass

    start = Barrier(4)
    answers: list[ErrorSet] = []

    def ask() -> None:
        start.wait()
        answers.append(for_driver(NewError))

    threads = [Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(answers) == 4
    assert len(set(map(id, answers))) == 1


def test_a_timeout_leaves_timeout_error_out_where_the_layouts_conflict() -> None:
    # StopIteration is a C struct with a field of its own, like psycopg2's errors.
    made: Any = for_driver(StopIteration).timeout

    assert issubclass(made, PoolTimeout)
    assert issubclass(made, StopIteration)
    assert not issubclass(made, TimeoutError)
    assert str(made("too late")) == "too late"


def test_psycopg2_is_such_a_driver() -> None:
    psycopg2 = pytest.importorskip("psycopg2")
    made = for_driver(psycopg2.OperationalError)

    for kind in classes_of(made):
        assert issubclass(kind, psycopg2.OperationalError)
    assert not issubclass(made.timeout, TimeoutError)
    with pytest.raises(PoolTimeout, match="too late"):
        raise made.timeout(MESSAGE)


def test_a_driver_error_that_needs_more_than_a_message_is_still_joined() -> None:
    error = for_driver(AwkwardError).timeout("too late")

    assert isinstance(error, AwkwardError)
    assert isinstance(error, TimeoutError)
    assert str(error) == "too late"


def test_the_plain_errors_are_raised_where_a_driver_error_cannot_be_joined() -> None:
    made = for_driver(FinalError)

    assert made.closed is PoolClosed
    assert issubclass(made.timeout, PoolTimeout)
    assert issubclass(made.timeout, TimeoutError)


@pytest.mark.parametrize("driver_error", [*DRIVERS, AwkwardError])
def test_an_error_of_a_driver_is_pickled_as_the_public_one(
    driver_error: type[Exception] | None,
) -> None:
    for made, public in zip(classes_of(for_driver(driver_error)), PUBLIC, strict=True):
        error = made("what happened")
        error.add_note("and why")

        copy = pickle.loads(pickle.dumps(error))

        assert type(copy) is type(public("what happened"))
        assert str(copy) == "what happened"
        assert copy.__notes__ == ["and why"]


def test_the_cause_is_kept() -> None:
    cause = sqlite3.OperationalError("unable to open database file")
    with pytest.raises(errors.PoolTimeout) as caught:
        raise for_driver(sqlite3.OperationalError).timeout(MESSAGE) from cause

    assert caught.value.__cause__ is cause
