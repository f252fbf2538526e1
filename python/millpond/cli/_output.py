"""What the commands print in the same way: JSON, sentences, and why nothing came of it."""

import json
import textwrap
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.text import Text

__all__ = ["fail", "new_console", "print_json", "print_wrapped", "width_of"]

_WIDEST = 100
"""Columns: longer lines are hard to read."""


def new_console(**options: Any) -> Console:  # noqa: ANN401 - rich's own
    """Return a console that takes no text for markup: a pool may be called ``orders[eu]``."""
    return Console(highlight=False, markup=False, emoji=False, **options)


def print_json(value: object) -> None:
    """Print plain values."""
    typer.echo(json.dumps(value, indent=2))


def fail(message: str) -> NoReturn:
    """End with 1 and a message: nothing is wrong with how the command was used.

    Raises:
        typer.Exit: Always.
    """
    typer.echo(f"Error: {message}", err=True)
    raise typer.Exit(1)


def width_of(console: Console) -> int:
    """Return the columns that sentences may have."""
    return min(console.width, _WIDEST)


def print_wrapped(
    console: Console, text: str, style: str = "", *, first: str = "", rest: str = ""
) -> None:
    """Print a text in lines; ``first`` and ``rest`` is what these begin with.

    What somebody may want to copy, such as a path, is never broken.
    """
    for line in textwrap.wrap(
        text,
        width_of(console),
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    ):
        console.print(Text(line, style), soft_wrap=True)
