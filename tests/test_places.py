"""The lines of code that reports tell: who acquired a connection, and what its holder does."""

from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import millpond
from helpers import eventually
from millpond import _messages
from millpond._aio._tasks import TASKS, number_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

# As a web server has it: code that is installed, and calls the user's.
INSTALLED = str(Path("/", "srv", "site-packages", "server.py"))
LIBRARY: dict[str, Any] = {}
exec(
    compile(
        "def call(work):\n    return work()\nasync def serve(work):\n    return await work()\n",
        INSTALLED,
        "exec",
    ),
    LIBRARY,
)


def where() -> tuple[str, int]:
    """Give the caller's file and line."""
    frame = sys._getframe(1)
    return frame.f_code.co_filename, frame.f_lineno


def site_in(pool: Any) -> tuple[str, int]:
    """Give the line that acquired the connection in use."""
    (site,) = [one.site for one in pool.stats().connections if one.site is not None]
    return site[0], site[1]


def test_a_transaction_was_acquired_by_who_began_it(tmp_path: Path) -> None:
    with millpond.Pool(f"sqlite:///{tmp_path}/a.db", leak_threshold=60.0) as pool:
        with pool.transaction():
            assert site_in(pool) == (__file__, where()[1] - 1)
        with pool.connection(query_timeout=60.0):
            assert site_in(pool) == (__file__, where()[1] - 1)
        assert pool.run(lambda _: site_in(pool)) == where()


def test_a_transaction_was_acquired_by_the_task_that_began_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with millpond.AsyncPool(f"sqlite:///{tmp_path}/a.db", leak_threshold=60.0) as pool:
            async with pool.transaction():
                assert site_in(pool) == (__file__, where()[1] - 1)
            async with pool.connection(query_timeout=60.0):
                assert site_in(pool) == (__file__, where()[1] - 1)

            async def work(_: object) -> tuple[str, int]:
                return site_in(pool)

            assert await pool.run(work) == where()

    asyncio.run(main())


def test_a_thread_kept_its_connection_where_it_first_asked(tmp_path: Path) -> None:
    with millpond.ThreadLocalPool(f"sqlite:///{tmp_path}/a.db", leak_threshold=60.0) as pool:
        conn = pool.acquire()
        assert site_in(pool) == (__file__, where()[1] - 1)
        pool.release(conn)


def place_of_thread(work: Callable[[threading.Event], object]) -> str | None:
    """Give the place of a thread that has come to wait for an event."""
    go_on = threading.Event()
    thread = threading.Thread(target=work, args=(go_on,))
    thread.start()
    eventually(lambda: "threading.py" in str(sys._current_frames().get(thread.ident or 0)))
    eventually(lambda: go_on._cond._waiters)  # type: ignore[attr-defined]
    place = _messages.place_now(thread.ident or 0)
    go_on.set()
    thread.join()
    return place


def test_what_a_thread_does_in_a_library_is_told_by_its_own_line() -> None:
    lines: list[tuple[str, int]] = []

    def hold(go_on: threading.Event) -> None:
        lines.append(where())
        LIBRARY["call"](lambda: go_on.wait(10))

    place = place_of_thread(hold)

    file, line = lines[0]
    assert place == f"{file}:{line + 1}"


def test_a_thread_without_code_of_its_own_is_where_it_is() -> None:
    place = place_of_thread(threading.Event.wait)

    assert place is not None
    assert place.startswith(threading.__file__)


@pytest.mark.parametrize("depth", [0, 3])
def test_what_a_task_waits_for_is_told_by_its_own_line(depth: int) -> None:
    lines: list[tuple[str, int]] = []

    async def handle() -> None:
        lines.append(where())
        await LIBRARY["serve"](asyncio.get_running_loop().create_future)

    async def main() -> str | None:
        work: Callable[[], Awaitable[None]] = handle
        for _ in range(depth):
            work = served(work)
        task = asyncio.create_task(served(work)())
        TASKS.watch(asyncio.get_running_loop())
        for _ in range(2):
            await asyncio.sleep(0)
        place = TASKS.place_of(number_of(task))
        task.cancel()
        return place

    place = asyncio.run(main())

    file, line = lines[0]
    assert place == f"{file}:{line + 1}"


def served(work: Callable[[], Awaitable[None]]) -> Callable[[], Coroutine[Any, Any, None]]:
    """Have a server call it."""
    return lambda: LIBRARY["serve"](work)
