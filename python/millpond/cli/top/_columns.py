"""The columns of ``millpond top``: what each shows, how it is sorted, and its width.

In 80 columns a pool has one line with what matters; with more room it says more.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich.text import Text

from millpond._stats_table import three_digits
from millpond.cli._pools import PoolView
from millpond.cli._words import duration

__all__ = ["COLUMNS", "WIDE", "Column", "bar", "columns_in", "sort_pools", "style_of", "wait"]

_CROWDED, _FULL = 0.8, 0.95
_SEVERE = frozenset({"critical", "error"})

WIDE = 120
"""Columns of a window with room for more than what matters, beside the names of the pools."""

_EIGHTHS = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        title: Its head; the key that sorts by it is its place in ``COLUMNS``, from 1.
        text: What it shows of a pool, in a window of that width.
        order: What it is sorted by; numbers begin with the largest, texts with A.
        width: Characters, or ``None`` for what is left over.
        wide: How many it has in a wide window, if that is something else.
        least: The narrowest window that shows it.
        justify: Texts are on the left.
    """

    title: str
    text: Callable[[PoolView, int], str | Text]
    order: Callable[[PoolView], Any]
    width: int | None = None
    wide: int | None = None
    least: int = 0
    justify: Literal["left", "right"] = "right"

    def width_in(self, window: int) -> int | None:
        """Return the characters it has in a window of that width."""
        return self.wide if self.wide is not None and window >= WIDE else self.width


def columns_in(window: int, servers: int) -> list[int]:
    """Return which of ``COLUMNS`` a window shows: in a narrow one not the server, if one."""
    is_told = window < WIDE and servers <= 1
    return [
        place
        for place, column in enumerate(COLUMNS)
        if window >= column.least and not (is_told and column is SERVER)
    ]


def sort_pools(pools: Sequence[PoolView], column: int, *, reverse: bool) -> list[PoolView]:
    """Return the pools sorted by ``COLUMNS[column]``; equal ones by name and server."""
    order = COLUMNS[column].order
    named = sorted(pools, key=lambda pool: (pool.name, pool.where, pool.key.nth))
    largest_first = COLUMNS[column].justify == "right"
    return sorted(named, key=order, reverse=largest_first != reverse)


def bar(share: float, width: int) -> str:
    """Draw ``share`` of ``width`` characters, in eighths of one."""
    eighths = round(max(0.0, min(share, 1.0)) * width * 8)
    whole, rest = divmod(eighths, 8)
    return ("█" * whole + (_EIGHTHS[rest] if rest else "")).ljust(width)


def wait(seconds: float | None) -> str:
    """Write a wait; none is ``0``."""
    return "0" if seconds == 0 else duration(seconds)


def style_of(pool: PoolView) -> str:
    """Return the colour of a pool: red for trouble, yellow where it may come."""
    severe = any(alert.severity in _SEVERE for alert in pool.alerts)
    if severe or (pool.utilization >= _FULL and pool.waiting):
        return "red"
    return "yellow" if pool.alerts or pool.utilization >= _CROWDED else ""


def _utilization(pool: PoolView, window: int) -> Text:
    width = 12 if window >= WIDE else 4
    share = pool.utilization
    colour = "red" if share >= _FULL else "yellow" if share >= _CROWDED else "green"
    return Text.assemble((bar(share, width), f"{colour} on grey23"), f" {share:4.0%}")


def _size(pool: PoolView, window: int) -> str:
    if window >= WIDE:
        return f"{pool.in_use} + {pool.idle} / {pool.max_size}"
    return f"{pool.in_use}+{pool.idle}/{pool.max_size}"


def _rate(pool: PoolView, _window: int) -> str:
    rate = pool.rate
    if rate is None:
        return "-"
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if rate >= 10 * unit:
            return f"{three_digits(rate / unit)}{name}"
    return f"{rate:.0f}" if rate >= 10 or rate == 0 else f"{rate:.1f}"  # noqa: PLR2004 - digits


def _server(pool: PoolView, window: int) -> str:
    """Of a name that is too long, write the end, which has the port."""
    room = SERVER.width_in(window) or window
    return pool.where if len(pool.where) <= room else "…" + pool.where[1 - room :]


def _count(number: int | None) -> str:
    return "-" if number is None else str(number)


def _process(pool: PoolView, _window: int) -> str:
    return _count(pool.pid)


SERVER = Column("server", _server, lambda pool: pool.where, width=10, wide=18, justify="left")

COLUMNS = (
    Column("pool", lambda pool, _: pool.name, lambda pool: pool.name, justify="left"),
    SERVER,
    Column("use+idle/max", _size, lambda pool: pool.in_use, width=9, wide=14),
    Column("queue", lambda pool, _: str(pool.waiting), lambda pool: pool.waiting, width=6),
    Column("utilized", _utilization, lambda pool: pool.utilization, width=9, wide=17),
    Column("acq/s", _rate, lambda pool: pool.rate or 0.0, width=6),
    Column(
        "mean", lambda pool, _: wait(pool.wait_mean), lambda pool: pool.wait_mean or 0.0, width=7
    ),
    Column("p99", lambda pool, _: wait(pool.wait_p99), lambda pool: pool.wait_p99 or 0.0, width=7),
    Column("t/o", lambda pool, _: _count(pool.timed_out), lambda p: p.timed_out or 0, width=4),
    Column("fail", lambda pool, _: _count(pool.failed), lambda p: p.failed or 0, width=4),
    Column("alerts", lambda pool, _: str(len(pool.alerts)), lambda p: len(p.alerts), 6, 6, WIDE),
    Column("pid", _process, lambda pool: pool.pid or 0, width=7, least=WIDE),
)
"""From left to right."""
