"""Transactions, savepoints, and functions that are run again after a conflict."""

from __future__ import annotations

import inspect
import itertools
import logging
import random
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from millpond._messages import one_line
from millpond.drivers import ISOLATION_LEVELS, TransactionStatus
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from millpond.drivers import Driver
    from millpond.errors import ErrorSet

C = TypeVar("C")
T = TypeVar("T")

logger = logging.getLogger("millpond.pool")

NOT_COMMITTED: Final = (
    "pool {name!r}: the transaction was rolled back and not committed, as a statement in it had "
    "failed"
)

FIRST_DELAY: Final = 0.01
LONGEST_DELAY: Final = 1.0
MAX_RETRIES: Final = 1000

_numbers: Final = itertools.count(1)


class Kin(Protocol):
    """What a driver for threads and one for asyncio have in common."""

    @property
    def name(self) -> str: ...
    @property
    def supports(self) -> frozenset[str]: ...
    @property
    def savepoint_sql(self) -> tuple[str, str, str | None] | None: ...
    def transaction_status(self, conn: Any) -> TransactionStatus: ...  # noqa: ANN401


@dataclass(slots=True)
class Open(Generic[C]):
    """The transaction that a thread, or a task, has open."""

    conn: C
    # Why it can't be committed: going back to a savepoint failed.
    broken: BaseException | None = None


class Transactions(Generic[C]):
    """What `Pool` can do with transactions."""

    _driver: Driver[C]
    _errors: ErrorSet
    _transactions: dict[int, Open[C]]

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

        def _is_fatal(self, connection: C, error: Exception) -> bool: ...

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
        check_terms(isolation, read_only)
        outer = self._transactions.get(threading.get_ident())
        if outer is not None:
            check_nested(isolation, read_only)
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
        check_supported(driver, isolation, read_only)
        driver.begin(conn, isolation=isolation, read_only=read_only)
        ours = threading.get_ident()
        opened = self._transactions[ours] = Open(conn)
        try:
            yield conn
        finally:
            # By the key from before: a generator may be closed by another thread.
            self._transactions.pop(ours, None)
        if is_lost(driver, opened):
            raise self._errors.error(NOT_COMMITTED.format(name=self.name)) from opened.broken
        driver.commit(conn)

    def _undo(self, conn: C, error: BaseException) -> None:
        """Roll back after an error and give the connection back; raise nothing of one's own."""
        try:
            # A server that takes no writes any more has all connections replaced.
            if isinstance(error, Exception) and self._is_fatal(conn, error):
                self.discard(conn)
                return
            self._driver.rollback(conn)
        except Exception as second:  # noqa: BLE001  the first error is the one to know
            note_failed_rollback(self.name, second)
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
        set_it, go_back, drop_it = savepoint_statements(driver)
        driver.execute(conn, set_it)
        try:
            yield conn
        except BaseException as error:
            try:
                driver.execute(conn, go_back)
            except Exception:  # noqa: BLE001  the first error is the one to know
                # The server gave the whole transaction up (MySQL after a deadlock), or is gone.
                break_off(self._transactions.values(), conn, error)
            raise
        if drop_it is not None:
            driver.execute(conn, drop_it)

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
        check_work(work)
        check_retries(retries)
        if threading.get_ident() in self._transactions:
            retries = 0
        for attempt in itertools.count():
            try:
                with self.transaction(
                    isolation=isolation, read_only=read_only, timeout=timeout
                ) as conn:
                    result = work(conn)
                    check_done(work, result)
                    return result
            except Exception as error:
                if attempt == retries or not self._driver.is_retryable(error):
                    raise
                delay = pause_before(attempt)
                note_retry(self.name, delay, error)
            time.sleep(delay)
        raise AssertionError  # pragma: no cover  counting does not end


# What threads and tasks have in common.


def pause_before(attempt: int) -> float:
    """Return the seconds to wait after an attempt, counted from 0: half of it by chance."""
    delay = min(FIRST_DELAY * 2.0 ** min(attempt, 10), LONGEST_DELAY)
    return delay * random.uniform(0.5, 1.0)  # noqa: S311  no secret


def is_lost(driver: Kin, opened: Open[C]) -> bool:
    """Say whether a transaction can't be committed.

    COMMIT of one that failed is a silent ROLLBACK in PostgreSQL.
    """
    failed = driver.transaction_status(opened.conn) is TransactionStatus.FAILED
    return failed or opened.broken is not None


