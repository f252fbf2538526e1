"""Idleness: what nobody needs is closed, down to `min_size`, and nothing else happens."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from helpers import pass_time

if TYPE_CHECKING:
    from fakes import FakeDatabase
    from helpers import MakePool
    from millpond._core import ManualClock


def test_an_idle_connection_is_closed_after_idle_timeout_and_not_before(
    make_pool: MakePool, clock: ManualClock
) -> None:
    pool = make_pool(idle_timeout=600, _clock=clock, _inline=True)
    connection = pool.acquire()
    pool.release(connection)

    pass_time(pool, clock, 599)
    assert not connection.closed
    pass_time(pool, clock, 2)

    assert connection.closed


def test_idleness_begins_with_the_last_return(make_pool: MakePool, clock: ManualClock) -> None:
    pool = make_pool(idle_timeout=600, max_lifetime=None, _clock=clock, _inline=True)
    connection = pool.acquire()
    pool.release(connection)

    for _ in range(10):
        pass_time(pool, clock, 500)
        pool.release(pool.acquire())

    assert not connection.closed


def test_a_connection_in_use_is_never_idle(make_pool: MakePool, clock: ManualClock) -> None:
    pool = make_pool(idle_timeout=600, max_lifetime=None, _clock=clock, _inline=True)
    connection = pool.acquire()

    pass_time(pool, clock, 86400)
    assert not connection.closed
    pool.release(connection)

    assert pool.acquire() is connection


def test_min_size_connections_stay_however_idle(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    pool = make_pool(
        min_size=2, max_size=6, idle_timeout=600, max_lifetime=None, _clock=clock, _inline=True
    )
    for connection in [pool.acquire() for _ in range(6)]:
        pool.release(connection)

    for _ in range(10):
        pass_time(pool, clock, 601)

    assert driver.live == 2
    assert driver.connects == 6


def test_without_a_limit_an_idle_connection_stays(make_pool: MakePool, clock: ManualClock) -> None:
    pool = make_pool(idle_timeout=None, max_lifetime=None, _clock=clock, _inline=True)
    connection = pool.acquire()
    pool.release(connection)

    pass_time(pool, clock, 365 * 86400)

    assert pool.acquire() is connection


def test_a_pool_with_light_traffic_shrinks_although_every_thread_comes_by(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    """Scenario 27: twenty threads that poll in turn need one connection and not twenty."""
    pool = make_pool(max_size=20, idle_timeout=600, max_lifetime=None, _clock=clock, _inline=True)
    threads = [ThreadPoolExecutor(1) for _ in range(20)]
    taken = [thread.submit(pool.acquire).result() for thread in threads]
    for thread, connection in zip(threads, taken, strict=True):
        thread.submit(pool.release, connection).result()
    assert driver.live == 20

    for _ in range(50):
        for thread in threads:
            connection = thread.submit(pool.acquire).result()
            thread.submit(pool.release, connection).result()
        pass_time(pool, clock, 60)
    for thread in threads:
        thread.shutdown()

    assert driver.live <= 2


def test_an_idle_pool_uses_no_processor_time(make_pool: MakePool) -> None:
    pool = make_pool(min_size=3)
    pool.wait(timeout=10)

    before = time.process_time()
    threading.Event().wait(0.3)
    spent = time.process_time() - before

    assert spent < 0.05
    assert pool.stats().idle == 3
