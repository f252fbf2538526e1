"""`pool.stats()`: one look at a pool, as an immutable value."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Final

from millpond import _stats_table
from millpond._times import NO_TIMES, TimeStats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

# States of a connection that is open, and of one that somebody has.
_IDLE: Final = frozenset({"idle", "checking"})
_USED: Final = frozenset({"in use", "granted"})

# How many of its connections are what.
_NOW: Final = ("size", "idle", "in_use", "opening")

# Of a long queue the oldest are listed.
MAX_WAITS: Final = 10


@dataclass(frozen=True, slots=True)
class ConnectionStats:
    """One connection. Durations are in seconds.

    Attributes:
        slot: The number of its place in the pool.
        state: ``"connecting"``, ``"idle"``, ``"in use"``, ``"granted"``, ``"checking"`` or
            ``"closing"``.
        age: Since it was opened; if it is connecting, since that began.
        uses: How often it was acquired.
        idle: Since it was released, if it is idle.
        held: Since it was acquired, if it is in use. At least this long, if it was acquired without
            waiting, from a pool with neither `leak_threshold` nor `validate`.
        holder: The ``threading.get_ident()`` of the thread that acquired it, if it is in use.
        latency: How long its last validation took; ``None`` before the first.
        site: Where it was acquired, as (file, line, function), if it is in use and the pool has a
            ``leak_threshold``.
        holder_name: The name of the holder's thread, or asyncio task; ``None`` if there is no
            holder, or if it has ended.
        id: The connection's number in its pool, which no other connection of that ever had, from 1;
            ``None`` if it is connecting.
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
    holder_name: str | None = None
    id: int | None = None


@dataclass(frozen=True, slots=True)
class WindowStats:
    """What a pool did lately: in about the last minute, of which it took a sample.

    Samples are taken by `Pool.stats()` and when the pool has something to do anyway, no more often
    than every two seconds. A pool that is idle and that nobody asks takes none, so the window may
    be shorter than a minute, though not than ten seconds unless the pool is, or longer.

    Attributes:
        seconds: What the window covers.
        acquired: As in `PoolStats`, like the other counters, but within the window.
        queued: Likewise.
        timed_out: Likewise.
        failed: Likewise.
        opened: Likewise.
        open_failed: Likewise.
        closed: Connections closed, for whatever reason.
        checks_failed: As in `PoolStats`, but within the window.
        leaks: Likewise.
        utilization: The mean utilization of the samples of the window.
        wait_time: As in `PoolStats`, of the window. Its maximum is an upper bound, up to a quarter
            off. It has only the acquires that had to wait: the mean over all acquires is
            ``wait_time.sum / acquired``.
        use_time: Likewise.
        open_time: Likewise.
        failure_rate: The share of the acquires that failed, 0.0 if there was none.
        acquire_rate: Acquires that succeeded for each second.
    """

    seconds: float = 0.0
    acquired: int = 0
    queued: int = 0
    timed_out: int = 0
    failed: int = 0
    opened: int = 0
    open_failed: int = 0
    closed: int = 0
    checks_failed: int = 0
    leaks: int = 0
    utilization: float = 0.0
    wait_time: TimeStats = NO_TIMES
    use_time: TimeStats = NO_TIMES
    open_time: TimeStats = NO_TIMES
    failure_rate: float = field(init=False)
    acquire_rate: float = field(init=False)

    def __post_init__(self) -> None:
        """Derive the rates."""
        object.__setattr__(self, "failure_rate", share(self.failed, self.acquired + self.failed))
        object.__setattr__(self, "acquire_rate", share(self.acquired, self.seconds))


@dataclass(frozen=True, slots=True)
class PoolStats:
    """What a pool was like when it was asked. Counters count since the pool was made.

    The parts are read one after the other while the pool works on, so that they may differ by what
    happened in between. ``str()`` gives a table of 80 columns.

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
        refused: Acquires refused at once, by ``max_waiting`` or ``shed``.
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
        timed_out: Acquires that ended without a connection when their timeout was over, also if
            ``on_exhausted`` came up with something else.
        failed: Acquires that ended by an error of the pool, or of connecting: these, those that
            were refused or turned away, those that were told why no connection can be opened, and
            those from a closed pool.
        window: What the pool did in about the last minute.
        last_error: Why the last attempt to connect failed; ``None`` if it did not.
        waiting_high: Of the callers that wait, those with ``priority="high"``.
        waits: Seconds for which the ten callers have waited that wait the longest, longest first.
        time: When this was, as ``time.time()``.
        failure_rate: The share of the acquires that failed, 0.0 if there was none.
        utilization: The share of `max_size` that is in use, 0.0 to 1.0, or above while connections
            are in use beyond a limit that was lowered.
        mean_age: The mean age of the open connections in seconds, ``None`` if there is none.
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
    timed_out: int = 0
    failed: int = 0
    window: WindowStats = field(default_factory=WindowStats)
    last_error: str | None = None
    waiting_high: int = 0
    waits: tuple[float, ...] = ()
    time: float = field(default_factory=time.time)
    failure_rate: float = field(init=False)
    utilization: float = field(init=False)
    mean_age: float | None = field(init=False)

    def __post_init__(self) -> None:
        """Derive what follows from the rest."""
        ages = [one.age for one in self.connections if one.state in _IDLE | _USED]
        mean_age = sum(ages) / len(ages) if ages else None
        object.__setattr__(self, "failure_rate", share(self.failed, self.acquired + self.failed))
        object.__setattr__(self, "utilization", share(self.in_use, self.max_size))
        object.__setattr__(self, "mean_age", mean_age)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, ready for JSON: the keys are the fields' names.

        Tuples have become lists, and no number is infinite or NaN.
        """
        plain: dict[str, Any] = _plain(self)
        return plain

    def __str__(self) -> str:
        """Show everything as a table of 80 columns."""
        return _stats_table.render(self)


