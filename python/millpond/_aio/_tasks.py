"""The tasks that hold connections, by the numbers that the core knows them by: for reports.

To find one means to look at all, of which there may be thousands that time out at the same moment.
So what was found is used again, none is kept alive, and one look answers for all who are asked for.
Where a look takes long it is not repeated at once; who is not found meanwhile may run.
"""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Final

from millpond import _messages
from millpond._aio._loop import running_loop

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import FrameType

# Names of tasks that are kept for reports, should they end before they release.
MAX_NOTED: Final = 1000

# Seconds. A look that takes longer is not repeated for so many times as long.
LONG: Final = 0.001
PAUSE: Final = 10


def number_of(task: asyncio.Task[Any] | None) -> int:
    """Return what the core knows a task by: its address, made odd, which no thread's number is."""
    return id(task) | 1


class Tasks:
    """The tasks of the loops in which there are pools. Any thread may ask."""

    def __init__(self) -> None:
        """Begin without loops, and without having noted any task."""
        self.after_fork()

    def after_fork(self) -> None:
        """Begin anew in the child of a fork, where the parent's loops do not run."""
        # Reentrant: a pool may be looked at in a finalizer that interrupts this very code.
        self._lock = threading.RLock()
        self._loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []
        self._noted: dict[int, str] = {}
        # What the last look found, and who was asked for and not there. Replaced, never changed.
        self._found: dict[int, weakref.ref[asyncio.Task[Any]]] = {}
        self._ended: frozenset[int] = frozenset()
        self._looked_at = self._again_at = 0.0

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Count a loop among those in which there are pools."""
        with self._lock:
            # Replaced, never changed: who looks needs no lock.
            self._loops = [one for one in self._loops if one() is not None]
            self._loops.append(weakref.ref(loop))

    def find(self, numbers: Iterable[int]) -> dict[int, asyncio.Task[Any]]:
        """Return those that have not ended, as far as is known; see the head of this file."""
        asked = frozenset(numbers)
        known = self._known(asked)
        if self._has_to_look(asked - known.keys()):
            self._look()
            known = self._known(asked)
            self._ended = asked - known.keys()
        return known

    def _known(self, asked: Iterable[int]) -> dict[int, asyncio.Task[Any]]:
        references = self._found
        tasks = {one: references[one]() for one in asked if one in references}
        # The number of one that has ended may be that of a younger one by now.
        return {one: task for one, task in tasks.items() if task is not None and not task.done()}

    def _has_to_look(self, missing: frozenset[int]) -> bool:
        now = time.perf_counter()
        if not missing or now < self._again_at:
            return False
        return not missing <= self._ended or now - self._looked_at > LONG

    def _look(self) -> None:
        began = time.perf_counter()
        self._found = {number_of(task): weakref.ref(task) for task in self._all()}
        self._looked_at = time.perf_counter()
        took = self._looked_at - began
        self._again_at = self._looked_at + (PAUSE * took if took > LONG else 0.0)

    def _all(self) -> Iterator[asyncio.Task[Any]]:
        loops = {id(loop): loop for one in self._loops if (loop := one()) is not None}
        for loop in loops.values():
            if not loop.is_closed():
                yield from asyncio.all_tasks(loop)

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

    def has_ended(self, number: int) -> bool:
        """Tell whether a task has ended for certain."""
        return not self.find([number]) and number in self._ended

    def name_of(self, number: int) -> str:
        """Name a task, if its name is known."""
        task = self.find([number]).get(number)
        if task is not None:
            return "this same task" if number == self.own() else f"task {task.get_name()!r}"
        name = self._noted.get(number)
        known = "a task" if name is None else f"task {name!r}"
        if number not in self._ended:
            return known
        return f"{known} that has ended" if name is None else f"{known}, which has ended"

    def place_of(self, number: int) -> str | None:
        """Say where a task waits."""
        task = self.find([number]).get(number)
        return None if task is None else _messages.line_of(reversed([*_chain(task.get_coro())]))

    def own(self) -> int | None:
        """Return the number of the task that runs right here, if one does."""
        task = None if running_loop() is None else asyncio.current_task()
        return None if task is None else number_of(task)


def _chain(awaited: Any) -> Iterator[FrameType]:  # noqa: ANN401  whatever is awaited
    """Give what a task does, and what that awaits, and so on. `Task.get_stack` stops at once."""
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if frame is not None:
            yield frame
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)


TASKS: Final = Tasks()
_messages.know(TASKS)
