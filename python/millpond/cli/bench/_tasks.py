"""The workload with asyncio tasks in place of threads, all in one event loop.

The loop runs in a thread of its own that can be left behind: a pool may block it, or keep a task
that has been cancelled.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from millpond.cli._in_time import in_time
from millpond.cli.bench._crew import GRACE
from millpond.cli.bench._measurement import CanNotOpenError, Log, Measurement, sum_up
from millpond.cli.bench._peers import AsyncHandle
from millpond.cli.bench._workload import PAUSE_AFTER_ERROR, Workload

__all__ = ["measure_tasks", "open_warm", "run_tasks"]

_TICK = 0.25

_clock = time.perf_counter_ns


def run_tasks(
    open_: Callable[[], Awaitable[AsyncHandle]],
    workload: Workload,
    opening: float,
    on_tick: Callable[[float], None] = lambda _seconds: None,
) -> Measurement:
    """Open a pool in an event loop of its own, put it through ``workload``, and close it.

    Args:
        open_: Opens it.
        workload: What.
        opening: Seconds that opening all its connections may take.
        on_tick: Called a few times per second with the seconds since the last time.

    Raises:
        CanNotOpenError: Opening failed, or took too long. The cause says why.
        TimeoutError: The pool blocked the event loop.
    """
    results: list[Measurement] = []

    async def main() -> None:
        try:
            handle = await asyncio.wait_for(open_warm(open_, workload.size), opening)
        except TimeoutError:
            message = f"no answer within {opening:g} s"
            raise CanNotOpenError from TimeoutError(message)
        except Exception as error:
            raise CanNotOpenError from error
        try:
            results.append(await measure_tasks(handle, workload, on_tick))
        finally:
            # A pool that hangs or fails here has shown what it is already.
            with suppress(Exception):
                await asyncio.wait_for(handle.close(), GRACE)

    try:
        limit = opening + workload.seconds + workload.hold + 4 * GRACE
        in_time(lambda: asyncio.run(main()), limit)
    except TimeoutError:
        if not results:
            raise
    return results[0]


async def open_warm(open_: Callable[[], Awaitable[AsyncHandle]], size: int) -> AsyncHandle:
    """Open a pool and all its ``size`` connections, so that nobody is measured while connecting."""
    handle = await open_()
    acquire = handle.patient or handle.acquire
    connections: list[Any] = []
    try:
        try:
            while len(connections) < size:
                connections.append(await acquire())
        finally:
            for conn in connections:
                await handle.release(conn)
    except BaseException:
        # As for threads.
        with suppress(Exception):
            await asyncio.wait_for(handle.close(), GRACE)
        raise
    return handle


async def measure_tasks(
    handle: AsyncHandle,
    workload: Workload,
    on_tick: Callable[[float], None] = lambda _seconds: None,
) -> Measurement:
    """Run ``workload`` on an open pool, and return what happened; errors and hanging included."""
    logs = [Log() for _ in range(workload.threads)]
    stop = asyncio.Event()
    tasks = [asyncio.create_task(_work(handle, workload, log, stop)) for log in logs]
    started = now = time.perf_counter()
    while (left := started + workload.seconds - now) > 0:
        await asyncio.sleep(min(left, _TICK))
        before, now = now, time.perf_counter()
        on_tick(now - before)
    stop.set()
    elapsed = time.perf_counter() - started
    _done, late = await asyncio.wait(tasks, timeout=GRACE + workload.hold)
    for task in late:
        task.cancel()
    if late:
        await asyncio.wait(late, timeout=GRACE)
    return sum_up(logs, elapsed, _clock(), len(late))


async def _work(handle: AsyncHandle, workload: Workload, log: Log, stop: asyncio.Event) -> None:
    while not stop.is_set():
        try:
            await _checkout(handle, workload, log, stop)
        except Exception as error:  # noqa: BLE001 - a pool's error is a result
            log.waiting_since = 0
            log.errors.append(f"{type(error).__name__}: {error}")
            await asyncio.sleep(PAUSE_AFTER_ERROR)


async def _checkout(handle: AsyncHandle, workload: Workload, log: Log, stop: asyncio.Event) -> None:
    log.waiting_since = asked = _clock()
    conn = await handle.acquire()
    log.waits.append(_clock() - asked)
    log.waiting_since = 0
    try:
        # Who is served only because the others have stopped was not served in time.
        if stop.is_set():
            return
        if workload.query is not None:
            await handle.query(conn)
        # Also for no time: a task that never suspends would be the only one that runs.
        await asyncio.sleep(workload.hold)
        # As for threads.
        if not stop.is_set():
            log.count += 1
    finally:
        await handle.release(conn)
