"""What `millpond top` shows, drawn without a terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console

from millpond.cli._pools import PoolView, read_document
from millpond.cli._reading import Reading
from millpond.cli.top._frame import frame
from millpond.doctor.ask import Endpoint

if TYPE_CHECKING:
    from millpond.cli.top._view import View


HERE = Endpoint("http://here:80/pool.json", "here:80")


def view_of(
    name: str = "orders", *, window: dict[str, Any] | None = None, pid: int = 1, **stats: Any
) -> PoolView:
    """Give what is shown of a pool with these figures."""
    counts = {"max_size": 4, "size": 4, "in_use": 2, "idle": 2, "waiting": 0}
    told = {"name": name, **counts, "window": window or {}, **stats}
    (pool,) = read_document({"pid": pid, "pools": [{"stats": told}]}, HERE.url, HERE.where, {})
    return pool


def drawn(pools: list[PoolView], view: View, width: int = 80, height: int | None = None) -> str:
    """Draw one frame as text."""
    console = Console(width=width, height=height or 50, record=True, file=sys.stderr)
    with console.capture() as capture:
        console.print(frame([Reading(HERE, 0.0, tuple(pools))], view, width, height))
    return capture.get()
