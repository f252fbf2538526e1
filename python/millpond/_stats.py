"""`pool.stats()`: one look at a pool, as an immutable value."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class TimeStats:
    """The distribution of a duration, in seconds. All are ``None`` while there is nothing to tell.

    Quantiles come from a histogram with logarithmic buckets and are up to a quarter off; mean and
    maximum are exact.
    """

    count: int
    mean: float | None
    p50: float | None
    p95: float | None
    p99: float | None
    max: float | None


@dataclass(frozen=True, slots=True)
class ConnectionStats:
    """One connection. Durations are in seconds.

    Attributes:
        slot: The number of its place in the pool.
        state: ``"connecting"``, ``"idle"``, ``"in use"``, ``"granted"``, ``"checking"`` or
            ``"closing"``.
        age: Since it was opened.
        uses: How often it was acquired.
        idle: Since it was released, if it is idle.
        held: Since it was acquired, if it is in use. At least this long, if it was acquired without
            waiting, from a pool with neither `leak_threshold` nor `validate`.
        holder: The ``threading.get_ident()`` of the thread that acquired it, if it is in use.
        latency: How long its last validation took; ``None`` before the first.
        site: Where it was acquired, as (file, line, function), if it is in use and the pool has a
            ``leak_threshold``.
    """

    slot: int
    state: str
    age: float
    uses: int
    idle: float | None
    held: float | None
    holder: int | None
    latency: float | None
    site: tuple[str, int, str] | None


@dataclass(frozen=True, slots=True)
class PoolStats:
    """What a pool was like when it was asked. Counters count since the pool was made.

    The parts are read one after the other while the pool works on, so that they may differ by what
    happened in between.

    Attributes:
        name: The pool's name.
        min_size: Connections that it keeps open.
        max_size: Connections that it has at the most.
        size: Connections that are open.
        idle: Of these, the ones that nobody has.
        in_use: Of these, the ones that somebody has.
        opening: Connections that are being opened.
        waiting: Callers that wait.
        longest_wait: Seconds for which the oldest of them has waited; 0.0 when nobody waits.
        acquired: Acquires that succeeded.
        queued: Acquires that had to wait, whatever came of it.
        gave_up: Of these, the ones that ended without a connection: timeout or cancellation.
        refused: Acquires refused by ``max_waiting``.
        turned_away: Acquires that were told at once that the database is down.
        failing: Seconds for which no attempt to connect has succeeded, while some have failed;
            ``None`` if connecting works, or nobody tries.
        opened: Connections opened.
        open_failed: Attempts to open one that failed or took too long.
        closed: Connections closed, by reason.
        checks: Validations.
        checks_failed: Validations that found the connection dead, or took too long.
        leaks: Reports by ``leak_threshold``.
        wait_time: Time in the queue, of the acquires that had to wait and were served.
        use_time: Time from acquire to release, of one borrow in 64 of each connection, the first
            included.
        open_time: Time to open a connection.
        check_time: Time to validate one that passed.
        connections: Each connection.
    """

    name: str
    min_size: int
    max_size: int
    size: int
    idle: int
    in_use: int
    opening: int
    waiting: int
    longest_wait: float
    acquired: int
    queued: int
    gave_up: int
    refused: int
    turned_away: int
    failing: float | None
    opened: int
    open_failed: int
    closed: dict[str, int]
    checks: int
    checks_failed: int
    leaks: int
    wait_time: TimeStats
    use_time: TimeStats
    open_time: TimeStats
    check_time: TimeStats
    connections: tuple[ConnectionStats, ...] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, ready for JSON."""
        return asdict(self)


_COUNTERS = (
    "acquired",
    "queued",
    "gave_up",
    "refused",
    "turned_away",
    "failing",
    "opened",
    "open_failed",
    "closed",
    "checks",
    "checks_failed",
    "leaks",
)


def from_snapshot(name: str, sizes: tuple[int, int], snapshot: dict[str, Any]) -> PoolStats:
    """Make the value from what the core tells."""
    connections = tuple(ConnectionStats(**slot) for slot in snapshot["slots"])
    states = [connection.state for connection in connections]
    idle = states.count("idle") + states.count("checking")
    in_use = states.count("in use") + states.count("granted")
    waits = snapshot["waiting"]
    return PoolStats(
        name=name,
        min_size=sizes[0],
        max_size=sizes[1],
        size=idle + in_use,
        idle=idle,
        in_use=in_use,
        opening=states.count("connecting"),
        waiting=len(waits),
        longest_wait=max(waits, default=0.0),
        connections=connections,
        **{counter: snapshot[counter] for counter in _COUNTERS},
        wait_time=TimeStats(**snapshot["wait_time"]),
        use_time=TimeStats(**snapshot["use_time"]),
        open_time=TimeStats(**snapshot["open_time"]),
        check_time=TimeStats(**snapshot["check_time"]),
    )
