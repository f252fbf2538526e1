"""Query timeouts: what runs for too long is cancelled on the server."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from millpond._config import check_seconds
from millpond._messages import one_line
from millpond.drivers import TransactionStatus
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from millpond._core import Alarm, Lease
    from millpond._workers import Workers
    from millpond.drivers import Driver
    from millpond.errors import ErrorSet

C = TypeVar("C")

logger = logging.getLogger("millpond.pool")

# How long the end of a block waits for a cancellation that is under way.
LONGEST_CANCEL: Final = 5.0
# Pauses between cancellations of the same block: the first may come before its statement does.
FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 1.0


class _Watch(Generic[C]):
    """One block with a query timeout: watched, then cancelled or over, whichever comes first.

    The race is between the worker that cancels and the thread that leaves the block. Under the lock
    one of them is first; a cancellation that was first is waited for, so that it can't hit the
    statement of the next borrower.
    """

    def __init__(self, driver: Driver[C], conn: C) -> None:
        self._driver = driver
        self._conn = conn
        # Now, as some drivers do not tell while a statement is running.
        self._socket = _socket_of(driver, conn)
        self._lock = threading.Lock()
        self._settled = threading.Event()
        self._settled.set()
        self._fired_at = 0.0
        self._pause = FIRST_PAUSE
        self.alarm: Alarm | None = None
        self.over = False
        self.fired = False
        self.hung_up = False
        # Whether a cancellation may still be on its way to the server when the block is over.
        self.lingers = False
        self.failed: BaseException | None = None

    def fire(self) -> float | None:
        """Cancel what runs on the connection, unless the block is over.

        Returns:
            Seconds after which to do so again, in case that the statement had not begun, or that
            it could not be done; ``None`` when there is nothing more to do.
        """
        with self._lock:
            if self.over or self.hung_up:
                return None
            stuck = not self._settled.is_set()
            self._settled.clear()
            if not self.fired:
                self._fired_at = time.monotonic()
            self.fired = True
        if stuck:  # in the cancellation before, which another worker is still at
            self._hang_up()
            return None
        try:
            self._driver.cancel(self._conn)
        except Exception as error:  # noqa: BLE001  the block goes on, and is told by its end
            self.failed = error
            self.lingers = True
        else:
            self.failed = None
        finally:
            if time.monotonic() - self._fired_at >= LONGEST_CANCEL and self._is_in_vain():
                self._hang_up()
            self._settled.set()
        pause = self._pause
        self._pause = min(2 * pause, LONGEST_PAUSE)
        return pause

    def _is_in_vain(self) -> bool:
        """Say whether no cancellation reaches the statement, or ends it: its server may be gone."""
        status = self._driver.transaction_status(self._conn)
        return self.failed is not None or status is TransactionStatus.ACTIVE

    def _hang_up(self) -> None:
        """Shut the connection's socket down: nothing else may ever end the wait for an answer."""
        number, inode = self._socket
        with suppress(OSError), socket.socket(fileno=os.dup(number)) as sock:
            # The number may be another socket's by now; what the dup is cannot change any more.
            if os.fstat(sock.fileno()).st_ino == inode:
                self.hung_up = self.lingers = True
                sock.shutdown(socket.SHUT_RDWR)

    def end(self) -> bool:
        """Say that the block is over. True when it was cancelled."""
        with self._lock:
            self.over = True
        if not self._settled.wait(LONGEST_CANCEL):
            self.lingers = True
        return self.fired

    def has_caused(self, error: BaseException) -> bool:
        """Say whether an error of the block is the end of a statement that the watch has ended."""
        if not self.fired:
            return False
        driver = self._driver
        return driver.is_cancelled(error) or (self.hung_up and driver.is_disconnect(error))


def _socket_of(driver: Driver[C], conn: C) -> tuple[int, int]:
    """Return the number of a connection's socket and its inode, which no other has; else -1."""
    with suppress(OSError):
        number = driver.fileno(conn)
        if number >= 0:
            return number, os.fstat(number).st_ino
    return -1, -1


