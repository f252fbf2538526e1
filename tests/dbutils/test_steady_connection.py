"""A steady connection: what it learns from its creator, its life, its hooks, and forks."""

from __future__ import annotations

import gc
import os
import sqlite3
import types
import weakref
from typing import Any

import pytest

from helpers import lines_of, together
from millpond.dbutils import steady_db
from millpond.dbutils.steady_db import SteadyDBConnection
from traced import Error, InterfaceError, OperationalError, ProgrammingError, TracedDriver


@pytest.fixture
def driver() -> TracedDriver:
    return TracedDriver()


def test_each_way_to_name_a_creator_finds_the_module(driver: TracedDriver) -> None:
    def connect() -> Any:
        return driver.connect()

    connect.dbapi = driver  # type: ignore[attr-defined]
    leading = types.SimpleNamespace(connect=driver.connect, dbapi=driver)

    assert steady_db.connect(driver).dbapi() is driver
    assert steady_db.connect(leading).dbapi() is driver
    by_function = steady_db.connect(sqlite3.connect, database=":memory:")
    assert by_function.dbapi().connect is sqlite3.connect


def test_a_function_is_traced_to_its_module_by_its_connections() -> None:
    con = steady_db.connect(lambda: sqlite3.connect(":memory:"))

    assert con.dbapi() is sqlite3
    assert con.threadsafety() == sqlite3.threadsafety
    assert con._failures == (
        sqlite3.OperationalError,
        sqlite3.InterfaceError,
        sqlite3.InternalError,
    )


def test_what_can_not_be_found_out_is_an_error(driver: TracedDriver) -> None:
    with pytest.raises(AttributeError, match="Could not determine failure exceptions"):
        steady_db.connect(driver.connect)
    assert driver.calls("close") == 1

    con = steady_db.connect(driver.connect, failures=Error)
    assert con._failure is Error
    with pytest.raises(AttributeError, match="Could not determine threadsafety"):
        con.threadsafety()
    with pytest.raises(AttributeError, match="Could not determine DB-API 2 module"):
        con.dbapi()


def test_an_unstated_level_of_a_known_driver_is_zero() -> None:
    assert steady_db.connect(TracedDriver(threadsafety=None)).threadsafety() == 0


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("maxusage", "1", "'maxusage' must be an integer value."),
        ("failures", int, "'failures' must be a tuple of exceptions."),
        ("isfatal", True, "'isfatal' must be a callable."),
    ],
)
def test_arguments_of_the_wrong_kind_are_refused(
    driver: TracedDriver, option: str, value: object, message: str
) -> None:
    options: Any = {option: value}
    with pytest.raises(TypeError) as caught:
        steady_db.connect(driver, **options)

    assert str(caught.value) == message
    assert driver.trace == []


def test_the_session_is_prepared_on_each_connection_and_not_counted(driver: TracedDriver) -> None:
    con = steady_db.connect(driver, setsession=("set a", "set b"))
    prepared = ["c1.cursor()", "c1.k1.execute('set a')", "c1.k1.execute('set b')", "c1.k1.close()"]
    assert driver.take() == ["driver.connect()", *prepared]
    assert con._usage == 0


def test_a_connection_that_can_not_be_prepared_is_closed(driver: TracedDriver) -> None:
    driver.fail("execute", ProgrammingError("syntax"))

    with pytest.raises(ProgrammingError):
        steady_db.connect(driver, setsession=["set a"])

    assert driver.take()[-1] == "c1.close()"


def test_closing_twice_closes_once_and_an_error_is_ignored(driver: TracedDriver) -> None:
    con = steady_db.connect(driver)
    driver.take()
    driver.fail("close", OperationalError("lost"))

    con.begin()
    con.close()
    con.close()
    assert (con._closed, con._transaction) == (True, False)
    del con

    assert driver.take() == ["c1.close()"]


