"""Who goes first: callers with priority, in bounds, so that nobody starves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import millpond
from helpers import eventually, waiting

if TYPE_CHECKING:
    from fakes import FakeConnection
    from helpers import MakePool, Waiter


def served_in_order(pool: Any, held: FakeConnection, waiters: dict[str, Waiter]) -> list[str]:
    """Release again and again, and name the waiters in the order in which they were served."""
    order: list[str] = []
    while len(order) < len(waiters):
        pool.release(held)
        rest = {name: waiter for name, waiter in waiters.items() if name not in order}
        eventually(lambda rest=rest: any(waiter.served for waiter in rest.values()))  # type: ignore[misc]
        order += [name for name, waiter in rest.items() if waiter.served]
    return order


def test_a_high_priority_goes_before_those_who_came_earlier(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    held = pool.acquire()
    waiters = {
        "a": waiting(pool),
        "b": waiting(pool),
        "urgent": waiting(pool, priority="high"),
        "urgent too": waiting(pool, priority="high"),
    }

    assert served_in_order(pool, held, waiters) == ["urgent", "urgent too", "a", "b"]


def test_one_of_the_others_is_served_after_four_with_priority(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    held = pool.acquire()
    waiters = {"a": waiting(pool)}
    waiters |= {f"u{number}": waiting(pool, priority="high") for number in range(6)}

    assert served_in_order(pool, held, waiters) == ["u0", "u1", "u2", "u3", "a", "u4", "u5"]


def test_a_block_has_a_priority_too(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)

    with pool.connection(priority="high") as conn:
        assert pool.stats().in_use == 1

    assert pool.acquire(priority="normal") is conn
    pool.release(conn)


@pytest.mark.parametrize("priority", ["urgent", "", 1, None])
def test_there_are_two_priorities(make_pool: MakePool, priority: Any) -> None:
    pool = make_pool()

    with pytest.raises(millpond.PoolConfigError) as caught:
        pool.acquire(priority=priority)

    assert str(caught.value) == f"priority={priority!r}: must be 'normal' or 'high'"
