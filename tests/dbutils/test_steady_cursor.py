"""What a steady cursor shows of the driver's cursor, and what stays on it."""

from __future__ import annotations

import gc
import inspect
import sqlite3
import weakref
from typing import Any

import pytest

from millpond.dbutils import steady_db
from millpond.dbutils.steady_db import SteadyDBConnection, SteadyDBCursor
from traced import OperationalError, TracedDriver


@pytest.fixture
def driver() -> TracedDriver:
    return TracedDriver()


def test_attributes_are_those_of_the_drivers_cursor(driver: TracedDriver) -> None:
    cursor = steady_db.connect(driver).cursor()

    assert cursor.description is cursor.dbapi_cursor.description
    assert cursor.fetchone() == (1,)
    assert cursor.name == "c1.k1"
    assert not hasattr(cursor, "nextset")
    assert not hasattr(cursor, "anything")


def test_what_is_written_stays_on_the_cursor(driver: TracedDriver) -> None:
    cursor: Any = steady_db.connect(driver).cursor()

    cursor.arraysize = 50
    cursor.rowfactory = dict

    assert (cursor.arraysize, cursor._cursor.arraysize) == (50, 1)
    assert not hasattr(cursor._cursor, "rowfactory")
    del cursor.arraysize
    assert cursor.arraysize == 1


def test_any_method_of_the_two_prefixes_seems_to_exist(driver: TracedDriver) -> None:
    con = steady_db.connect(driver)
    cursor = con.cursor()

    assert hasattr(cursor, "executeFOO")
    assert cursor.execute is not cursor.execute
    with pytest.raises(AttributeError, match="executeFOO"):
        cursor.executeFOO()
    assert cursor.executescript("s") == "c1.k1 executed a script"
    assert con._usage == 1


def test_the_class_has_none_of_them() -> None:
    assert not hasattr(SteadyDBCursor, "execute")
    with pytest.raises(AttributeError, match="type object 'SteadyDBCursor' has no attribute"):
        getattr(SteadyDBCursor, "fetchone")  # noqa: B009  mypy believes that there is one


@pytest.mark.parametrize("args", [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)])
@pytest.mark.parametrize("kwargs", [{}, {"a": 1, "b": 2}])
@pytest.mark.parametrize("name", ["execute", "executemany", "executescript", "callproc"])
def test_arguments_arrive_as_they_are(
    driver: TracedDriver, name: str, args: tuple[int, ...], kwargs: dict[str, int]
) -> None:
    cursor = steady_db.connect(driver).cursor()
    driver.take()

    getattr(cursor, name)(*args, **kwargs)
    getattr(cursor._cursor, name)(*args, **kwargs)

    ours, directly = driver.take()
    assert ours == directly


@pytest.mark.parametrize("raw", [None, []])
def test_a_cursor_without_a_cursor_is_invalid(driver: TracedDriver, raw: Any) -> None:
    cursor = steady_db.connect(driver).cursor()
    cursor._cursor = raw

    for name in ("execute", "executescript", "fetchone", "anything", "dbapi_cursor"):
        with pytest.raises(steady_db.InvalidCursor) as caught:
            getattr(cursor, name)
        assert caught.value.args == ()


def test_it_is_iterable_and_no_iterator(driver: TracedDriver) -> None:
    cursor = steady_db.connect(driver).cursor()
    rows = iter([(1,), (2,), None])
    cursor._cursor.fetchone = lambda: next(rows)

    assert list(cursor) == [(1,), (2,)]
    with pytest.raises(TypeError):
        next(cursor)


def test_sizes_are_given_by_position_only(driver: TracedDriver) -> None:
    cursor: Any = steady_db.connect(driver).cursor()

    with pytest.raises(TypeError):
        cursor.setinputsizes(a=1)
    cursor._outputsizes[None] = 7
    cursor.execute("x")
    assert driver.calls("setoutputsize") == 1
    assert (cursor._inputsizes, cursor._outputsizes) == ([], {})


def test_closing_twice_closes_once_and_an_error_is_ignored(driver: TracedDriver) -> None:
    con = steady_db.connect(driver)
    cursor = con.cursor()
    driver.take()
    driver.fail("close", OperationalError("lost"))

    with cursor as same:
        assert same is cursor
    cursor.close()
    del cursor, same

    assert driver.take() == ["c1.k1.close()"]


def test_a_closed_cursor_works_as_long_as_the_drivers_does(driver: TracedDriver) -> None:
    cursor = steady_db.connect(driver).cursor()
    cursor.close()

    assert cursor.execute("x") == "c1.k1 executed"
    assert cursor._closed


def test_dropping_the_cursor_closes_the_drivers(driver: TracedDriver) -> None:
    con = steady_db.connect(driver)
    driver.take()

    con.cursor()

    assert driver.take() == ["c1.cursor()", "c1.k1.close()"]


def test_a_finalizer_raises_nothing(driver: TracedDriver) -> None:
    con = steady_db.connect(driver)
    cursor = con.cursor()
    driver.take()
    driver.fail("close", KeyboardInterrupt())

    del cursor

    assert driver.take() == ["c1.k1.close()"]


@pytest.mark.parametrize("con", [None, 5, object()])
def test_a_connection_that_is_not_steady_is_refused(con: Any) -> None:
    with pytest.raises(TypeError, match="is not a SteadyDBConnection") as caught:
        SteadyDBCursor(con)

    assert isinstance(caught.value.__cause__, AttributeError)


