"""What type checkers know of a function that is monitored. Nothing here runs: ``mypy`` reads it."""

from typing import Any, assert_type

import millpond


def a_function_keeps_its_parameters_and_its_result(pool: millpond.Pool[Any]) -> None:
    @millpond.monitored(pool, slow=1.0)
    def checkout(cart: list[str], *, pay: bool = True) -> int:
        return len(cart) if pay else 0

    assert_type(checkout(["a"], pay=False), int)
    checkout("a", pay=False)  # type: ignore[arg-type]
    checkout()  # type: ignore[call-arg]


async def a_coroutine_function_stays_one(pool: millpond.ThreadLocalPool[Any]) -> None:
    @millpond.monitored(pool)
    async def checkout(cart: list[str]) -> int:
        return len(cart)

    assert_type(await checkout(["a"]), int)


def any_kind_of_pool_can_be_watched(
    pool: millpond.Pool[Any], local: millpond.ThreadLocalPool[Any]
) -> None:
    millpond.HealthMonitor(pool, mean_wait=None)
    millpond.HealthMonitor(local, on_raise=print)
    millpond.HealthMonitor(4)  # type: ignore[arg-type]
    assert_type(
        millpond.pools(),
        tuple[millpond.Pool[Any] | millpond.ThreadLocalPool[Any] | millpond.AsyncPool[Any], ...],
    )
