"""`millpond.pools()`: every pool that there is."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import millpond

if TYPE_CHECKING:
    from fakes import FakeDatabase
    from helpers import MakePool


def named(*names: str) -> list[Any]:
    """Return those of the process's pools that have one of these names."""
    return [pool for pool in millpond.pools() if pool.name in names]


def test_pools_are_listed_oldest_first(make_pool: MakePool) -> None:
    made = [make_pool(name=name) for name in ("b", "a", "c")]

    assert named("a", "b", "c") == made


def test_a_closed_pool_is_not_listed(make_pool: MakePool) -> None:
    pool = make_pool(name="orders")

    pool.close()

    assert named("orders") == []


def test_the_list_keeps_no_pool_alive(driver: FakeDatabase) -> None:
    pool: Any = millpond.Pool(driver.connect, name="orders")
    assert named("orders") == [pool]

    del pool
    gc.collect()

    assert named("orders") == []


def test_a_thread_local_pool_is_listed_as_what_it_is(driver: FakeDatabase) -> None:
    with millpond.ThreadLocalPool(driver.connect, name="orders") as pool:
        assert named("orders") == [pool]

    assert named("orders") == []
