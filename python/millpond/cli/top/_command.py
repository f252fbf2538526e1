"""``millpond top``: pools while they work, as their processes tell it by ``/pool.json``."""

import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live

from millpond.cli._options import blaming, number
from millpond.cli._output import new_console, print_json
from millpond.cli._reading import Reading, take
from millpond.cli.top._columns import columns_in
from millpond.cli.top._feed import Feed
from millpond.cli.top._frame import frame, pools_of
from millpond.cli.top._keys import keyboard
from millpond.cli.top._view import View
from millpond.doctor.ask import Endpoint, endpoint

__all__ = ["HELP", "top"]

HELP = """Watch the pools of running processes.

Each URL is that of a process which serves millpond.web's /pool.json; localhost:8000 is enough, or
localhost:8000/millpond where an application has it below a path. Counts of timeouts and failures
are those of the last minute. With --once, with --json, or where there is no terminal, it looks
once, and ends with 1 if a server did not answer.
"""

_TIMEOUT = 2.0
"""Seconds that an answer may take; no pool takes milliseconds."""

_BLINK = 0.1
"""Seconds between two looks for something new; a key is seen at once."""


def top(
    *,
    urls: Annotated[
        list[str], typer.Argument(metavar="URL...", help="Where the processes serve /pool.json.")
    ],
    interval: Annotated[
        float,
        typer.Option(
            parser=number(float, 0.1, 3600.0),
            metavar="SECONDS",
            help="How often the servers are asked.",
        ),
    ] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Print one frame and end.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what the servers said as JSON, and end.")
    ] = False,
) -> None:
    """Show the pools until somebody presses q.

    Raises:
        typer.BadParameter: A URL can't be one.
        typer.Exit: With 1 if it looked once and a server did not answer.
    """
    with blaming("'URL...'"):
        endpoints = [endpoint(url) for url in urls]
    if as_json or once or not (sys.stdout.isatty() and sys.stdin.isatty()):
        _look_once(endpoints, as_json=as_json)
        return
    _watch(new_console(), endpoints, interval)


def _look_once(endpoints: Sequence[Endpoint], *, as_json: bool) -> None:
    with ThreadPoolExecutor(len(endpoints)) as executor:
        readings = list(executor.map(lambda at: take(at, _TIMEOUT), endpoints))
    if as_json:
        print_json([_as_dict(reading) for reading in readings])
    else:
        console = new_console()
        console.print(frame(readings, View(), console.width))
    if any(reading.error for reading in readings):
        raise typer.Exit(1)


def _as_dict(reading: Reading) -> dict[str, Any]:
    return {
        "url": reading.endpoint.url,
        "time": reading.time,
        "error": reading.error,
        "answer": reading.document,
    }


def _watch(console: Console, endpoints: Sequence[Endpoint], interval: float) -> None:
    news = threading.Event()
    feeds = [Feed(at, interval, _TIMEOUT, news.set) for at in endpoints]
    try:
        with keyboard() as wait, Live(console=console, screen=True, auto_refresh=False) as live:
            _run(console, live, wait, feeds, news)
    except KeyboardInterrupt:
        pass
    finally:
        for feed in feeds:
            feed.stop()


def _run(
    console: Console,
    live: Live,
    wait: Callable[[float], str],
    feeds: Sequence[Feed],
    news: threading.Event,
) -> None:
    view = View()
    readings = [feed.latest() for feed in feeds]
    drawn, size = 0.0, console.size
    while not view.done:
        if key := wait(_BLINK):
            view.press(key, pools_of(readings), columns_in(console.width, len(feeds)))
        # Once a second anyway: silence is told in seconds.
        due = news.is_set() or time.monotonic() - drawn > 1.0
        if due and not view.paused:
            news.clear()
            readings = [feed.latest() for feed in feeds]
        if key or (due and not view.paused) or console.size != size:
            drawn, size = time.monotonic(), console.size
            live.update(frame(readings, view, size.width, size.height), refresh=True)
