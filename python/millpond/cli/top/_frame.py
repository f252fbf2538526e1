"""One frame of ``millpond top``: the list of all pools, their alerts, and who doesn't answer."""

import time
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from millpond.cli._pools import PoolView
from millpond.cli._reading import Reading
from millpond.cli.top._columns import COLUMNS, columns_in, style_of
from millpond.cli.top._detail import detail
from millpond.cli.top._view import View

__all__ = ["frame", "pools_of"]

_HELP = (
    ("s 1-9 r", "sort"),
    ("↑ ↓", "choose"),
    ("enter", "detail"),
    ("p", "pause"),
    ("q", "quit"),
)
_HELP_IN_DETAIL = (("↑ ↓", "scroll"), ("esc", "back"), ("p", "pause"), ("q", "quit"))

_LEAST_ROWS = 3


def pools_of(readings: Sequence[Reading]) -> list[PoolView]:
    """Return the pools of all servers."""
    return [pool for reading in readings for pool in reading.pools]


def frame(
    readings: Sequence[Reading], view: View, width: int, height: int | None = None
) -> RenderableType:
    """Draw one frame.

    Args:
        readings: The newest of each server.
        view: What to show of it.
        width: Of the window, in characters.
        height: Of the window, in lines; ``None`` for as many as it takes, and no help about keys.
    """
    pools = view.arrange(pools_of(readings))
    head = _head(readings, pools, view)
    chosen = next((pool for pool in pools if pool.key == view.selected), None)
    if view.detail:
        room = None if height is None else height - 2
        body = detail(chosen, view, width, room) if chosen else _gone(view)
        return Group(head, body, _keys(_HELP_IN_DETAIL))
    columns = columns_in(width, len(readings))
    troubles = _troubles(readings, pools)
    if height is None:
        return Group(head, _table(pools, columns, view, width, mark=False), *troubles)
    # The head, the help, and the head of the table.
    room = max(_LEAST_ROWS, height - 4)
    troubles = troubles[: max(1, room - min(len(pools), room // 2))]
    shown = _around(pools, chosen, max(_LEAST_ROWS, room - len(troubles)))
    return Group(head, _table(shown, columns, view, width, mark=True), *troubles, _keys(_HELP))


def _head(readings: Sequence[Reading], pools: Sequence[PoolView], view: View) -> Text:
    newest = max((reading.time for reading in readings), default=time.time())
    one = len(readings) == 1
    servers = readings[0].endpoint.where if one else f"{len(readings)} servers"
    clock = time.strftime("%H:%M:%S", time.localtime(newest))
    text = Text("millpond top", style="bold", no_wrap=True, overflow="ellipsis")
    text.append(f"  {clock}  {_many(len(pools), 'pool')} on {servers}", "not bold")
    text.append(f", {sum(pool.in_use for pool in pools)} in use", "not bold")
    text.append(f", {sum(pool.waiting for pool in pools)} waiting", "not bold")
    if view.paused:
        text.append("  paused", "bold yellow")
    return text


def _table(
    pools: Sequence[PoolView], columns: Sequence[int], view: View, width: int, *, mark: bool
) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, width=width, header_style="bold")
    shown = [(place, COLUMNS[place]) for place in columns]
    for place, column in shown:
        arrow = ("▴" if view.reverse else "▾") if place == view.sort and mark else ""
        table.add_column(
            _title(column.title, column.width_in(width), arrow),
            width=column.width_in(width),
            ratio=1 if column.width is None else None,
            justify=column.justify,
            no_wrap=True,
            overflow="ellipsis",
        )
    for pool in pools:
        style = style_of(pool)
        if mark and pool.key == view.selected:
            style = f"reverse {style}".strip()
        table.add_row(*(column.text(pool, width) for _, column in shown), style=style)
    return table


def _title(title: str, width: int | None, arrow: str) -> str:
    if width is not None and len(title) + len(arrow) > width:
        return title[: width - len(arrow)].rstrip("/+") + arrow
    return title + arrow


def _troubles(readings: Sequence[Reading], pools: Sequence[PoolView]) -> list[Text]:
    lines = [
        _line("red", reading.endpoint.where, reading.error) for reading in readings if reading.error
    ]
    several = len(readings) > 1
    for pool in pools:
        name = f"{pool.name} on {pool.where}" if several else pool.name
        style = style_of(pool) or "yellow"
        lines += [_line(style, name, f"{each.severity}: {each.message}") for each in pool.alerts]
    return lines


def _line(style: str, who: str, what: str) -> Text:
    text = Text("! ", style=style, no_wrap=True, overflow="ellipsis")
    return text.append(who, f"bold {style}").append(f"  {what}", style)


def _keys(helps: Sequence[tuple[str, str]]) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    for key, meaning in helps:
        text.append(f" {key} ", "reverse").append(f" {meaning}  ")
    return text


def _gone(view: View) -> Text:
    name = view.selected.name if view.selected else "the pool"
    return Text(f"{name} is gone, or its server doesn't answer", style="red")


def _around(pools: list[PoolView], chosen: PoolView | None, room: int) -> list[PoolView]:
    """Return as many pools as fit, the chosen one among them."""
    place = pools.index(chosen) if chosen else 0
    first = max(0, min(place - room // 2, len(pools) - room))
    return pools[first : first + room]


def _many(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
