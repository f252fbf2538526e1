"""The report for people: tables, and how to read them."""

from collections.abc import Iterable, Sequence
from itertools import groupby

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from millpond.cli._database import Database
from millpond.cli._words import duration
from millpond.cli.bench._baseline import Change, Comparison
from millpond.cli.bench._compare import Outcome, Run
from millpond.cli.bench._machine import python_version
from millpond.cli.bench._recommend import told
from millpond.cli.bench._report import Report, Sweep
from millpond.cli.bench._words import (
    NUMBERS,
    absences,
    numbers,
    title,
    troubles,
    verdict_on,
    written,
)
from millpond.sizing import available_cores

__all__ = ["print_comparison", "print_report"]


def print_report(console: Console, report: Report) -> None:
    """Print ``report`` as a table for each run and each pool of a sweep, with an explanation."""
    for run in report.runs:
        rows = [(each.peer.label, each) for each in run.outcomes]
        _print_table(console, _run_table(run, report.database, rows), troubles([run]))
    for sweep in report.sweeps:
        tables = list(_sweep_tables(sweep, report.database))
        for table in tables:
            _print_table(console, table, troubles(sweep.runs) if table is tables[-1] else [])
        if (best := sweep.recommendation) is not None:
            console.print(Text.assemble(("Recommended: ", "bold"), best.reason), soft_wrap=True)
            console.print()
    for line in (*_how_to_read(report), *absences(report.all_runs[0])):
        console.print(Text(line), soft_wrap=True)


def print_comparison(console: Console, comparison: Comparison) -> None:
    """Print what has changed since the baseline, beyond noise."""
    console.print()
    heading = f"Against the baseline of {comparison.date}"
    console.print(Text(heading, style="bold"), soft_wrap=True)
    for difference in comparison.differences:
        console.print(Text(f"Not the same {difference}", style="yellow"), soft_wrap=True)
    for run, changes in groupby(comparison.changes, lambda change: change.run):
        console.print(_changes_table(run, changes))
    console.print(Text(verdict_on(comparison), style="bold"))


_STYLES = {"worse": "red", "better": "green", "same": ""}


def _changes_table(run: str, changes: Iterable[Change]) -> Table:
    table = _new_table(run, "")
    for name in ("pool", "figure"):
        table.add_column(name, no_wrap=True)
    for name in ("then", "now", "now / then"):
        table.add_column(name, no_wrap=True, justify="right")
    table.add_column("verdict", no_wrap=True)
    for change in changes:
        told = written(change) | ({"verdict": ""} if change.verdict == "same" else {})
        table.add_row(*told.values(), style=_STYLES[change.verdict])
    return table


def _sweep_tables(sweep: Sweep, database: Database) -> Iterable[Table]:
    """Make a table for each pool that was measured."""
    for place, outcome in enumerate(sweep.runs[0].outcomes):
        outcomes = [run.outcomes[place] for run in sweep.runs]
        if outcome.status not in {"not installed", "left out"}:
            yield _sweep_table(sweep, outcomes, database)


def _sweep_table(sweep: Sweep, outcomes: Sequence[Outcome], database: Database) -> Table:
    peer, workload = outcomes[0].peer, sweep.runs[0].workload
    workload_told = title(workload, without=sweep.parameter)
    table = _new_table(
        f"{peer.label}: {sweep.parameter}",
        f"{workload_told}; {_where(workload.seconds, 'value', database)}",
    )
    table.add_column(sweep.parameter, no_wrap=True, justify="right")
    _add_numbers(table)
    best = sweep.recommendation if outcomes[0] is sweep.runs[0].outcomes[0] else None
    for value, outcome in zip(sweep.values, outcomes, strict=True):
        if outcome.measurement is not None:
            style = "bold" if best is not None and value == best.value else None
            table.add_row(told(value), *numbers(outcome.measurement), style=style)
    return table


def _run_table(run: Run, database: Database, rows: Sequence[tuple[str, Outcome]]) -> Table:
    table = _new_table(title(run.workload), _where(run.workload.seconds, "pool", database))
    table.add_column("pool", no_wrap=True)
    _add_numbers(table)
    for name, outcome in rows:
        if outcome.measurement is not None:
            style = "bold" if outcome is run.outcomes[0] else None
            table.add_row(name, *numbers(outcome.measurement), style=style)
    return table


def _new_table(heading: str, caption: str) -> Table:
    return Table(
        title=heading,
        caption=Text(caption),
        title_style="bold",
        box=SIMPLE_HEAD,
        # All columns fit into the 80 that a pipe or a small window has.
        pad_edge=False,
        padding=0,
    )


def _add_numbers(table: Table) -> None:
    for name in NUMBERS:
        table.add_column(name, justify="right", no_wrap=True)


def _print_table(console: Console, table: Table, lines: Iterable[str]) -> None:
    console.print(table)
    for line in (*lines, ""):
        console.print(Text(line), soft_wrap=True)


def _where(seconds: float, each: str, database: Database) -> str:
    cores = available_cores()
    return f"{duration(seconds)} per {each} on {database.title}; {python_version()}, {cores} cores"


def _how_to_read(report: Report) -> list[str]:
    workload = report.all_runs[0].workload
    most = fair = ""
    # Where it varies there is no one answer.
    if workload.hold and report.runs:
        hold = duration(workload.hold)
        most = f" Held {hold}, {workload.ceiling:,.0f} are the most there can be."
        fair = f" Held {hold} in turn, nobody waits much over {duration(workload.fair_wait)}."
    clients = workload.clients
    return [
        "How to read it:",
        f"  checkouts/s  acquire, SELECT 1, hold, release; all {clients} together.{most}",
        f"  wait         from asking for a connection to having it; lower is better.{fair}",
        f"  fair         fewest checkouts of a {clients[:-1]} / most; 1 is fair, 0 starves one.",
    ]