def break_off(transactions: Iterable[Open[C]], conn: C, error: BaseException) -> None:
    """Note that the transaction of a connection can't go on."""
    for opened in list(transactions):
        if opened.conn is conn:
            opened.broken = error


def savepoint_statements(driver: Kin) -> tuple[str, str, str | None]:
    """Return the statements that set a new savepoint, go back to it and drop it.

    Raises:
        PoolConfigError: The database has none.
    """
    if driver.savepoint_sql is None:
        msg = f"savepoint: not possible with the driver {driver.name}, whose database has none"
        raise PoolConfigError(msg)
    name = f"millpond_{next(_numbers)}"
    set_it, go_back, drop_it = driver.savepoint_sql
    return set_it.format(name), go_back.format(name), drop_it and drop_it.format(name)


def note_failed_rollback(pool: str, error: BaseException) -> None:
    """Log that a connection is closed rather than rolled back."""
    logger.info(
        "pool %r: a rollback failed, so the connection is closed: %s",
        pool,
        one_line(error),
        extra={"pool": pool, "event": "rollback_failed"},
    )


def note_retry(pool: str, delay: float, error: BaseException) -> None:
    """Log that a transaction is repeated."""
    logger.info(
        "pool %r: a transaction is repeated in %.3f s: %s",
        pool,
        delay,
        one_line(error),
        extra={"pool": pool, "event": "retried"},
    )


def check_supported(driver: Kin, isolation: str | None, read_only: bool | None) -> None:  # noqa: FBT001
    """Check that a driver can begin a transaction on these terms.

    Raises:
        PoolConfigError: It can't.
    """
    options = {"isolation_level": isolation, "read_only": read_only}
    for option, value in options.items():
        if value is not None and option not in driver.supports:
            name = option.removesuffix("_level")
            msg = f"{name}={value!r}: the driver {driver.name} can't do that"
            raise PoolConfigError(msg)


def check_nested(isolation: object, read_only: object) -> None:
    """Check the terms of a transaction inside of another, which can have none of its own.

    Raises:
        PoolConfigError: It has.
    """
    if isolation is not None or read_only is not None:
        msg = "isolation and read_only: not for a transaction inside of another"
        raise PoolConfigError(msg)


def check_work(work: object) -> None:
    """Check what is to be run.

    Raises:
        PoolConfigError: It can't be called.
    """
    if not callable(work):
        raise _refuse_work(work, "a function that takes the connection")


def check_done(work: object, result: object) -> None:
    """Check that what is run has done its work, of which a coroutine has done nothing yet.

    Raises:
        PoolConfigError: It has not.
    """
    if inspect.iscoroutine(result):
        result.close()
        raise _refuse_work(work, "a plain function; AsyncPool.run awaits coroutines")


def check_awaitable(work: object, result: object) -> None:
    """Check what is to be awaited.

    Raises:
        PoolConfigError: It can't be.
    """
    if not inspect.isawaitable(result):
        raise _refuse_work(work, "a coroutine function; Pool.run calls plain ones")


def _refuse_work(work: object, allowed: str) -> PoolConfigError:
    # A coroutine has the name of its function, which would have been right.
    name = getattr(work, "__qualname__", None) if callable(work) else None
    name = name or f"<{type(work).__name__}>"
    return PoolConfigError(f"work={name}: must be {allowed}")


def check_retries(retries: Any) -> None:  # noqa: ANN401
    """Check how often a function is to be repeated.

    Raises:
        PoolConfigError: It is not a number of times.
    """
    is_count = isinstance(retries, int) and not isinstance(retries, bool)
    if not is_count or not 0 <= retries <= MAX_RETRIES:
        msg = f"retries={retries!r}: must be an int from 0 to {MAX_RETRIES}"
        raise PoolConfigError(msg)


def check_terms(isolation: Any, read_only: Any) -> None:  # noqa: ANN401
    """Check the terms of a transaction.

    Raises:
        PoolConfigError: One is not valid.
    """
    if isolation is not None and isolation not in ISOLATION_LEVELS:
        allowed = ", ".join(map(repr, ISOLATION_LEVELS))
        msg = f"isolation={isolation!r}: must be one of {allowed}, or None"
        raise PoolConfigError(msg)
    if read_only is not None and not isinstance(read_only, bool):
        msg = f"read_only={read_only!r}: must be a bool, or None"
        raise PoolConfigError(msg)
