"""Rules about a pool at work whose callers wait, or get nothing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from millpond.doctor._findings import Remark
from millpond.doctor._rules import Rules
from millpond.doctor.outside._load import size_for
from millpond.doctor.outside._running import RunningPool

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["RULES"]

RULES: Final = Rules(RunningPool)

# As the alerts of `millpond.health` have them.
_FULL: Final = 0.95
_BUSY: Final = 0.85
_LONG_WAIT: Final = 0.1
_OFTEN: Final = 0.01
_SOME: Final = 5


@RULES.add("MP501", "warning", "the pool has no reserve")
def busy(pool: RunningPool) -> Iterator[Remark]:
    """Nearly all connections were in use over the last minute.

    Waits do not grow in step with utilization: at 85 % of a small pool they are short, at 95 % they
    are three times as long, and at 100 % there is no end of them. A pool without reserve is one
    slow query away from timeouts.

    At 3 a.m.: a backup makes each query take twice as long, which is one more than there is room
    for.

    Fix: shorter use first: nothing slow between acquire and release but the query itself. Then the
    size that the load needs, if the server has it.

    Before:
        with pool.connection() as conn:
            rows = conn.execute(query).fetchall()
            return render(rows)                     # holds the connection meanwhile

    After:
        with pool.connection() as conn:
            rows = conn.execute(query).fetchall()
        return render(rows)
    """
    utilization = pool.number("window", "utilization")
    if utilization >= _BUSY and pool.asked:
        yield Remark(
            message=f"pool {pool.name!r}: {utilization:.0%} of max_size = "
            f"{pool.number('max_size'):g} were in use over the last minute",
            evidence=_load(pool),
            fix=_larger(pool),
            severity="error" if utilization >= _FULL else None,
        )


@RULES.add("MP502", "warning", "callers wait for connections")
def slow_acquires(pool: RunningPool) -> Iterator[Remark]:
    """An acquire took more than a tenth of a second on average, over the last minute.

    That is more than most queries take, and each request pays it, perhaps several times.

    At 3 a.m.: the latency of all pages is up by a constant, and no query is slower than yesterday.

    Fix: as with MP501: hold connections for a shorter time, then a larger pool. If connections are
    idle while callers wait, it is opening them that takes the time: min_size keeps them ready.

    Before:
        pool = millpond.Pool(url, min_size=0, max_size=4)

    After:
        pool = millpond.Pool(url, min_size=4, max_size=8)
    """
    acquired = pool.number("window", "acquired")
    mean = pool.number("window", "wait_time", "sum") / max(1.0, acquired)
    if mean > _LONG_WAIT and pool.asked:
        opening = pool.number("window", "utilization") < _BUSY / 2
        slow = pool.number("window", "open_time", "mean")
        yield Remark(
            message=f"pool {pool.name!r}: an acquire took {mean:.3g} s on average over the last "
            f"minute ({pool.number('window', 'wait_time', 'count'):g} of {acquired:g} waited)",
            evidence=_load(pool),
            fix=f"min_size = {pool.number('max_size'):g}, as connections take {slow:.3g} s to open"
            if opening and slow
            else _larger(pool),
        )


@RULES.add("MP503", "error", "callers get no connection")
def failures(pool: RunningPool) -> Iterator[Remark]:
    """More than one acquire in a hundred ended by an error, over the last minute.

    At 3 a.m.: these are the errors that users see.

    Fix: if the database is down (MP506), look there. If acquires time out, find the holders
    (MP504) before you raise anything: a longer acquire_timeout makes the queue longer, not the
    pool faster.

    Before:
        pool = millpond.Pool(url, acquire_timeout=30.0)

    After:
        pool = millpond.Pool(url, acquire_timeout=2.0, leak_threshold=10.0, max_waiting=500)
    """
    failed, acquired = pool.number("window", "failed"), pool.number("window", "acquired")
    share = failed / max(1.0, pool.asked)
    if pool.asked and share > _OFTEN:
        timed_out = pool.number("window", "timed_out")
        yield Remark(
            message=f"pool {pool.name!r}: {failed:g} of {failed + acquired:g} acquires failed over "
            f"the last minute ({share:.0%}), {timed_out:g} of them by timeout",
            evidence=_load(pool),
            fix="look at what connecting says: last_error"
            if pool.stats.get("last_error")
            else f"{_find_holders(pool)}; then {_larger(pool)}",
        )


@RULES.add("MP512", "warning", "callers without priority starve")
def starving(pool: RunningPool) -> Iterator[Remark]:
    """Somebody has waited for longer than all those who were served in the last minute.

    Callers with priority="high" overtake the others. If they alone keep the pool busy, the others
    never have their turn.

    At 3 a.m.: the web pages are fine, as they have priority. The queue of jobs has not moved since
    midnight.

    Fix: priority is for the few. What must not be delayed by others, and must not delay them,
    belongs into a pool of its own.

    Before:
        pool.acquire(priority="high")       # in each request

    After:
        web = millpond.Pool(url, max_size=8)
        jobs = millpond.Pool(url, max_size=2)
    """
    longest, high = pool.number("longest_wait"), pool.number("waiting_high")
    served = pool.number("window", "wait_time", "max")
    if high and pool.number("waiting") > high and served and longest > 2 * served:
        yield Remark(
            message=f"pool {pool.name!r}: somebody has waited {longest:.3g} s, and of those who "
            f"were served lately nobody more than {served:.3g} s; {high:g} with priority wait too",
            fix="give the callers with priority a pool of their own, or priority to fewer",
        )


@RULES.add("MP514", "warning", "the pool refuses callers")
def refuses(pool: RunningPool) -> Iterator[Remark]:
    """More than one caller in a hundred was refused, as too many were waiting (max_waiting).

    That is what max_waiting is for, in an overload. Every day it is a pool that is too small.

    At 3 a.m.: the pages that answer 503 at once.

    Fix: the size that the load needs. max_waiting need not be above what is served within
    acquire_timeout, and below that it refuses callers whom it could have served.

    Before:
        pool = millpond.Pool(url, max_size=10, max_waiting=10)      # queries of 20 ms

    After:
        pool = millpond.Pool(url, max_size=10, max_waiting=2500)    # 10 * 5 s / 20 ms
    """
    refused, acquired = pool.number("refused"), pool.number("acquired")
    if refused < _SOME or refused <= _OFTEN * (refused + acquired):
        return
    timeout, use = pool.option("acquire_timeout"), pool.number("use_time", "mean")
    enough = math.ceil(pool.number("max_size") * timeout / use) if timeout and use else None
    limit = pool.option("max_waiting")
    short = enough is not None and limit is not None and limit < enough
    yield Remark(
        message=f"pool {pool.name!r}: {refused:g} callers were refused, of "
        f"{refused + acquired:g}" + ("" if limit is None else f"; max_waiting = {limit:g}"),
        evidence=_load(pool),
        fix=f"max_waiting = {enough}: so many are served within acquire_timeout"
        if short
        else _larger(pool),
    )


def _load(pool: RunningPool) -> str:
    """Show the load of the last minute."""
    mean, p99 = pool.number("use_time", "mean"), pool.number("use_time", "p99")
    return (
        f"{pool.number('window', 'acquire_rate'):.3g} acquires/s, held {mean:.3g} s on average "
        f"(p99 {p99:.3g} s), {pool.number('waiting'):g} waiting now"
    )


def _find_holders(pool: RunningPool) -> str:
    if pool.option("leak_threshold"):
        return "look who holds connections for long: MP504, MP515"
    return "leak_threshold=30.0, to learn who holds connections"


def _larger(pool: RunningPool) -> str:
    """Say which size the load needs."""
    needed = size_for(pool.stats)
    size = pool.number("max_size")
    if needed is None:
        return "hold connections for a shorter time, or raise max_size"
    if needed <= size:
        return f"hold connections for a shorter time; by its load the pool needs {needed}"
    return f"max_size = {needed}, if the server has them, or hold connections for a shorter time"