COUNTERS: Final = (
    "acquired",
    "queued",
    "gave_up",
    "refused",
    "turned_away",
    "opened",
    "open_failed",
    "checks",
    "checks_failed",
    "leaks",
    "timed_out",
    "failed",
)
TIMES: Final = ("wait_time", "use_time", "open_time", "check_time")
WINDOW_COUNTERS: Final = (
    "acquired",
    "queued",
    "timed_out",
    "failed",
    "opened",
    "open_failed",
    "closed",
    "checks_failed",
    "leaks",
)
WINDOW_TIMES: Final = TIMES[:3]


def from_snapshot(
    name: str,
    sizes: tuple[int, int],
    snapshot: Mapping[str, Any],
    *,
    names: Mapping[int, str],
    last_error: str | None,
    measure: Callable[[Mapping[str, Any]], WindowStats],
) -> PoolStats:
    """Make the value from what the core tells.

    Args:
        name: The pool's name.
        sizes: Least and most.
        snapshot: What `CorePool._snapshot()` returned.
        names: The names of the holders, by slot.
        last_error: Why the last attempt to connect failed, if it did.
        measure: Makes the window, from all else.
    """
    connections = tuple(
        ConnectionStats(**slot, holder_name=names.get(slot["slot"])) for slot in snapshot["slots"]
    )
    waits = snapshot["waiting"]
    values = {
        **totals(snapshot),
        **_count(connections),
        "name": name,
        "min_size": sizes[0],
        "max_size": sizes[1],
        "waiting": len(waits),
        "waiting_high": snapshot["waiting_high"],
        "waits": tuple(sorted(waits, reverse=True)[:MAX_WAITS]),
        "longest_wait": max(waits, default=0.0),
        "failing": snapshot["failing"],
        "connections": connections,
        "last_error": last_error,
    }
    return PoolStats(**values, window=measure(values))


def totals(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    """Make the arguments of a `PoolStats` that are counters and distributions.

    Args:
        snapshot: What `CorePool._snapshot()` or `CorePool._totals()` returned.
    """
    counters = {counter: snapshot[counter] for counter in (*COUNTERS, "closed")}
    return {**counters, **_each(TIMES, lambda times: TimeStats(**snapshot[times]))}


def _no_window(_: Mapping[str, Any]) -> WindowStats:
    return WindowStats()


def merge(
    name: str,
    sizes: tuple[int, int],
    parts: Sequence[PoolStats],
    *,
    measure: Callable[[Mapping[str, Any]], WindowStats] = _no_window,
) -> PoolStats:
    """Make one value of those of several pools, as if they were one.

    Counters are summed, distributions merged, connections put one after the other. The window is
    the whole's own: those of the parts begin at different times, and that of a part that is gone
    does not end.

    Args:
        name: What to call the whole.
        sizes: Least and most of the whole.
        parts: The pools'. Of none the result is an empty pool's.
        measure: Makes the window, from all else. By default there is none.
    """
    connections = tuple(connection for part in parts for connection in part.connections)
    waits = sorted((wait for part in parts for wait in part.waits), reverse=True)
    closed: Counter[str] = Counter()
    for part in parts:
        closed.update(part.closed)
    summed = (*COUNTERS, *_NOW, "waiting", "waiting_high")
    values = {
        **_each(summed, lambda one: sum(getattr(part, one) for part in parts)),
        **_each(TIMES, lambda times: _merge_times(parts, times)),
        "name": name,
        "min_size": sizes[0],
        "max_size": sizes[1],
        "longest_wait": max((part.longest_wait for part in parts), default=0.0),
        "waits": tuple(waits[:MAX_WAITS]),
        "failing": max((one.failing for one in parts if one.failing is not None), default=None),
        "closed": dict(closed),
        "connections": connections,
        "last_error": next((part.last_error for part in parts if part.last_error), None),
    }
    return PoolStats(**values, window=measure(values))


def gone(stats: PoolStats) -> PoolStats:
    """Return what a pool that is no more has counted, without what it has no more.

    What was open till the last, in use or on its way back, has ended with it.
    """
    closed = {**stats.closed, "closed": stats.closed["closed"] + stats.size}
    zero = _each((*_NOW, "waiting", "waiting_high"), lambda _: 0)
    nothing = _each(("failing", "last_error"), lambda _: None)
    return replace(
        stats, closed=closed, connections=(), waits=(), longest_wait=0.0, **zero, **nothing
    )


def _each(names: Iterable[str], value: Callable[[str], Any]) -> dict[str, Any]:
    """Make the arguments of these names, of whatever types."""
    return {name: value(name) for name in names}


def _merge_times(parts: Iterable[object], times: str) -> TimeStats:
    return TimeStats.merged([getattr(part, times) for part in parts])


def _count(connections: Iterable[ConnectionStats]) -> dict[str, Any]:
    states = Counter(connection.state for connection in connections)
    idle = sum(states[state] for state in _IDLE)
    in_use = sum(states[state] for state in _USED)
    opening = states["connecting"]
    return {"size": idle + in_use, "idle": idle, "in_use": in_use, "opening": opening}


def share(part: float, whole: float) -> float:
    """Return the share of a part in the whole, 0.0 of nothing."""
    return part / whole if whole else 0.0


def _plain(value: Any) -> Any:  # noqa: ANN401  whatever the fields are
    """Make a value plain, as `dataclasses.asdict` does, and tuples lists."""
    if isinstance(value, (PoolStats, WindowStats, TimeStats, ConnectionStats)):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return dict(value) if isinstance(value, dict) else value
