"""What is told about a pool, for both exporters: names, units, descriptions, and where to read.

The first nine are those of OpenTelemetry's semantic conventions for database clients. A metric is
a level (which goes up and down), a total (which only grows) or the distribution of a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from millpond._stats import PoolStats
    from millpond._times import TimeStats

# The version of the conventions that has these names.
SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"

POOL: Final = "db.client.connection.pool.name"
STATE: Final = "db.client.connection.state"


@dataclass(frozen=True, slots=True)
class Number:
    """A level or a total.

    Attributes:
        name: By the conventions' rules, with dots.
        unit: In UCUM's notation.
        description: For people.
        read: Gives its value, or its value for each value of `attribute`.
        attribute: What tells the values from each other, beside the pool.
    """

    name: str
    unit: str
    description: str
    read: Callable[[PoolStats], float | dict[str, int]]
    attribute: str | None = None

    def points(self, stats: PoolStats) -> Iterable[tuple[str | None, float]]:
        """Give the values, each with that of the attribute."""
        value = self.read(stats)
        return value.items() if isinstance(value, dict) else ((None, value),)


@dataclass(frozen=True, slots=True)
class Time:
    """The distribution of a duration in seconds."""

    name: str
    description: str
    read: Callable[[PoolStats], TimeStats]


def _acquires(stats: PoolStats) -> dict[str, int]:
    """Say how acquires ended."""
    known = {
        "timed_out": stats.timed_out,
        "refused": stats.refused,
        "turned_away": stats.turned_away,
    }
    # The rest was told why connecting failed, or that the pool is closed. The parts are not read at
    # the same moment.
    others = max(0, stats.failed - sum(known.values()))
    return {"succeeded": stats.acquired, **known, "failed": others}


CONNECTION: Final = "{connection}"

COUNT: Final = Number(
    "db.client.connection.count",
    CONNECTION,
    "The number of connections that are currently in state described by the state attribute.",
    lambda stats: {"idle": stats.idle, "used": stats.in_use},
    STATE,
)

LEVELS: Final = (
    COUNT,
    Number(
        "db.client.connection.idle.max",
        CONNECTION,
        "The maximum number of idle open connections allowed.",
        lambda stats: stats.max_size,
    ),
    Number(
        "db.client.connection.idle.min",
        CONNECTION,
        "The minimum number of idle open connections allowed.",
        lambda stats: stats.min_size,
    ),
    Number(
        "db.client.connection.max",
        CONNECTION,
        "The maximum number of open connections allowed.",
        lambda stats: stats.max_size,
    ),
    Number(
        "db.client.connection.pending_requests",
        "{request}",
        "The number of current pending requests for an open connection.",
        lambda stats: stats.waiting,
    ),
    Number(
        "millpond.connections.opening",
        CONNECTION,
        "Connections that are being opened.",
        lambda stats: stats.opening,
    ),
    Number(
        "millpond.longest_wait",
        "s",
        "How long the oldest of those who wait for a connection has waited; 0 if nobody does.",
        lambda stats: stats.longest_wait,
    ),
    Number(
        "millpond.connect.failing",
        "s",
        "For how long no attempt to connect has succeeded; 0 while connecting works.",
        lambda stats: stats.failing or 0.0,
    ),
)

TOTALS: Final = (
    Number(
        "db.client.connection.timeouts",
        "{timeout}",
        "The number of connection timeouts that have occurred trying to obtain a connection from "
        "the pool.",
        lambda stats: stats.timed_out,
    ),
    Number(
        "millpond.acquires",
        "{acquire}",
        "Acquires by what came of them.",
        _acquires,
        "result",
    ),
    Number(
        "millpond.acquires.queued",
        "{acquire}",
        "Acquires that had to wait, whatever came of it.",
        lambda stats: stats.queued,
    ),
    Number(
        "millpond.connections.opened",
        CONNECTION,
        "Connections opened.",
        lambda stats: stats.opened,
    ),
    Number(
        "millpond.connect.failures",
        "{attempt}",
        "Attempts to open a connection that failed or took too long.",
        lambda stats: stats.open_failed,
    ),
    Number(
        "millpond.connections.closed",
        CONNECTION,
        "Connections closed, by the reason.",
        lambda stats: stats.closed,
        "reason",
    ),
    Number(
        "millpond.validations",
        "{validation}",
        "Validations of connections.",
        lambda stats: stats.checks,
    ),
    Number(
        "millpond.validation.failures",
        "{validation}",
        "Validations that found the connection dead, or took too long.",
        lambda stats: stats.checks_failed,
    ),
    Number(
        "millpond.leaks",
        "{leak}",
        "Connections that were held for longer than leak_threshold.",
        lambda stats: stats.leaks,
    ),
)

TIMES: Final = (
    Time(
        "db.client.connection.create_time",
        "The time it took to create a new connection.",
        lambda stats: stats.open_time,
    ),
    Time(
        "db.client.connection.wait_time",
        "The time it took to obtain an open connection from the pool, of the acquires that had to "
        "wait for one.",
        lambda stats: stats.wait_time,
    ),
    Time(
        "db.client.connection.use_time",
        "The time between borrowing a connection and returning it to the pool, of one borrow in 64 "
        "of each connection.",
        lambda stats: stats.use_time,
    ),
)
