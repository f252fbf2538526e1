"""What the owner of a `ThreadLocalPool` may do and see: statistics, evict, resize, close."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

import millpond
from helpers import eventually
from threadlocal import Resident, used, waits

if TYPE_CHECKING:
    from fakes import FakeDatabase
    from threadlocal import MakeThreads

pytestmark = pytest.mark.freethreaded


def test_statistics_tell_use_from_rest(make_threads: MakeThreads) -> None:
    pool = make_threads(max_size=3)
    resident = Resident(pool)
    resident.uses()
    resident.uses()
    with pool.connection(), pool.connection():
        stats = pool.stats()

    assert (stats.size, stats.in_use, stats.idle, stats.acquired) == (2, 1, 1, 3)
    kept, held = sorted(stats.connections, key=lambda connection: connection.state)
    assert (kept.state, kept.holder, kept.uses) == ("idle", resident.thread.ident, 2)
    assert (held.state, held.holder) == ("in use", threading.get_ident())


def test_repr_shows_how_full_it_is(make_threads: MakeThreads) -> None:
    pool = make_threads(max_size=3, name="app")
    used(pool)

    assert repr(pool) == ("<ThreadLocalPool 'app' open: 0 in use, 1 idle, at most 3, 0 waiting>")
    assert repr(millpond.ThreadLocalPool.__new__(millpond.ThreadLocalPool)) == (
        "<ThreadLocalPool, not started>"
    )


def test_evict_replaces_the_connection_of_each_thread(make_threads: MakeThreads) -> None:
    pool = make_threads()
    resident = Resident(pool)
    resting = resident.uses()

    with pool.connection() as held:
        pool.evict()
        assert used(pool) is held
        eventually(lambda: resting.closed)

    eventually(lambda: held.closed)
    assert resident.uses() is not resting
    assert used(pool) is not held


def test_a_smaller_pool_closes_what_threads_do_not_use(
    make_threads: MakeThreads, driver: FakeDatabase
) -> None:
    pool = make_threads(max_size=3)
    residents = [Resident(pool) for _ in range(2)]
    for resident in residents:
        resident.uses()

    with pool.connection() as held:
        pool.resize(max_size=1)
        eventually(lambda: driver.live == 1)
        assert not held.closed

    assert used(pool) is held


def test_a_larger_pool_serves_who_waits(make_threads: MakeThreads) -> None:
    pool = make_threads(max_size=1)
    used(pool)
    waiter = waits(pool)

    pool.resize(max_size=2)

    waiter.result()


def test_close_closes_every_threads_connection(
    make_threads: MakeThreads, driver: FakeDatabase
) -> None:
    pool = make_threads()
    resident = Resident(pool)
    resident.uses()
    used(pool)

    pool.close()

    assert pool.closed
    assert driver.live == 0
    for use in (resident.uses, lambda: used(pool), pool.__enter__):
        with pytest.raises(millpond.PoolClosed):
            use()


def test_close_turns_away_who_waits_and_lets_who_works_finish(make_threads: MakeThreads) -> None:
    pool = make_threads(max_size=1)
    with pool.connection() as held:
        waiter = waits(pool)

        pool.close(timeout=0)

        assert isinstance(waiter.error(), millpond.PoolClosed)
        held.execute()
        with pool.connection() as inner:
            assert inner is held

    eventually(lambda: held.closed)


def test_a_block_around_the_pool_closes_it(driver: FakeDatabase) -> None:
    with millpond.ThreadLocalPool(driver.connect) as pool:
        used(pool)

    assert pool.closed
    assert driver.live == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"policy": "throughput"}, "policy='throughput': must be 'fair' in a ThreadLocalPool"),
        ({"on_exhausted": print}, "must be 'wait' or 'raise' in a ThreadLocalPool"),
        ({"shed": True}, "shed=True: must be False in a ThreadLocalPool"),
        ({"max_size": 0}, "max_size=0: must be an int from 1"),
        ({"min_size": 3, "max_size": 2}, "min_size must not be above max_size"),
        ({"reset": "all"}, "reset='all'"),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(millpond.PoolConfigError, match=message):
        millpond.ThreadLocalPool(object, **options)


@pytest.mark.parametrize("timeout", [-1, True, "1", float("nan")])
def test_a_bad_timeout_is_refused_also_inside_of_a_block(
    make_threads: MakeThreads, timeout: Any
) -> None:
    pool = make_threads()

    with pool.connection(), pytest.raises(millpond.PoolConfigError, match="timeout="):
        pool.connection(timeout=timeout)