def test_one_that_must_not_be_closed_ends_its_transaction_only(driver: TracedDriver) -> None:
    con = steady_db.connect(driver, closeable=False)
    driver.take()

    con.close()
    con.begin()
    con.close()

    assert driver.take() == ["c1.rollback()"]
    assert not con._closed


def test_a_closed_connection_revives_if_the_driver_says_it_is_lost(driver: TracedDriver) -> None:
    con = steady_db.connect(driver)
    con.close()
    driver.fail("cursor", InterfaceError("closed"))

    assert con.cursor().execute("x") == "c2.k1 executed"
    assert not con._closed


def test_a_block_ends_the_transaction_and_does_not_close(driver: TracedDriver) -> None:
    con = steady_db.connect(driver)
    driver.take()

    with con as same:
        assert same is con
    with pytest.raises(KeyError), con:
        raise KeyError

    assert driver.take() == ["c1.commit()", "c1.rollback()"]


@pytest.mark.parametrize(
    ("arguments", "rollbacks"), [((), 0), ((True,), 1), ((0,), 0), (([1],), 1)]
)
def test_a_reset_rolls_back_if_forced(
    driver: TracedDriver, arguments: tuple[Any, ...], rollbacks: int
) -> None:
    con: Any = steady_db.connect(driver)

    assert con._reset(*arguments) is None

    assert driver.calls("rollback") == rollbacks


def test_a_reset_rolls_back_what_was_begun(driver: TracedDriver) -> None:
    con = steady_db.connect(driver)
    con.begin()

    con._reset(force=False)

    assert driver.calls("rollback") == 1
    assert not con._transaction


def test_a_reset_takes_force_by_name_and_nothing_else(driver: TracedDriver) -> None:
    con: Any = steady_db.connect(driver)
    con._reset(force=True)

    for wrong in ({"farce": True}, {"force": True, "more": 1}):
        with pytest.raises(TypeError, match="force"):
            con._reset(**wrong)

    assert driver.calls("rollback") == 1


def test_a_reset_goes_through_the_rollback_of_a_subclass(driver: TracedDriver) -> None:
    calls: list[str] = []

    class Connection(SteadyDBConnection):
        def rollback(self) -> None:
            calls.append("rollback")
            raise ProgrammingError

    con = Connection(driver)
    con._reset(force=True)
    con._close()
    con._reset(force=True)

    assert calls == ["rollback"]
    assert driver.calls("rollback") == 0


def test_the_check_of_a_subclass_or_an_instance_is_asked_by_each_statement(
    driver: TracedDriver,
) -> None:
    asked: list[int] = []

    class Connection(SteadyDBConnection):
        def _ping_check(self, *args: Any, **kwargs: Any) -> Any:
            asked.extend(args)
            return super()._ping_check(*args, **kwargs)

    con: Any = Connection(driver)
    con.cursor().execute("x")
    assert asked == [2, 4]

    con._ping_check = lambda ping: asked.append(-ping)
    con.cursor().execute("x")
    assert asked == [2, 4, -2, -4]


def test_a_subclass_may_have_another_signature_and_attributes_from_the_start(
    driver: TracedDriver,
) -> None:
    class Connection(SteadyDBConnection):
        def __new__(cls, *_: object) -> Any:
            return super().__new__(cls)

        def __init__(self, name: str) -> None:
            self.name = name
            super().__init__(driver, 3)

    con = Connection("mine")

    assert (con.name, con._maxusage) == ("mine", 3)


