"""``millpond bench``: options in, table or JSON out."""

import json
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from millpond.cli._compare import Report, compare
from millpond.cli._crew import in_time
from millpond.cli._database import Database, database_from_url, temporary_sqlite
from millpond.cli._peers import MILLPOND, PEERS, Peer
from millpond.cli._table import print_report
from millpond.cli._workload import Workload

__all__ = ["HELP", "bench"]

HELP = """Run the same work on millpond and on every other pool you have installed.

Without options it uses a temporary SQLite file and takes two seconds for each pool.
"""

_N = TypeVar("_N", int, float)

_CHECKING = 10.0
_SPRINT = 0.5

_DB = "'--db' (or DATABASE_URL)"


def _number(kind: type[_N], low: _N, high: _N) -> Callable[[object], _N]:
    """Return a parser whose errors name the value and what is allowed, which typer's own don't."""

    def parse(value: object) -> _N:
        try:
            number = kind(str(value))
            # Not `number < low or number > high`: NaN is neither.
            if low <= number <= high:
                return number
        except ValueError:
            pass
        article = "a whole number" if kind is int else "a number"
        message = f"{value!s} is not allowed; allowed: {article} from {low:g} to {high:g}"
        raise typer.BadParameter(message)

    return parse


def bench(
    *,
    threads: Annotated[
        int,
        typer.Option(
            parser=_number(int, 1, 1000), metavar="N", help="Threads that share the pool."
        ),
    ] = Workload.threads,
    size: Annotated[
        int,
        typer.Option(parser=_number(int, 1, 1000), metavar="N", help="Connections in the pool."),
    ] = Workload.size,
    hold: Annotated[
        float | None,
        typer.Option(
            parser=_number(float, 0.0, 60.0),
            metavar="SECONDS",
            help="How long each connection is held; 0 for no time. "
            f"The default is {Workload.hold:g}, and then a short run with 0.",
        ),
    ] = None,
    seconds: Annotated[
        float,
        typer.Option(
            parser=_number(float, 0.05, 3600.0),
            metavar="SECONDS",
            help="How long each pool is at work.",
        ),
    ] = Workload.seconds,
    db: Annotated[
        str | None,
        typer.Option(
            envvar="DATABASE_URL",
            metavar="URL",
            help="sqlite:///file.db or postgresql://user@host/database; it only sees SELECT 1. "
            "The default is a temporary SQLite file.",
        ),
    ] = None,
    peers: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help=f"Whom to compare with: all, none, or some of {','.join(p.key for p in PEERS)}.",
        ),
    ] = "all",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of the table; durations in seconds.")
    ] = False,
) -> None:
    """Run the comparison and print it.

    Raises:
        typer.BadParameter: An option's value is not allowed. The message names both, and what is.
        typer.Exit: With 1 if the database can't be reached, or millpond itself had an error.
    """
    if hold is not None and hold > seconds:
        message = f"{hold:g} is longer than --seconds; allowed: 0 to {seconds:g}"
        raise typer.BadParameter(message, param_hint="'--hold'")
    chosen = (MILLPOND, *_chosen(peers))
    workloads = _workloads(Workload(threads, size, seconds=seconds), hold)
    with ExitStack() as stack:
        database = _database(db, stack)
        _check(database)
        report = _compare_with_progress(database, workloads, chosen)
    if as_json:
        typer.echo(json.dumps(report.as_dict(), indent=2))
    else:
        print_report(Console(), report)
    if not all(run.outcomes[0].is_clean for run in report.runs):
        raise typer.Exit(1)


def _workloads(default: Workload, hold: float | None) -> list[Workload]:
    if hold is not None:
        return [replace(default, hold=hold)]
    # While connections are held, nothing gets more through than size / hold: what differs is who
    # waits. Without a hold it is how much gets through.
    held = replace(default, hold=min(default.hold, default.seconds))
    return [held, replace(default, hold=0.0, seconds=min(default.seconds, _SPRINT))]


def _chosen(names: str) -> list[Peer]:
    by_key = {peer.key: peer for peer in PEERS}
    if names == "all":
        return list(PEERS)
    wanted = [name.strip() for name in names.split(",")] if names != "none" else []
    for name in wanted:
        if name not in by_key:
            allowed = ", ".join(("all", "none", *by_key))
            message = f"there is no peer {name!r}; allowed: {allowed}, separated by commas"
            raise typer.BadParameter(message, param_hint="'--peers'")
    return [peer for peer in PEERS if peer.key in wanted]


def _database(url: str | None, stack: ExitStack) -> Database:
    if url is None:
        # A pool that was left behind may still have the file open, which Windows would mind.
        folder = tempfile.TemporaryDirectory(prefix="millpond-", ignore_cleanup_errors=True)
        return temporary_sqlite(Path(stack.enter_context(folder)))
    try:
        return database_from_url(url)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=_DB) from None


def _check(database: Database) -> None:
    try:
        in_time(database.check, _CHECKING)
    except Exception as error:  # noqa: BLE001 - every driver has its own
        said = database.scrub(f"{type(error).__name__}: {error}")
        typer.echo(f"Error: can't use {database.title}, from {_DB}: {said}", err=True)
        raise typer.Exit(1) from None


def _compare_with_progress(
    database: Database, workloads: Sequence[Workload], peers: Sequence[Peer]
) -> Report:
    console = Console(stderr=True)
    # Without its own refresh thread: that would compete with the threads that are measured.
    with Progress(
        TextColumn("{task.description:12}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        console=console,
        transient=True,
        auto_refresh=False,
        disable=not console.is_terminal,
    ) as progress:
        working = sum(peer.fits(database) for peer in peers)
        task = progress.add_task("", total=working * sum(each.seconds for each in workloads))

        def show(peer: Peer, seconds: float) -> None:
            progress.update(task, description=peer.title, advance=seconds, refresh=True)

        runs = tuple(compare(database, workload, peers, show) for workload in workloads)
        return Report(database, runs)
