"""Threads that live on between two uses of a `ThreadLocalPool`."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Protocol

from helpers import PATIENCE, eventually, in_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    import millpond
    from fakes import FakeConnection
    from helpers import Running
    from millpond._core import ManualClock


class MakeThreads(Protocol):
    """What the fixture `make_threads` gives: `ThreadLocalPool`, on the fake database."""

    def __call__(self, **options: Any) -> millpond.ThreadLocalPool[Any]:
        """Make a pool that is closed after the test."""


class Resident:
    """A thread that uses the pool when it is told to, and lives until it is told to end."""

    def __init__(self, pool: millpond.ThreadLocalPool[Any]) -> None:
        self._pool = pool
        self._calls: list[Callable[[], Any] | None] = []
        self._called = threading.Semaphore(0)
        self._answers: list[Any] = []
        self._answered = threading.Semaphore(0)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while True:
            self._called.acquire()
            call = self._calls.pop()
            if call is None:
                return
            try:
                self._answers.append(call())
            except BaseException as error:  # noqa: BLE001  whoever told it to raises it
                self._answers.append(error)
            del call
            self._answered.release()

    def does(self, call: Callable[[], Any]) -> Any:
        """Have the thread call something, and give the answer."""
        self._calls.append(call)
        self._called.release()
        assert self._answered.acquire(timeout=PATIENCE)
        answer = self._answers.pop()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def uses(self) -> FakeConnection:
        """Have the thread enter and leave a block, and give the connection that it had."""
        return self.does(lambda: used(self._pool))  # type: ignore[no-any-return]

    def ends(self) -> None:
        """End the thread, and wait until it has."""
        self._calls.append(None)
        self._called.release()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()


def used(pool: millpond.ThreadLocalPool[Any]) -> Any:
    """Enter and leave a block, and give the connection that was there."""
    with pool.connection() as connection:
        return connection


def waits(pool: millpond.ThreadLocalPool[Any]) -> Running[Any]:
    """Start a thread that waits for a connection."""
    before = pool.stats().waiting
    running = in_thread(used, pool)
    eventually(lambda: pool.stats().waiting > before or running.done)
    return running


def pass_time(pool: millpond.ThreadLocalPool[Any], clock: ManualClock, seconds: float) -> None:
    """Move the fake clock, then do what the timer thread would do at that moment."""
    clock.advance(seconds)
    pool._pool._run_due()
