"""What only aiosqlite does: a thread for each connection."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("aiosqlite")

from helpers import eventually
from millpond.drivers import aio

if TYPE_CHECKING:
    from pathlib import Path


def test_a_connection_that_opens_after_the_end_of_its_loop_is_closed_without_a_word(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    began, go_on = threading.Event(), threading.Event()
    opened: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def connect_slowly(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        began.set()
        go_on.wait(5.0)
        opened.append(connect(*args, **kwargs))
        return opened[0]

    monkeypatch.setattr(sqlite3, "connect", connect_slowly)
    threads = set(threading.enumerate())

    async def main() -> None:
        driver = aio.find(f"sqlite+aiosqlite:///{tmp_path}/file.db")
        opening = asyncio.ensure_future(driver.connect())
        await asyncio.to_thread(began.wait, 5.0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening

    asyncio.run(main())
    go_on.set()

    # A traceback of the thread would be a warning, and so an error.
    eventually(lambda: set(threading.enumerate()) <= threads)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened[0].total_changes  # noqa: B018  it raises
