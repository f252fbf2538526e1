"""Three attempts, and what becomes of the connection, in and outside of transactions."""

from __future__ import annotations

from typing import Any

import pytest

from millpond.dbutils import steady_db
from traced import InterfaceError, InternalError, OperationalError, ProgrammingError, TracedDriver


@pytest.fixture
def driver() -> TracedDriver:
    return TracedDriver()


def opened(driver: TracedDriver, **options: Any) -> tuple[Any, Any]:
    """Give a steady connection, a cursor of it, and an empty trace."""
    con = steady_db.connect(driver, **options)
    cursor = con.cursor()
    driver.take()
    return con, cursor


def test_a_statement_that_fails_once_is_repeated_on_a_new_cursor(driver: TracedDriver) -> None:
    con, cursor = opened(driver)
    driver.fail("execute", OperationalError("lost"))

    assert cursor.execute("x", 1) == "c1.k2 executed"

    assert driver.take() == [
        "c1.k1.execute('x', 1)",
        "c1.cursor()",
        "c1.k2.execute('x', 1)",
        "c1.k1.close()",
    ]
    assert con._usage == 1


def test_a_statement_that_fails_twice_is_repeated_on_a_new_connection(driver: TracedDriver) -> None:
    con, cursor = opened(driver)
    driver.fail("execute", OperationalError("lost"), InterfaceError("closed"))

    assert cursor.execute("x") == "c2.k1 executed"

    assert driver.take() == [
        "c1.k1.execute('x')",
        "c1.cursor()",
        "c1.k2.execute('x')",
        "c1.k2.close()",
        "driver.connect()",
        "c2.cursor()",
        "c2.k1.execute('x')",
        "c1.k1.close()",
        "c1.close()",
    ]
    assert (con._con.name, con._usage) == ("c2", 1)


def test_a_statement_that_fails_always_is_executed_three_times(driver: TracedDriver) -> None:
    con, cursor = opened(driver)
    driver.fail("execute", *(OperationalError(f"lost {number}") for number in (1, 2, 3)))

    with pytest.raises(OperationalError, match=r"^lost 1$"):
        cursor.execute("x")

    assert driver.calls("execute") == 3
    assert driver.calls("connect") == 1
    assert (con._con.name, con._usage) == ("c1", 0)


def test_another_error_of_the_third_attempt_is_an_answer(driver: TracedDriver) -> None:
    con, cursor = opened(driver)
    answer = ProgrammingError("no such table")
    driver.fail("execute", OperationalError("lost"), OperationalError("lost"), answer)

    with pytest.raises(ProgrammingError) as caught:
        cursor.execute("x")

    assert caught.value is answer
    assert isinstance(answer.__context__, OperationalError)
    assert (con._con.name, con._usage, cursor._cursor.name) == ("c2", 1, "c2.k1")


def test_an_error_that_is_no_failure_is_not_repeated(driver: TracedDriver) -> None:
    con, cursor = opened(driver)
    con.begin()
    driver.fail("execute", ProgrammingError("syntax"))

    with pytest.raises(ProgrammingError):
        cursor.execute("x")

    assert driver.take() == ["c1.k1.execute('x')"]
    assert con._transaction


def test_in_a_transaction_the_connection_is_replaced_and_nothing_repeated(
    driver: TracedDriver,
) -> None:
    con, cursor = opened(driver)
    con.begin()
    driver.fail("execute", OperationalError("lost"))

    with pytest.raises(OperationalError, match="lost"):
        cursor.execute("x")

    assert driver.calls("execute") == 1
    assert (con._con.name, con._transaction, con._usage) == ("c2", False, 0)
    assert cursor.execute("y") == "c2.k1 executed"


def test_a_transaction_is_over_if_there_is_no_new_connection(driver: TracedDriver) -> None:
    con, cursor = opened(driver)
    con.begin()
    driver.fail("execute", OperationalError("lost"))
    driver.fail("connect", OperationalError("down"))

    with pytest.raises(OperationalError, match="lost"):
        cursor.execute("x")

    assert (con._con.name, con._transaction) == ("c1", False)


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_transaction_that_can_not_be_ended_replaces_the_connection(
    driver: TracedDriver, end: str
) -> None:
    con, _ = opened(driver)
    con.begin()
    driver.fail(end, InternalError("lost"))

    with pytest.raises(InternalError, match="lost"):
        getattr(con, end)()

    assert driver.take() == [f"c1.{end}()", "driver.connect()", "c1.close()"]
    assert (con._con.name, con._transaction) == ("c2", False)


@pytest.mark.parametrize("end", ["commit", "rollback", "cancel"])
def test_the_flag_goes_down_before_the_driver_is_asked(driver: TracedDriver, end: str) -> None:
    con, _ = opened(driver)
    seen: list[bool] = []
    setattr(con._con, end, lambda: seen.append(con._transaction))
    con.begin()

    getattr(con, end)()

    assert seen == [False]