class Stand:
    """Something like a steady connection."""

    def __init__(self, con: SteadyDBConnection) -> None:
        self.real = con
        self._usage = 0
        self._maxusage = 2
        self._transaction = False
        self.pings: list[int] = []

    def _ping_check(self, ping: int) -> None:
        self.pings.append(ping)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


def test_a_stand_in_for_a_steady_connection_is_asked_by_name(driver: TracedDriver) -> None:
    stand = Stand(steady_db.connect(driver))
    cursor = SteadyDBCursor(stand)
    cursor.setinputsizes([1])

    assert cursor.execute("x") == "c1.k1 executed"
    driver.fail("callproc", OperationalError("lost"))
    assert cursor.callproc("p") == "c1.k2 called"
    assert (stand._usage, stand.pings) == (2, [4, 4])
    # Overused: the real connection makes the new cursor.
    assert cursor.execute("y") == "c1.k3 executed"
    assert driver.calls("setinputsizes") == 1


def test_a_subclass_may_make_its_own_tough_methods(driver: TracedDriver) -> None:
    made: list[str] = []

    class Cursor(SteadyDBCursor):
        def _get_tough_method(self, name: str, /) -> Any:
            made.append(name)
            return super()._get_tough_method(name)

    cursor = Cursor(steady_db.connect(driver))

    assert cursor.execute("x") == "c1.k1 executed"
    assert cursor.executescript("x") == "c1.k1 executed a script"
    assert made == ["execute", "executescript"]


def test_a_subclass_may_look_attributes_up_itself(driver: TracedDriver) -> None:
    class Cursor(SteadyDBCursor):
        def __getattr__(self, name: str, /) -> Any:
            if name == "fetchone":
                return lambda: "mine"
            return super().__getattr__(name)

    cursor = Cursor(steady_db.connect(driver))

    assert cursor.fetchone() == "mine"
    assert cursor.execute("x") == "c1.k1 executed"
    assert cursor.arraysize == 1


def test_a_class_patched_later_is_asked_as_well(
    driver: TracedDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        SteadyDBCursor, "_get_tough_method", lambda _, name: lambda *_: f"patched {name}"
    )

    assert steady_db.connect(driver).cursor().execute("x") == "patched execute"


def test_an_instance_can_be_patched(driver: TracedDriver) -> None:
    cursor: Any = steady_db.connect(driver).cursor()

    cursor.execute = lambda sql: f"patched {sql}"
    cursor.fetchone = lambda: "patched"

    assert (cursor.execute("x"), cursor.fetchone()) == ("patched x", "patched")


def test_a_subclass_may_override_execute_and_call_the_original(driver: TracedDriver) -> None:
    class Cursor(SteadyDBCursor):
        def execute(self, *args: Any) -> Any:
            return "mine", super().execute(*args)

    assert Cursor(steady_db.connect(driver)).execute("x") == ("mine", "c1.k1 executed")


def test_cursors_in_cycles_are_collected(driver: TracedDriver) -> None:
    con: Any = steady_db.connect(driver)
    cursor: Any = con.cursor()
    cursor._cursor.back, con.back = cursor, cursor
    gone = weakref.ref(cursor), weakref.ref(con)

    del cursor, con
    gc.collect()

    assert [reference() for reference in gone] == [None, None]
    assert driver.calls("close") == 2


def test_an_object_without_init_is_harmless() -> None:
    cursor = SteadyDBCursor.__new__(SteadyDBCursor)
    con = SteadyDBConnection.__new__(SteadyDBConnection)

    for name in ("_con", "_cursor", "execute", "fetchone"):
        with pytest.raises(steady_db.InvalidCursorError):
            getattr(cursor, name)
    with pytest.raises(steady_db.InvalidCursorError):
        cursor._get_tough_method("execute")("x")
    with pytest.raises(AttributeError, match=r"super\(\)\.__init__\(\)"):
        assert con._con
    with pytest.raises(AttributeError, match="rollback"):
        con.rollback()
    con._reset(force=True)
    con._close()


def test_signatures_can_be_looked_up() -> None:
    assert str(inspect.signature(SteadyDBCursor)) == "(con, *args, **kwargs)"
    assert str(inspect.signature(SteadyDBCursor.close)) == "(self, /)"
    assert str(inspect.signature(SteadyDBConnection._ping_check)) == (
        "(self, /, ping=1, reconnect=True)"
    )


def test_sqlite3_results_are_passed_through() -> None:
    con = steady_db.connect(sqlite3, database=":memory:")
    cursor = con.cursor()

    assert cursor.execute("select 1 union select 2") is cursor.dbapi_cursor
    assert list(cursor) == [(1,), (2,)]
    assert cursor.connection is con.dbapi_connection
    assert cursor.execute("select ?", (3,)).fetchone() == (3,)
    cursor.executescript("create table t (n); insert into t values (5);")
    cursor.executemany("insert into t values (?)", [(6,), (7,)])
    assert cursor.rowcount == 2
    assert con._usage == 4


def test_sqlite3_cursors_end_with_their_wrapper() -> None:
    con = steady_db.connect(sqlite3, database=":memory:")
    raw = con.cursor().execute("select 1")

    with pytest.raises(sqlite3.ProgrammingError, match="closed cursor"):
        list(raw)


def test_a_closed_sqlite3_connection_does_not_revive() -> None:
    con = steady_db.connect(sqlite3, database=":memory:")
    con.close()

    with pytest.raises(sqlite3.ProgrammingError, match="closed database"):
        con.cursor()
