"""What time does to the connections of a `PooledDB` with `pool_options`."""

from __future__ import annotations

import gc
import threading
from typing import TYPE_CHECKING, Any

import pytest

from helpers import eventually, in_thread, lines_of, remains, threads_of
from pooled import raw

if TYPE_CHECKING:
    from fakes import FakeConnection, FakeDatabase
    from millpond._core import ManualClock
    from millpond.dbutils.pooled_db import PooledDB
    from pooled import MakePooled

pytestmark = pytest.mark.freethreaded


def pass_time(pool: PooledDB, clock: ManualClock, seconds: float) -> None:
    """Move the fake clock, then do what the timer thread would do at that moment."""
    clock.advance(seconds)
    pool._upkeep._advance()


def used(pool: PooledDB) -> FakeConnection:
    """Check a connection out and give it back."""
    proxy = pool.connection()
    con = raw(proxy)
    proxy.close()
    return con


@pytest.fixture
def fake_time(clock: ManualClock) -> dict[str, Any]:
    """Give the options by which only the test moves the time, and jobs run at once."""
    return {"_clock": clock, "_inline": True}


def test_an_idle_connection_is_closed_in_the_background(
    make_pooled: MakePooled, clock: ManualClock, fake_time: dict[str, Any]
) -> None:
    pool = make_pooled(2, pool_options={"idle_timeout": 60, **fake_time})
    clock.advance(50)
    kept = used(pool)

    pass_time(pool, clock, 11)

    assert [con._con for con in pool._idle_cache] == [kept]
    assert pool.stats().closed == {"idle": 1}
    pass_time(pool, clock, 50)
    assert pool.stats().closed == {"idle": 2}
    assert pool._idle_cache == []
    assert used(pool)


def test_one_that_is_found_first_by_a_caller_is_closed_as_well(
    make_pooled: MakePooled, clock: ManualClock, fake_time: dict[str, Any]
) -> None:
    pool = make_pooled(pool_options={"idle_timeout": 60, **fake_time})
    first = used(pool)

    clock.advance(61)

    assert used(pool) is not first
    assert first.closed


def test_a_connection_is_closed_when_it_is_too_old(
    make_pooled: MakePooled, clock: ManualClock, fake_time: dict[str, Any]
) -> None:
    pool = make_pooled(pool_options={"max_lifetime": 8, **fake_time})
    held, idle = pool.connection(), used(pool)
    assert raw(held) is not idle

    pass_time(pool, clock, 8)

    assert idle.closed
    con = raw(held)
    held.close()
    assert con.closed
    assert pool.stats().closed == {"lifetime": 2}


def test_long_lifetimes_do_not_end_together(
    make_pooled: MakePooled, clock: ManualClock, fake_time: dict[str, Any]
) -> None:
    pool = make_pooled(10, pool_options={"max_lifetime": 1000, **fake_time})
    pass_time(pool, clock, 899)
    assert pool.stats().closed == {}

    pass_time(pool, clock, 51)

    assert 3 <= pool.stats().closed["lifetime"] <= 7
    pass_time(pool, clock, 51)
    assert pool.stats().closed["lifetime"] == 10


def test_a_connection_is_closed_after_max_uses_checkouts(make_pooled: MakePooled) -> None:
    pool = make_pooled(pool_options={"max_uses": 2})

    first = used(pool)
    assert used(pool) is first

    assert first.closed
    assert used(pool) is not first


def test_a_recent_sign_of_life_saves_the_ping_at_the_checkout(
    make_pooled: MakePooled, driver: FakeDatabase, clock: ManualClock, fake_time: dict[str, Any]
) -> None:
    pool = make_pooled(pool_options={"validation_interval": 30, **fake_time})
    first = used(pool)

    clock.advance(29)
    assert used(pool) is first
    assert driver.pings == 0
    clock.advance(30)
    assert used(pool) is first
    assert driver.pings == 1


def test_without_the_interval_each_checkout_pings(
    make_pooled: MakePooled, driver: FakeDatabase
) -> None:
    pool = make_pooled(pool_options={"max_uses": 10, "acquire_timeout": 1})

    for _ in range(3):
        used(pool)

    assert driver.pings == 2