class QueryTimeouts(Generic[C]):
    """What `Pool` can do about queries that take too long."""

    _driver: Driver[C]
    _errors: ErrorSet
    _workers: Workers
    _watches: dict[int, _Watch[C]]
    # Reentrant: an alarm may be heard in a finalizer that interrupts the thread which sets one.
    _watching: threading.RLock

    if TYPE_CHECKING:

        @property
        def name(self) -> str:
            """The pool's name."""

        def _set_alarm(self, seconds: float) -> Alarm: ...
        def _cancel_alarm(self, alarm: Alarm) -> None: ...
        def _suspect(self, connection: C) -> None: ...
        def _condemn(self, connection: C) -> None: ...

    @contextmanager
    def query_timeout(self, conn: C, seconds: float) -> Iterator[C]:
        """Give what runs in a ``with`` block so many seconds, all statements together.

        After that whatever statement runs is cancelled on the server, and the block ends with
        `QueryTimeout`. The connection stays the borrower's. Before anybody else gets it, it is
        validated, so that a cancellation that comes late hits nobody; where that is not sure, it
        is closed. A statement that can't be cancelled, as the server is out of reach, is left alone
        after five seconds: its socket is shut down.

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
        watch = _Watch(self._driver, conn)
        self._watch(watch, check_query_timeout(self._driver, seconds))
        began = time.monotonic()
        try:
            yield conn
        except Exception as error:
            watch.end()
            if watch.has_caused(error):
                message = timed_out(self.name, seconds, time.monotonic() - began)
                raise self._errors.query_timeout(message) from error
            raise
        finally:
            fired = watch.end()
            self._unwatch(watch)
            if fired:
                self._suspect(conn)
                if watch.failed is not None:
                    note_cancel_failed(self.name, watch.failed)
            if watch.lingers:
                self._condemn(conn)

    @contextmanager
    def _limited(self, lease: Lease[C], seconds: float) -> Iterator[C]:
        """Do what ``connection(query_timeout=seconds)`` is asked for."""
        with lease as conn, self.query_timeout(conn, seconds):
            yield conn

    def _begin_watching(self) -> None:
        self._watches = {}
        self._watching = threading.RLock()

    def _watch(self, watch: _Watch[C], seconds: float) -> None:
        # Under the lock, or the alarm might be heard before anybody knows what it is for.
        with self._watching:
            self._unwatch(watch)
            if not watch.over:
                watch.alarm = self._set_alarm(seconds)
                self._watches[watch.alarm.number] = watch

    def _unwatch(self, watch: _Watch[C]) -> None:
        """Forget the alarm of a watch."""
        with self._watching:
            if watch.alarm is not None:
                self._watches.pop(watch.alarm.number, None)
                self._cancel_alarm(watch.alarm)

    def _alarm(self, number: int) -> None:
        """Hear from the core that the time is over; cancelling may block, so a worker does it."""
        with self._watching:
            watch = self._watches.pop(number, None)
        if watch is not None:
            self._workers.submit(lambda: self._fire(watch))

    def _fire(self, watch: _Watch[C]) -> None:
        # Should the cancellation hang as well, another worker gives up on both.
        self._watch(watch, LONGEST_CANCEL)
        again = watch.fire()
        if again is not None:
            self._watch(watch, again)


# What threads and tasks have in common.


class Kin(Protocol):
    """What a driver for threads and one for asyncio have in common."""

    @property
    def name(self) -> str: ...
    @property
    def supports(self) -> frozenset[str]: ...


def check_query_timeout(driver: Kin, seconds: Any) -> float:  # noqa: ANN401
    """Check the time for the statements of a block, and that its driver can end them.

    Raises:
        PoolConfigError: One of the two is not so.
    """
    checked = check_seconds("query_timeout", seconds)
    if "cancel" not in driver.supports:
        msg = f"query_timeout={seconds!r}: the driver {driver.name} can't cancel a statement"
        raise PoolConfigError(msg)
    return checked


def timed_out(pool: str, seconds: float, took: float) -> str:
    """Say that a statement was cancelled."""
    return (
        f"pool {pool!r}: a statement was cancelled, as query_timeout={seconds:g} s was over after "
        f"{took:.3g} s"
    )


def note_cancel_failed(pool: str, error: BaseException) -> None:
    """Log that a statement could not be cancelled."""
    logger.warning(
        "pool %r: cancelling a statement failed: %s",
        pool,
        one_line(error),
        extra={"pool": pool, "event": "cancel_failed"},
    )