def test_a_cursor_that_can_not_be_made_is_made_on_a_new_connection(driver: TracedDriver) -> None:
    con, _ = opened(driver)
    driver.fail("cursor", OperationalError("lost"))

    cursor = con.cursor("named", scroll=True)

    assert driver.take() == [
        "c1.cursor('named', scroll=True)",
        "driver.connect()",
        "c2.cursor('named', scroll=True)",
        "c1.close()",
    ]
    assert (cursor._args, cursor._kwargs) == (("named",), {"scroll": True})


def test_the_arguments_of_a_cursor_are_used_again(driver: TracedDriver) -> None:
    con = steady_db.connect(driver)
    cursor = con.cursor("named")
    cursor._args = ("other",)
    driver.take()
    driver.fail("callproc", OperationalError("lost"))

    cursor.callproc("p")

    assert driver.take() == [
        "c1.k1.callproc('p')",
        "c1.cursor('other')",
        "c1.k2.callproc('p')",
        "c1.k1.close()",
    ]


def test_a_veto_leaves_the_error_to_the_application(driver: TracedDriver) -> None:
    asked: list[BaseException] = []

    def isfatal(error: BaseException) -> bool:
        asked.append(error)
        return False

    con, cursor = opened(driver, isfatal=isfatal)
    driver.fail("execute", OperationalError("timeout"))

    with pytest.raises(OperationalError) as caught:
        cursor.execute("x")

    assert asked == [caught.value]
    assert driver.calls("execute") == 1
    assert con._con.name == "c1"


def test_no_failover_nests(driver: TracedDriver) -> None:
    _, cursor = opened(driver)
    driver.fail("execute", OperationalError("1"), OperationalError("2"), OperationalError("3"))

    with cursor.no_failover() as same:
        assert same is cursor
        with cursor.no_failover(), pytest.raises(OperationalError, match="1"):
            cursor.execute("x")
        with pytest.raises(OperationalError, match="2"):
            cursor.execute("x")

    assert cursor._no_failover == 0
    assert cursor.execute("x") == "c1.k2 executed"


def test_a_statement_that_fails_does_not_keep_its_cursor_alive(driver: TracedDriver) -> None:
    con, cursor = opened(driver)
    con.begin()
    driver.fail("connect", OperationalError("down"))
    driver.fail("execute", OperationalError("lost"))
    with pytest.raises(OperationalError):
        cursor.execute("x")
    driver.take()

    del cursor

    assert driver.take() == ["c1.k1.close()"]


def test_an_overused_connection_is_replaced_before_the_next_statement(
    driver: TracedDriver,
) -> None:
    asked: list[BaseException] = []
    con, cursor = opened(driver, maxusage=2, isfatal=asked.append)

    results = [cursor.execute("x") for _ in range(3)]

    assert results == ["c1.k1 executed", "c1.k1 executed", "c2.k1 executed"]
    assert driver.calls("execute") == 3
    assert con._usage == 1
    assert asked == []


def test_an_overused_connection_stays_within_a_transaction(driver: TracedDriver) -> None:
    con, cursor = opened(driver, maxusage=1)
    con.begin()

    assert [cursor.execute("x") for _ in range(3)] == ["c1.k1 executed"] * 3
    assert con._usage == 3


def test_an_overused_connection_that_can_not_be_replaced_fails_without_a_word(
    driver: TracedDriver,
) -> None:
    con, cursor = opened(driver, maxusage=1)
    cursor.execute("x")
    driver.fail("connect", *[OperationalError("down")] * 2)

    with pytest.raises(OperationalError) as caught:
        cursor.execute("x")

    assert caught.value.args == ()
    assert driver.calls("execute") == 1
    assert con._con.name == "c1"


def test_a_failure_that_needs_arguments_is_a_type_error_when_overused(
    driver: TracedDriver,
) -> None:
    class PickyError(Exception):
        def __init__(self, code: int) -> None:
            super().__init__(code)

    _, cursor = opened(driver, maxusage=1, failures=PickyError)
    cursor.execute("x")

    with pytest.raises(TypeError):
        cursor.execute("x")


def test_sizes_wait_for_the_next_statement_and_go_to_every_attempt(driver: TracedDriver) -> None:
    _, cursor = opened(driver)
    cursor.setinputsizes([25])
    cursor.setoutputsize(100)
    cursor.setoutputsize(200, 2)
    cursor.callproc("p")
    driver.take()
    driver.fail("execute", OperationalError("lost"))

    cursor.execute("x")
    cursor.execute("y")

    sizes = ["setinputsizes([25])", "setoutputsize(100)", "setoutputsize(200, 2)"]
    assert driver.take() == [
        *(f"c1.k1.{size}" for size in sizes),
        "c1.k1.execute('x')",
        "c1.cursor()",
        *(f"c1.k2.{size}" for size in sizes),
        "c1.k2.execute('x')",
        "c1.k1.close()",
        "c1.k2.execute('y')",
    ]


def test_an_error_beyond_exceptions_is_not_repeated(driver: TracedDriver) -> None:
    con, cursor = opened(driver)
    driver.fail("execute", KeyboardInterrupt())
    driver.fail("rollback", KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt):
        cursor.execute("x")
    with pytest.raises(KeyboardInterrupt):
        con._reset(force=True)

    assert driver.take() == ["c1.k1.execute('x')", "c1.rollback()"]
