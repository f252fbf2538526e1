"""The words of a pool's errors: what happened, in which pool, how full it is, and what to do."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
from typing import TYPE_CHECKING, Final, Protocol

from millpond import _threads

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import FrameType

    from millpond._stats import ConnectionStats, PoolStats

_collecting = threading.RLock()


class Holders(Protocol):
    """Those who may hold connections and are no threads: tasks."""

    def has_ended(self, number: int) -> bool:
        """Tell whether one of them has ended for certain."""

    def after_fork(self) -> None:
        """Begin anew in the child of a fork."""

    def name_of(self, number: int) -> str:
        """Name one of them, if its name is known."""

    def place_of(self, number: int) -> str | None:
        """Say where in the code one of them is, if it runs."""

    def own(self) -> int | None:
        """Return the number of the one that asks, if it is one of them."""


_others: Final[list[Holders]] = []


def know(holders: Holders) -> None:
    """Note who else may hold connections."""
    _others.append(holders)


def down(stats: PoolStats, error: BaseException | None) -> str:
    """Explain why a caller does not even wait."""
    said = (
        f"couldn't acquire a connection from pool {stats.name!r}: nothing is open, and for "
        f"{span(stats.failing or 0.0)} no attempt to connect has succeeded"
    )
    lines = [said]
    if error is not None:
        lines.append(f"  the last one failed: {one_line(error)}")
    lines.append("  check that the database accepts connections; the pool keeps trying")
    return "\n".join(lines)


def is_kept(connection: ConnectionStats) -> bool:
    """Tell whether a connection belongs to a thread that does not use it at the moment."""
    return connection.held is None and connection.holder is not None


def holder(connection: ConnectionStats) -> str:
    """Say who holds a connection."""
    if is_kept(connection):
        return _keeper(connection)
    said = f"  connection {connection.slot} held for at least {span(connection.held or 0.0)}"
    ident = connection.holder
    if ident is None:
        return said
    said += f" by {thread_name(ident)}"
    if connection.site is not None:
        return f"{said}, acquired at {place(connection.site)}"
    # Without a threshold nobody noted the line, but what the thread does right now is free.
    where = place_now(ident)
    return said if where is None else f"{said}, now at {where}"


def place_now(ident: int) -> str | None:
    """Say where in the code a thread or a task is, if that can be seen from here."""
    if is_own(ident):
        return None
    places = (holders.place_of(ident) for holders in _others)
    place = next(filter(None, places), None)
    if place is not None or is_task(ident):
        return place
    frame = _frames().get(ident)
    return None if frame is None else line_of(_stack(frame))


def _stack(frame: FrameType | None) -> Iterator[FrameType]:
    """Give what a thread is doing, and for what, and so on."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def line_of(frames: Iterable[FrameType]) -> str | None:
    """Show where somebody is: the line of the user's own code, if there is one.

    Args:
        frames: What is being done, the innermost first. Those of a driver or of a web server say
            nothing about who it is.
    """
    stack = list(frames)
    frame = next((one for one in stack if not _is_library(one)), stack[0] if stack else None)
    return None if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


def caller(frame: FrameType) -> tuple[str, int, str]:
    """Return the line that called into this package: its file, number and function."""
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_OURS):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name


def _is_library(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    return file.startswith(_LIBRARIES) or any(folder in file for folder in _INSTALLED)


_HERE: Final = __file__.removesuffix("_messages.py")
# A transaction is a generator: between its first line and the caller's there is contextlib.
_OURS: Final = (_HERE, contextlib.__file__)
_LIBRARIES: Final = (_HERE, "<frozen ", threading.__file__.removesuffix("threading.py"))
_INSTALLED: Final = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))


def _keeper(connection: ConnectionStats) -> str:
    name = thread_name(connection.holder or 0)
    said = f"  connection {connection.slot} kept by {name}"
    return said if connection.idle is None else f"{said}, idle for {span(connection.idle)}"