def test_idle_connections_are_pinged_in_the_background_and_dead_ones_closed(
    make_pooled: MakePooled, driver: FakeDatabase, clock: ManualClock, fake_time: dict[str, Any]
) -> None:
    pool = make_pooled(2, pool_options={"validation_interval": 30, **fake_time})
    dead, alive = (con._con for con in pool._idle_cache)
    dead.kill()

    pass_time(pool, clock, 30)

    assert driver.pings == 2
    assert dead.closed
    assert [con._con for con in pool._idle_cache] == [alive]
    stats = pool.stats()
    assert (stats.checks, stats.checks_failed, stats.closed) == (2, 1, {"invalid": 1})
    pass_time(pool, clock, 29)
    assert driver.pings == 2
    pass_time(pool, clock, 1)
    assert driver.pings == 3


def test_at_the_limit_a_caller_waits_for_the_connection_that_is_pinged(
    make_pooled: MakePooled, driver: FakeDatabase, clock: ManualClock
) -> None:
    pool = make_pooled(maxconnections=1, pool_options={"validation_interval": 30, "_clock": clock})
    first = used(pool)
    gate = driver.hang("ping")
    pass_time(pool, clock, 30)
    eventually(lambda: gate.arrived)
    assert pool.stats().idle == 1
    running = in_thread(used, pool)
    assert remains(lambda: not running.done, 0.02)

    gate.release()

    assert running.result() is first
    assert driver.peak_live == 1


def test_below_the_limit_nobody_waits_for_it(
    make_pooled: MakePooled, driver: FakeDatabase, clock: ManualClock
) -> None:
    pool = make_pooled(maxconnections=2, pool_options={"validation_interval": 30, "_clock": clock})
    first = used(pool)
    gate = driver.hang("ping")
    pass_time(pool, clock, 30)
    eventually(lambda: gate.arrived)

    assert used(pool) is not first

    gate.release()
    eventually(lambda: len(pool._idle_cache) == 2)


