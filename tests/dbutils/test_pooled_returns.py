"""Giving connections of a `PooledDB` back: closed or dropped, and whatever fails on the way."""

from __future__ import annotations

import gc
import threading
import weakref
from functools import partial
from typing import Any

import pytest

from helpers import in_thread, lines_of, together
from millpond.dbutils.pooled_db import (
    InvalidConnectionError,
    NotSupportedError,
    PooledDB,
    PooledDedicatedDBConnection,
    PooledSharedDBConnection,
    TooManyConnectionsError,
)
from millpond.dbutils.steady_db import SteadyDBConnection
from traced import TracedDriver


class Stop(BaseException):
    """Nobody expects it."""


@pytest.fixture
def driver() -> TracedDriver:
    return TracedDriver()


def counts(pool: PooledDB) -> tuple[int, int]:
    return pool._connections, len(pool._idle_cache)


def test_a_connection_comes_back_when_its_last_reference_goes(driver: TracedDriver) -> None:
    pool = PooledDB(driver)
    lent = pool.connection()
    cursor = lent.cursor()

    del lent

    assert counts(pool) == (0, 1)
    assert cursor.execute("select 1") == "c1.k1 executed"
    assert driver.take() == [
        "driver.connect()",
        "c1.cursor()",
        "c1.rollback()",
        "c1.k1.execute('select 1')",
    ]


def test_a_connection_comes_back_while_an_exception_is_on_its_way(driver: TracedDriver) -> None:
    pool = PooledDB(driver)

    def use() -> None:
        lent = pool.connection()
        lent.no_such_attribute  # noqa: B018

    with pytest.raises(AttributeError, match="'SteadyDBConnection' object has no attribute") as it:
        use()
    it.value.__traceback__ = None
    del it
    gc.collect()

    assert counts(pool) == (0, 1)


def test_a_connection_in_a_cycle_comes_back_when_the_cycle_is_collected(
    driver: TracedDriver,
) -> None:
    pool = PooledDB(driver)
    lent = pool.connection()
    lent.itself = lent
    gone = weakref.ref(lent)

    del lent
    assert counts(pool) == (1, 0)
    gc.collect()

    assert gone() is None
    assert counts(pool) == (0, 1)


def test_closing_again_does_nothing(driver: TracedDriver) -> None:
    pool = PooledDB(driver)
    lent = pool.connection()
    lent.close()
    lent.close()

    with lent as same:
        assert same is lent

    assert counts(pool) == (0, 1)
    assert driver.calls("rollback") == 1


def test_a_closed_connection_has_no_attributes_not_even_for_hasattr(driver: TracedDriver) -> None:
    lent = PooledDB(driver).connection()
    lent.close()

    for name in ("cursor", "_usage", "anything"):
        with pytest.raises(InvalidConnectionError):
            hasattr(lent, name)
    assert lent._con is None
    assert not isinstance(InvalidConnectionError(), AttributeError)


def test_reads_are_forwarded_and_writes_are_not(driver: TracedDriver) -> None:
    lent = PooledDB(driver).connection()

    lent.autocommit = True
    lent.commit = "mine"

    assert vars(lent) == {"autocommit": True, "commit": "mine"}
    assert lent.commit == "mine"
    assert not hasattr(lent._con, "autocommit")
    assert lent.cursor == lent._con.cursor
    assert lent.dbapi_connection is driver.connections[0]
    assert lent._usage == 0
    assert not hasattr(PooledDedicatedDBConnection, "cursor")
    assert not hasattr(lent, "_shared_con")


def close(lent: Any, _: int) -> None:
    lent.close()


@pytest.mark.freethreaded
def test_of_many_who_close_a_connection_at_once_one_does(driver: TracedDriver) -> None:
    pool = PooledDB(driver)
    for _ in range(200):
        lent = pool.connection()
        together(4, partial(close, lent))
        assert counts(pool) == (0, 1)


