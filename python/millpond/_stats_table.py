"""`str(pool.stats())`: everything as a table of 80 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from millpond._stats import ConnectionStats, PoolStats
    from millpond._times import TimeStats

WIDTH: Final = 80

# What the last column has.
_WHO: Final = 26

# Of a large pool, so many connections are shown.
MAX_CONNECTIONS: Final = 20


def render(stats: PoolStats) -> str:
    """Make the table; no line is longer than `WIDTH`."""
    lines = [*_now(stats), "", *_counters(stats), "", *_times(stats)]
    if stats.connections:
        lines += ["", *_connections(stats.connections)]
    return "\n".join(line[:WIDTH].rstrip() for line in lines)


def seconds(duration: float | None) -> str:
    """Show a duration in the unit that makes it readable, or a dash for none."""
    if duration is None:
        return "-"
    for limit, factor, unit in ((1e-6, 1e9, "ns"), (1e-3, 1e6, "us"), (1.0, 1e3, "ms")):
        # What would be rounded up to a thousand has the next unit.
        if 0 < duration < 0.9995 * limit:
            return f"{duration * factor:.3g} {unit}"
    if duration < 9_999.5:  # noqa: PLR2004  three hours
        return f"{duration:.4g} s"
    return f"{duration / 3600:.4g} h"


def three_digits(number: float) -> str:
    """Show a number with three digits, or with all before the point: ``1000``, not ``1e+03``."""
    return f"{number:.3g}" if number < 999.5 else f"{number:.0f}"  # noqa: PLR2004  rounds to 1000


def _now(stats: PoolStats) -> Iterator[str]:
    counts = (
        f"{stats.in_use} in use, {stats.idle} idle, {stats.opening} opening, "
        f"{stats.waiting} waiting"
    )
    name = _shortened(repr(stats.name), WIDTH - len(f"pool : {counts}"))
    yield f"pool {name}: {counts}"
    age = f", mean age {seconds(stats.mean_age)}" if stats.mean_age is not None else ""
    yield (
        f"  size {stats.size}, {stats.min_size} to {stats.max_size}; "
        f"{stats.utilization:.0%} in use{age}"
    )
    if stats.waiting:
        high = f", {stats.waiting_high} with priority" if stats.waiting_high else ""
        yield f"  the longest wait lasts for {seconds(stats.longest_wait)}{high}"
    if stats.failing is not None:
        yield f"  connecting has failed for {seconds(stats.failing)}"
    if stats.last_error is not None:
        yield f"  last error: {stats.last_error}"


def _shortened(text: str, room: int) -> str:
    return text if len(text) <= room else f"{text[: room - 1]}…"


def _counters(stats: PoolStats) -> Iterator[str]:
    window = stats.window
    yield _row("", "in all", f"last {window.seconds:.0f} s")
    for name, total, lately in (
        ("acquired", stats.acquired, window.acquired),
        ("  had to wait", stats.queued, window.queued),
        ("failed", stats.failed, window.failed),
        ("  timed out", stats.timed_out, window.timed_out),
        ("opened", stats.opened, window.opened),
        ("  failed to open", stats.open_failed, window.open_failed),
        ("closed", sum(stats.closed.values()), window.closed),
        ("checks failed", stats.checks_failed, window.checks_failed),
        ("leaks", stats.leaks, window.leaks),
    ):
        yield _row(name, str(total), str(lately))
    yield _row("acquires a second", "", f"{window.acquire_rate:.4g}")
    yield _row("failure rate", f"{stats.failure_rate:.2%}", f"{window.failure_rate:.2%}")
    yield _row("in use, mean", "", f"{window.utilization:.0%}")
    reasons = (f"{reason} {count}" for reason, count in stats.closed.items() if count)
    if why := ", ".join(reasons):
        yield f"closed: {why}"


def _row(name: str, total: str, lately: str) -> str:
    return f"{name:<20}{total:>14}{lately:>14}"


def _times(stats: PoolStats) -> Iterator[str]:
    yield _spread("", ("count", "mean", "p50", "p95", "p99", "max"))
    for name, times in (
        ("wait", stats.wait_time),
        ("  lately", stats.window.wait_time),
        ("use", stats.use_time),
        ("  lately", stats.window.use_time),
        ("open", stats.open_time),
        ("check", stats.check_time),
    ):
        yield _spread(name, _figures(times))


def _figures(times: TimeStats) -> Iterator[str]:
    yield str(times.count)
    for figure in (times.mean, times.p50, times.p95, times.p99, times.max):
        yield seconds(figure)


def _spread(name: str, figures: Iterable[str]) -> str:
    return f"{name:<12}" + "".join(f"{figure:>11}" for figure in figures)


def _connections(connections: tuple[ConnectionStats, ...]) -> Iterator[str]:
    yield f"{'slot':>5} {'id':>6}  {'state':<11}{'age':>9}{'uses':>9}{'since':>9}  who"
    for one in connections[:MAX_CONNECTIONS]:
        since = one.idle if one.held is None else one.held
        number = "-" if one.id is None else one.id
        yield (
            f"{one.slot:>5} {number:>6}  {one.state:<11}{seconds(one.age):>9}{one.uses:>9}"
            f"{seconds(since):>9}  {_holder(one)}"
        )
    if len(connections) > MAX_CONNECTIONS:
        yield f"      and {len(connections) - MAX_CONNECTIONS} more"


def _holder(connection: ConnectionStats) -> str:
    if connection.holder is None:
        return ""
    name = " ".join((connection.holder_name or str(connection.holder)).split())
    if connection.site is None:
        return name
    # If one of them has to be shortened, the line is what leads on.
    file, line, _ = connection.site
    place = f"{file.replace(chr(92), '/').rpartition('/')[2]}:{line}"[-_WHO:]
    return f"{name[: max(0, _WHO - len(place) - 1)]} {place}".strip()