def test_a_ping_that_hangs_is_not_waited_for_for_ever(
    make_pooled: MakePooled,
    driver: FakeDatabase,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pool = make_pooled(
        maxconnections=1,
        pool_options={"validation_interval": 30, "validation_timeout": 5, "_clock": clock},
    )
    first = used(pool)
    gate = driver.hang("ping", times=1)
    pass_time(pool, clock, 30)
    eventually(lambda: gate.arrived)
    running = in_thread(used, pool)
    assert remains(lambda: not running.done, 0.02)

    pass_time(pool, clock, 5)

    assert running.result() is not first
    assert "took longer than validation_timeout=5.0" in caplog.text
    gate.release()
    eventually(lambda: first.closed)
    assert len(pool._idle_cache) == 1


def test_what_is_pinged_while_the_pool_is_closed_is_closed_afterwards(
    make_pooled: MakePooled, driver: FakeDatabase, clock: ManualClock
) -> None:
    pool = make_pooled(pool_options={"validation_interval": 30, "_clock": clock})
    first = used(pool)
    gate = driver.hang("ping", times=1)
    pass_time(pool, clock, 30)
    eventually(lambda: gate.arrived)

    pool.close()
    gate.release()

    eventually(lambda: first.closed)
    assert used(pool) is not first


def test_options_go_on_working_after_close(
    make_pooled: MakePooled, clock: ManualClock, fake_time: dict[str, Any]
) -> None:
    pool = make_pooled(1, pool_options={"idle_timeout": 60, **fake_time})
    pool.close()
    assert pool.stats().closed == {"closed": 1}
    again = used(pool)

    pass_time(pool, clock, 60)

    assert again.closed


def test_a_connection_that_is_held_too_long_is_reported_once_with_its_line(
    make_pooled: MakePooled,
    clock: ManualClock,
    fake_time: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    pool = make_pooled(pool_options={"leak_threshold": 10, "name": "app", **fake_time})
    held = pool.dedicated_connection()
    used(pool)

    pass_time(pool, clock, 11)
    pass_time(pool, clock, 11)

    (record,) = [record for record in caplog.records if record.name == "millpond.pool"]
    assert "pool 'app': a connection has been held for 11 s by this same thread" in record.message
    assert f"checked out at {__file__}:" in record.message
    assert pool.stats().leaks == 1
    held.close()


# Threads.


def timer_runs() -> bool:
    return any(thread.name == "millpond-timer" for thread in threading.enumerate())


def test_there_is_no_thread_before_an_option_needs_one_and_none_after_close(
    make_pooled: MakePooled,
) -> None:
    pool = make_pooled(pool_options={"idle_timeout": 600, "acquire_timeout": 1, "name": "quiet"})
    held = pool.connection()
    assert not timer_runs()
    held.close()
    assert timer_runs()
    assert threads_of("quiet") == []

    pool.close()

    eventually(lambda: not timer_runs())


def test_the_real_timer_and_a_worker_close_what_is_idle(
    make_pooled: MakePooled, driver: FakeDatabase
) -> None:
    pool = make_pooled(3, pool_options={"idle_timeout": 0.02, "name": "short"})

    eventually(lambda: driver.live == 0)

    closed_in = {connection.closed_in for connection in driver.connections}
    assert all(name and name.startswith("millpond-short-worker-") for name in closed_in)
    assert pool.stats().closed == {"idle": 3}


def test_a_pool_that_nobody_has_any_more_is_gone(
    make_pooled: MakePooled, driver: FakeDatabase
) -> None:
    from millpond.dbutils.pooled_db import PooledDB  # noqa: PLC0415
    from pooled import FakeModule  # noqa: PLC0415

    del make_pooled
    pool = PooledDB(FakeModule(driver), 2, pool_options={"idle_timeout": 600})

    del pool
    gc.collect()

    assert driver.live == 0
    eventually(lambda: not timer_runs())


def test_the_child_of_a_fork_looks_after_connections_of_its_own() -> None:
    printed = lines_of("""
        import os, sys, warnings
        from fakes import FakeDatabase
        from helpers import eventually
        from pooled import FakeModule
        from millpond.dbutils.pooled_db import PooledDB

        warnings.simplefilter("ignore", DeprecationWarning)
        database = FakeDatabase()
        options = {"idle_timeout": 0.05, "leak_threshold": 60, "acquire_timeout": 0}
        pool = PooledDB(FakeModule(database), maxconnections=2, pool_options=options)
        held = pool.connection()
        pool.connection().close()
        pid = os.fork()
        if pid == 0:
            print("child", pool.stats().connections, pool.stats().size)
            own = pool.connection()
            own.close()
            eventually(lambda: database.connections[2].closed)
            print("closed", [one.number for one in database.connections if one.closed])
            sys.stdout.flush()
            os._exit(0)
        os.waitpid(pid, 0)
        eventually(lambda: database.connections[1].closed)
        print("parent", [one.state for one in pool.stats().connections])
    """)

    assert printed == ["child () 0", "closed [3]", "parent ['in use']"]


def test_greenlets_wait_for_each_other() -> None:
    pytest.importorskip("gevent")
    printed = lines_of("""
        from gevent import monkey
        monkey.patch_all()
        import gevent
        from fakes import FakeDatabase
        from pooled import FakeModule
        from millpond.dbutils.pooled_db import PooledDB

        database = FakeDatabase()
        options = {"acquire_timeout": 10, "idle_timeout": 0.01, "leak_threshold": 60}
        pool = PooledDB(FakeModule(database), maxconnections=5, pool_options=options)

        def work():
            proxy = pool.connection()
            gevent.sleep(0.001)
            proxy.close()

        gevent.joinall([gevent.spawn(work) for _ in range(100)], raise_error=True)
        while database.live:
            gevent.sleep(0.001)
        print(database.peak_live, pool.stats().acquired, pool.stats().closed["idle"] > 0)
    """)

    assert printed == ["5 100 True"]
