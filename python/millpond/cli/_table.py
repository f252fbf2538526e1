"""The report for people: a table, what is missing from it, and how to read it."""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from millpond.cli._compare import Outcome, Report, Run
from millpond.cli._database import Database
from millpond.cli._machine import cores, python_version
from millpond.cli._workload import Workload

__all__ = ["duration", "print_report"]

_NUMBERS = ("checkouts/s", "wait p50", "p99", "max", "fairness", "errors")


def print_report(console: Console, report: Report) -> None:
    """Print ``report`` as a table for each run, with an explanation."""
    for run in report.runs:
        console.print(_table(run, report.database))
        for line in (*_troubles(run), ""):
            console.print(Text(line), soft_wrap=True)
    for line in (*_how_to_read(report), *_absences(report.runs[0])):
        console.print(Text(line), soft_wrap=True)


def duration(seconds: float | None) -> str:
    """Write a duration with the unit that suits it: ``850 ns``, ``51 ms``, ``2.04 s``."""
    if seconds is None:
        return "-"
    for unit, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds * 1e9:.0f} ns"


def _table(run: Run, database: Database) -> Table:
    table = Table(
        title=_title(run.workload),
        caption=_caption(run.workload, database),
        title_style="bold",
        box=SIMPLE_HEAD,
        # All columns fit into the 80 that a pipe or a small window has.
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("pool", no_wrap=True)
    for name in _NUMBERS:
        table.add_column(name, justify="right", no_wrap=True)
    for outcome in run.outcomes:
        if outcome.measurement is not None:
            style = "bold" if outcome is run.outcomes[0] else None
            name = f"{outcome.peer.title} {outcome.peer.version}"
            table.add_row(name, *_numbers(outcome), style=style)
    return table


def _title(workload: Workload) -> str:
    hold = f"each held {duration(workload.hold)}" if workload.hold else "given back at once"
    return f"{workload.threads} threads, {workload.size} connections, {hold}"


def _caption(workload: Workload, database: Database) -> Text:
    return Text(
        f"{duration(workload.seconds)} per pool on {database.title}; "
        f"{python_version()}, {cores()} cores"
    )


def _numbers(outcome: Outcome) -> tuple[str, ...]:
    measured = outcome.measurement
    if measured is None:
        return ()
    fairness = "-" if measured.fairness is None else f"{measured.fairness:.2f}"
    waits = (duration(measured.wait(share)) for share in (0.5, 0.99, 1))
    return (f"{measured.rate:,.0f}", *waits, fairness, f"{measured.errors:,}")


def _troubles(run: Run) -> list[str]:
    lines = []
    for outcome in run.outcomes:
        title, measured = outcome.peer.title, outcome.measurement
        if measured is None and outcome.error:
            lines.append(f"{title}: {outcome.error}")
        if measured is not None and measured.errors:
            lines.append(f"{title}: the first error was {outcome.error}")
        if measured is not None and measured.hung:
            lines.append(f"{title}: {measured.hung} threads hung and were left behind")
    return lines


def _absences(run: Run) -> list[str]:
    reasons = {
        "not installed": "{title}: not installed (pip install {peer.distribution})",
        "left out": "{title}: left out, it talks to {peer.only} only",
    }
    return [
        reasons[outcome.status].format(title=outcome.peer.title, peer=outcome.peer)
        for outcome in run.outcomes
        if outcome.status in reasons
    ]


def _how_to_read(report: Report) -> list[str]:
    workload = report.runs[0].workload
    most = fair = ""
    if workload.hold:
        hold = duration(workload.hold)
        most = f" Held {hold}, {workload.ceiling:,.0f} are the most there can be."
        fair = f" Held {hold} in turn, nobody waits much over {duration(workload.fair_wait)}."
    return [
        "How to read it:",
        f"  checkouts/s  acquire, SELECT 1, hold, release; all threads together.{most}",
        f"  wait         from asking for a connection to having it; lower is better.{fair}",
        "  fairness     fewest checkouts of a thread / most; 1 is equal shares, 0 starves one.",
    ]
