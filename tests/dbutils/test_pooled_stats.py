"""`PooledDB.stats()`: true numbers, with and without `pool_options`."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import pytest

import millpond
from fakes import OperationalError
from helpers import eventually, in_thread
from millpond.dbutils.pooled_db import TooManyConnectionsError

if TYPE_CHECKING:
    from fakes import FakeDatabase
    from millpond._core import ManualClock
    from pooled import MakePooled


def test_a_pool_without_options_tells_what_it_is_like(make_pooled: MakePooled) -> None:
    pool = make_pooled(2, 4, 0, 8)
    held = pool.connection()

    stats = pool.stats()

    assert isinstance(stats, millpond.PoolStats)
    assert stats.name.startswith("PooledDB-")
    assert (stats.min_size, stats.max_size) == (0, 8)
    assert (stats.size, stats.idle, stats.in_use, stats.opening) == (2, 1, 1, 0)
    assert (stats.acquired, stats.opened, stats.open_failed) == (3, 2, 0)
    assert stats.open_time.count == 2
    assert stats.connections == ()
    assert json.loads(json.dumps(stats.to_dict()))["in_use"] == 1
    held.close()


def test_no_limit_is_zero(make_pooled: MakePooled) -> None:
    assert make_pooled().stats().max_size == 0


def test_waiting_is_counted_and_timed(make_pooled: MakePooled) -> None:
    pool = make_pooled(maxconnections=1, blocking=True)
    held = pool.connection()
    waiter = in_thread(pool.connection)
    eventually(lambda: pool.stats().waiting == 1)

    assert pool.stats().longest_wait > 0
    held.close()
    waiter.result().close()

    stats = pool.stats()
    assert (stats.waiting, stats.longest_wait) == (0, 0.0)
    assert (stats.queued, stats.gave_up, stats.wait_time.count) == (1, 0, 1)
    assert 0 < (stats.wait_time.max or 0) < 60


def test_giving_up_and_being_refused_are_two_things(make_pooled: MakePooled) -> None:
    pool = make_pooled(maxconnections=1, pool_options={"acquire_timeout": 0})
    other = make_pooled(maxconnections=1)
    held = pool.connection(), other.connection()
    for each in (pool, other):
        with pytest.raises(TooManyConnectionsError):
            each.connection()

    assert (pool.stats().gave_up, pool.stats().refused) == (1, 0)
    assert (other.stats().gave_up, other.stats().refused) == (0, 1)
    assert pool.stats().wait_time.count == 0
    del held


def test_a_connection_that_is_being_opened_is_not_in_use_yet(
    make_pooled: MakePooled, driver: FakeDatabase
) -> None:
    pool = make_pooled()
    gate = driver.hang("connect")
    running = in_thread(pool.connection)
    eventually(lambda: gate.arrived)

    assert (pool.stats().opening, pool.stats().in_use) == (1, 0)

    gate.release()
    held = running.result()
    assert (pool.stats().opening, pool.stats().in_use) == (0, 1)
    held.close()


def test_a_failed_attempt_to_connect_is_counted(
    make_pooled: MakePooled, driver: FakeDatabase
) -> None:
    pool = make_pooled()
    driver.fail_next(OperationalError("no"))

    with pytest.raises(OperationalError):
        pool.connection()

    assert (pool.stats().opened, pool.stats().open_failed, pool.stats().in_use) == (0, 1, 0)


def test_closing_is_counted_by_reason(make_pooled: MakePooled) -> None:
    pool = make_pooled(0, 1)
    held = [pool.connection() for _ in range(3)]
    for proxy in held:
        proxy.close()
    pool.close()

    assert pool.stats().closed == {"surplus": 2, "closed": 1}


def test_shared_connections_count_once(make_pooled: MakePooled) -> None:
    pool = make_pooled(maxshared=1, threadsafety=2)
    first, second = pool.connection(), pool.connection()
    assert first._shared_con is second._shared_con

    assert (pool.stats().in_use, pool.stats().size) == (1, 1)


def test_with_options_it_knows_each_connection(make_pooled: MakePooled, clock: ManualClock) -> None:
    options = {"idle_timeout": 60, "leak_threshold": 30, "_clock": clock, "_inline": True}
    pool = make_pooled(pool_options=options)
    first, second = pool.connection(), pool.connection()
    clock.advance(2)
    second.close()
    clock.advance(3)

    held, idle = pool.stats().connections

    assert (held.state, held.age, held.held, held.uses) == ("in use", 5.0, 5.0, 1)
    assert held.holder == threading.get_ident()
    assert held.site is not None
    assert (held.site[0], held.site[2]) == (
        __file__,
        "test_with_options_it_knows_each_connection",
    )
    assert (idle.state, idle.age, idle.idle, idle.holder) == ("idle", 5.0, 3.0, None)
    assert idle.site is None
    first.close()
