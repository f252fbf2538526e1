"""The simple pool of DB-API 2 connections: in one hand at a time, or shared in turn."""

from __future__ import annotations

import os
from typing import Any

import pytest

import fakes
from fakes import FakeDatabase
from helpers import in_thread, lines_of, remains, together
from millpond.dbutils.simple_pooled_db import (
    NotSupportedError,
    PooledDB,
    PooledDBConnection,
    PooledDBError,
)

pytestmark = pytest.mark.freethreaded


class Driver(FakeDatabase):
    """The fake database as a DB-API 2 module."""

    def __init__(self, threadsafety: object) -> None:
        super().__init__()
        self.threadsafety = threadsafety


@pytest.mark.parametrize("level", [1, 2, 3])
def test_all_connections_are_opened_at_once(level: int) -> None:
    database = Driver(level)

    PooledDB(database, 3)

    assert database.connects == 3


def test_the_arguments_are_those_of_the_driver() -> None:
    class Module:
        threadsafety = 1

        @staticmethod
        def connect(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
            return args, kwargs

    connection = PooledDB(Module, 1, "shop", timeout=5).connection()

    assert connection._con == (("shop",), {"timeout": 5})


@pytest.mark.parametrize(
    ("level", "message"),
    [
        (0, "Database module does not support any level of threading."),
        (None, "Database module threading support cannot be determined."),
        ("1", "Database module threading support cannot be determined."),
        (4, "Database module threading support cannot be determined."),
    ],
)
def test_a_driver_that_threads_may_not_share_is_refused(level: object, message: str) -> None:
    database = Driver(level)

    with pytest.raises(NotSupportedError) as caught:
        PooledDB(database, 1)

    assert caught.value.args == (message,)
    assert isinstance(caught.value, PooledDBError)
    assert database.connects == 0


def test_who_comes_too_late_waits_for_a_return() -> None:
    database = Driver(1)
    pool = PooledDB(database, 1)
    held = pool.connection()
    first = held._con
    waiter = in_thread(pool.connection)
    assert remains(lambda: not waiter.done)

    held.close()

    assert waiter.result()._con is first
    assert database.connects == 1


def test_a_closed_connection_has_nothing() -> None:
    connection = PooledDB(Driver(1), 1).connection()
    assert connection.execute() == ("SELECT 1",)

    connection.close()
    connection.close()

    assert connection._con is None
    assert not hasattr(connection, "execute")


def test_a_connection_goes_back_when_nobody_has_it_any_more() -> None:
    pool = PooledDB(Driver(1), 1)

    for _ in range(3):
        assert pool.connection().execute() == ("SELECT 1",)

    assert pool._queue.qsize() == 1


def test_connections_that_may_be_shared_are_handed_out_in_turn() -> None:
    pool = PooledDB(Driver(2), 2)

    given = [pool.connection() for _ in range(4)]
    raw = [one._con for one in given]
    given[0].close()

    assert raw[:2] == raw[2:]
    assert raw[0] is not raw[1]
    assert not raw[0].closed
    assert pool.connection()._con is raw[0]


def test_threads_get_their_turn_as_well() -> None:
    pool = PooledDB(Driver(3), 3)

    given = together(8, lambda _: [pool.connection()._con for _ in range(30)])

    counts = [sum(raw is one for some in given for one in some) for raw in pool._connections]
    assert counts == [80, 80, 80]


def test_threads_that_close_one_connection_give_it_back_once() -> None:
    pool = PooledDB(Driver(1), 1)
    for _ in range(200):
        connection: PooledDBConnection = pool.connection()
        together(2, lambda _, one=connection: one.close())  # type: ignore[misc]

    assert pool._queue.qsize() == 1


def test_a_connection_of_ones_own_may_be_added() -> None:
    database = Driver(2)
    pool = PooledDB(database, 1)
    mine = database.connect()

    pool.addConnection(mine)

    assert {pool.connection()._con for _ in range(2)} == {*database.open_connections}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("level", [1, 2])
def test_a_forked_child_connects_again_when_it_is_first_asked(level: int) -> None:
    lines = lines_of(f"""
import gc, os, fakes
from millpond.dbutils.simple_pooled_db import PooledDB

database = fakes.FakeDatabase()
database.threadsafety = {level}
pool = PooledDB(database, 2)
held = pool.connection()
parents = database.open_connections
if os.fork() == 0:
    assert database.connects == 2, "nothing before it is asked"
    database.fail_next(fakes.OperationalError("down"))
    try:
        pool.connection()
    except fakes.OperationalError:
        pass
    mine = pool.connection()
    assert mine._con not in parents
    held.close()
    mine.close()
    assert database.connects == 4
    assert all(pool.connection()._con not in parents for _ in range(4))
    gc.collect()
    assert database.closes == 0
    os._exit(0)
print(os.waitstatus_to_exitcode(os.wait()[1]))
print(held._con in parents, pool.connection()._con in parents)
""")

    assert lines == ["0", "True True"]


def test_a_connect_that_fails_is_an_error_of_the_constructor() -> None:
    database = Driver(1)
    database.fail_next(fakes.OperationalError("down"))

    with pytest.raises(fakes.OperationalError, match="down"):
        PooledDB(database, 2)
