"""What one ``/pool.json`` says, made into the numbers that a person looks at.

The document comes from a process that may run another version of millpond, or be something else
altogether: what is needed is checked here, once, and what is missing is ``None`` from here on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from millpond.doctor.ask import printable

__all__ = ["Alert", "DocumentError", "Key", "PoolView", "quantile", "read_document"]

_COUNTS = ("max_size", "size", "in_use", "idle", "waiting")

_HUGE = 2.0**63
"""Nothing that a pool counts or measures is as large; JSON can say more, and Infinity and NaN."""


class DocumentError(ValueError):
    """It is no ``/pool.json`` of millpond."""


class Key(NamedTuple):
    """What makes a pool the same one in the next reading, also after its process was restarted."""

    url: str
    name: str
    nth: int


class Alert(NamedTuple):
    """One alert of the process's own health monitor."""

    severity: str
    message: str


@dataclass(frozen=True)
class PoolView:
    """One pool at one moment. Durations are in seconds, rates per second.

    Attributes:
        key: Which pool it is.
        where: Host and port of its process.
        pid: The number of its process.
        name: Its name.
        max_size: Connections that it may have.
        size: Connections that are open.
        in_use: Of these, the ones that somebody has.
        idle: Of these, the ones that nobody has.
        waiting: Callers that wait.
        utilization: ``in_use / max_size``.
        rate: Acquires, since the reading before or else over the last minute.
        wait_mean: How long an acquire of the last minute waited on the average, those that did not
            have to wait included.
        wait_p99: What 99 % of them did not exceed.
        timed_out: Acquires of the last minute that ended by a timeout.
        failed: Acquires of the last minute that ended by any error.
        alerts: What its health monitor says; empty also where there is none.
        stats: Everything else that it told about itself.
        options: The keywords that it was made with.
    """

    key: Key
    where: str
    pid: int | None
    name: str
    max_size: int
    size: int
    in_use: int
    idle: int
    waiting: int
    rate: float | None = None
    wait_mean: float | None = None
    wait_p99: float | None = None
    timed_out: int | None = None
    failed: int | None = None
    alerts: tuple[Alert, ...] = ()
    stats: Mapping[str, Any] = field(default_factory=dict, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def utilization(self) -> float:
        """The share of the connections it may have that are in use."""
        return self.in_use / self.max_size if self.max_size else 0.0


def read_document(
    document: object, url: str, where: str, before: Mapping[Key, PoolView]
) -> tuple[PoolView, ...]:
    """Return the pools of a ``/pool.json``.

    Args:
        document: What was parsed from the JSON.
        url: Where it came from.
        where: The same for people: host and port.
        before: The pools of the reading before, from which rates are told.

    Raises:
        DocumentError: It is no ``/pool.json`` of millpond. The message says what is missing.
    """
    content = _clean(document)
    if not isinstance(content, Mapping) or not isinstance(content.get("pools"), list):
        message = "the answer is no /pool.json of millpond: it has no list of pools"
        raise DocumentError(message)
    seen: dict[str, int] = {}
    views = []
    for entry in content["pools"]:
        stats = _section(entry, "stats")
        name = str(stats.get("name", "?"))
        seen[name] = nth = seen.get(name, -1) + 1
        key = Key(url, name, nth)
        pid = content.get("pid")
        views.append(_view(key, where, pid if isinstance(pid, int) else None, entry, before))
    return tuple(views)


def quantile(buckets: Sequence[Sequence[float]], share: float, zeros: float = 0) -> float | None:
    """Return what ``share`` of the durations did not exceed, to a bucket's upper bound.

    Args:
        buckets: Ascending pairs of an upper bound and how many are below it and not below the one
            before.
        share: 0.99 for the 99th percentile.
        zeros: How many more there were that took no time.

    Returns:
        The bound, 0.0 if that many took no time, or ``None`` if there were none at all.
    """
    total = zeros + sum(count for _, count in buckets)
    if not total:
        return None
    reached = zeros
    if reached >= share * total:
        return 0.0
    for bound, count in buckets:
        reached += count
        if reached >= share * total:
            return bound
    return buckets[-1][0]


def _view(
    key: Key, where: str, pid: int | None, entry: object, before: Mapping[Key, PoolView]
) -> PoolView:
    stats, health = _section(entry, "stats"), _section(entry, "health")
    window, waits = _section(stats, "window"), _section(_section(stats, "window"), "wait_time")
    for name in _COUNTS:
        if not isinstance(stats.get(name), int):
            message = f"the answer is no /pool.json of millpond: a pool has no number {name!r}"
            raise DocumentError(message)
    return PoolView(
        key=key,
        where=where,
        pid=pid,
        name=key.name,
        **{name: stats[name] for name in _COUNTS},
        rate=_rate(stats, before.get(key), pid, _number(window, "acquire_rate")),
        wait_mean=_mean(window, waits),
        wait_p99=_p99(window, waits),
        timed_out=_count(window, "timed_out"),
        failed=_count(window, "failed"),
        alerts=tuple(
            # Each stands beside the name already.
            Alert(
                str(alert.get("severity", "warning")),
                str(alert.get("message", "")).removeprefix(f"pool {key.name!r}: "),
            )
            for alert in _list(health, "alerts")
            if isinstance(alert, Mapping)
        ),
        stats=stats,
        options=_section(entry, "options"),
    )


def _rate(
    stats: Mapping[str, Any], before: PoolView | None, pid: int | None, default: float | None
) -> float | None:
    """Tell the rate since the reading before; a pool that was made anew has none."""
    if before is None or before.pid != pid:
        return default
    now, then = (_number(each, "time") for each in (stats, before.stats))
    count, counted = (_number(each, "acquired") for each in (stats, before.stats))
    if now is None or then is None or count is None or counted is None:
        return default
    return (count - counted) / (now - then) if now > then and count >= counted else default


def _mean(window: Mapping[str, Any], waits: Mapping[str, Any]) -> float | None:
    total, acquired = _number(waits, "sum"), _number(window, "acquired")
    if total is None or acquired is None:
        return _number(waits, "mean")
    return total / acquired if acquired else None


def _p99(window: Mapping[str, Any], waits: Mapping[str, Any]) -> float | None:
    buckets, acquired = waits.get("buckets"), _number(window, "acquired")
    if not isinstance(buckets, list) or acquired is None:
        return _number(waits, "p99")
    try:
        pairs = [(float(bound), float(count)) for bound, count in buckets]
    except (TypeError, ValueError):
        return _number(waits, "p99")
    found = quantile(pairs, 0.99, max(0.0, acquired - sum(count for _, count in pairs)))
    longest = _number(waits, "max")
    return found if found is None or longest is None else min(found, longest)


def _section(content: object, name: str) -> Mapping[str, Any]:
    found = content.get(name) if isinstance(content, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _list(content: Mapping[str, Any], name: str) -> list[Any]:
    found = content.get(name)
    return found if isinstance(found, list) else []


def _number(content: Mapping[str, Any], name: str) -> float | None:
    found = content.get(name)
    return float(found) if isinstance(found, int | float) else None


def _count(content: Mapping[str, Any], name: str) -> int | None:
    found = content.get(name)
    return found if isinstance(found, int) else None


def _clean(content: object) -> Any:  # noqa: ANN401 - JSON
    """Take out of all texts what would move a terminal's cursor, and numbers that are none."""
    if isinstance(content, str):
        return printable(content)
    if isinstance(content, int | float):
        return content if -_HUGE < content < _HUGE else None
    if isinstance(content, list):
        return [_clean(each) for each in content]
    if isinstance(content, dict):
        return {_clean(key): _clean(value) for key, value in content.items()}
    return content