def test_the_class_can_be_given_attributes(
    driver: TracedDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """django-database-pool does."""
    monkeypatch.setattr(
        SteadyDBConnection, "autocommit", lambda con, on: (con._con.name, on), raising=False
    )
    con: Any = steady_db.connect(driver)

    assert con.autocommit(on=True) == ("c1", True)


def test_the_driver_is_told_of_a_beginning_if_it_wants_to_know(driver: TracedDriver) -> None:
    con = steady_db.connect(driver)
    con.begin()
    assert con._transaction

    begun: list[Any] = []
    con._con.begin = lambda *args, **kwargs: begun.append((args, kwargs))
    con.begin("xid", readonly=True)
    assert begun == [(("xid",), {"readonly": True})]


def test_internals_are_live(driver: TracedDriver) -> None:
    con = steady_db.connect(driver, user="me")
    cursor = con.cursor()
    con._kwargs["user"] = "you"
    con._usage, con._maxusage = 9, 10

    assert [cursor.execute("x"), cursor.execute("x")] == ["c1.k1 executed", "c2.k1 executed"]
    assert "driver.connect(user='you')" in driver.take()
    con._failures = ProgrammingError
    driver.fail("execute", OperationalError("lost"))
    with pytest.raises(OperationalError):
        cursor.execute("x")
    con._con = con._con.__class__(driver, 9)
    assert con.cursor()._cursor.name == "c9.k1"


def test_values_of_the_wrong_kind_are_refused(driver: TracedDriver) -> None:
    con: Any = steady_db.connect(driver)

    for name in ("_usage", "_maxusage", "_ping"):
        with pytest.raises(TypeError):
            setattr(con, name, "many")
    con._maxusage = None
    assert con._maxusage == 0


def test_connections_in_cycles_are_closed_and_collected(driver: TracedDriver) -> None:
    con: Any = steady_db.connect(driver)
    con._con.back = con
    driver.connections.clear()
    gone = weakref.ref(con)

    del con
    gc.collect()

    assert gone() is None
    assert driver.calls("close") == 1


@pytest.mark.freethreaded
def test_no_use_is_lost_when_threads_share_a_connection(driver: TracedDriver) -> None:
    con = steady_db.connect(driver)
    con.begin()

    def work(_: int) -> None:
        cursor = con.cursor()
        for _ in range(500):
            cursor.callproc()

    together(4, work)

    assert con._usage == 2000


@pytest.mark.freethreaded
def test_threads_that_fight_for_a_cursor_do_not_crash(driver: TracedDriver) -> None:
    con = steady_db.connect(driver)
    cursor = con.cursor()

    def work(number: int) -> int:
        for turn in range(300):
            if number == 0:
                cursor._cursor = con._con.cursor()
                cursor._con = con
            elif number == 1:
                con._store(driver.connect())
                cursor.setinputsizes([turn])
            elif number == 2:
                cursor.close()
                cursor._closed = False
            else:
                cursor.execute("x")
                assert cursor.arraysize == 1
        return number

    assert together(4, work) == [0, 1, 2, 3]


FORK = """
import os, gc
from millpond.dbutils import steady_db
from traced import TracedDriver

driver = TracedDriver()
con = steady_db.connect(driver)
cursor = con.cursor()
con._ping, con._pinger = con._parse_ping((7, "select 1"))
driver.take()
pid = os.fork()
if pid == 0:
    {child}
    gc.collect()
    print(driver.take(), flush=True)
    os._exit(0)
os.waitpid(pid, 0)
cursor.close()
con.close()
print(driver.take(), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize(
    ("child", "calls"),
    [
        ("del cursor, con", []),
        ("cursor.close(); con.close(); con._close()", []),
        ("assert con._ping_check() is True; con.close()", ["driver.connect()", "c2.close()"]),
        (
            "con.cursor().execute('x'); del con",
            [
                "driver.connect()",
                "c2.cursor()",
                "c2.cursor()",
                "c2.k2.execute('select 1')",
                "c2.k2.close()",
                "c2.k1.execute('x')",
                "c2.k1.close()",
            ],
        ),
    ],
)
def test_a_child_says_nothing_on_the_connection_of_its_parent(child: str, calls: list[str]) -> None:
    script = FORK.format(child=child)

    in_child, in_parent = lines_of(script)

    assert in_child == str(calls)
    assert in_parent == "['c1.k1.close()', 'c1.close()']"
