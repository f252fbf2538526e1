"""Garbage: a pool that nobody needs any more goes away, and the collector may look at all of it."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest

import millpond
from helpers import eventually, threads_of, together

if TYPE_CHECKING:
    from fakes import FakeConnection, FakeDatabase
    from helpers import MakePool


def collected(*references: weakref.ref[Any]) -> bool:
    """Collect garbage, and tell whether all of these are gone."""
    gc.collect()
    return all(reference() is None for reference in references)


def test_a_pool_that_is_dropped_goes_away_with_its_threads(driver: FakeDatabase) -> None:
    pool = millpond.Pool(driver.connect, name="dropped", min_size=2)
    pool.wait(timeout=10)
    pool.release(pool.acquire())
    gone = weakref.ref(pool)

    del pool

    eventually(lambda: collected(gone))
    eventually(lambda: threads_of("dropped") == [])


def test_a_pool_that_is_dropped_closes_its_connections(driver: FakeDatabase) -> None:
    """Many a driver complains about a connection that is finalized without having been closed."""
    pool = millpond.Pool(driver.connect, min_size=2)
    pool.wait(timeout=10)

    del pool
    gc.collect()

    eventually(lambda: driver.live == 0)


def test_a_pool_in_a_cycle_with_its_hooks_is_collected(driver: FakeDatabase) -> None:
    class Service:
        def __init__(self) -> None:
            self.pool = millpond.Pool(
                driver.connect, name="cycle", on_acquire=self.note, configure=self.note
            )

        def note(self, connection: FakeConnection) -> None:
            connection.service = self  # type: ignore[attr-defined]

    service = Service()
    service.pool.release(service.pool.acquire())
    gone = weakref.ref(service), weakref.ref(service.pool)
    driver.connections.clear()  # or the database would hold the service

    del service

    eventually(lambda: collected(*gone))
    eventually(lambda: threads_of("cycle") == [])


def test_a_lease_keeps_its_pool_alive(driver: FakeDatabase) -> None:
    pool = millpond.Pool(driver.connect, name="kept")
    lease = pool.connection()
    gone = weakref.ref(pool)
    with lease as connection:
        del pool
        assert not collected(gone)
        connection.execute()

    del lease

    eventually(lambda: collected(gone))


def test_a_connection_that_was_closed_is_let_go(make_pool: MakePool, driver: FakeDatabase) -> None:
    pool = make_pool(max_size=1)
    connection = pool.acquire()
    gone = weakref.ref(connection)
    pool.discard(connection)

    del connection
    eventually(lambda: driver.closes == 1)
    driver.connections.clear()

    eventually(lambda: collected(gone))
    assert pool.stats().size == 0


def test_the_collector_may_look_at_a_pool_in_use(make_pool: MakePool) -> None:
    pool = make_pool(max_size=2)
    held = pool.acquire()
    pool.release(pool.acquire())

    with pool.connection() as connection:
        assert gc.get_referrers(connection)
        assert gc.get_referents(pool)

    pool.release(held)
    assert gc.is_tracked(pool)


@pytest.mark.usefixtures("fast_switching")
@pytest.mark.freethreaded
def test_collections_at_every_step_disturb_nobody(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = make_pool(max_size=2, acquire_timeout=60)
    before = gc.get_threshold()

    def work(number: int) -> None:
        for step in range(30):
            with pool.connection() as connection, connection.held_by(number):
                garbage: list[Any] = [connection]
                garbage.append(garbage)
            if step % 10 == number:
                gc.collect()
            del garbage

    gc.set_threshold(1)
    try:
        together(4, work)
    finally:
        gc.set_threshold(*before)

    assert driver.violations == []
    assert pool.stats().in_use == 0
