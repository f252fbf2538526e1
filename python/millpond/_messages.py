"""The words of a pool's errors: what happened, in which pool, how full it is, and what to do."""

from __future__ import annotations

import gc
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from types import FrameType

    from millpond._stats import ConnectionStats, PoolStats

MAX_HOLDERS: Final = 5

_collecting = threading.RLock()


def timed_out(
    stats: PoolStats, waited: float, error: BaseException | None, limit: str = "max_size"
) -> str:
    """Explain a timeout: who holds the connections, since when and from where.

    Args:
        stats: The pool as it is.
        waited: Seconds.
        error: Why the last attempt to connect failed, if it did.
        limit: What the pool calls its size.
    """
    said = (
        f"couldn't acquire a connection from pool {stats.name!r} in {waited:.3g} s: "
        f"{stats.in_use} of {stats.max_size} in use, {stats.idle} idle, "
        f"{stats.opening} being opened, {stats.waiting} waiting"
    )
    held = [connection for connection in stats.connections if connection.held is not None]
    held.sort(key=lambda connection: -(connection.held or 0.0))
    kept = [connection for connection in stats.connections if is_kept(connection)]
    held += kept
    lines = [said, *map(holder, held[:MAX_HOLDERS])]
    if len(held) > MAX_HOLDERS:
        lines.append(f"  and {len(held) - MAX_HOLDERS} more")
    if error is not None:
        lines.append(f"  the last attempt to connect failed: {one_line(error)}")
    lines.append(f"  {_advice(stats, held, kept, error, limit)}")
    return "\n".join(lines)


def down(stats: PoolStats, error: BaseException | None) -> str:
    """Explain why a caller does not even wait."""
    said = (
        f"couldn't acquire a connection from pool {stats.name!r}: nothing is open, and for "
        f"{stats.failing or 0.0:.3g} s no attempt to connect has succeeded"
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
    said = f"  connection {connection.slot} held for at least {connection.held or 0.0:.3g} s"
    ident = connection.holder
    if ident is None:
        return said
    said += f" by {thread_name(ident)}"
    if connection.site is not None:
        return f"{said}, acquired at {place(connection.site)}"
    # Without a threshold nobody noted the line, but what the thread does right now is free.
    frame = _frames().get(ident)
    if ident == threading.get_ident() or frame is None:
        return said
    return f"{said}, now at {frame.f_code.co_filename}:{frame.f_lineno}"


def _keeper(connection: ConnectionStats) -> str:
    name = thread_name(connection.holder or 0)
    said = f"  connection {connection.slot} kept by {name}"
    return said if connection.idle is None else f"{said}, idle for {connection.idle:.3g} s"


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


def after_fork() -> None:
    """Begin anew in the child of a fork: the thread that held the lock may not exist here."""
    global _collecting  # noqa: PLW0603
    _collecting = threading.RLock()


def thread_name(ident: int) -> str:
    """Name a thread by its number."""
    if ident == threading.get_ident():
        return "this same thread"
    names = (thread.name for thread in threading.enumerate() if thread.ident == ident)
    return f"thread {next(names, f'{ident}, which has ended')!s}"


def place(site: tuple[str, int, str]) -> str:
    """Show a line of code so that editors find it."""
    file, line, function = site
    return f"{file}:{line} in {function}"


def one_line(error: BaseException) -> str:
    """Show an error on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _advice(
    stats: PoolStats, held: list[Any], kept: list[Any], error: BaseException | None, limit: str
) -> str:
    if error is not None:
        return "check that the database accepts connections"
    if kept and stats.size >= stats.max_size:
        return f"raise {limit} to the number of threads, end threads or use release_thread()"
    if stats.in_use < stats.max_size:
        return "connecting is slow: check the database, or keep more open with min_size"
    own = threading.get_ident()
    if held and all(connection.holder == own for connection in held):
        return f"this thread waits for itself: release a connection first, or raise {limit}"
    return f"release connections sooner, or raise {limit} or acquire_timeout"


FAILURES: Final = {
    "closed": "pool {name!r} is closed",
    "full": (
        "pool {name!r} has {waiting} callers waiting already, and max_waiting={max_waiting}: "
        "try again later, or raise max_waiting or max_size"
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
