"""One event loop as a pool sees it: tasks are started in it, callers woken, and its end is heard.

A loop ends without a word: `asyncio.run` cancels all tasks, closes the asynchronous generators, and
closes the loop. So a pool keeps an asynchronous generator in each of its loops, whose ``finally``
is where it says farewell.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from contextlib import contextmanager, suppress
from contextvars import Context, ContextVar
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from millpond import _messages

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
    from types import AsyncGeneratorType

    from millpond._core import Ticket

running_loop = asyncio._get_running_loop

# The pools whose hook or job is running: it could wait for itself.
IN_HOOK: Final[ContextVar[frozenset[tuple[int, asyncio.Task[Any] | None]]]] = ContextVar(
    "millpond_in_hook", default=frozenset()
)


def number_of(task: asyncio.Task[Any] | None) -> int:
    """Return what the core knows a task by: its address, made odd, which no thread's number is."""
    return id(task) | 1


# Names of tasks that are kept for reports, should they end before they release.
MAX_NOTED: Final = 1000


class Tasks:
    """The tasks of these loops."""

    def __init__(self) -> None:
        """Begin without loops, and without having noted any task."""
        self.after_fork()

    def after_fork(self) -> None:
        """Begin anew in the child of a fork, where the parent's loops do not run."""
        # Reentrant: a pool may be looked at in a finalizer that interrupts this very code.
        self._lock = threading.RLock()
        self._loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []
        self._noted: dict[int, str] = {}
        self._looking = threading.local()

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Count a loop among those in which there are pools."""
        with self._lock:
            # Replaced, never changed: who looks needs no lock.
            self._loops = [one for one in self._loops if one() is not None]
            self._loops.append(weakref.ref(loop))

    @contextmanager
    def looked_at_once(self) -> Iterator[None]:
        """Look at them only once in a block, however often they are asked for there.

        An error that names ten holders asks twenty times, each time for all tasks that there are;
        and when one waits for too long, so may a thousand others.
        """
        before = getattr(self._looking, "found", None)
        self._looking.found = self.by_number()
        try:
            yield
        finally:
            self._looking.found = before

    def by_number(self) -> dict[int, asyncio.Task[Any]]:
        """Return those that have not ended."""
        found: dict[int, asyncio.Task[Any]] | None = getattr(self._looking, "found", None)
        return self._look() if found is None else found

    def _look(self) -> dict[int, asyncio.Task[Any]]:
        loops = {id(loop): loop for one in self._loops if (loop := one()) is not None}
        running = (loop for loop in loops.values() if not loop.is_closed())
        return {number_of(task): task for loop in running for task in asyncio.all_tasks(loop)}

    def note(self, task: asyncio.Task[Any] | None) -> None:
        """Keep the name of a task that acquires, where leaks are looked for."""
        if task is None:
            return
        number = number_of(task)
        with self._lock:
            self._noted.pop(number, None)
            self._noted[number] = task.get_name()
            if len(self._noted) > MAX_NOTED:
                del self._noted[next(iter(self._noted))]

    def running(self) -> frozenset[int]:
        """Return the numbers of those that have not ended."""
        return frozenset(self.by_number())

    def name_of(self, number: int) -> str | None:
        """Name a task, if its name is known."""
        task = self.by_number().get(number)
        if task is not None:
            is_ours = running_loop() is not None and task is asyncio.current_task()
            return "this same task" if is_ours else f"task {task.get_name()!r}"
        name = self._noted.get(number)
        return None if name is None else f"task {name!r}, which has ended"

    def place_of(self, number: int) -> str | None:
        """Say where a task waits."""
        task = self.by_number().get(number)
        stack = task.get_stack() if task is not None else []
        return f"{stack[-1].f_code.co_filename}:{stack[-1].f_lineno}" if stack else None


TASKS: Final = Tasks()
_messages.know(TASKS)


class Leaver(Protocol):
    """Who wants to know of a loop's end."""

    async def _leave(self) -> None: ...


def start(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None], *, name: str
) -> asyncio.Task[None]:
    """Start a task of a pool, without anything of the context of whoever happens to be running.

    It begins at the loop's next turn, whatever the loop's task factory is: who starts it may have a
    lock, and an eager task would call the user's code right here.
    """
    return asyncio.Task(work, loop=loop, name=name, context=Context())


def call_in(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *args: Any) -> bool:  # noqa: ANN401
    """Call a function in a loop, soon, from whatever thread. False when the loop is closed."""
    try:
        loop.call_soon_threadsafe(function, *args)
    except RuntimeError:
        return False
    return True


def hear_the_end(leaver: Leaver) -> AsyncGeneratorType[None, None]:
    """Have `leaver._leave()` awaited when the running loop ends. Keep what is returned."""
    generator = cast("AsyncGeneratorType[None, None]", _farewell(weakref.ref(leaver)))
    # One step, which awaits nothing, is what makes the loop know the generator.
    with suppress(StopIteration):
        generator.__anext__().send(None)
    return generator


async def _farewell(leaver: weakref.ref[Leaver]) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        living = leaver()
        if living is not None:
            await living._leave()


class Bell:
    """Wakes one task, from whatever thread.

    Args:
        loop: The loop of that task.
    """

    __slots__ = ("_future", "_loop", "is_over", "ticket")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin silent."""
        self._loop = loop
        self._future = loop.create_future()
        self.ticket: Ticket | None = None
        self.is_over = False

    def ring_last(self) -> None:
        """Wake the task, which has waited for long enough."""
        self.is_over = True
        self._set()

    def ring(self) -> None:
        """Wake the task, or give back what it was granted if its loop is no more."""
        if running_loop() is self._loop:
            self._set()
        elif not call_in(self._loop, self._set) and self.ticket is not None:
            self.ticket.cancel()

    async def wait(self) -> None:
        """Wait until it rings, or has rung since the last wait."""
        await self._future
        self._future = self._loop.create_future()

    def _set(self) -> None:
        if not self._future.done():
            self._future.set_result(None)


class Progress:
    """Tells tasks, of any loop, that something about the pool has changed."""

    def __init__(self) -> None:
        """Begin without listeners."""
        self._bells: set[Bell] = set()

    def changed(self) -> None:
        """Wake all who wait."""
        # Copied in one step, also without the GIL.
        for bell in self._bells.copy():
            bell.ring()

    async def wait_for(self, condition: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until `condition` is true, at most `timeout` seconds. Returns what it is then."""
        bell = Bell(asyncio.get_running_loop())
        self._bells.add(bell)
        try:
            async with asyncio.timeout(timeout):
                while not condition():
                    await bell.wait()
        except TimeoutError:
            return condition()
        finally:
            self._bells.discard(bell)
        return True