@pytest.mark.freethreaded
def test_the_counts_are_right_after_a_crowd(driver: TracedDriver) -> None:
    pool = PooledDB(driver, maxcached=3, maxconnections=5, blocking=True)

    def use(_: int) -> None:
        for _ in range(300):
            with pool.connection():
                assert pool._connections <= 5
                assert len(pool._idle_cache) <= 3

    together(8, use)

    tally = pool._tally()
    assert pool._connections == tally["in_use"] == tally["waiting"] == 0
    assert tally["acquired"] == 8 * 300
    assert len(pool._idle_cache) <= 3
    assert driver.calls("connect") - driver.calls("close") == len(pool._idle_cache)


# Failures


def test_a_connect_that_fails_costs_no_permit(driver: TracedDriver) -> None:
    pool = PooledDB(driver, maxconnections=1)
    driver.fail("connect", driver.OperationalError("no"), Stop())

    for error in (driver.OperationalError, Stop):
        with pytest.raises(error):
            pool.connection()
        assert counts(pool) == (0, 0)

    assert pool.connection()._con is not None


def test_a_check_that_fails_costs_no_permit(driver: TracedDriver) -> None:
    pool = PooledDB(driver, 1, maxconnections=1)

    def ping_check() -> None:
        raise Stop

    pool._idle_cache[0]._ping_check = ping_check
    with pytest.raises(Stop):
        pool.connection()

    assert counts(pool) == (0, 0)
    assert driver.calls("close") == 1


def test_a_connection_that_is_not_safe_costs_no_permit(driver: TracedDriver) -> None:
    pool = PooledDB(driver, maxconnections=1)
    driver.threadsafety = 0

    with pytest.raises(NotSupportedError, match=r"Database module is not thread-safe\."):
        pool.connection()

    assert counts(pool) == (0, 0)
    assert driver.calls("close") == 1


def test_a_reset_that_fails_is_nobodys_business(driver: TracedDriver) -> None:
    pool = PooledDB(driver)
    driver.fail("rollback", driver.ProgrammingError("no"))

    pool.connection().close()

    assert counts(pool) == (0, 1)


def test_an_interrupted_return_can_be_repeated(driver: TracedDriver) -> None:
    pool = PooledDB(driver, maxconnections=1)
    lent = pool.connection()
    driver.fail("rollback", Stop())

    with pytest.raises(Stop):
        lent.close()
    assert counts(pool) == (1, 0)
    assert lent._con is not None
    lent.close()

    assert counts(pool) == (0, 1)


def test_a_return_that_cannot_be_repeated_costs_no_permit(driver: TracedDriver) -> None:
    pool = PooledDB(driver, maxconnections=1)
    lent = pool.connection()
    driver.fail("rollback", Stop())

    del lent

    assert counts(pool) == (0, 0)
    assert driver.calls("close") == 1


def test_an_interrupted_return_of_a_surplus_connection_can_be_repeated(
    driver: TracedDriver,
) -> None:
    pool = PooledDB(driver, maxcached=1)
    kept, surplus = pool.connection(), pool.connection()
    kept.close()
    driver.fail("close", Stop())

    with pytest.raises(Stop):
        surplus.close()
    assert counts(pool) == (1, 1)
    surplus.close()

    assert counts(pool) == (0, 1)
    assert driver.calls("rollback") == 1


def test_what_was_lent_by_nobody_does_not_make_the_count_negative(driver: TracedDriver) -> None:
    pool = PooledDB(driver)

    pool.cache(pool.steady_connection())

    assert counts(pool) == (0, 1)


def test_a_shared_connection_of_a_closed_pool_is_given_back_once() -> None:
    driver = TracedDriver(threadsafety=2)
    pool = PooledDB(driver, maxshared=1, maxconnections=2)
    lent = [pool.connection(), pool.connection()]

    pool.close()
    assert pool._connections == 0
    for one in lent:
        one.close()

    assert counts(pool) == (0, 1)
    both = [pool.dedicated_connection(), pool.dedicated_connection()]
    with pytest.raises(TooManyConnectionsError):
        pool.dedicated_connection()
    assert len(both) == pool._connections


