"""Query timeouts: what runs for too long is cancelled on the server."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from millpond._config import check_timeout
from millpond._messages import one_line
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from millpond._core import Alarm, Lease
    from millpond._workers import Workers
    from millpond.drivers import Driver
    from millpond.errors import ErrorSet

C = TypeVar("C")

logger = logging.getLogger("millpond.pool")

# How long the end of a block waits for a cancellation that is under way.
LONGEST_CANCEL: Final = 5.0


class _Watch(Generic[C]):
    """One block with a query timeout: watched, then cancelled or over, whichever comes first.

    The race is between the worker that cancels and the thread that leaves the block. Under the lock
    one of them is first; a cancellation that was first is waited for, so that it can't hit the
    statement of the next borrower.
    """

    def __init__(self, cancel: Callable[[C], object], conn: C) -> None:
        self._cancel = cancel
        self._conn = conn
        self._lock = threading.Lock()
        self._over = False
        self._done = threading.Event()
        self.fired = False
        self.failed: BaseException | None = None

    def fire(self) -> None:
        """Cancel what runs on the connection, unless the block is over."""
        with self._lock:
            if self._over:
                return
            self.fired = True
        try:
            self._cancel(self._conn)
        except Exception as error:  # noqa: BLE001  the block ends by itself then, later
            self.failed = error
        finally:
            self._done.set()

    def end(self) -> bool:
        """Say that the block is over. True when it was cancelled."""
        with self._lock:
            self._over = True
        if self.fired:
            self._done.wait(LONGEST_CANCEL)
        return self.fired


class QueryTimeouts(Generic[C]):
    """What `Pool` can do about queries that take too long."""

    _driver: Driver[C]
    _errors: ErrorSet
    _workers: Workers
    _watches: dict[int, _Watch[C]]

    if TYPE_CHECKING:

        @property
        def name(self) -> str:
            """The pool's name."""

        def _set_alarm(self, seconds: float) -> Alarm: ...
        def _cancel_alarm(self, alarm: Alarm) -> None: ...
        def _suspect(self, connection: C) -> None: ...

    @contextmanager
    def query_timeout(self, conn: C, seconds: float) -> Iterator[C]:
        """Give what runs in a ``with`` block so many seconds, all statements together.

        After that the running statement is cancelled on the server, and the block ends with
        `QueryTimeout`. The connection stays the borrower's. Before anybody else gets it, it is
        validated, so that a cancellation that comes late hits nobody.

        Args:
            conn: A connection of this pool.
            seconds: The time, above 0.

        Yields:
            The same connection.

        Raises:
            QueryTimeout: The time was over, and a statement was cancelled. ``__cause__`` is what
                the driver raised.
            PoolConfigError: ``seconds`` is not valid, or the driver can't cancel.
        """
        watch = _Watch(self._driver.cancel, conn)
        alarm = self._set_alarm(self._check_query_timeout(seconds))
        self._watches[alarm.number] = watch
        began = time.monotonic()
        try:
            yield conn
        except Exception as error:
            if watch.end() and self._driver.is_cancelled(error):
                raise self._query_timed_out(seconds, time.monotonic() - began) from error
            raise
        finally:
            self._watches.pop(alarm.number, None)
            self._cancel_alarm(alarm)
            if watch.end():
                self._suspect(conn)
                self._note_cancelled(watch)

    @contextmanager
    def _limited(self, lease: Lease[C], seconds: float) -> Iterator[C]:
        """Do what ``connection(query_timeout=seconds)`` is asked for."""
        with lease as conn, self.query_timeout(conn, seconds):
            yield conn

    def _alarm(self, number: int) -> None:
        """Hear from the core that the time is over; cancelling may block, so a worker does it."""
        watch = self._watches.get(number)
        if watch is not None:
            self._workers.submit(watch.fire)

    def _check_query_timeout(self, seconds: Any) -> float:  # noqa: ANN401
        checked = check_timeout(seconds, name="query_timeout")
        if not checked:
            msg = f"query_timeout={seconds!r}: must be seconds above 0"
            raise PoolConfigError(msg)
        if "cancel" not in self._driver.supports:
            name = self._driver.name
            msg = f"query_timeout={seconds!r}: the driver {name} can't cancel a statement"
            raise PoolConfigError(msg)
        return checked

    def _query_timed_out(self, seconds: float, took: float) -> Exception:
        return self._errors.query_timeout(
            f"pool {self.name!r}: a statement was cancelled, as query_timeout={seconds:g} s was "
            f"over after {took:.3g} s"
        )

    def _note_cancelled(self, watch: _Watch[C]) -> None:
        if watch.failed is not None:
            logger.warning(
                "pool %r: cancelling a statement failed: %s",
                self.name,
                one_line(watch.failed),
                extra={"pool": self.name, "event": "cancel_failed"},
            )
