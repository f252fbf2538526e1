"""How the parts of a report are written, in a table and on the page."""

from collections.abc import Iterable
from textwrap import shorten

from millpond.cli._words import duration
from millpond.cli.bench._baseline import Change, Comparison
from millpond.cli.bench._compare import Run
from millpond.cli.bench._measurement import Measurement
from millpond.cli.bench._report import FIGURES
from millpond.cli.bench._workload import Workload

__all__ = ["NUMBERS", "absences", "numbers", "title", "troubles", "verdict_on", "written"]

NUMBERS = ("checkouts/s", "wait p50", "p95", "p99", "max", "fair", "errors")
"""The heads of the columns that ``numbers`` fills."""

_LONGEST = 300
"""Letters of an error; `PoolTimeout` tells of every connection."""


def title(workload: Workload, without: str = "") -> str:
    """Describe a workload, but for the parameter that varies."""
    hold = f"each held {duration(workload.hold)}" if workload.hold else "given back at once"
    parts = {
        workload.clients: f"{workload.threads} {workload.clients}",
        "max_size": f"{workload.size} connections",
        "hold_ms": hold,
    }
    return ", ".join(text for name, text in parts.items() if name != without)


def numbers(measured: Measurement) -> tuple[str, ...]:
    """Write the figures of a measurement, in the order of ``NUMBERS``."""
    fairness = "-" if measured.fairness is None else f"{measured.fairness:.2f}"
    waits = (duration(measured.wait(share)) for share in (0.5, 0.95, 0.99, 1))
    return (f"{measured.rate:,.0f}", *waits, fairness, f"{measured.errors:,}")


def troubles(runs: Iterable[Run]) -> list[str]:
    """Say which pools failed, in which way; each sentence once."""
    lines = [shorten(line, _LONGEST) for run in runs for line in _troubles_of(run)]
    return list(dict.fromkeys(lines))


def absences(run: Run) -> list[str]:
    """Say which pools are missing, and why."""
    reasons = {
        "not installed": "{title}: not installed (pip install {peer.distribution})",
        "left out": "{title}: left out, it talks to {peer.only} only",
    }
    return [
        reasons[outcome.status].format(title=outcome.peer.title, peer=outcome.peer)
        for outcome in run.outcomes
        if outcome.status in reasons
    ]


def written(change: Change) -> dict[str, str]:
    """Write what has changed: pool, figure, then, now, their ratio and the verdict."""
    figure = FIGURES[change.figure]
    write = duration if figure.is_time else (lambda value: f"{value:,.2f}")
    return {
        "pool": change.pool,
        "figure": figure.title,
        "then": write(change.then),
        "now": write(change.now),
        "ratio": "-" if change.ratio is None else f"{change.ratio:.2f}",
        "verdict": change.verdict,
    }


def verdict_on(comparison: Comparison) -> str:
    """Say in a sentence whether something is worse than the baseline."""
    if not comparison.changes:
        return "There is nothing to compare: no pool was measured then and now."
    worse = len(comparison.worse)
    if not worse:
        return "Nothing is worse beyond noise."
    return f"{worse} of {len(comparison.changes)} figures are worse beyond noise."


def _troubles_of(run: Run) -> list[str]:
    lines = []
    for outcome in run.outcomes:
        name, measured = outcome.peer.title, outcome.measurement
        if outcome.error:
            # Without one in the measurement it is that of a round that came to nothing.
            seen = "the first error was " if measured is not None and measured.errors else ""
            lines.append(f"{name}: {seen}{outcome.error}")
        if measured is not None and measured.hung:
            lines.append(
                f"{name}: {measured.hung} {run.workload.clients} hung and were left behind"
            )
    return lines