def test_a_shared_connection_that_is_not_safe_enough_costs_no_permit() -> None:
    driver = TracedDriver(threadsafety=2)
    pool = PooledDB(driver, maxshared=1, maxconnections=1)
    driver.threadsafety = 1

    with pytest.raises(NotSupportedError, match=r"Database connection is not thread-safe\."):
        pool.connection()

    assert pool._connections == 0
    assert pool._shared_cache == []


# Re-entrancy


def test_a_reset_may_use_the_pool(driver: TracedDriver) -> None:
    pool = PooledDB(driver)
    lent = pool.connection()
    inner: list[Any] = []

    def rollback() -> None:
        if not inner:
            inner.append(pool.connection())
            inner[0].close()

    lent._con._con.rollback = rollback
    lent.close()

    assert counts(pool) == (0, 2)


def test_a_creator_may_use_the_pool(driver: TracedDriver) -> None:
    pool = PooledDB(driver)
    connect = driver.connect
    inside: list[Any] = []

    def nested() -> Any:
        if not inside:
            inside.append(True)
            pool.connection().close()
        return connect()

    driver.connect = nested  # type: ignore[method-assign]
    pool.connection().close()

    assert counts(pool) == (0, 2)


def test_a_finalizer_may_use_the_pool_while_its_lock_is_held(driver: TracedDriver) -> None:
    driver.threadsafety = 2
    pool = PooledDB(driver, maxshared=2, maxconnections=4, blocking=True)
    lent = [pool.connection(), pool.dedicated_connection()]

    with pool._lock:
        lent.clear()

    assert counts(pool) == (0, 2)


def test_the_locks_condition_tells_of_each_return(driver: TracedDriver) -> None:
    pool = PooledDB(driver, maxconnections=1)
    lent = pool.connection()
    looked = threading.Event()

    def wait_for_room() -> int:
        with pool._lock:
            looked.set()
            while pool._connections >= pool._maxconnections:
                assert pool._lock.wait(10)
            return pool._connections

    waiting = in_thread(wait_for_room)
    assert looked.wait(10)
    lent.close()

    assert waiting.result() == 0
    pool.connection().close()
    # Nobody watches any more, so nobody is told.
    pool._lock = None  # type: ignore[assignment]
    pool.connection().close()


# The pool


def test_the_pool_goes_with_its_last_proxy_and_closes_what_it_has(driver: TracedDriver) -> None:
    pool = PooledDB(driver, 2)
    lent = pool.connection()
    gone = weakref.ref(pool)
    driver.take()

    del pool
    assert gone() is not None
    del lent

    assert gone() is None
    assert driver.take() == ["c2.rollback()", "c1.close()", "c2.close()"]


def test_a_closed_pool_goes_on(driver: TracedDriver) -> None:
    pool = PooledDB(driver, 2)
    lent = pool.connection()

    pool.close()
    lent.close()

    assert counts(pool) == (0, 1)
    pool.connection()


def test_connections_that_are_left_over_at_exit_do_no_harm() -> None:
    printed = lines_of("""
        import atexit
        from millpond.dbutils.pooled_db import PooledDB
        from traced import TracedDriver

        driver = TracedDriver(threadsafety=2)
        pool = PooledDB(driver, 1, maxshared=1)
        shared, dedicated = pool.connection(), pool.dedicated_connection()
        shared.cycle = shared
        atexit.register(lambda: print("bye", pool._connections))
    """)

    assert printed == ["bye 2"]


def test_both_proxies_can_be_made_by_hand(driver: TracedDriver) -> None:
    pool = PooledDB(driver, maxshared=1)
    pool._connections = 1

    lent = PooledDedicatedDBConnection(pool, con=pool.steady_connection())

    assert isinstance(lent._con, SteadyDBConnection)
    assert lent._pool is pool
    lent.close()
    assert counts(pool) == (0, 1)
    with pytest.raises(TypeError):
        PooledSharedDBConnection(pool)  # type: ignore[call-arg]
    assert PooledSharedDBConnection.__module__ == "millpond.dbutils.pooled_db"
