"""What happens to all pools at once: the fork of the process and the exit of the interpreter."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Final, Protocol

from millpond import _messages
from millpond._core import exited
from millpond._timer import TIMER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from millpond._pool import Pool

# The whole exit, with whatever else runs then, should be over within two seconds.
EXIT_SECONDS: Final = 1.0

_lock = threading.RLock()
_pools: dict[int, weakref.ref[Pool[Any]]] = {}


def register(pool: Pool[Any], finalize: Callable[[], None]) -> None:
    """Note a pool. `finalize` is called when it is garbage collected; it must not need the pool."""
    key = id(pool)

    def gone(_: weakref.ref[Pool[Any]]) -> None:
        with _lock:
            _pools.pop(key, None)
        finalize()

    with _lock:
        _pools[key] = weakref.ref(pool, gone)


def _all() -> Iterator[Pool[Any]]:
    for reference in list(_pools.values()):
        pool = reference()
        if pool is not None:
            yield pool


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
