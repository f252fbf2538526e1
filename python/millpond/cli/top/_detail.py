"""One pool in ``millpond top``: what it is like, and who holds each of its connections."""

from collections.abc import Iterable, Mapping, Sequence
from textwrap import wrap
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from millpond.cli._pools import PoolView
from millpond.cli.top._columns import WIDE, bar, style_of, wait
from millpond.cli.top._view import View

__all__ = ["age", "detail"]

_INDENT, _MOST_LINES = 12, 2

_UNITS = ((86400, "d"), (3600, "h"), (60, "m"))
_SUMMED_UP = ("acquired", "queued", "timed_out", "failed", "opened", "open_failed", "leaks")


def detail(pool: PoolView, view: View, width: int, height: int | None) -> RenderableType:
    """Draw one pool, in a window of ``width`` and ``height`` less than its first and last line."""
    lines = [line for name, text in _about(pool) if text for line in _lines(name, text, width)]
    for alert in pool.alerts:
        lines += _lines(
            "! ", f"{alert.severity}: {alert.message}", width, style_of(pool) or "yellow"
        )
    connections = sorted(_connections(pool), key=_order)
    room = len(connections) if height is None else max(1, height - len(lines) - 3)
    view.scroll = max(0, min(view.scroll, len(connections) - room))
    shown = connections[view.scroll : view.scroll + room]
    hidden = len(connections) - len(shown)
    more = [Text(f"{hidden} more", style="dim")] if hidden else []
    return Group(_headline(pool), *lines, _table(shown, width), *more)


def age(seconds: object) -> str:
    """Write how long something has gone on, in seven characters: ``3m 12s``, ``20.1 ms``."""
    if not isinstance(seconds, int | float):
        return "-"
    for index, (unit, name) in enumerate(_UNITS):
        if seconds >= unit:
            count, rest = divmod(int(seconds), unit)
            smaller, smaller_name = (*_UNITS, (1, "s"))[index + 1]
            return f"{count}{name} {rest // smaller}{smaller_name}"
    return wait(seconds)


def _headline(pool: PoolView) -> Text:
    process = "" if pool.pid is None else f", process {pool.pid}"
    text = Text(pool.name, style=f"bold {style_of(pool)}".strip(), no_wrap=True)
    return text.append(f"  {pool.where}{process}", "not bold")


def _about(pool: PoolView) -> Iterable[tuple[str, str]]:
    stats = pool.stats
    yield (
        "now",
        f"{bar(pool.utilization, 10)} {pool.in_use} in use of {pool.max_size}, {pool.idle} idle, "
        f"{stats.get('opening', 0)} opening, {pool.waiting} waiting"
        + (f", the longest {age(stats.get('longest_wait'))}" if pool.waiting else ""),
    )
    rate = "-" if pool.rate is None else f"{pool.rate:,.1f}"
    waits = f"wait mean {wait(pool.wait_mean)}, p99 {wait(pool.wait_p99)}"
    ends = f"{pool.timed_out or 0} timeouts, {pool.failed or 0} failed"
    yield "acquires", f"{rate}/s; last minute: {waits}, {ends}"
    yield "use, open", f"{_times(stats.get('use_time'))}; opening {_times(stats.get('open_time'))}"
    totals = [f"{stats[n]:,} {n.replace('_', ' ')}" for n in _SUMMED_UP if _is_int(stats.get(n))]
    yield "in total", ", ".join(totals)
    closed = stats.get("closed")
    if isinstance(closed, Mapping):
        yield "closed", ", ".join(f"{count} {reason}" for reason, count in closed.items() if count)
    yield "last error", str(stats.get("last_error") or "")
    yield "options", ", ".join(f"{name}={value}" for name, value in pool.options.items())


def _times(times: object) -> str:
    if not isinstance(times, Mapping) or times.get("mean") is None:
        return "-"
    return ", ".join(f"{name} {wait(times.get(name))}" for name in ("mean", "p99", "max"))


def _lines(name: str, text: str, width: int, style: str = "") -> list[Text]:
    """Write a name and what there is to say, below each other where one line is not enough."""
    room = max(20, width - (4 if style else _INDENT))
    first, *others = wrap(text, room, max_lines=_MOST_LINES, placeholder=" …") or [""]
    if style:
        return [Text(f"{name}{first}", style), *(Text(f"  {each}", style) for each in others)]
    head = Text(f"{name:<{_INDENT}}", style="dim").append(first, "not dim")
    return [head, *(Text(" " * _INDENT + each) for each in others)]


def _connections(pool: PoolView) -> list[Mapping[str, Any]]:
    told = pool.stats.get("connections")
    return [each for each in told if isinstance(each, Mapping)] if isinstance(told, list) else []


def _order(connection: Mapping[str, Any]) -> tuple[bool, float, int]:
    """Those in use first, and of these the one that has been held for the longest time."""
    held, slot = connection.get("held"), connection.get("slot")
    place = slot if isinstance(slot, int) else 0
    return (False, -held, place) if isinstance(held, int | float) else (True, 0.0, place)


def _table(connections: Sequence[Mapping[str, Any]], width: int) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, width=width, header_style="bold")
    holder = 24 if width >= WIDE else 16
    for title, room in (("slot", 4), ("state", 10), ("age", 7), ("uses", 7), ("held", 7)):
        left = title == "state"
        table.add_column(title, width=room, no_wrap=True, justify="left" if left else "right")
    table.add_column("holder", width=holder, no_wrap=True, overflow="ellipsis")
    table.add_column("site", ratio=1, no_wrap=True, overflow="ellipsis")
    for each in connections:
        table.add_row(
            str(each.get("slot", "")),
            str(each.get("state", "")),
            age(each.get("age")),
            str(each.get("uses", "")),
            "" if each.get("held") is None else age(each.get("held")),
            _holder(each),
            _site(each.get("site"), width - holder - 42),
        )
    return table


def _holder(connection: Mapping[str, Any]) -> str:
    if connection.get("holder") is None and not connection.get("holder_name"):
        return ""
    return str(connection.get("holder_name") or f"thread {connection['holder']}")


def _site(site: object, room: int) -> str:
    """Write file, line and function; of a long path, its end."""
    if not isinstance(site, Sequence) or isinstance(site, str) or not site:
        return ""
    where = ":".join(str(part) for part in site[:2])
    function = f" {site[2]}" if len(site) > 2 else ""  # noqa: PLR2004 - file, line, function
    if len(where) + len(function) > room:
        where = "…" + where[-max(12, room - len(function) - 1) :]
    return where + function


def _is_int(value: object) -> bool:
    return isinstance(value, int)
