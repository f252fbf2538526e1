"""The child of a fork finds nothing in a `PooledDB`, and leaves the parent's connections alone."""

from __future__ import annotations

import os

import pytest

from helpers import lines_of

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")

BEGIN = """
import os, sys
from helpers import eventually, in_thread
from millpond.dbutils.pooled_db import PooledDB
from traced import TracedDriver

driver = TracedDriver(threadsafety=2)

def in_child(work):
    sys.stdout.flush()
    child = os.fork()
    if not child:
        driver.take()
        work()
        sys.stdout.flush()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


def test_the_child_begins_with_nothing() -> None:
    printed = lines_of(
        BEGIN
        + """
pool = PooledDB(driver, 2, maxshared=1, maxconnections=3, blocking=True)
shared, other = pool.connection(), pool.dedicated_connection()
last = pool.dedicated_connection()
waiting = in_thread(pool.dedicated_connection)
eventually(lambda: pool._tally()["waiting"] == 1)

def work():
    tally = pool._tally()
    print(pool._connections, tally["waiting"], pool._idle_cache, pool._shared_cache, driver.trace)
    with pool.connection() as own, pool.dedicated_connection():
        print(own._con._con.name, pool._connections)
    print(driver.take(), len(pool._idle_cache))

in_child(work)
last.close()
print(waiting.result()._con is not None, pool._connections)
"""
    )

    assert printed == [
        "0 0 [] [] []",
        "c4 2",
        "['driver.connect()', 'driver.connect()', 'c5.rollback()', 'c4.rollback()'] 2",
        "True 3",
    ]


def test_what_the_parent_lent_is_not_given_back_in_the_child() -> None:
    printed = lines_of(
        BEGIN
        + """
pool = PooledDB(driver, maxshared=1)
closed, dropped = pool.dedicated_connection(), pool.dedicated_connection()
shared = pool.connection()

def work():
    global dropped
    closed.close()
    dropped = None
    shared.close()
    print(driver.trace, pool._connections, pool._idle_cache)

in_child(work)
closed.close()
print(len(pool._idle_cache), pool._connections)
"""
    )

    assert printed == ["[] 0 []", "1 2"]


def test_the_child_of_a_child_is_as_clean() -> None:
    printed = lines_of(
        BEGIN
        + """
pool = PooledDB(driver, 1)

def work():
    held = pool.connection()
    in_child(lambda: print(pool._connections, driver.trace))
    print(pool._connections)

in_child(work)
print(len(pool._idle_cache))
"""
    )

    assert printed == ["0 []", "1", "1"]
