"""What happens to all pools at once: the fork of the process and the exit of the interpreter."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from millpond import _messages
from millpond._core import exited
from millpond._timer import TIMER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from millpond._aio import AsyncPool
    from millpond._pool import Pool
    from millpond._thread_local import ThreadLocalPool

    Face: TypeAlias = Pool[Any] | ThreadLocalPool[Any] | AsyncPool[Any]

# The whole exit, with whatever else runs then, should be over within two seconds.
EXIT_SECONDS: Final = 1.0


class Lively(Protocol):
    """A pool, as far as it matters here."""

    @property
    def closed(self) -> bool: ...
    def _face(self) -> Face | None: ...
    def _shut(self) -> bool: ...
    def _finish(self, timeout: float, *, idle_only: bool = False) -> None: ...
    def _begin_in_child(self) -> None: ...


_lock = threading.RLock()
_pools: dict[int, weakref.ref[Lively]] = {}


def register(pool: Lively, finalize: Callable[[], None]) -> None:
    """Note a pool. `finalize` is called when it is garbage collected; it must not need the pool."""
    key = id(pool)

    def gone(_: weakref.ref[Lively]) -> None:
        with _lock:
            _pools.pop(key, None)
        finalize()

    with _lock:
        _pools[key] = weakref.ref(pool, gone)


def _all() -> Iterator[Lively]:
    for reference in list(_pools.values()):
        pool = reference()
        if pool is not None:
            yield pool


def pools() -> tuple[Face, ...]:
    """Return all pools of this process that are neither closed nor garbage collected.

    Nothing is kept alive but by the tuple. May be called from any thread.

    Returns:
        The pools, oldest first.
    """
    faces = (pool._face() for pool in _all() if not pool.closed)  # noqa: SLF001
    return tuple(face for face in faces if face is not None)


class Heir(Protocol):
    """What has to begin anew in the child of a fork."""

    def _begin_in_child(self) -> None: ...


_heirs: dict[int, weakref.ref[Heir]] = {}


def inherit(heir: Heir) -> None:
    """Note an object that has to begin anew in the child of a fork, as long as it lives."""
    key = id(heir)

    def gone(_: weakref.ref[Heir]) -> None:
        _heirs.pop(key, None)

    _heirs[key] = weakref.ref(heir, gone)


def accompany(pool: Any, companion: object) -> None:  # noqa: ANN401  a pool of any kind
    """Keep an object alive for as long as its pool, unless it leaves: nobody else may have it.

    What can't carry it, as it has no attributes of its own, lets it go.
    """
    with suppress(TypeError):
        vars(pool).setdefault("_companions", set()).add(companion)


def leave(pool: Any, companion: object) -> None:  # noqa: ANN401  a pool of any kind
    """End what `accompany` began."""
    getattr(pool, "_companions", set()).discard(companion)


def _after_fork_in_child() -> None:
    global _lock  # noqa: PLW0603  a thread that does not exist here may have held it
    _lock = threading.RLock()
    TIMER.after_fork()
    _messages.after_fork()
    for pool in _all():
        pool._begin_in_child()  # noqa: SLF001
    for reference in list(_heirs.values()):
        heir = reference()
        if heir is not None:
            heir._begin_in_child()  # noqa: SLF001


def _at_exit() -> None:
    """Wake whoever waits, say farewell to the servers, and let nothing take long."""
    deadline = time.monotonic() + EXIT_SECONDS
    pools = list(_all())
    for pool in pools:
        pool._shut()  # noqa: SLF001
    for pool in pools:
        pool._finish(max(0.0, deadline - time.monotonic()), idle_only=True)  # noqa: SLF001
    exited()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
