"""Values of options, checked with errors that say what is allowed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

import typer

from millpond.errors import PoolConfigError

__all__ = ["DB", "MILLISECONDS", "WORKERS", "blaming", "number", "seconds"]

_N = TypeVar("_N", int, float)

DB: Final = "'--db' (or DATABASE_URL)"
"""What errors call the option with the database."""


def number(kind: type[_N], low: _N, high: _N) -> Callable[[object], _N]:
    """Return a parser whose errors name the value and what is allowed, which typer's own don't."""

    def parse(value: object) -> _N:
        try:
            found = kind(str(value))
            # Not `found < low or found > high`: NaN is neither.
            if low <= found <= high:
                return found
        except ValueError:
            pass
        what, form = ("a whole number", "d") if kind is int else ("a number", "g")
        message = f"{value!s} is not allowed; allowed: {what} from {low:{form}} to {high:{form}}"
        raise typer.BadParameter(message)

    return parse


WORKERS: Final = number(int, 1, 1_000_000)
"""Reads how many processes have a pool each."""

MILLISECONDS: Final = number(float, 1e-3, 1e9)
"""Reads a duration that can't be nothing."""


def seconds(milliseconds: float | None) -> float | None:
    """Return a duration as everything but the command line has it."""
    return None if milliseconds is None else milliseconds / 1e3


@contextmanager
def blaming(option: str | None) -> Iterator[None]:
    """Make what millpond refuses an error about an option, named as it is to be printed.

    Raises:
        typer.BadParameter: A `PoolConfigError` ended the block.
    """
    try:
        yield
    except PoolConfigError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