def _frames() -> dict[int, FrameType]:
    """Get what each thread is doing.

    CPython before 3.12 holds its runtime lock meanwhile, and may collect garbage under it. Should
    that run a finalizer, which lets another thread have the GIL, and that thread come here, both
    wait for each other. So it may not collect.
    """
    if sys.version_info >= (3, 12):
        return sys._current_frames()  # noqa: SLF001  the only way to see another thread
    with _collecting:
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            return sys._current_frames()  # noqa: SLF001
        finally:
            if was_enabled:
                gc.enable()


def running(numbers: Iterable[int]) -> frozenset[int]:
    """Return those that have not ended, of some threads and tasks.

    Args:
        numbers: Their numbers. Threads may be such as Python did not start.
    """
    asked = frozenset(numbers)
    tasks = frozenset(filter(is_task, asked))
    ended = {one for one in tasks if all(holders.has_ended(one) for holders in _others)}
    return (tasks - ended) | ((asked - tasks) & _frames().keys())


def after_fork() -> None:
    """Begin anew in the child of a fork: the thread that held the lock may not exist here."""
    global _collecting  # noqa: PLW0603
    _collecting = threading.RLock()
    for holders in _others:
        holders.after_fork()


def thread_name(ident: int) -> str:
    """Name a thread, or a task, by its number."""
    if is_task(ident):
        names = (holders.name_of(ident) for holders in _others)
        return next(names, "a task")
    if ident == threading.get_ident():
        return "this same thread"
    return f"thread {_threads.names().get(ident, f'{ident}, which has ended')}"


def is_own(ident: int | None) -> bool:
    """Tell whether a number is that of the thread, or of the task, that runs right here."""
    return ident == threading.get_ident() or any(
        ident is not None and ident == holders.own() for holders in _others
    )


def is_task(ident: int) -> bool:
    """Tell a task's number from a thread's, which is even: an address, or one of every four."""
    return ident % 2 == 1


def place(site: tuple[str, int, str]) -> str:
    """Show a line of code so that editors find it."""
    file, line, function = site
    return f"{file}:{line} in {function}"


def span(seconds: float) -> str:
    """Show a duration with three digits, and with as many as it takes before the point.

    The microseconds of somebody who did not wait are none.
    """
    if seconds < 0.0005:  # noqa: PLR2004
        return "0 s"
    return f"{seconds:.3g} s" if seconds < 999.5 else f"{seconds:.0f} s"  # noqa: PLR2004


def one_line(error: BaseException) -> str:
    """Show an error on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


FAILURES: Final = {
    "closed": "pool {name!r} is closed",
    "full": (
        "pool {name!r} has {waiting} callers waiting already, and max_waiting={max_waiting}: "
        "try again later, or raise max_waiting or max_size"
    ),
    "none_free": (
        "pool {name!r} has no connection that is free, and on_exhausted='raise': try again later, "
        "or raise max_size"
    ),
    "hopeless": (
        "pool {name!r} has {waiting} callers waiting already, which by their pace takes longer "
        "than this one wants to wait: try again later, or raise max_size or the timeout"
    ),
    "not_held": (
        "the connection was released to pool {name!r} already: release each acquired connection "
        "exactly once"
    ),
    "foreign": (
        "{detail} is no connection of pool {name!r}, or one that was released and closed already: "
        "release a connection to the pool that it was acquired from"
    ),
    "of_another": (
        "{detail} is no connection that this thread has in pool {name!r}: release it in the thread "
        "that acquired it"
    ),
    "in_hook": (
        "acquire() in a hook of pool {name!r}, which has no idle connection: it could wait for "
        "itself. Use the connection that the hook was given"
    ),
    "entered": "the lease of pool {name!r} is entered already: call connection() for each block",
    "not_entered": "the lease of pool {name!r} is not entered: use it in a with statement",
}
