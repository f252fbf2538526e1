"""Threads that wait, conditions that come true, and scripts in an interpreter of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    import millpond
    from millpond._core import ManualClock

T = TypeVar("T")

# How long a thing may take that ought to happen at once; only a failing test waits for it.
PATIENCE = 10.0

TESTS = Path(__file__).parent


class MakePool(Protocol):
    """What the fixture `make_pool` gives: `millpond.Pool`, on the fake database by default."""

    def __call__(
        self, connect: str | Callable[[], Any] | None = None, /, **options: Any
    ) -> millpond.Pool[Any]:
        """Make a pool that is closed, and checked for threads left behind, after the test."""


def eventually(predicate: Callable[[], object], timeout: float = PATIENCE) -> None:
    """Return as soon as `predicate()` is true; fail when it is not after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    pause = threading.Event()
    while not predicate():
        assert time.monotonic() < deadline, f"still false after {timeout} s"
        pause.wait(0.001)


def interrupt(*, after: Callable[[], object]) -> None:
    """Press Ctrl-C, so to speak, in the main thread as soon as `after()` is true."""
    main = threading.main_thread().ident
    assert main is not None
    eventually(after)
    signal.pthread_kill(main, signal.SIGINT)


def remains(predicate: Callable[[], object], seconds: float = 0.1) -> bool:
    """Tell whether `predicate()` is true, and still is after a moment in which others could act."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while time.monotonic() < deadline:
        if not predicate():
            return False
        pause.wait(0.005)
    return True


class Running(Generic[T]):
    """A call that goes on in a thread of its own: a daemon, so it can be left behind."""

    def __init__(self, call: Callable[[], T], name: str | None = None) -> None:
        self._future: Future[T] = Future()
        self._call = call
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.thread.start()

    @property
    def done(self) -> bool:
        """Whether the call has returned or raised."""
        return self._future.done()

    def result(self, timeout: float = PATIENCE) -> T:
        """Wait for what the call returns, or raise what it raised."""
        return self._future.result(timeout)

    def error(self, timeout: float = PATIENCE) -> BaseException | None:
        """Wait for what the call raised; `None` when it returned."""
        return self._future.exception(timeout)

    def _run(self) -> None:
        try:
            result = self._call()
        except BaseException as error:  # noqa: BLE001  whoever asks for the result gets it
            self._future.set_exception(error)
        else:
            self._future.set_result(result)


class Waiter(Running[Any]):
    """A thread that has asked the pool for a connection, and keeps it once it is served."""

    @property
    def served(self) -> bool:
        """Whether it has a connection by now."""
        return self.done and self.error() is None


def in_thread(call: Callable[..., T], *args: Any, **options: Any) -> Running[T]:
    """Start `call(*args, **options)` in a thread; ask the answer for its `result()`."""
    return Running(lambda: call(*args, **options))


def waiting(pool: millpond.Pool[Any], **options: Any) -> Waiter:
    """Start a thread that acquires, and return once the pool counts it among its waiters."""
    before = pool.stats().waiting
    waiter = Waiter(lambda: pool.acquire(**options))
    eventually(lambda: pool.stats().waiting > before or waiter.done)
    assert not waiter.done, f"it did not have to wait: {waiter.error() or waiter.result()!r}"
    return waiter


def waiting_in_order(pool: millpond.Pool[Any], count: int, **options: Any) -> list[Waiter]:
    """Start `count` waiters, each of them queued before the next one asks."""
    return [waiting(pool, **options) for _ in range(count)]


def together(count: int, call: Callable[[int], T]) -> list[T]:
    """Run `call(0)` to `call(count - 1)` in threads that start at the same moment."""
    barrier = threading.Barrier(count)

    def start(number: int) -> T:
        barrier.wait(PATIENCE)
        return call(number)

    running = [in_thread(start, number) for number in range(count)]
    return [one.result(60.0) for one in running]


def pass_time(pool: millpond.Pool[Any], clock: ManualClock, seconds: float) -> None:
    """Move the fake clock, then do what the timer thread would do at that moment."""
    clock.advance(seconds)
    pool._run_due()


def pass_time_until(
    pool: millpond.Pool[Any], clock: ManualClock, predicate: Callable[[], object]
) -> None:
    """Let fake time pass, a tenth of a second at a time, until `predicate()` is true."""

    def step() -> object:
        pass_time(pool, clock, 0.1)
        return predicate()

    eventually(step)


def threads_of(pool: millpond.Pool[Any] | str) -> list[str]:
    """Name the threads which that pool has running."""
    name = pool if isinstance(pool, str) else pool.name
    prefix = f"millpond-{name}-"
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(prefix)]


def script_command(source: str) -> tuple[list[str], dict[str, str]]:
    """Give the command and the environment which run `source` in a fresh interpreter."""
    path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(source)]
    return command, {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def run_script(source: str, timeout: float = 20.0) -> subprocess.CompletedProcess[str]:
    """Run `source` in a fresh interpreter, which finds `fakes` and `helpers`, to its end."""
    command, environment = script_command(source)
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )


def lines_of(source: str, timeout: float = 20.0) -> list[str]:
    """Run `source` in a fresh interpreter, which has to end well, and give the lines it printed."""
    ended = run_script(source, timeout)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()
