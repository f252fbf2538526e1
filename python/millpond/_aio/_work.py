"""What the core gives one loop to do: jobs, which are tasks here, and deadlines."""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from typing import TYPE_CHECKING, Any, TypeVar

from millpond._aio import _jobs, _loop
from millpond._aio._loop import call_in, running_loop
from millpond._callbacks import Callbacks
from millpond._timer import LATE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from millpond._core import Job
    from millpond.drivers.aio import AsyncDriver

C = TypeVar("C")

logger = logging.getLogger("millpond.pool")


class LoopWork(Callbacks[C]):
    """See the head of this file.

    Args:
        loop: The loop, which is running.
    """

    _driver: AsyncDriver[C]  # type: ignore[assignment]  # what is awaited is awaited here

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin with nothing to do."""
        self.loop = loop
        self._finished = False
        # Whether its loop is, so that nothing can be awaited any more, and all is dropped.
        self.is_over = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._running: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._look_at: asyncio.TimerHandle | None = None
        # All that are open, by identity: those in use when the loop ends nobody else knows.
        self.open: dict[int, C] = {}

    def _submit(self, job: Job) -> None:
        if self.is_over:
            self._dispose(job)
        elif running_loop() is self.loop:
            self._begin(job)
        elif (job.kind == "close" and not self.loop.is_running()) or not call_in(
            self.loop, self._begin, job
        ):
            self._dispose(job)

    def _begin(self, job: Job) -> asyncio.Task[None]:
        name = f"millpond-{self._name}-{job.kind}-{job.slot}"
        key = ("check" if job.kind == "reset" else job.kind, job.slot)
        task = self.start_task(_jobs.run(self, job), name)
        self._running[key] = task
        return task

    def start_task(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start a task in this loop, and keep it until it ends."""
        task = _loop.start(self.loop, work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        for key in [key for key, running in self._running.items() if running is task]:
            del self._running[key]
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error(
                "a job of pool %r failed",
                self._name,
                exc_info=error,
                extra={"pool": self._name, "event": "job_failed"},
            )

    def _dispose(self, job: Job) -> None:
        """End a job whose loop is closed: nothing can be awaited any more."""
        if job.kind == "close":
            if job.connection is not None:
                self._driver.abort(job.connection)
                self.open.pop(id(job.connection), None)
            job.closed()
        elif job.kind != "open":
            job.failed()
        # A job to open that is dropped gives its place up by itself.

    def _overdue(self, kind: str, slot: int) -> None:
        super()._overdue(kind, slot)
        task = self._running.get((kind, slot))
        if task is not None:
            call_in(self.loop, task.cancel)

    def _poke(self) -> None:
        if self._clock is None and not self._finished:
            call_in(self.loop, self._look)

    def _look(self) -> None:
        """Do what is due, and come back for the next deadline."""
        if self._look_at is not None:
            self._look_at.cancel()
            self._look_at = None
        if self._finished:
            return
        seconds = self._advance()
        if seconds is not None:
            again = weakref.WeakMethod(self._look)
            self._look_at = self.loop.call_later(seconds + LATE_SECONDS, _call, again)

    async def settle(self, timeout: float) -> None:
        """Wait for the tasks of this engine and those that they start, then cancel what is left."""
        # What is cancelled may start another one: a reset the closing of its connection.
        for _ in range(3):
            for task in await self._left_after(timeout):
                task.cancel()

    async def _left_after(self, timeout: float) -> list[asyncio.Task[None]]:
        """Wait until there is no task of this engine, or the time is over."""
        current, deadline = asyncio.current_task(), time.monotonic() + timeout
        while tasks := [task for task in self._tasks if task is not current]:
            seconds = deadline - time.monotonic()
            if seconds <= 0:
                break
            await asyncio.wait(tasks, timeout=seconds)
        return tasks

    def finish(self) -> None:
        """Keep no more deadlines. What is still in use is closed when it is released."""
        self._finished = True
        # Which cancels the next look; in the loop, where nobody is just replacing it.
        if running_loop() is self.loop:
            self._look()
        else:
            call_in(self.loop, self._look)


def _call(method: weakref.WeakMethod[Callable[[], None]]) -> None:
    living = method()
    if living is not None:
        living()
