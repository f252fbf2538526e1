"""A thread and a task that go hand in hand: each has functions called by the other, and waits.

A thread's calls are made by one and the same task, one after the other, so that to a pool the task
is what the thread is to a test. What that task in turn has to ask the thread, a hook for example,
is done in the thread while it waits.
"""

from __future__ import annotations

import asyncio
import itertools
import queue
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_numbers: Final = itertools.count()


class Call(NamedTuple):
    """What one side wants to have done by the other."""

    function: Callable[..., Any]
    args: tuple[Any, ...] = ()
    options: dict[str, Any] = {}  # noqa: RUF012  nobody changes it

    def made(self) -> Outcome:
        """Make the call in this thread."""
        try:
            return Outcome(self.function(*self.args, **self.options))
        except BaseException as error:  # noqa: BLE001  the other side raises it
            return Outcome(None, error)

    async def awaited(self) -> Outcome:
        """Make the call in this task, and await what it returns."""
        try:
            return Outcome(await self.function(*self.args, **self.options))
        except BaseException as error:  # noqa: BLE001  the other side raises it
            return Outcome(None, error)


class Outcome(NamedTuple):
    """What a call has come to."""

    result: Any
    error: BaseException | None = None

    def get(self) -> Any:
        """Return the result, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.result


class Line:
    """What a thread and a task tell each other.

    Args:
        loop: The loop of the task.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._to_thread: queue.SimpleQueue[Call | Outcome] = queue.SimpleQueue()
        self._to_task: asyncio.Queue[Call | Outcome] = asyncio.Queue()

    def tell(self, news: Call | Outcome) -> None:
        """Tell the task something, from the thread."""
        with suppress(RuntimeError):  # the loop is closed, and the task with it
            self.loop.call_soon_threadsafe(self._to_task.put_nowait, news)

    def call(self, function: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> Any:
        """Have the task await a coroutine function, and do what it asks for meanwhile."""
        self.tell(Call(function, args, options))
        del function, args, options
        while isinstance(news := self._to_thread.get(), Call):
            self.tell(news.made())
        return news.get()

    async def in_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        """Have the thread call a function, and do in this task what that calls meanwhile."""
        self._to_thread.put(Call(function, args))
        return (await self.serve()).get()

    async def serve(self) -> Outcome:
        """Make the thread's calls until it tells how something has come out."""
        while isinstance(news := await self._to_task.get(), Call):
            made = news.awaited()
            del news  # what it refers to is the thread's alone
            self._to_thread.put(await made)
            del made
        return news


_lines: WeakKeyDictionary[asyncio.Task[Any], Line] = WeakKeyDictionary()


class Ending:
    """Ends a task when the thread that has this ends."""

    def __init__(self, line: Line) -> None:
        self.line = line

    def __del__(self) -> None:
        self.line.tell(Outcome(None))


_mine = threading.local()


def line_in(loop: asyncio.AbstractEventLoop) -> Line:
    """Return this thread's line to a loop; at first, with a new task that has the thread's name."""
    lines: dict[asyncio.AbstractEventLoop, Ending] = _mine.__dict__.setdefault("lines", {})
    if loop not in lines:
        line = Line(loop)
        name = threading.current_thread().name

        def begin() -> None:
            task = loop.create_task(line.serve(), name=name)
            _lines[task] = line

        lines[loop] = Ending(line)
        loop.call_soon_threadsafe(begin)
    return lines[loop].line


async def in_own_thread(function: Callable[..., Any], *args: Any, workers: str) -> Any:
    """Call a function in the thread of this task; if it has none, in a new one."""
    task = asyncio.current_task()
    assert task is not None
    line = _lines.get(task)
    if line is None:
        return await in_worker(workers, function, *args)
    return await line.in_thread(function, *args)


async def in_worker(
    workers: str,
    function: Callable[..., Any],
    *args: Any,
    undo: Callable[[Any], object] = lambda _: None,
) -> Any:
    """Call a function in a new thread; a result that comes after a cancellation is undone.

    Args:
        workers: The name of such threads, without a number.
        function: The function.
        *args: Its arguments.
        undo: What to do with the result when nobody waits for it any more.
    """
    line = Line(asyncio.get_running_loop())
    lock = threading.Lock()
    given_up, outcomes = False, []

    def work() -> None:
        _mine.lines = {line.loop: Ending(line)}
        outcome = Call(function, args).made()
        with lock:
            outcomes.append(outcome)
            late = given_up
        line.tell(outcome)
        if late and outcome.error is None:
            undo(outcome.result)

    threading.Thread(target=work, name=f"{workers}-{next(_numbers)}", daemon=True).start()
    try:
        return (await line.serve()).get()
    except asyncio.CancelledError:
        with lock:
            given_up = True
        if outcomes and outcomes[0].error is None:
            undo(outcomes[0].result)
        raise
