"""A pool whose statistics are what the test says, and a clock that it moves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from millpond import AdaptiveSizer, Pool, PoolStats

TARGET = 0.1


class StubPool:
    """Has what a sizer needs of a pool."""

    name = "stub"
    min_size = 0

    def __init__(self, max_size: int = 10) -> None:
        self.now = 0.0
        self.closed = False
        self.sizes = [max_size]
        with Pool(object, max_size=max_size) as real:
            nothing = real.stats()
        self.current: PoolStats = replace(nothing, name=self.name, size=max_size)

    @property
    def max_size(self) -> int:
        return self.sizes[-1]

    def stats(self) -> PoolStats:
        return self.current

    def resize(self, *, max_size: int) -> None:
        self.sizes.append(max_size)
        self.current = replace(self.current, max_size=max_size, size=max_size)

    def pass_second(
        self, *, in_use: float, acquired: int = 100, wait: float = 0.0, **others: Any
    ) -> None:
        """Let a second pass in which so many acquires waited for so long on average.

        Args:
            in_use: The share of the connections that is in use at its end.
            acquired: How many acquires there were.
            wait: Their mean wait.
            **others: Other fields of the statistics.
        """
        self.now += 1.0
        before = self.current
        waited = replace(before.wait_time, sum=before.wait_time.sum + acquired * wait)
        self.current = replace(
            before,
            in_use=round(in_use * before.max_size),
            acquired=before.acquired + acquired,
            wait_time=waited,
            **others,
        )


def sizer_of(pool: StubPool, **options: Any) -> AdaptiveSizer:
    """Return a sizer from 2 to 40 by the stub's clock."""
    limits: dict[str, Any] = {"min_size": 2, "max_size": 40, "target_wait": TARGET}
    return AdaptiveSizer(pool, clock=lambda: pool.now, **(limits | options))


def watch(sizer: AdaptiveSizer, pool: StubPool, seconds: int, **second: Any) -> str:
    """Let seconds pass that are all alike, with a step after each; return the last reason."""
    reason = ""
    for _ in range(seconds):
        pool.pass_second(**second)
        reason = sizer.step().reason
    return reason
