"""Event loops in threads, and the account of who has which connection."""

from __future__ import annotations

import asyncio
import importlib.util
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import millpond
from async_fakes import AsyncFakeDatabase

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator

T = TypeVar("T")


class Home:
    """A pool, its database, and a check of each use: the right loop, one owner, nothing left."""

    def __init__(self, **options: Any) -> None:
        self.database = AsyncFakeDatabase()
        self.pool: millpond.AsyncPool[Any] = millpond.AsyncPool(
            self._connect, driver=self.database.driver(), **options
        )
        self._lock = threading.Lock()
        self._loops: dict[int, asyncio.AbstractEventLoop] = {}
        self.served = 0

    async def _connect(self) -> Any:
        conn = await self.database.aconnect()
        with self._lock:
            self._loops[conn.number] = asyncio.get_running_loop()
        return conn

    async def borrow(self, hold: float = 0.0, *, patience: float = 50.0) -> None:
        """Use a connection for a while."""
        async with self.pool.connection(timeout=patience) as conn:
            with conn.held_by(asyncio.current_task()):
                assert self._loops[conn.number] is asyncio.get_running_loop()
                await conn.execute()
                await asyncio.sleep(hold)
        with self._lock:
            self.served += 1

    def check(self, limit: int) -> None:
        """See that there were never more connections than `limit`, and that none is left."""
        assert self.database.violations == []
        assert self.database.peak_underway <= limit
        assert self.pool.stats().in_use == 0


async def until(predicate: Callable[[], object], seconds: float = 20.0) -> None:
    """Return as soon as `predicate()` is true; fail when it is not after so many seconds."""
    async with asyncio.timeout(seconds):
        while not predicate():  # noqa: ASYNC110  whatever makes it true tells nobody
            await asyncio.sleep(0.001)


LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop]
if importlib.util.find_spec("uvloop"):
    LOOPS.append(importlib.import_module("uvloop").new_event_loop)


def run_in_threads(
    count: int,
    main: Callable[[int], Coroutine[Any, Any, T]],
    *,
    seconds: float = 55.0,
    mixed: bool = False,
) -> list[T]:
    """Run `asyncio.run(main(0))` to `main(count - 1)` in threads that start together.

    Args:
        count: How many.
        main: The coroutine function.
        seconds: How long they may take.
        mixed: Whether the kinds of event loops take turns.
    """
    barrier = threading.Barrier(count)

    def run(number: int) -> T:
        barrier.wait(10)
        factory = LOOPS[number % len(LOOPS)] if mixed else None
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(main(number))

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(run, range(count), timeout=seconds))


@contextmanager
def loop_in_thread() -> Iterator[Callable[[Awaitable[T]], T]]:
    """Give a function that awaits something in a loop which runs in another thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def awaited(work: Awaitable[T]) -> T:
        return await work

    def call(work: Awaitable[T]) -> T:
        return asyncio.run_coroutine_threadsafe(awaited(work), loop).result(20)

    try:
        yield call
        call(loop.shutdown_asyncgens())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
