"""A pool's size that follows its load: `AdaptiveSizer`.

`_decision` has the rules, as a pure function; here is what looks, acts and remembers.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

from millpond import _lifecycle
from millpond._config import MAX_SECONDS, MAX_SIZE, check_between, check_integer, check_order
from millpond._decision import (
    Peaks,
    Rules,
    Sample,
    SizerDecision,
    View,
    decide,
    next_patience,
    view,
)
from millpond._threads import start
from millpond.errors import PoolClosed, PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from millpond._stats import PoolStats

HISTORY: Final = 100

logger = logging.getLogger("millpond.pool")


class Resizable(Protocol):
    """What a sizer needs of a pool."""

    @property
    def name(self) -> str:
        """The pool's name."""

    @property
    def min_size(self) -> int:
        """Connections that it keeps open."""

    @property
    def closed(self) -> bool:
        """Whether it is closed."""

    def stats(self) -> PoolStats:
        """Return what it is like."""

    def resize(self, *, max_size: int) -> None:
        """Change its `max_size`."""


class AdaptiveSizer:
    """Changes a pool's ``max_size`` with its load.

        with millpond.AdaptiveSizer(pool, min_size=4, max_size=40, target_wait=0.01):
            serve()

    Up by half, when all connections that the pool may have are open, and acquires wait on average
    for more than half of `target_wait` (in `window`), or for all of it (in `cool_down`). Down by a
    fifth, when under 0.3 of them were in use on average, acquires waited for no more than a quarter
    of `target_wait`, and no more than would be left were in use or waited for at the same time.
    Nothing happens while connecting fails.

    After a change, the sizer waits for those callers to be served who came before it, then looks at
    what follows for `cool_down` seconds before it goes up (again), and for `window` seconds before
    it goes down. A step down that has to be taken back triples the time before the next one, up to
    60 windows: a load that comes and goes faster than the sizer can follow leaves the pool at the
    size that the load needs.

    What it looks at are the differences of the totals of ``pool.stats()`` between two steps, not
    ``pool.stats().window``: that is about a minute, whatever happened to the size in the meantime.
    The mean wait is the time that callers spent in the queue, divided by all acquires, those that
    did not have to wait included. Who gave up or was refused counts with `target_wait`, and the
    oldest one in the queue with its time so far. Utilization is the mean of what was in use at each
    step, as a share of ``max_size``.

    Works for any pool with ``stats()`` and ``resize(max_size=...)``. All methods can be called from
    any thread. After a fork a started sizer also works in the child.

    Args:
        pool: The pool. Its own ``min_size`` must not be above `min_size`.
        min_size: The lowest ``max_size`` that the pool is given.
        max_size: The highest. With several processes, `millpond.sizing.for_fleet` says how much
            of the server each may have.
        target_wait: Seconds that an acquire may wait on average.
        cool_down: Seconds between a change and a step up. 10.0 by default.
        window: Seconds looked at for a step down. 60.0 by default, not less than `cool_down`.
        clock: Tells the time in seconds. ``time.monotonic`` by default.

    Raises:
        PoolConfigError: An argument is not valid, or two contradict each other.
    """

    def __init__(
        self,
        pool: Resizable,
        *,
        min_size: int,
        max_size: int,
        target_wait: float,
        cool_down: float = 10.0,
        window: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not callable(getattr(pool, "resize", None)):
            msg = f"pool=<{type(pool).__name__}>: must be a pool, with a method resize()"
            raise PoolConfigError(msg)
        self._rules = Rules(
            min_size=check_integer("min_size", min_size, 1, MAX_SIZE),
            max_size=check_integer("max_size", max_size, 1, MAX_SIZE),
            target_wait=check_between("target_wait", target_wait, 0, MAX_SECONDS),
            cool_down=check_between("cool_down", cool_down, 0, MAX_SECONDS),
            window=check_between("window", window, 0, MAX_SECONDS),
        )
        check_order("min_size", min_size, "max_size", max_size)
        check_order("cool_down", cool_down, "window", window)
        check_order("pool.min_size", pool.min_size, "min_size", min_size)
        self._pool = pool
        self._clock = clock
        self._lock = threading.Lock()
        self._samples: deque[Sample] = deque()
        self._peaks = Peaks(self._rules.window)
        self._changes: deque[SizerDecision] = deque(maxlen=HISTORY)
        self._changed = self._settled = clock()
        self._patience = self._rules.window
        self._interval = 0.0
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        # Not the same one: a step may take long. Reentrant, for handlers of signals.
        self._control = threading.RLock()
        _lifecycle.inherit(self)

    @property
    def history(self) -> tuple[SizerDecision, ...]:
        """The last 100 decisions that changed the size, the oldest first."""
        with self._lock:
            return tuple(self._changes)

    def step(self) -> SizerDecision:
        """Look at the pool once, and resize it if that is due.

        `start` does this for you. The more often, the more exact is the utilization.

        Returns:
            What was decided, and why.

        Raises:
            PoolError: The pool could not be resized.
        """
        with self._lock:
            now = self._clock()
            self._note(Sample.of(self._pool.stats(), now))
            decision = decide(self._rules, self._view(now), now)
            if decision.after != decision.before:
                self._pool.resize(max_size=decision.after)
                self._remember(decision)
        if decision.after != decision.before:
            logger.info(
                "pool %r: max_size %d -> %d: %s",
                self._pool.name,
                decision.before,
                decision.after,
                decision.reason,
                extra={"pool": self._pool.name, "event": "resized"},
            )
        return decision

    def start(self, interval: float = 1.0) -> Self:
        """Do a step every so often, in a thread that does not keep the process from ending.

        It ends with `stop`, and when the pool is closed or nobody has it any more. Nobody has to
        keep the sizer. If it runs already, only the interval changes.

        Args:
            interval: Seconds between two steps. 1.0 by default.

        Returns:
            The sizer.

        Raises:
            PoolConfigError: The interval is not valid.
        """
        interval = check_between("interval", interval, 0, MAX_SECONDS)
        stop = threading.Event()
        thread = threading.Thread(
            target=_run,
            args=(weakref.ref(self), stop, interval),
            name=f"millpond-{self._pool.name}-sizer",
            daemon=True,
        )
        with self._control:
            before = self._replace(thread, stop)
            self._interval = interval
            _lifecycle.accompany(self._pool, self)
            start(thread)
        _join(before)
        return self

    def stop(self) -> None:
        """End the thread, if there is one. The pool keeps the size that it has."""
        with self._control:
            before = self._replace(None, threading.Event())
            _lifecycle.leave(self._pool, self)
        _join(before)

    def _replace(
        self, thread: threading.Thread | None, stop: threading.Event
    ) -> threading.Thread | None:
        """Have another thread, or none, and tell the one before to end, which is returned."""
        before, self._thread = self._thread, thread
        self._stop.set()
        self._stop = stop
        return before

    @property
    def _is_running(self) -> bool:
        """Whether the thread is at work: it also ends by itself, when the pool is closed."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    def __enter__(self) -> Self:
        """Start, unless that is done already."""
        return self if self._is_running else self.start()

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    def __repr__(self) -> str:
        """Show the pool's name, and the limits."""
        rules = self._rules
        state = "running" if self._is_running else "not running"
        return (
            f"<{type(self).__name__} of {self._pool.name!r}, {state}: {rules.min_size} to "
            f"{rules.max_size}, target wait {rules.target_wait:g} s>"
        )

    def _note(self, sample: Sample) -> None:
        """Keep a sample, and none that is out of the window or not of this size."""
        samples, window = self._samples, self._rules.window
        if samples and samples[-1].max_size != sample.max_size:
            # Somebody else has resized the pool.
            samples.clear()
            self._changed = sample.time
        since = sample.time - self._changed
        if since < sample.longest_wait < window:
            # They came before the change, and would be counted as if it had not helped.
            samples.clear()
        if not samples:
            self._settled = sample.time
        samples.append(sample)
        self._peaks.note(sample)
        # One from before the window, or its first seconds would be missing in the differences.
        while len(samples) > 1 and samples[1].time <= sample.time - window:
            samples.popleft()

    def _view(self, now: float) -> View:
        patience = self._patience
        return view(
            self._rules,
            self._samples,
            peak=self._peaks.since(now - patience),
            settled=now - self._settled,
            patience=patience,
        )

    def _remember(self, decision: SizerDecision) -> None:
        last = self._changes[-1] if self._changes else None
        self._patience = next_patience(self._rules, last, decision, self._patience)
        self._changes.append(decision)
        self._changed = decision.time
        self._samples.clear()

    def _begin_in_child(self) -> None:
        """Begin anew after a fork, in which the thread does not exist."""
        # None of the parent's: whoever held one of them does not exist here.
        self._lock, self._control = threading.Lock(), threading.RLock()
        self._stop = threading.Event()
        self._samples.clear()
        self._changed = self._clock()
        was_started, self._thread = self._thread is not None, None
        if was_started:
            self.start(self._interval)


def _join(thread: threading.Thread | None) -> None:
    if thread is not None and thread is not threading.current_thread() and thread.is_alive():
        thread.join()


def _run(reference: weakref.ref[AdaptiveSizer], stop: threading.Event, interval: float) -> None:
    while not stop.wait(interval):
        sizer = reference()
        if sizer is None or sizer._pool.closed:  # noqa: SLF001  its own thread
            return
        try:
            sizer.step()
        except PoolClosed:
            return
        except Exception:
            # The next step may find the pool in a better state.
            logger.exception(
                "%r could not do its step",
                sizer,
                extra={"pool": sizer._pool.name, "event": "sizer_failed"},  # noqa: SLF001
            )
        del sizer  # or the thread would hold it during its sleep
