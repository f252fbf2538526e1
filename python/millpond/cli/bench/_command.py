"""``millpond bench``: options in; table, JSON and files out."""

import importlib.util
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.progress import BarColumn, Progress, TextColumn

from millpond.cli._database import Database, database_from_url, temporary_sqlite
from millpond.cli._in_time import in_time
from millpond.cli._options import DB, blaming, number
from millpond.cli._output import fail, new_console, print_json
from millpond.cli.bench._async_peers import ASYNC_MILLPOND, ASYNC_PEERS
from millpond.cli.bench._baseline import (
    ROUNDS,
    Comparison,
    check_common,
    compare_with,
    load,
    save,
)
from millpond.cli.bench._compare import Run, compare_all
from millpond.cli.bench._html import missing_extra, write_html
from millpond.cli.bench._peers import MILLPOND, PEERS, Peer
from millpond.cli.bench._report import Report, Sweep
from millpond.cli.bench._table import print_comparison, print_report
from millpond.cli.bench._vary import Variation, variation
from millpond.cli.bench._workload import Workload

__all__ = ["HELP", "bench"]

HELP = """Run the same work on millpond and on every other pool you have installed.

Without options it uses a temporary SQLite file and takes two seconds for each pool. To tune a pool,
vary one parameter of it at a time: --vary max_size=2,4,8,16 --html report.html
"""

_CHECKING = 10.0
_SPRINT = 0.5

_KEYS = dict.fromkeys(peer.key for peer in (*PEERS, *ASYNC_PEERS))


def bench(
    *,
    threads: Annotated[
        int,
        typer.Option(
            "--threads",
            "--tasks",
            parser=number(int, 1, 1000),
            metavar="N",
            help="Threads that share the pool; with --async, tasks.",
        ),
    ] = Workload.threads,
    size: Annotated[
        int,
        typer.Option(parser=number(int, 1, 1000), metavar="N", help="Connections in the pool."),
    ] = Workload.size,
    hold: Annotated[
        float | None,
        typer.Option(
            parser=number(float, 0.0, 60.0),
            metavar="SECONDS",
            help="How long each connection is held; 0 for no time. "
            f"The default is {Workload.hold:g}, and then a short run with 0.",
        ),
    ] = None,
    seconds: Annotated[
        float,
        typer.Option(
            parser=number(float, 0.05, 3600.0),
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
        str | None,
        typer.Option(
            metavar="NAMES",
            help=f"Whom to compare with: all, none, or some of {', '.join(_KEYS)}. "
            "The default is all, and none with --vary.",
        ),
    ] = None,
    use_asyncio: Annotated[
        bool, typer.Option("--async", help="asyncio tasks on AsyncPool and its peers, not threads.")
    ] = False,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE,...",
            help="Measure with each value of a parameter: max_size, threads, hold_ms, or a keyword "
            "of millpond.Pool. May be given several times, for one parameter after the other.",
        ),
    ] = None,
    save_to: Annotated[
        Path | None,
        typer.Option("--save", metavar="FILE", help="Write the result as a baseline (JSON)."),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Compare with a baseline, and end with 1 if something is worse beyond noise.",
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a report with plots, one file without links."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of the table; durations in seconds.")
    ] = False,
) -> None:
    """Run the comparison and print it.

    Raises:
        typer.BadParameter: An option's value is not allowed. The message names both, and what is.
        typer.Exit: With 1 if the database can't be reached, millpond itself had an error, or
            something is worse than the baseline.
    """
    options = {"threads": threads, "size": size, "hold": hold, "seconds": seconds}
    rounds = ROUNDS if vary or save_to or baseline else 1
    base = Workload(threads, size, seconds=seconds, tasks=use_asyncio)
    _check_hold("'--hold'", replace(base, hold=hold or 0.0), rounds)
    workloads = _workloads(base, hold)
    variations = [variation(text, workloads[0]) for text in vary or ()]
    planned = [one for each in variations for one in each.workloads] or workloads
    for each in planned:
        _check_hold("'--vary'", each, rounds)
    chosen = _chosen(peers, variations, use_asyncio=use_asyncio)
    with blaming("'--baseline'"):
        earlier = None if baseline is None else load(baseline)
        if earlier is not None:
            check_common(earlier, planned)
    _check_files(save_to, html)
    with ExitStack() as stack:
        database = _database(db, stack)
        _check(database, use_asyncio=use_asyncio)
        plan = _Plan(database, chosen, rounds)
        report = _measure(plan, [] if variations else workloads, variations)
    changes = None if earlier is None else compare_with(earlier, report)
    if as_json:
        told = report.as_dict() | ({} if changes is None else {"baseline": changes.as_dict()})
        print_json(told)
    else:
        _print(report, changes)
    if save_to is not None:
        told = {**options, "async": use_asyncio, "vary": vary or [], "peers": peers}
        with _writing(save_to):
            save(save_to, report, told)
    if html is not None:
        with _writing(html):
            write_html(html, report, changes)
    if (changes and changes.worse) or not _is_sound(report):
        raise typer.Exit(1)


class _Plan(NamedTuple):
    """Where, who, and in how many rounds."""

    database: Database
    peers: Sequence[Peer]
    rounds: int


def _print(report: Report, changes: Comparison | None) -> None:
    console = new_console()
    print_report(console, report)
    if changes is not None:
        print_comparison(console, changes)


def _is_sound(report: Report) -> bool:
    """Tell whether millpond did what it was to do; where options vary, errors may be the result."""
    ours = [run.outcomes[0] for run in report.all_runs]
    if not report.sweeps:
        return all(outcome.is_clean for outcome in ours)
    return all(each.measurement is not None and not each.measurement.hung for each in ours)


