"""One event loop as a pool sees it: tasks are started in it, callers woken, and its end is heard.

A loop ends without a word: `asyncio.run` cancels all tasks, closes the asynchronous generators, and
closes the loop. So a pool keeps an asynchronous generator in each of its loops, whose ``finally``
is where it says farewell.
"""

from __future__ import annotations

import asyncio
import weakref
from contextlib import suppress
from contextvars import Context, ContextVar
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine
    from types import AsyncGeneratorType

    from millpond._core import Ticket

running_loop = asyncio._get_running_loop

# The pools whose hook or job is running: it could wait for itself.
IN_HOOK: Final[ContextVar[frozenset[tuple[int, asyncio.Task[Any] | None]]]] = ContextVar(
    "millpond_in_hook", default=frozenset()
)


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
