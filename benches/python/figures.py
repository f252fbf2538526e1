"""One command that measures what millpond promises, beside its goals and its peers.

    python benches/python/figures.py
    python benches/python/figures.py --rows pair,with --json

Rows for PostgreSQL take a server from MILLPOND_TEST_POSTGRES; the free-threaded row an interpreter
from MILLPOND_FREE_THREADED. What can't be measured is listed with its reason. Nothing here is a
test: figures depend on the machine, so compare the columns of one run and not two runs.
"""

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from _rows import ROWS, Row
from millpond.cli.bench._async_peers import ASYNC_PEERS
from millpond.cli.bench._machine import machine
from millpond.cli.bench._peers import MILLPOND, PEERS

_WIDTH = 150
"""Columns for a table that goes into a file."""


def _measure(row: str) -> Row:
    sys.stderr.write(f"measuring {row} ...\n")
    try:
        return ROWS[row]()
    except LookupError as error:
        return Row(row, "", f"left out: {error}", None)
    except Exception as error:  # noqa: BLE001 - one broken row must not hide the others
        return Row(row, "", f"failed: {type(error).__name__}: {error}", reached=False)


def _chosen(names: str) -> list[str]:
    chosen = [name.strip() for name in names.split(",")] if names else list(ROWS)
    for name in chosen:
        if name not in ROWS:
            message = f"there is no row {name!r}; allowed: {', '.join(ROWS)}"
            raise typer.BadParameter(message, param_hint="'--rows'")
    return chosen


def _table(rows: list[Row]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_lines=True)
    for name in ("what", "goal", "measured", "reached", "elsewhere, same run"):
        table.add_column(name)
    for row in rows:
        reached = {True: "yes", False: "NO", None: "-"}[row.reached]
        table.add_row(row.what, row.goal, row.measured, reached, row.elsewhere)
    return table


def _versions() -> dict[str, str]:
    peers = (MILLPOND, *PEERS, *(peer for peer in ASYNC_PEERS if not peer.is_millpond))
    return {peer.title: peer.version or "not installed" for peer in peers}


def main(
    *,
    rows: Annotated[str, typer.Option(metavar="NAMES", help=f"Some of {', '.join(ROWS)}.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure the rows, one after the other, and print them beside their goals."""
    measured = [_measure(row) for row in _chosen(rows)]
    about = machine() | _versions()
    if as_json:
        typer.echo(
            json.dumps({"about": about, "rows": [asdict(row) for row in measured]}, indent=2)
        )
        return
    console = Console()
    wide = console if console.is_terminal else Console(width=_WIDTH)
    wide.print(", ".join(f"{key} {value}" for key, value in about.items()), highlight=False)
    wide.print(_table(measured), highlight=False)


if __name__ == "__main__":
    typer.run(main)
