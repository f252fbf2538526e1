"""A load that is to come, or that was measured, and the connections which it needs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from millpond.doctor._findings import Place
from millpond.errors import PoolConfigError
from millpond.sizing import Sizing, by_load, by_load_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from millpond.doctor._options import PoolOptions

__all__ = ["Pattern", "Workload", "size_for"]

Pattern: TypeAlias = Literal["steady", "bursty"]

# What a measured pool is to achieve: half of the alert's threshold of `millpond.health`.
_TARGET_WAIT: Final = 0.05
# One use in 64 is timed; the mean of fewer than this is an accident.
_FEWEST_SAMPLES: Final = 5
# In 19 of 20 acquires nobody is to wait for longer than the query takes itself.
_SHARE: Final = 0.95
# Coefficient of variation of the time between arrivals: 1 for users who do not know of each other.
# The 3 is a choice: by Allen and Cunneen waits are five times as long then.
_VARIATION: Final[Mapping[Pattern, float]] = {"steady": 1.0, "bursty": 3.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What users do, and the pools which they do it with. Durations are seconds.

    Attributes:
        users: How many there are at the same time.
        query_time: For how long a connection is held, on average.
        think_time: How long a user does something else between two of these.
        pattern: How they come.
        workers: Processes, which share the users equally.
        pools: The pools of a process, each of which could have all of the load.
        http_timeout: For how long a user waits.
    """

    users: int
    query_time: float
    think_time: float = 1.0
    pattern: Pattern = "steady"
    workers: int = 1
    pools: tuple[PoolOptions, ...] = ()
    http_timeout: float | None = None

    @property
    def place(self) -> Place:
        """Nowhere in particular."""
        return Place()

    @property
    def users_per_worker(self) -> int:
        """Users of one process, rounded up."""
        return math.ceil(self.users / self.workers)

    @property
    def arrival_rate(self) -> float:
        """Acquires per second in one process, if nobody has to wait."""
        return self.users / self.workers / (self.query_time + self.think_time)

    @property
    def load(self) -> float:
        """Connections of a process that are in use on average, if nobody has to wait."""
        return self.arrival_rate * self.query_time

    @property
    def sizing(self) -> Sizing:
        """The connections that a process needs, and why.

        The fewest with which 95 of 100 acquires wait no longer than the query takes itself; but
        not more than there are users, as nobody needs two.
        """
        found = by_load(
            self.arrival_rate,
            self.query_time,
            self.query_time,
            probability=_SHARE,
            cv_arrivals=_VARIATION[self.pattern],
        )
        if found.size <= self.users_per_worker:
            return found
        reason = f"a connection for each of its {self.users_per_worker} users"
        return Sizing(self.users_per_worker, reason, found.inputs)

    @property
    def words(self) -> str:
        """The load in words."""
        shares = f" of {self.workers} workers" if self.workers > 1 else ""
        return (
            f"{self.users} users{shares}, {self.pattern}: {self.arrival_rate:.4g} acquires/s in a "
            f"process, {self.query_time:.3g} s each, {self.load:.3g} in use on average"
        )


def size_for(stats: Mapping[str, Any]) -> int | None:
    """Return the connections that a measured load needs; ``None`` if it was not measured.

    Args:
        stats: ``PoolStats.to_dict()``.
    """
    try:
        if max(stats["use_time"]["count"], stats["window"]["use_time"]["count"]) < _FEWEST_SAMPLES:
            return None
        return by_load_of(stats, _TARGET_WAIT).size
    except (PoolConfigError, LookupError, TypeError, ValueError):
        # It comes from another process, and perhaps from another version.
        return None
