"""What a pool tells of itself: the half of `Pool` that looks and never acts."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

from millpond import _stats, _threads
from millpond._core import CorePool
from millpond._events import Listeners, Listening, PoolEvent
from millpond._messages import one_line
from millpond._window import Window

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from millpond._core import ManualClock
    from millpond._events import Listener
    from millpond._workers import Workers

C = TypeVar("C")

logger = logging.getLogger("millpond.pool")


class Observed(Listening, CorePool[C]):
    """See the head of this file."""

    _clock: ManualClock | None
    _name: str
    _workers: Workers
    # Why connecting failed the last time, unless it has worked since, and since when it fails.
    _last_error: BaseException | None
    _failing_from: float | None = None
    _opened_at: float = 0.0

    @property
    def name(self) -> str:
        """The pool's name."""
        return self._name

    def stats(self) -> _stats.PoolStats:
        """Return what the pool is like right now, and what it has done so far.

        Takes some fifty microseconds, and some more for each connection. Holds up nobody, and may
        be called from any thread, as often as you like.
        """
        snapshot = self._snapshot()
        error = self._last_error
        return _stats.from_snapshot(
            self.name,
            (self.min_size, self.max_size),
            snapshot,
            names=self._holder_names(snapshot["slots"]),
            last_error=None if error is None else one_line(error),
            measure=self._measure,
        )

    def _face(self) -> Any:  # noqa: ANN401  a pool of whatever kind
        """Return the pool that its users know, or ``None`` if that is gone."""
        return self

    def _holder_names(self, slots: Iterable[Mapping[str, Any]]) -> dict[int, str]:
        """Name those who hold connections, by slot: here, threads."""
        names = _threads.names()
        return {slot["slot"]: names[slot["holder"]] for slot in slots if slot["holder"] in names}

    # Where every engine begins, and begins anew: the counters are zero then.

    def _start(self, options: Mapping[str, Any], main_thread: int) -> None:
        self._listeners = Listeners()
        self._begin_window()
        super()._start(options, main_thread)

    def _after_fork(self, main_thread: int) -> None:
        self._listeners.after_fork()
        self._begin_window()
        self._failing_from = self._last_error = None
        super()._after_fork(main_thread)

    def _begin_window(self) -> None:
        self._window = Window(time.monotonic if self._clock is None else self._clock.now)
        self._outage = threading.RLock()

    def _advance(self) -> float | None:
        soonest = super()._advance()
        if self._window.is_due():
            self._take_sample()
        return soonest

    def _take_sample(self) -> None:
        totals, in_use = _stats.totals(self._totals()), self._counts()[1]
        self._window.measure({**totals, "in_use": in_use, "max_size": self.max_size})

    def _measure(self, values: Mapping[str, Any]) -> _stats.WindowStats:
        """Say what happened lately, given all else."""
        return self._window.measure(values)

    # Events.

    def _update_heard(self) -> None:
        with self._listeners.lock:
            self._hear(self._listeners.mask)

    def _emit(
        self,
        kind: str,
        slot: int | None = None,
        seconds: float | None = None,
        reason: str | None = None,
        error: BaseException | None = None,
        *,
        shield: type[BaseException] = Exception,
    ) -> None:
        """Tell of an event, right here and with no lock held.

        Args:
            kind: As all but the last, see `PoolEvent`.
            slot: Likewise.
            seconds: Likewise.
            reason: Likewise.
            error: Likewise.
            shield: What a listener may raise. More than `Exception` in threads of the pool's own,
                where nobody else would catch it.
        """
        if not self._listeners.of(kind):
            return
        event = PoolEvent(
            kind=kind, pool=self.name, slot=slot, seconds=seconds, reason=reason, error=error
        )
        self._listeners.tell(event, self._call, self._listener_failed, shield)

    def _emit_later(self, kind: str, **details: Any) -> None:  # noqa: ANN401
        """Tell of an event in a worker: where this happened, nothing may take long."""
        if self._listeners.of(kind):
            self._workers.submit(lambda: self._emit(kind, **details, shield=BaseException))

    def _listener_failed(self, listener: Listener, event: PoolEvent, error: BaseException) -> None:
        logger.warning(
            "pool %r: listener %r failed at event %r: %s",
            self.name,
            listener,
            event.kind,
            one_line(error),
            exc_info=error,
            extra={"pool": self.name, "event": "listener_failed"},
        )

    # What the pool knows of its database.

    def _note_failure(self, error: BaseException, started: float) -> None:
        """Note that an attempt to connect failed which began at `started`."""
        with self._outage:
            # One that began before the last success tells nothing new.
            if started >= self._opened_at:
                self._last_error = error
                if self._failing_from is None:
                    self._failing_from = started

    def _note_success(self) -> tuple[float, BaseException] | None:
        """Note that an attempt to connect succeeded.

        Returns:
            Seconds for which connecting had failed, and the last error, if this is the first
            success since.
        """
        now = time.perf_counter()
        with self._outage:
            since, self._failing_from = self._failing_from, None
            error, self._last_error = self._last_error, None
            self._opened_at = now
        return None if error is None else (now - (since or now), error)
