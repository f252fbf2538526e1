"""Cancelling a coroutine at each of its suspensions in turn."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator


class CancelledAt:
    """A coroutine whose task is cancelled as it suspends for the n-th time, counted from 0.

    The task is told as by `Task.cancel()`: what it waits for is cancelled, and the coroutine hears
    of it when it is resumed. After a delay, if there is one, in which what it waits for may happen.

    Attributes:
        suspensions: How often it has suspended.
        cancelled: Whether it has got as far as that.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Any], at: int, delay: float = 0.0) -> None:
        self._coroutine = coroutine
        self._at = at
        self._delay = delay
        self.suspensions = 0
        self.cancelled = False

    def __await__(self) -> Generator[Any, Any, Any]:
        """Run it, cancelled at its moment."""
        resume: Any = partial(self._coroutine.send, None)
        while True:
            try:
                waits_for = resume()
            except StopIteration as end:
                return end.value
            if self.suspensions == self._at:
                self._cancel()
            self.suspensions += 1
            try:
                yield waits_for
            except BaseException as error:  # noqa: BLE001  it goes where it belongs
                resume = partial(self._coroutine.throw, error)
            else:
                resume = partial(self._coroutine.send, None)

    def _cancel(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.cancelled = True
        if self._delay:
            asyncio.get_running_loop().call_later(self._delay, task.cancel)
        else:
            task.cancel()


async def cancelled_at(
    coroutine: Coroutine[Any, Any, Any], at: int, delay: float = 0.0
) -> CancelledAt:
    """Run a coroutine, and swallow its cancellation as a careless user would.

    Returns:
        What happened. ``cancelled`` is false once there is no such suspension any more.
    """
    cancelling = CancelledAt(coroutine, at, delay)

    async def cancel_in_a_task() -> None:
        await cancelling

    task = asyncio.ensure_future(cancel_in_a_task())
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()
    return cancelling
