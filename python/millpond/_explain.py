"""A timeout that explains itself: why no connection came, by what the pool is like at that moment.

The reasons, in the order in which they are looked for; the first that fits is told:

``database_down``
    There is room for more connections, and the last attempt to open one failed.
``connects_slow``
    There is room, and connections are being opened or validated, which takes longer than the caller
    wants to wait.
``leak_suspected``
    Somebody has held a connection for longer than `leak_threshold`; or the holder's thread has
    ended; or, without a threshold, for longer than ten times what 99 % of the uses take, than a
    second, and than the caller waited. When that is so of all holders, they must have begun at
    different times: those that stand still together wait for something that they share.
``starved_by_priority``
    So many callers with ``priority="high"`` were served during the wait that this one would have
    been, had it been one of them.
``slow_queries``
    At least half of the holders have had their connection for at least half of the wait, and a
    tenth of a second: the pool is as large as ever, and stands still.
``exhausted``
    None of this: connections come and go, and there are more callers than they can serve. Also when
    a thread, or a task, waits for a connection that it has itself, when each thread keeps its own,
    and when the pool is suspended.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from millpond import _messages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from millpond._stats import ConnectionStats, PoolStats

MAX_HOLDERS: Final = 5
MAX_WAITERS: Final = 3
MAX_CONNECTS: Final = 5

# For the rules above.
MUCH_LONGER: Final = 10.0
LEAST_LEAK: Final = 1.0
LEAST_SLOW: Final = 0.1
# So many uses have to be known before any is unusual.
LEAST_USES: Final = 3

_ADVICE: Final = {
    "database_down": "check that the database accepts connections",
    "connects_slow": (
        "connecting is slow: check the database, or keep more open with min_size, or raise "
        "acquire_timeout"
    ),
    "leak_suspected": (
        "a leak is suspected: use acquired connections in a with block, or release them in "
        "finally; {tracing}"
    ),
    "starved_by_priority": (
        "callers with priority='high' were served first, {overtaken} of them during this wait: "
        "use it more sparingly, or raise {limit}"
    ),
    "slow_queries": (
        "connections are in use for long: look for slow statements or locks in the database, limit "
        "them with query_timeout, keep other work out of the block, or raise acquire_timeout"
    ),
    "exhausted": "release connections sooner, or raise {limit} or acquire_timeout",
}
_TRACING: Final = {
    True: "the lines are above",
    False: "leak_threshold= shows the lines that acquire them",
}
_OWN: Final = "this {who} waits for itself: release a connection first, or raise {limit}"
_KEPT: Final = "raise {limit} to the number of threads, end threads or use release_thread()"
_SUSPENDED: Final = "the pool is suspended: call resume()"


@dataclass(frozen=True, slots=True)
class Wait:
    """What is known of a wait that was too long.

    Attributes:
        seconds: How long it was.
        overtaken: Callers with priority that were served meanwhile, if it was none of them.
        error: Why the last attempt to connect failed, if it did.
        leak_threshold: That of the pool.
        limit: What the pool calls its size.
        suspended: Whether the pool keeps everybody waiting.
        running: The numbers of the holders that have not ended; ``None`` if that is not known.
        own: The number of the one that waited, thread or task.
        ready: How many connections were waited for until they are open; ``None`` where it was one,
            to have it.
    """

    seconds: float
    overtaken: int = 0
    error: BaseException | None = None
    leak_threshold: float | None = None
    limit: str = "max_size"
    suspended: bool = False
    running: frozenset[int] | None = None
    own: int = field(default_factory=threading.get_ident)
    ready: int | None = None


def reason_of(stats: PoolStats, wait: Wait) -> str:
    """Say why no connection came; see the head of this file."""
    rules = (
        ("database_down", _is_down),
        ("connects_slow", _is_connecting),
        ("exhausted", _waits_for_itself),
        ("leak_suspected", _has_leak),
        ("starved_by_priority", _is_starved),
        ("slow_queries", _stands_still),
    )
    return next((reason for reason, fits in rules if fits(stats, wait)), "exhausted")


def message_of(stats: PoolStats, wait: Wait, reason: str) -> str:
    """Say what happened, who has the connections, who else waits, and what to do."""
    what = "acquire a connection from"
    if wait.ready is not None:
        what = f"open min_size={wait.ready} connections of"
    said = (
        f"couldn't {what} pool {stats.name!r} in "
        f"{_messages.span(wait.seconds)}: {stats.in_use} of {stats.max_size} in use, "
        f"{stats.idle} idle, {stats.opening} being opened, {stats.waiting} waiting"
    )
    lines = [said, *_holders(stats), *_others(stats)]
    if wait.error is not None:
        lines.append(f"  the last attempt to connect failed: {_messages.one_line(wait.error)}")
    lines.append(f"  {_advice(stats, wait, reason)}")
    return "\n".join(lines)


def _held(stats: PoolStats) -> list[ConnectionStats]:
    held = [one for one in stats.connections if one.held is not None]
    return sorted(held, key=lambda one: -(one.held or 0.0))


def _kept(stats: PoolStats) -> list[ConnectionStats]:
    return [one for one in stats.connections if _messages.is_kept(one)]


def _holders(stats: PoolStats) -> Iterator[str]:
    having = _held(stats) + _kept(stats)
    yield from map(_messages.holder, having[:MAX_HOLDERS])
    if len(having) > MAX_HOLDERS:
        yield f"  and {len(having) - MAX_HOLDERS} more"


def _others(stats: PoolStats) -> Iterator[str]:
    """Tell of those who wait, and of the connections that they may be waiting for."""
    if stats.waiting:
        ages = ", ".join(map(_messages.span, stats.waits[:MAX_WAITERS]))
        high = f"; {stats.waiting_high} of them with priority" if stats.waiting_high else ""
        others = "caller waits" if stats.waiting == 1 else "callers wait"
        yield f"  {stats.waiting} {others}, the first for {ages}{high}"
    opening = [one for one in stats.connections if one.state == "connecting"]
    opening.sort(key=lambda one: -one.age)
    for one in opening[:MAX_CONNECTS]:
        yield f"  connection {one.slot} being opened for {_messages.span(one.age)}"
    if len(opening) > MAX_CONNECTS:
        yield f"  and {len(opening) - MAX_CONNECTS} more"


def _advice(stats: PoolStats, wait: Wait, reason: str) -> str:
    if wait.suspended:
        return _SUSPENDED
    advice = _ADVICE[reason]
    if reason == "exhausted" and _kept(stats) and stats.size >= stats.max_size:
        advice = _KEPT
    elif reason == "exhausted" and _waits_for_itself(stats, wait):
        advice = _OWN
    tracing = _TRACING[wait.leak_threshold is not None]
    who = "task" if _messages.is_task(wait.own) else "thread"
    return advice.format(limit=wait.limit, overtaken=wait.overtaken, tracing=tracing, who=who)


def _is_down(stats: PoolStats, wait: Wait) -> bool:
    return wait.error is not None and not wait.suspended and stats.size < stats.max_size


def _is_connecting(stats: PoolStats, wait: Wait) -> bool:
    if wait.suspended or stats.in_use >= stats.max_size:
        return False
    return stats.opening > 0 or any(one.state == "checking" for one in stats.connections)


def _waits_for_itself(stats: PoolStats, wait: Wait) -> bool:
    held = _held(stats)
    full = len(held) >= stats.max_size
    return full and all(one.holder == wait.own for one in held)


def _has_leak(stats: PoolStats, wait: Wait) -> bool:
    held = _held(stats)
    suspects = [one for one in held if _is_suspect(one, stats, wait)]
    if not suspects:
        return False
    if len(suspects) < len(held) or wait.leak_threshold is not None:
        return True
    if any(_has_ended(one, wait) for one in suspects):
        return True
    longest, shortest = suspects[0].held or 0.0, suspects[-1].held or 0.0
    return len(suspects) == 1 or shortest < longest / 2


def _has_ended(one: ConnectionStats, wait: Wait) -> bool:
    return wait.running is not None and one.holder not in wait.running


def _is_suspect(one: ConnectionStats, stats: PoolStats, wait: Wait) -> bool:
    held = one.held or 0.0
    if _has_ended(one, wait):
        return True
    if wait.leak_threshold is not None:
        return held > wait.leak_threshold
    usual = stats.use_time.p99
    if usual is None or stats.use_time.count < LEAST_USES:
        return False
    return held > max(MUCH_LONGER * usual, LEAST_LEAK, wait.seconds)


def _is_starved(stats: PoolStats, wait: Wait) -> bool:
    # Those who still wait and came before would have been served first.
    ahead = sum(age > wait.seconds for age in stats.waits)
    is_known = ahead < len(stats.waits) or ahead == stats.waiting
    return is_known and wait.overtaken > ahead


def _stands_still(stats: PoolStats, wait: Wait) -> bool:
    held = _held(stats)
    least = max(wait.seconds / 2, LEAST_SLOW)
    long = [one for one in held if (one.held or 0.0) >= least]
    return len(held) > 0 and 2 * len(long) >= len(held)
