"""`HealthMonitor`: one pool, judged when somebody asks or in the background."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Final

from millpond import _lifecycle
from millpond._config import check_seconds
from millpond._threads import start
from millpond._watched import check_pool, leak_threshold_of
from millpond.errors import PoolConfigError
from millpond.health._judge import Change, Judge
from millpond.health._rules import Thresholds

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from millpond._watched import Watched
    from millpond.health._status import Alert, HealthStatus

logger = logging.getLogger("millpond.health")

_LEVELS: Final = {
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}


class HealthMonitor:
    """Says whether a pool is well, and tells who wants to know when that changes.

    ```python
    monitor = millpond.HealthMonitor(pool, mean_wait=0.05, on_raise=page_somebody)
    monitor.start(interval=5.0)  # or call status() whenever you want to know
    ```

    What is looked at are mostly means and counts of about the last minute (`PoolStats.window`), so
    an alert lasts for a while after its reason. All methods may be called from any thread. In the
    child of a fork all begins anew, the background thread included.

    Args:
        pool: The pool, of any kind.
        utilization: The share of ``max_size`` in use. 0.95 by default; above it is critical. This
            and the other thresholds are explained at `millpond.health.Thresholds`; ``None`` leaves
            a rule out.
        mean_wait: Mean wait of an acquire in seconds. 0.1 by default; above it is a warning.
        failure_rate: The share of failed acquires. 0.01 by default; above it is an error.
        leaks: Leaks, reported or present. 0 by default; above it is a warning.
        open_failures: Failed attempts to connect. 0 by default; above it is a warning.
        failing: Seconds without a successful attempt to connect. 1.0 by default; above it is an
            error.
        turned_away: Callers that were told at once that the database is down, since the last
            evaluation. 0 by default; above it is critical.
        raise_after: Evaluations in a row above the threshold after which an alert is raised. 1 by
            default.
        clear_ratio: The share of the threshold that a value must not be above, for the alert to be
            cleared. 0.8 by default.
        clear_after: Evaluations in a row at which it is not, after which the alert is cleared, of
            which one a second is counted. 3 by default.
        on_raise: Called with each `Alert` that is raised, one after the other, in the thread of the
            evaluation. What it raises is logged. ``None`` by default.
        on_clear: Likewise, with each that is cleared.
        clock: Tells the time in seconds; `time.monotonic` by default.

    Raises:
        PoolConfigError: An argument is not valid.
    """

    def __init__(
        self,
        pool: Watched,
        *,
        utilization: float | None = 0.95,
        mean_wait: float | None = 0.1,
        failure_rate: float | None = 0.01,
        leaks: float | None = 0,
        open_failures: float | None = 0,
        failing: float | None = 1.0,
        turned_away: float | None = 0,
        raise_after: int = 1,
        clear_ratio: float = 0.8,
        clear_after: int = 3,
        on_raise: Callable[[Alert], object] | None = None,
        on_clear: Callable[[Alert], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        check_pool(pool)
        _check_callback("on_raise", on_raise)
        _check_callback("on_clear", on_clear)
        self._judge = Judge(
            Thresholds(
                utilization=utilization,
                mean_wait=mean_wait,
                failure_rate=failure_rate,
                leaks=leaks,
                open_failures=open_failures,
                failing=failing,
                turned_away=turned_away,
            ),
            raise_after=raise_after,
            clear_ratio=clear_ratio,
            clear_after=clear_after,
            clock=clock,
        )
        self._pool = pool
        self._callbacks = {True: on_raise, False: on_clear}
        self._interval: float | None = None
        self._begin()
        _lifecycle.inherit(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._news: deque[Change] = deque()
        self._delivery = threading.Lock()

    @property
    def pool(self) -> Watched:
        """The pool that is judged."""
        return self._pool

    def status(self) -> HealthStatus:
        """Evaluate all rules now, and call back if alerts were raised or cleared by that.

        Takes what `Pool.stats()` takes.
        """
        status, changes = self._judge.judge(self._pool.stats(), leak_threshold_of(self._pool))
        self._news.extend(changes)
        self._deliver()
        return status

    def start(self, interval: float = 5.0) -> Self:
        """Evaluate in the background, in a daemon thread: now, and again and again.

        The thread ends by `stop`, or when the pool is closed, or with the pool or the interpreter,
        which it does not keep alive. Nobody has to keep the monitor. If the thread is running,
        another one takes over.

        Args:
            interval: Seconds between two evaluations. 5.0 by default.

        Returns:
            The monitor.

        Raises:
            PoolConfigError: The interval is no number of seconds.
        """
        seconds = check_seconds("interval", interval)
        ended = threading.Event()
        reference = weakref.ref(self, lambda _: ended.set())
        thread = threading.Thread(
            target=_run, args=(reference, ended, seconds), name="millpond-health", daemon=True
        )
        with self._lock:
            self._ended.set()
            self._ended, self._thread, self._interval = ended, thread, seconds
        _lifecycle.accompany(self._pool, self)
        if not start(thread):
            logger.error("no thread to be had: the pool is not evaluated in the background")
        return self

    def stop(self) -> None:
        """Evaluate in the background no more. Alerts stay as they are. May be called again."""
        with self._lock:
            self._ended.set()
            thread, self._thread, self._interval = self._thread, None, None
        _lifecycle.leave(self._pool, self)
        if thread is not None and thread is not threading.current_thread() and thread.is_alive():
            thread.join(1.0)

    def __enter__(self) -> Self:
        """Evaluate in the background, unless that is done already."""
        with self._lock:
            running = self._thread is not None and self._thread.is_alive()
        return self if running else self.start()

    def __exit__(self, *_: object) -> None:
        """Do so no more."""
        self.stop()

    def _deliver(self) -> None:
        """Call back, in the order of the changes; who finds another at it leaves it to him."""
        while self._news:
            if not self._delivery.acquire(blocking=False):
                return
            try:
                while self._news:
                    self._tell(self._news.popleft())
            finally:
                self._delivery.release()

    def _tell(self, change: Change) -> None:
        alert, event = change.alert, "raised" if change.raised else "cleared"
        logger.log(
            _LEVELS[alert.severity] if change.raised else logging.INFO,
            "alert %s: %s",
            event,
            alert.message,
            extra={
                "pool": change.pool,
                "event": f"alert_{event}",
                "metric": alert.metric,
                "value": alert.value,
                "threshold": alert.threshold,
            },
        )
        callback = self._callbacks[change.raised]
        if callback is None:
            return
        try:
            callback(alert)
        except Exception:
            logger.exception("a callback for alerts failed")

    def _begin_in_child(self) -> None:
        """Begin anew in the child of a fork, where the thread does not exist."""
        self._begin()
        self._judge.after_fork()
        if self._interval is not None:
            self.start(self._interval)


def _run(reference: weakref.ref[HealthMonitor], ended: threading.Event, interval: float) -> None:
    while True:
        monitor = reference()
        if monitor is None or getattr(monitor.pool, "closed", False):
            return
        try:
            monitor.status()
        except BaseException:
            # One evaluation that failed must not be the last one, nor an exit in a callback.
            logger.exception("the pool was not evaluated")
        del monitor
        if ended.wait(interval):
            return


def _check_callback(name: str, value: object) -> None:
    if value is not None and not callable(value):
        msg = f"{name}=<{type(value).__name__}>: must be a callable that takes an Alert, or None"
        raise PoolConfigError(msg)
