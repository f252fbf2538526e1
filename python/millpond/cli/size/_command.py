"""``millpond size``: options in, table or JSON out."""

from collections.abc import Callable, Iterator
from typing import Annotated, ParamSpec, TypeVar

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from millpond.cli._options import DB, MILLISECONDS, WORKERS, blaming, number, seconds
from millpond.cli._output import fail, new_console, print_json, print_wrapped, width_of
from millpond.cli.size._advice import Advice, Question, advise
from millpond.cli.size._facts import Facts, Unanswered, ask_server, running_pool

__all__ = ["HELP", "size"]

HELP = """Say how large a pool should be, and why.

Asks the server for its limits, and computes sizes from what it says and from the options. Works
without a server too. Sizes are those of each process's pool.
"""

_PROCESS = "'--pool-json'"

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_TOO_MUCH = 2**60

_P = ParamSpec("_P")
_T = TypeVar("_T")


def _bytes(text: str) -> int:
    """Read a number of bytes such as ``512M`` or ``16G``."""
    unit = text.strip().upper().removesuffix("IB").removesuffix("B")
    digits = unit.rstrip("KMGT")
    try:
        found = int(float(digits) * _UNITS[unit[len(digits) :]])
    except (ValueError, KeyError, OverflowError):
        found = 0
    if not 0 < found < _TOO_MUCH:
        message = f"{text} is not allowed; allowed: bytes, or a number with K, M, G or T like 16G"
        raise typer.BadParameter(message)
    return found


def size(
    *,
    db: Annotated[
        str | None,
        typer.Option(
            envvar="DATABASE_URL",
            metavar="URL",
            help="The server: postgresql, mysql, mariadb, redis or sqlite. It is only read.",
        ),
    ] = None,
    pool_json: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="The /pool.json of a running process, or its host:port: the load is measured.",
        ),
    ] = None,
    pool: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Which of its pools, if it has several."),
    ] = None,
    workers: Annotated[
        int,
        typer.Option(parser=WORKERS, metavar="N", help="Processes with a pool each."),
    ] = 1,
    max_size: Annotated[
        int | None,
        typer.Option(
            parser=number(int, 1, 100_000), metavar="N", help="What each pool has at present."
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            parser=number(float, 1e-6, 1e8), metavar="N", help="Acquires per second of a process."
        ),
    ] = None,
    query_ms: Annotated[
        float | None,
        typer.Option(
            parser=MILLISECONDS,
            metavar="MS",
            help="How long a connection is held, on average.",
        ),
    ] = None,
    target_ms: Annotated[
        float | None,
        typer.Option(parser=MILLISECONDS, metavar="MS", help="How long that may take."),
    ] = None,
    target_wait: Annotated[
        float,
        typer.Option(
            parser=MILLISECONDS,
            metavar="MS",
            help="How long an acquire may wait, on average or by --percentile.",
        ),
    ] = 10.0,
    percentile: Annotated[
        float | None,
        typer.Option(
            parser=number(float, 1.0, 99.999),
            metavar="P",
            help="The wait that so many percent are not to exceed, such as 95.",
        ),
    ] = None,
    is_async: Annotated[
        bool | None,
        typer.Option(
            "--async/--blocking",
            help="Connections are held by coroutines, or while other things are waited for.",
            show_default=False,
        ),
    ] = None,
    cores: Annotated[
        int | None,
        typer.Option(
            parser=number(int, 1, 10_000),
            metavar="N",
            help="Cores of the server. The default is what this process has.",
        ),
    ] = None,
    memory: Annotated[
        int | None,
        typer.Option(
            parser=_bytes,
            metavar="BYTES",
            help="What the server has for connections, like 16G. The default is what is "
            "available here, if the server is here.",
        ),
    ] = None,
    reserve: Annotated[
        int | None,
        typer.Option(
            parser=number(int, 0, 1_000_000),
            metavar="N",
            help="Connections to leave for others. The default is what the server reserves.",
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print JSON: seconds and bytes."),
    ] = False,
) -> None:
    """Ask, compute and print.

    Raises:
        typer.BadParameter: An option's value is not allowed. The message names both, and what is.
        typer.Exit: With 1 if the server or the process does not answer, or has no room.
    """
    _check_pair("--target-ms", target_ms, "--query-ms", query_ms)
    _check_pair("--pool", pool, "--pool-json", pool_json)
    question = Question(
        cores=cores,
        workers=workers,
        kind=None if is_async is None else "async" if is_async else "blocking",
        query_time=seconds(query_ms),
        target=seconds(target_ms),
        rate=rate,
        target_wait=target_wait / 1e3,
        probability=None if percentile is None else percentile / 100,
        memory=memory,
        reserve=reserve,
        max_size=max_size,
        stats=None if pool_json is None else _answer(_PROCESS, running_pool, pool_json, pool),
        server=None if db is None else _answer(DB, ask_server, db),
    )
    advice = _answer(None, advise, question)
    if as_json:
        print_json(advice.as_dict())
    else:
        _print(new_console(), advice)
    if not advice.recommendation.size:
        raise typer.Exit(1)


def _check_pair(option: str, value: object, needed: str, there: object) -> None:
    """Refuse what would have no effect, and leave nobody to wonder why."""
    if value is not None and there is None:
        message = f"it says nothing without {needed}"
        raise typer.BadParameter(message, param_hint=f"'{option}'")


def _answer(
    option: str | None, question: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs
) -> _T:
    """Return what a function returns; its errors become the command's."""
    try:
        with blaming(option):
            return question(*args, **kwargs)
    except Unanswered as error:
        fail(f"no answer, from {option}: {error}")


def _print(console: Console, advice: Advice) -> None:
    server, workers = advice.question.server, advice.question.workers
    if server is not None:
        for line in _told(server):
            console.print(Text(line), soft_wrap=True)
    whose = "" if workers == 1 else f" for each of {workers} workers"
    table = Table(box=SIMPLE_HEAD, pad_edge=False, width=width_of(console))
    table.add_column("by", no_wrap=True)
    table.add_column("max_size", justify="right", no_wrap=True)
    table.add_column(f"why{whose}", ratio=1)
    for row in advice.rows:
        style = "bold" if row.name == advice.recommendation.decided_by else None
        number = "-" if row.sizing is None else str(row.sizing.size)
        table.add_row(row.name, number, row.why, style=style)
    console.print(table)
    found = advice.recommendation
    answer = f"max_size={found.size}{whose}, by {found.decided_by}: {found.reason}."
    print_wrapped(console, answer, "bold")
    for note in found.notes:
        print_wrapped(console, note, first="- ", rest="  ")


def _told(server: Facts) -> Iterator[str]:
    yield server.title
    if server.sessions is not None and server.room is not None:
        reserved = f", {server.room.reserved} of them reserved" if server.room.reserved else ""
        yield f"{server.room.most} connections at most{reserved}; {server.sessions} now"
    yield from server.notes
