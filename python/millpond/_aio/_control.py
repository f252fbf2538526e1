"""What is done to all engines of an `AsyncPool`, and their coming and going.

All of it are plain calls, from any thread.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from millpond import _jobs, _messages, _stats, errors
from millpond._aio._budget import Budget
from millpond._aio._engine import LoopEngine
from millpond._aio._loop import Progress, running_loop
from millpond._core import CoreAsyncPool, CorePool, leak
from millpond._events import Listening
from millpond._window import Window

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from typing import Self

    from millpond._config import PoolConfig
    from millpond._core import ManualClock
    from millpond._events import Listeners
    from millpond.drivers.aio import AsyncDriver

C = TypeVar("C")

logger = logging.getLogger("millpond.pool")


class Controlled(Listening, CoreAsyncPool[C]):
    """See the head of this file."""

    _clock: ManualClock | None
    _closed: bool
    _config: PoolConfig
    _driver: AsyncDriver[C]
    _errors: errors.ErrorSet
    _listeners: Listeners
    _name: str
    _recognised: bool
    _stand_ins: list[object]
    _suspended: bool

    def _begin(self) -> None:
        self._lock = threading.RLock()
        # Who looks counts each engine once: as one that is there, or as a part of the past.
        self._counting = threading.RLock()
        self._past: _stats.PoolStats | None = None
        self._window = Window(time.monotonic if self._clock is None else self._clock.now)
        self._backoff = _jobs.Backoff()
        self._budget = Budget(self._config.min_size, self._config.max_size)
        # The core's own dict: a getter takes longer.
        self._by_loop: dict[asyncio.AbstractEventLoop | None, LoopEngine[C]] = self._engines
        self._progress = Progress()
        self._listeners.after_fork()

    @property
    def name(self) -> str:
        """The pool's name."""
        return self._name

    @property
    def min_size(self) -> int:
        """The connections to keep open, idle or in use."""
        return self._config.min_size

    @property
    def max_size(self) -> int:
        """The connections to have at the most, in all loops together."""
        return self._config.max_size

    @property
    def closed(self) -> bool:
        """Whether the pool was closed."""
        return self._closed

    @property
    def suspended(self) -> bool:
        """Whether callers are kept waiting by `suspend`."""
        return self._suspended

    def stats(self) -> _stats.PoolStats:
        """Return what the pool is like right now, in all loops, and what it has done so far."""
        # Or an engine that is forgotten meanwhile would be counted twice, or not at all.
        with self._counting:
            parts = [engine.own_stats() for engine in self._all()]
            if self._past is not None:
                parts.append(self._past)
        sizes = self.min_size, self.max_size
        return _stats.merge(self.name, sizes, parts, measure=self._window.measure)

    def _update_heard(self) -> None:
        for engine in self._all():
            engine._update_heard()

    def resize(self, *, min_size: int | None = None, max_size: int | None = None) -> None:
        """Change the sizes while the pool is in use.

        A larger pool serves waiting callers at once. From a smaller one idle connections are closed
        now and others on their release.

        Args:
            min_size: Connections to keep open. ``None`` keeps the present value.
            max_size: Connections to have at the most. ``None`` keeps the present value.

        Raises:
            PoolConfigError: A size is not valid, or `min_size` would be above `max_size`.
            PoolClosed: The pool is closed.
        """
        self._check_open()
        with self._lock:
            self._config = self._config.resized(min_size=min_size, max_size=max_size)
            for engine in self._all():
                engine._config = self._config
            self._budget.resize(self._config.min_size, self._config.max_size)

    def evict(self) -> None:
        """Replace all connections: close the idle ones now, the others when they are released.

        Connections opened from now on are spared.

        Raises:
            PoolClosed: The pool is closed.
        """
        self._check_open()
        self._have_all(CorePool.evict)

    def suspend(self) -> None:
        """Keep all callers waiting until `resume`, even if connections are idle.

        Raises:
            PoolClosed: The pool is closed.
        """
        self._check_open()
        with self._lock:
            self._suspended = True
            self._have_all(CorePool.suspend)

    def resume(self) -> None:
        """Serve callers again, those first who waited the longest.

        Raises:
            PoolClosed: The pool is closed.
        """
        self._check_open()
        with self._lock:
            self._suspended = False
            self._have_all(CorePool.resume)

    def _have_all(self, act: Callable[[LoopEngine[C]], None]) -> None:
        for engine in self._all():
            # Its loop may just be ending: then it is closed, and the pool is not.
            with suppress(errors.PoolClosed):
                act(engine)

    # The loops.

    def _here(self) -> LoopEngine[C]:
        """Return the engine of the running loop."""
        loop = running_loop()
        engine = self._by_loop.get(loop)
        return self._join(loop) if engine is None else engine

    def _join(self, loop: asyncio.AbstractEventLoop | None) -> LoopEngine[C]:
        if loop is None:
            msg = f"pool {self.name!r}: no running event loop; use Pool where there is none"
            raise RuntimeError(msg)
        # The budget's lock as well, or others might be given what this one has just been promised.
        with self._lock, self._budget.lock:
            self._check_open()
            self._sweep()
            sizes = self._budget.first_share()
            engine = self._by_loop[loop] = LoopEngine(self, loop, sizes)
            # Only now: who adds a listener tells those that are registered.
            engine._update_heard()
            self._budget.join(engine, sizes[1])
            if self._suspended:
                engine.suspend()
        if sizes[0]:
            engine._warm_up()
        return engine

    def _all(self) -> tuple[LoopEngine[C], ...]:
        # Copied in one step, also without the GIL: other loops come and go.
        return tuple(self._by_loop.copy().values())

    def _sweep(self) -> None:
        """Let go of loops that were closed without a word."""
        for engine in self._all():
            if engine.loop.is_closed():
                engine._shut()
                engine.finish()
                engine.abandon()
                self._forget(engine)

    def _forget(self, engine: LoopEngine[C]) -> None:
        """Forget an engine whose loop is over, but not what it has counted."""
        # A closed pool keeps its engines: what is in use is still to be released.
        if self._closed:
            return
        with self._lock, self._counting:
            if self._by_loop.pop(engine.loop, None) is None:
                return
            past = [_stats.gone(engine.own_stats())]
            if self._past is not None:
                past.append(self._past)
            self._past = _stats.merge(self.name, (0, 0), past)
        self._budget.leave(engine)

    def _engine_of(self, connection: C) -> LoopEngine[C]:
        """Return the engine that lent a connection; if none did, one that will say so."""
        for engine in self._all():
            if engine._slot_of(id(connection)) is not None:
                return engine
        here = self._by_loop.get(running_loop())
        if here is None:
            raise self._failure("foreign", connection)
        if not any(one is connection for one in self._stand_ins):
            here.release(connection)  # which says what is wrong with it
        return here

    def _failure(self, kind: str, detail: object = None) -> errors.PoolError:
        made = self._errors.closed if kind == "closed" else self._errors.error
        shown = f"<{type(detail).__name__} at {id(detail):#x}>"
        return made(_messages.FAILURES[kind].format(name=self.name, detail=shown))

    def _check_open(self) -> None:
        if self._closed:
            raise self._failure("closed")

    def _recognised_as(self, driver: AsyncDriver[C]) -> None:
        """Learn from the first connection what the driver is."""
        self._driver = driver
        self._errors = errors.for_driver(driver.operational_error)
        self._recognised = True

    def _changed(self) -> None:
        self._progress.changed()
        self._budget.settle()

    # What happens to all pools at once.

    def _face(self) -> Self:
        """Return what users know of this pool."""
        return self

    def _shut(self) -> bool:
        was_open, self._closed = not self._closed, True
        for engine in self._all():
            engine._shut()
        self._progress.changed()
        return was_open

    def _finish(self, timeout: float, *, idle_only: bool = False) -> None:
        """End at the interpreter's exit, when no loop is to run any more."""
        del timeout, idle_only
        for engine in self._all():
            engine.finish()

    def _begin_in_child(self) -> None:
        """Begin anew after a fork: the parent's loops do not run here."""
        for engine in self._all():
            engine._after_fork(threading.main_thread().ident or 0)
            leak(engine.open)
            engine.open = {}
        leak(dict(self._by_loop))
        self._by_loop.clear()
        # As the core of a `Pool`: nothing was counted yet, and nobody is kept waiting.
        self._past = None
        self._suspended = False
        self._begin()

    def _run_due(self) -> None:
        """Do what is due by the manual clock, as each loop does by the machine's."""
        for engine in self._all():
            engine._advance()
