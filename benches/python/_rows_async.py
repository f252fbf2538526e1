"""The rows of the table of goals that are about asyncio."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TypeVar

import bench_async_cancel
import bench_async_crowd
import bench_async_with
from _harness_async import AS_PSYCOPG, ASYNC_MILLPOND, CONTENDERS, PSYCOPG_POOL, AsyncContender
from _row import Row
from millpond.cli._words import duration
from millpond.cli.bench._measurement import Measurement

__all__ = ["ASYNC"]

_V = TypeVar("_V")

_PASSES = 5


def block() -> Row:
    """The async with block of an idle pool, where the driver can tell that nothing is to undo."""
    best = _best_blocks((AS_PSYCOPG, *(each for each in CONTENDERS if each.peer is PSYCOPG_POOL)))
    if len(best) == 1:
        message = f"{PSYCOPG_POOL.distribution} is not installed"
        raise LookupError(message)
    ours, theirs = best.values()
    return Row(
        "async with pool.connection(): pass, nothing to undo",
        "≥ 10 x faster than psycopg_pool",
        f"{duration(ours)}: {theirs / ours:.1f} x faster",
        theirs >= 10 * ours,
        f"{PSYCOPG_POOL.title} {duration(theirs)}",
    )


def block_with_rollback() -> Row:
    """The same where each block ends with a rollback, or what the pool does instead."""
    best = _best_blocks(each for each in CONTENDERS if each.peer is not PSYCOPG_POOL)
    ours = best.pop(ASYNC_MILLPOND.title)
    times = ", ".join(f"{each / ours:.1f} x {label}" for label, each in best.items())
    return Row(
        "the same with a rollback each time",
        "",
        f"{duration(ours)}: faster by {times}",
        None,
        ", ".join(f"{label} {duration(each)}" for label, each in best.items()),
    )


def _best_blocks(contenders: Iterable[AsyncContender]) -> dict[str, float]:
    """Return the best of several passes. They take turns: noise hits all of them."""
    installed = [each for each in contenders if each.peer.version is not None]
    passes = [[bench_async_with.block_of(each) for each in installed] for _ in range(_PASSES)]
    best = map(min, zip(*passes, strict=True))
    return dict(zip(map(str, installed), best, strict=True))


def crowd() -> Row:
    """200 tasks on 10 connections, 10 ms each."""
    seen = _of_each(bench_async_crowd.contest, (*CONTENDERS, AS_PSYCOPG))
    ideal = bench_async_crowd.ideal_wait()
    ours = seen.pop(ASYNC_MILLPOND.title)
    worst = (ours.wait(1) or 0.0) / ideal
    return Row(
        "200 tasks on 10 connections, 10 ms hold: checkouts/s, wait p50 / p99 / max",
        "worst wait ≤ 1.2 x the ideal",
        f"{_told(ours)}: {worst:.2f} x the ideal of {duration(ideal)}",
        worst <= 1.2,  # noqa: PLR2004 - the goal
        ", ".join(f"{label} {_told(each)}" for label, each in seen.items()),
    )


def crowd_at_once() -> Row:
    """The same without a hold."""
    at_once = partial(bench_async_crowd.contest, workload=bench_async_crowd.AT_ONCE)
    seen = _of_each(at_once, (*CONTENDERS, AS_PSYCOPG))
    ours = seen.pop(ASYNC_MILLPOND.title)
    return Row(
        "200 tasks on 10 connections, given back at the loop's next turn",
        "",
        _told(ours),
        None,
        ", ".join(f"{label} {_told(each)}" for label, each in seen.items()),
    )


def cancellation() -> Row:
    """Tasks cancelled at random while they wait, hold and give back."""
    seen = _of_each(bench_async_cancel.storm)
    ours = seen.pop(ASYNC_MILLPOND.title)
    return Row(
        f"a cancellation each ms for {bench_async_cancel.SECONDS:.0f} s, "
        f"{bench_async_cancel.TASKS} tasks on {bench_async_cancel.SIZE} connections",
        "none lost, none lent to two",
        f"{_damage(ours)}, of {ours.cancelled} cancellations",
        not ours.lost and not ours.shared,
        ", ".join(f"{label} {_damage(each)}" for label, each in seen.items()),
    )


def _of_each(
    measure: Callable[[AsyncContender], _V], contenders: Iterable[AsyncContender] = CONTENDERS
) -> dict[str, _V]:
    """Measure millpond and whoever is installed, one after the other."""
    return {str(each): measure(each) for each in contenders if each.peer.version is not None}


def _told(measured: Measurement) -> str:
    waits = " / ".join(duration(measured.wait(share)) for share in (0.5, 0.99, 1))
    return f"{measured.rate:,.0f}/s, {waits}"


def _damage(damage: bench_async_cancel.Damage) -> str:
    shared = f", {damage.shared} lent to two" if damage.shared else ""
    return f"{damage.lost} lost{shared}"


ASYNC: Mapping[str, Callable[[], Row]] = {
    "async-with": block,
    "async-with-rollback": block_with_rollback,
    "async-crowd": crowd,
    "async-crowd-at-once": crowd_at_once,
    "async-cancel": cancellation,
}
"""All of them, by the name that ``--rows`` takes."""
