"""Transactions, savepoints, and functions that are run again after a conflict."""

from __future__ import annotations

import itertools
import logging
import random
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from millpond._messages import one_line
from millpond.drivers import ISOLATION_LEVELS, TransactionStatus
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from millpond.drivers import Driver
    from millpond.errors import ErrorSet

C = TypeVar("C")
T = TypeVar("T")

logger = logging.getLogger("millpond.pool")

FIRST_DELAY: Final = 0.01
LONGEST_DELAY: Final = 1.0
MAX_RETRIES: Final = 1000

_numbers: Final = itertools.count(1)


@dataclass(slots=True)
class _Open(Generic[C]):
    """The transaction that a thread has open."""

    conn: C
    # Why it can't be committed: going back to a savepoint failed.
    broken: BaseException | None = None


class Transactions(Generic[C]):
    """What `Pool` can do with transactions."""

    _driver: Driver[C]
    _errors: ErrorSet
    _transactions: dict[int, _Open[C]]

    if TYPE_CHECKING:

        @property
        def name(self) -> str:
            """The pool's name."""

        def acquire(self, *, timeout: float | None = None, priority: str = "normal") -> C:
            """Acquire a connection."""

        def release(self, connection: C, /) -> None:
            """Give it back."""

        def discard(self, connection: C, /) -> None:
            """Have it closed."""

    @contextmanager
    def transaction(
        self,
        *,
        isolation: str | None = None,
        read_only: bool | None = None,
        timeout: float | None = None,
    ) -> Iterator[C]:
        """Lend a connection for one transaction: a ``with`` block.

        It is committed when the block ends and rolled back when an exception leaves it. Inside
        another transaction of the same pool in the same thread, the block is a savepoint on the
        same connection. If rolling back fails, the connection is closed and the first error stands.

        Args:
            isolation: ``"read uncommitted"``, ``"read committed"``, ``"repeatable read"``,
                ``"snapshot"`` or ``"serializable"``. ``None``, the default, leaves it to the
                session.
            read_only: Whether the transaction may only read. ``None`` leaves it to the session.
            timeout: Seconds to wait for the connection, as in `acquire`.

        Yields:
            The driver's own connection object.

        Raises:
            PoolConfigError: An argument is not valid, can't be done by this driver, or is given for
                a savepoint.
            PoolError: A statement failed, the block went on, and so nothing could be committed.
            PoolTimeout: No connection became free in time.
        """
        _check(isolation, read_only)
        outer = self._transactions.get(threading.get_ident())
        if outer is not None:
            if isolation is not None or read_only is not None:
                msg = "isolation and read_only: not for a transaction inside of another"
                raise PoolConfigError(msg)
            with self.savepoint(outer.conn):
                yield outer.conn
            return
        conn = self.acquire(timeout=timeout)
        try:
            yield from self._outermost(conn, isolation=isolation, read_only=read_only)
        except BaseException as error:
            self._undo(conn, error)
            raise
        self.release(conn)

    def _outermost(self, conn: C, *, isolation: str | None, read_only: bool | None) -> Iterator[C]:
        driver = self._driver
        options = {"isolation_level": isolation, "read_only": read_only}
        for option, value in options.items():
            if value is not None and option not in driver.supports:
                name = option.removesuffix("_level")
                msg = f"{name}={value!r}: the driver {driver.name} can't do that"
                raise PoolConfigError(msg)
        driver.begin(conn, isolation=isolation, read_only=read_only)
        ours = threading.get_ident()
        opened = self._transactions[ours] = _Open(conn)
        try:
            yield conn
        finally:
            # By the key from before: a generator may be closed by another thread.
            self._transactions.pop(ours, None)
        # COMMIT of a failed transaction is a silent ROLLBACK in PostgreSQL.
        failed = driver.transaction_status(conn) is TransactionStatus.FAILED
        if failed or opened.broken is not None:
            msg = (
                f"pool {self.name!r}: the transaction was rolled back and not committed, as a "
                "statement in it had failed"
            )
            raise self._errors.error(msg) from opened.broken
        driver.commit(conn)

    def _undo(self, conn: C, error: BaseException) -> None:
        """Roll back after an error and give the connection back; raise nothing of one's own."""
        try:
            if self._driver.is_disconnect(error):
                self.discard(conn)
                return
            self._driver.rollback(conn)
        except Exception as second:  # noqa: BLE001  the first error is the one to know
            logger.info(
                "pool %r: a rollback failed, so the connection is closed: %s",
                self.name,
                one_line(second),
                extra={"pool": self.name, "event": "rollback_failed"},
            )
            self.discard(conn)
        except BaseException:
            self.discard(conn)
            raise
        else:
            self.release(conn)

    @contextmanager
    def savepoint(self, conn: C) -> Iterator[C]:
        """Mark a point of an open transaction that an exception goes back to: a ``with`` block.

        What was done before the block stays, and the transaction goes on.

        Args:
            conn: A connection of this pool in a transaction.

        Yields:
            The same connection.

        Raises:
            PoolConfigError: The database has no savepoints.
            Exception: Whatever the driver raises when it can't set one.
        """
        driver = self._driver
        if driver.savepoint_sql is None:
            msg = f"savepoint: not possible with the driver {driver.name}, whose database has none"
            raise PoolConfigError(msg)
        name = f"millpond_{next(_numbers)}"
        set_it, go_back, drop_it = driver.savepoint_sql
        driver.execute(conn, set_it.format(name))
        try:
            yield conn
        except BaseException as error:
            try:
                driver.execute(conn, go_back.format(name))
            except Exception:  # noqa: BLE001  the first error is the one to know
                # The server gave the whole transaction up (MySQL after a deadlock), or is gone.
                self._break(conn, error)
            raise
        if drop_it is not None:
            driver.execute(conn, drop_it.format(name))

    def _break(self, conn: C, error: BaseException) -> None:
        for opened in list(self._transactions.values()):
            if opened.conn is conn:
                opened.broken = error

    def run(
        self,
        work: Callable[[C], T],
        /,
        *,
        retries: int = 3,
        isolation: str | None = None,
        read_only: bool | None = None,
        timeout: float | None = None,
    ) -> T:
        """Call a function in a transaction, and again after a serialization failure or a deadlock.

        Between the attempts it waits 10 ms, then twice as long each time up to a second, half of it
        by chance. Inside of a `transaction` it is called once, as only the whole can be repeated.

        Args:
            work: Called with the connection. It may be called several times, so what it does
                outside of the database has to bear that.
            retries: How often to try again. 3 by default, 0 never.
            isolation: As in `transaction`.
            read_only: As in `transaction`.
            timeout: Seconds to wait for a connection at each attempt, as in `acquire`.

        Returns:
            What the function returned.

        Raises:
            PoolConfigError: An argument is not valid.
            Exception: What the function or the driver raised last.
        """
        if (
            not isinstance(retries, int)
            or isinstance(retries, bool)
            or not 0 <= retries <= MAX_RETRIES
        ):
            msg = f"retries={retries!r}: must be an int from 0 to {MAX_RETRIES}"
            raise PoolConfigError(msg)
        if threading.get_ident() in self._transactions:
            retries = 0
        for attempt in itertools.count():
            try:
                with self.transaction(
                    isolation=isolation, read_only=read_only, timeout=timeout
                ) as conn:
                    return work(conn)
            except Exception as error:
                if attempt == retries or not self._driver.is_retryable(error):
                    raise
                delay = pause_before(attempt)
                logger.info(
                    "pool %r: a transaction is repeated in %.3f s: %s",
                    self.name,
                    delay,
                    one_line(error),
                    extra={"pool": self.name, "event": "retried"},
                )
            time.sleep(delay)
        raise AssertionError  # pragma: no cover  counting does not end


def pause_before(attempt: int) -> float:
    """Return the seconds to wait after an attempt, counted from 0: half of it by chance."""
    delay = min(FIRST_DELAY * 2.0 ** min(attempt, 10), LONGEST_DELAY)
    return delay * random.uniform(0.5, 1.0)  # noqa: S311  no secret


def _check(isolation: Any, read_only: Any) -> None:  # noqa: ANN401
    if isolation is not None and isolation not in ISOLATION_LEVELS:
        allowed = ", ".join(map(repr, ISOLATION_LEVELS))
        msg = f"isolation={isolation!r}: must be one of {allowed}, or None"
        raise PoolConfigError(msg)
    if read_only is not None and not isinstance(read_only, bool):
        msg = f"read_only={read_only!r}: must be a bool, or None"
        raise PoolConfigError(msg)
