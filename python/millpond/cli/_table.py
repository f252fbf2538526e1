"""The report for people: a table, what is missing from it, and how to read it."""

import math

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from millpond.cli._compare import Outcome, Report
from millpond.cli._machine import cores, python_version

__all__ = ["duration", "print_report"]

_NUMBERS = ("checkouts/s", "wait p50", "p99", "max", "fairness", "errors")


def print_report(console: Console, report: Report) -> None:
    """Print ``report`` as a table with its explanation."""
    console.print(_table(report))
    for line in (*_notes(report), "", *_how_to_read(report)):
        console.print(Text(line), soft_wrap=True)


def duration(seconds: float | None) -> str:
    """Write a duration with the unit that suits it: ``850 ns``, ``51 ms``, ``2.04 s``."""
    if seconds is None:
        return "-"
    for unit, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds * 1e9:.0f} ns"


def _table(report: Report) -> Table:
    table = Table(
        title=_title(report),
        caption=_caption(report),
        title_style="bold",
        box=SIMPLE_HEAD,
        # All columns fit into the 80 that a pipe or a small window has.
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("pool", no_wrap=True)
    for name in _NUMBERS:
        table.add_column(name, justify="right", no_wrap=True)
    for outcome in report.outcomes:
        if outcome.measurement is not None:
            style = "bold" if outcome is report.outcomes[0] else None
            name = f"{outcome.peer.title} {outcome.peer.version}"
            table.add_row(name, *_numbers(outcome), style=style)
    return table


def _title(report: Report) -> str:
    workload = report.workload
    hold = f"each held {duration(workload.hold)}" if workload.hold else "given back at once"
    return f"{workload.threads} threads, {workload.size} connections, {hold}"


def _caption(report: Report) -> Text:
    return Text(
        f"{duration(report.workload.seconds)} per pool on {report.database.title}; "
        f"{python_version()}, {cores()} cores"
    )


def _numbers(outcome: Outcome) -> tuple[str, ...]:
    measured = outcome.measurement
    if measured is None:
        return ()
    fairness = "-" if measured.fairness is None else f"{measured.fairness:.2f}"
    waits = (duration(measured.wait(share)) for share in (0.5, 0.99, 1))
    return (f"{measured.rate:,.0f}", *waits, fairness, f"{measured.errors:,}")


def _notes(report: Report) -> list[str]:
    lines = []
    for outcome in report.outcomes:
        title, measured = outcome.peer.title, outcome.measurement
        if measured is None:
            lines.append(f"{title}: {_absence(outcome)}")
            continue
        if measured.errors:
            lines.append(f"{title}: the first error was {outcome.error}")
        if measured.hung:
            lines.append(f"{title}: {measured.hung} threads hung and were left behind")
    return lines


def _absence(outcome: Outcome) -> str:
    if outcome.status == "not installed":
        return f"not installed (pip install {outcome.peer.distribution})"
    return outcome.error or f"left out, it talks to {outcome.peer.only} only"


def _how_to_read(report: Report) -> list[str]:
    workload = report.workload
    ceiling = (
        "" if math.isinf(workload.ceiling) else f" At most {workload.ceiling:,.0f} are possible."
    )
    fair = ""
    if workload.hold:
        fair = f" In turn, nobody would wait much longer than {duration(workload.fair_wait)}."
    return [
        "How to read it:",
        f"  checkouts/s  acquire, SELECT 1, hold, release; all threads together.{ceiling}",
        f"  wait         from asking for a connection to having it; lower is better.{fair}",
        "  fairness     fewest checkouts of a thread / most; 1 is equal shares, 0 starves one.",
    ]