def _workloads(default: Workload, hold: float | None) -> list[Workload]:
    if hold is not None:
        return [replace(default, hold=hold)]
    # While connections are held, nothing gets more through than size / hold: what differs is who
    # waits. Without a hold it is how much gets through.
    return [default, replace(default, hold=0.0, seconds=min(default.seconds, _SPRINT))]


def _check_hold(option: str, workload: Workload, rounds: int) -> None:
    """Refuse what nobody could do to the end, for there would be nothing to count."""
    longest = workload.seconds / rounds
    if workload.hold > longest:
        whole = "--seconds" if rounds == 1 else f"--seconds in each of {rounds} rounds"
        message = (
            f"holding for {workload.hold:g} s is longer than {whole}; allowed: 0 to {longest:g} s"
        )
        raise typer.BadParameter(message, param_hint=option)


def _chosen(names: str | None, variations: Sequence[Variation], *, use_asyncio: bool) -> list[Peer]:
    ours, others = (ASYNC_MILLPOND, ASYNC_PEERS) if use_asyncio else (MILLPOND, PEERS)
    if names is None:
        return [ours, *(() if variations else others)]
    hint = "'--peers'"
    by_key = {peer.key: peer for peer in others}
    wanted = {"all": list(by_key), "none": []}.get(names)
    if wanted is None:
        wanted = [name.strip() for name in names.split(",")]
    for name in wanted:
        if name not in by_key:
            allowed = ", ".join(("all", "none", *by_key))
            message = f"there is no peer {name!r}; allowed: {allowed}, separated by commas"
            raise typer.BadParameter(message, param_hint=hint)
    if wanted and variations and not any(each.is_for_all for each in variations):
        what = ", ".join(each.parameter for each in variations)
        message = f"{names} is not allowed: only millpond has {what}; allowed: none"
        raise typer.BadParameter(message, param_hint=hint)
    return [ours, *(peer for peer in others if peer.key in wanted)]


def _check_files(save_to: Path | None, html: Path | None) -> None:
    """Find out before minutes of measuring that the result could not be written."""
    for file, option in ((save_to, "--save"), (html, "--html")):
        if file is not None and not _is_writable(file):
            message = f"can't write {str(file)!r}; allowed: a file in a folder that is there"
            raise typer.BadParameter(message, param_hint=f"'{option}'")
    if save_to is not None and html is not None and save_to.absolute() == html.absolute():
        message = f"{str(html)!r} is where --save writes already; allowed: another file"
        raise typer.BadParameter(message, param_hint="'--html'")
    if html is not None and (missing := missing_extra()):
        message = f"it needs {missing}: pip install 'millpond[report]'"
        raise typer.BadParameter(message, param_hint="'--html'")


def _is_writable(file: Path) -> bool:
    folder = file.absolute().parent
    where = file if file.exists() else folder
    return folder.is_dir() and not file.is_dir() and os.access(where, os.W_OK)


@contextmanager
def _writing(file: Path) -> Iterator[None]:
    """Make it a failure without a traceback that a file can't be written after all."""
    try:
        yield
    except OSError as error:
        fail(f"can't write {str(file)!r}: {error.strerror or error}")


def _database(url: str | None, stack: ExitStack) -> Database:
    if url is None:
        # A pool that was left behind may still have the file open, which Windows would mind.
        folder = tempfile.TemporaryDirectory(prefix="millpond-", ignore_cleanup_errors=True)
        return temporary_sqlite(Path(stack.enter_context(folder)))
    with blaming(DB):
        return database_from_url(url)


def _check(database: Database, *, use_asyncio: bool) -> None:
    if use_asyncio and database.kind == "sqlite" and importlib.util.find_spec("aiosqlite") is None:
        message = "on SQLite it needs aiosqlite: pip install 'millpond[aiosqlite]'"
        raise typer.BadParameter(message, param_hint="'--async'")
    if use_asyncio and database.path == ":memory:":
        message = f"{database.title} is not allowed; allowed with --async: a file"
        raise typer.BadParameter(message, param_hint=DB)
    try:
        in_time(database.check, _CHECKING)
    except Exception as error:  # noqa: BLE001 - every driver has its own
        said = database.scrub(f"{type(error).__name__}: {error}")
        fail(f"can't use {database.title}, from {DB}: {said}")


def _measure(plan: _Plan, workloads: Sequence[Workload], variations: Sequence[Variation]) -> Report:
    console = new_console(stderr=True)
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
        working = sum(peer.fits(plan.database) for peer in plan.peers)
        total = working * sum(each.seconds for each in workloads) + sum(
            sum(peer.fits(plan.database) for peer in _who_knows(one, plan.peers)) * each.seconds
            for one in variations
            for each in one.workloads
        )
        task = progress.add_task("", total=total)

        def show(peer: Peer, seconds: float) -> None:
            progress.update(task, description=peer.title, advance=seconds, refresh=True)

        def turns(peers: Sequence[Peer], each: Sequence[Workload]) -> tuple[Run, ...]:
            return compare_all(plan.database, each, peers, plan.rounds, show)

        runs = turns(plan.peers, workloads)
        sweeps = [
            Sweep(each.parameter, each.values, turns(_who_knows(each, plan.peers), each.workloads))
            for each in variations
        ]
        return Report(plan.database, runs, tuple(sweeps))


def _who_knows(each: Variation, peers: Sequence[Peer]) -> Sequence[Peer]:
    """Leave out the peers, which come after millpond, where only that has the parameter."""
    return peers if each.is_for_all else peers[:1]
