"""`@millpond.monitored`: how long a call takes, and what the pool is like meanwhile."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import millpond

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from helpers import MakePool


@pytest.fixture
def pool(make_pool: MakePool) -> millpond.Pool[Any]:
    """Give a pool of two."""
    return make_pool(name="orders", max_size=2)


@pytest.fixture
def spend(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Give the time, to change: the last of the list is now."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[-1])
    return now


@pytest.fixture
def debug(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Give what is logged, down to DEBUG."""
    caplog.set_level(logging.DEBUG, "millpond.monitored")
    return caplog


def test_a_slow_call_is_warned_of_with_the_pool_before_and_after(
    pool: millpond.Pool[Any], spend: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    @millpond.monitored(pool, slow=1.0)
    def checkout() -> object:
        spend.append(1.5)
        return pool.acquire()

    held = checkout()

    (record,) = caplog.records
    assert (record.name, record.levelname) == ("millpond.monitored", "WARNING")
    assert record.getMessage().endswith(
        "checkout took 1.5 s; pool 'orders' before: 0 of 2 in use, 0 waiting; "
        "after: 1 of 2 in use, 0 waiting"
    )
    extra = vars(record)
    assert (extra["pool"], extra["event"], extra["seconds"]) == ("orders", "slow", 1.5)
    assert extra["function"].endswith("checkout")
    assert extra["error"] is None
    nothing = {"size": 0, "in_use": 0, "idle": 0, "waiting": 0, "max_size": 2}
    assert extra["before"] == nothing
    assert extra["after"] == {**nothing, "size": 1, "in_use": 1}
    pool.release(held)


def test_a_call_that_is_not_slow_is_quiet_unless_somebody_debugs(
    pool: millpond.Pool[Any], spend: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    @millpond.monitored(pool, slow=1.0)
    def checkout() -> None:
        spend.append(spend[-1] + 1.0)

    checkout()
    assert caplog.records == []
    caplog.set_level(logging.DEBUG, "millpond.monitored")
    checkout()

    (record,) = caplog.records
    assert (record.levelname, vars(record)["event"]) == ("DEBUG", "called")


def test_never_slow_means_never(
    pool: millpond.Pool[Any], spend: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    @millpond.monitored(pool, slow=None)
    def checkout() -> None:
        spend.append(1e6)

    checkout()

    assert caplog.records == []


def test_a_call_that_raises_is_timed_as_well(
    pool: millpond.Pool[Any], spend: list[float], debug: pytest.LogCaptureFixture
) -> None:
    @millpond.monitored(pool, slow=1.0)
    def checkout(seconds: float) -> None:
        spend.append(spend[-1] + seconds)
        message = "sold\nout"
        raise LookupError(message)

    for seconds in (0.5, 2.0):
        with pytest.raises(LookupError):
            checkout(seconds)

    assert [record.levelname for record in debug.records] == ["DEBUG", "WARNING"]
    for record in debug.records:
        assert "and failed: LookupError: sold out" in record.getMessage()
        assert vars(record)["error"] == "LookupError"


def test_a_coroutine_function_is_timed_until_it_is_done(
    pool: millpond.Pool[Any], spend: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    @millpond.monitored(pool, slow=1.0)
    async def checkout(number: int) -> int:
        await asyncio.sleep(0)
        spend.append(2.0)
        return number

    assert inspect.iscoroutinefunction(checkout)
    assert asyncio.run(checkout(4)) == 4

    (record,) = caplog.records
    assert vars(record)["seconds"] == 2.0


def test_a_coroutine_that_is_cancelled_is_logged(
    pool: millpond.Pool[Any], debug: pytest.LogCaptureFixture
) -> None:
    @millpond.monitored(pool)
    async def checkout() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.create_task(checkout())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())

    (record,) = debug.records
    assert vars(record)["error"] == "CancelledError"


def test_the_function_stays_what_it_was(pool: millpond.Pool[Any]) -> None:
    def checkout(cart: list[str], *, pay: bool = True) -> tuple[int, bool]:
        """Buy what is in the cart."""
        return len(cart), pay

    watched = millpond.monitored(pool)(checkout)

    assert inspect.signature(watched) == inspect.signature(checkout)
    assert (watched.__name__, watched.__doc__) == (checkout.__name__, checkout.__doc__)
    assert watched(["a", "b"], pay=False) == (2, False)


def test_methods_can_be_decorated(pool: millpond.Pool[Any]) -> None:
    class Shop:
        @millpond.monitored(pool)
        def checkout(self) -> Shop:
            return self

        @staticmethod
        @millpond.monitored(pool)
        def price() -> int:
            return 4

    shop = Shop()
    assert shop.checkout() is shop
    assert shop.price() == 4


def test_calls_in_several_threads_and_inside_each_other_are_each_timed(
    pool: millpond.Pool[Any], debug: pytest.LogCaptureFixture
) -> None:
    @millpond.monitored(pool)
    def countdown(number: int) -> None:
        if number:
            countdown(number - 1)

    threads = [threading.Thread(target=countdown, args=(2,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(debug.records) == 12


def numbers() -> Iterator[int]:
    """Count."""
    yield 1


async def later() -> AsyncIterator[int]:
    """Count, in time."""
    yield 1


@pytest.mark.parametrize("generator", [numbers, later])
def test_a_generator_is_refused(pool: millpond.Pool[Any], generator: Any) -> None:
    with pytest.raises(
        millpond.PoolConfigError, match="is a generator, whose work is done after the call"
    ):
        millpond.monitored(pool)(generator)


@pytest.mark.parametrize("thing", [4, "checkout", functools.partial(print), dict])
def test_what_is_no_function_is_refused(pool: millpond.Pool[Any], thing: Any) -> None:
    with pytest.raises(millpond.PoolConfigError, match="must be a function or a coroutine"):
        millpond.monitored(pool)(thing)


def test_the_function_itself_in_place_of_the_pool_is_refused() -> None:
    with pytest.raises(millpond.PoolConfigError, match="pool=<function>: must be a pool"):
        millpond.monitored(numbers)  # type: ignore[arg-type]


@pytest.mark.parametrize("slow", [-1, "5", float("nan")])
def test_a_threshold_that_is_no_time_is_refused(pool: millpond.Pool[Any], slow: Any) -> None:
    with pytest.raises(millpond.PoolConfigError, match="slow="):
        millpond.monitored(pool, slow=slow)
