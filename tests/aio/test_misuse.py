"""`AsyncPool` used in the wrong way: what is said, and that nothing is lost."""

from __future__ import annotations

import asyncio
import traceback
from typing import TYPE_CHECKING, Any

import pytest

import millpond
from async_fakes import AsyncFakeDatabase
from fakes import FakeDatabase

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def use(work: Callable[[millpond.AsyncPool[Any]], Awaitable[None]], **options: Any) -> None:
    """Run something with a pool of one connection, of which everything has to come back."""

    async def main() -> None:
        database = AsyncFakeDatabase()
        made: dict[str, Any] = {"driver": database.driver(), "max_size": 1, **options}
        async with millpond.AsyncPool(database.aconnect, **made) as pool:
            await work(pool)
            assert pool.stats().in_use == 0
        assert database.violations == []

    asyncio.run(main())


def test_a_task_that_has_all_connections_waits_for_itself() -> None:
    async def nested(pool: millpond.AsyncPool[Any]) -> None:
        async with pool.connection():
            with pytest.raises(millpond.PoolTimeout) as caught:
                await pool.acquire(timeout=0.01)
        assert caught.value.reason == "exhausted"
        _, holder, advice = str(caught.value).splitlines()
        assert holder.endswith("by this same task")
        assert advice == (
            "  this task waits for itself: release a connection first, or raise max_size"
        )

    use(nested)


def test_another_task_is_not_the_same() -> None:
    async def ask(pool: millpond.AsyncPool[Any]) -> None:
        async with pool.connection():
            task = asyncio.create_task(pool.acquire(timeout=0.01))
            with pytest.raises(millpond.PoolTimeout) as caught:
                await task
        assert "itself" not in str(caught.value)

    use(ask)


def test_the_traceback_of_a_timeout_goes_straight_down() -> None:
    async def ask(pool: millpond.AsyncPool[Any]) -> None:
        async with pool.connection():
            with pytest.raises(millpond.PoolTimeout) as caught:
                await pool.acquire(timeout=0.01)
        ours = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)][1:]
        assert ours == ["acquire", "take", "_wait"]

    use(ask)


@pytest.mark.parametrize("other", [None, object(), FakeDatabase().connect()])
def test_what_was_never_acquired_is_refused_and_meets_no_hook(other: Any) -> None:
    seen: list[object] = []

    async def give(pool: millpond.AsyncPool[Any]) -> None:
        async with pool.connection():
            pass
        seen.clear()
        for way in (pool.release, pool.discard, pool.detach):
            with pytest.raises(millpond.PoolError, match="is no connection of pool"):
                await way(other)
        with pytest.raises(millpond.PoolError, match="is no connection of pool"):
            async with pool.query_timeout(other, 1.0):
                pytest.fail("the block must not run")
        assert seen == []

    use(give, on_release=seen.append)


@pytest.mark.parametrize("priority", ["urgent", None, 1, []])
def test_a_wrong_priority_is_refused(priority: Any) -> None:
    async def ask(pool: millpond.AsyncPool[Any]) -> None:
        with pytest.raises(millpond.PoolConfigError, match=r"^priority="):
            await pool.acquire(priority=priority)

    use(ask)


def test_a_plain_function_can_not_be_run() -> None:
    async def run(pool: millpond.AsyncPool[Any]) -> None:
        work: Any = lambda conn: conn.number  # noqa: E731
        with pytest.raises(
            millpond.PoolConfigError, match=r"work=.*: must be a coroutine function"
        ):
            await pool.run(work)

    use(run)


def test_what_can_not_be_called_can_not_be_run() -> None:
    async def run(pool: millpond.AsyncPool[Any]) -> None:
        wrong: Any = asyncio.sleep(0)
        with pytest.raises(
            millpond.PoolConfigError, match=r"^work=<coroutine>: must be a function"
        ):
            await pool.run(wrong)
        wrong.close()
        assert pool.stats().acquired == 0

    use(run)
