"""What a worker does with a job: open, validate or close one connection.

A job says its own end to the core. Should this code fail in a way that nobody thought of, the job
is dropped without an end, and the core takes the slot back by itself.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from millpond._messages import one_line
from millpond.errors import PoolConfigError, PoolError

if TYPE_CHECKING:
    from millpond._callbacks import Callbacks
    from millpond._config import PoolConfig
    from millpond._core import Job
    from millpond.drivers import Driver

C = TypeVar("C")

# How the core resets a connection, its socket, and what else tells that it is alive.
Traits: TypeAlias = tuple[object, int, Callable[[Any], object] | None]

logger = logging.getLogger("millpond.pool")

FIRST_DELAY: Final = 0.05
# Moderate, since it is also by how much an outage may seem longer than it was; and since no more
# than one attempt is made at a time.
GROWTH: Final = 1.5
LONGEST_DELAY: Final = 2.0
JITTER: Final = 0.25

SAME_AGAIN: Final = "connect: returned the same connection again"


class Backoff:
    """How long to wait after the last of some failures: half as long again each time, with jitter.

    The jitter keeps a hundred processes from coming back to a restarted server in step. Attempts
    that were under way together fail together, and count as one.
    """

    def __init__(self) -> None:
        """Begin without failures."""
        # Two attempts that fail in the same moment must not both count.
        self._lock = threading.Lock()
        self._failures = 0
        self._failed_at = 0.0
        self._delay = 0.0

    def succeeded(self) -> None:
        """Forget the failures."""
        with self._lock:
            self._failures = 0
            self._failed_at = 0.0

    def failed(self, started: float) -> float:
        """Count the failure of an attempt, and return the seconds to wait.

        Args:
            started: When the attempt began, by `time.perf_counter()`.
        """
        with self._lock:
            if started >= self._failed_at:
                delay = min(FIRST_DELAY * GROWTH ** min(self._failures, 20), LONGEST_DELAY)
                jitter = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311  no secret
                self._delay = delay * jitter
                self._failures += 1
                self._failed_at = time.perf_counter()
            return self._delay


def run(pool: Callbacks[Any], job: Job) -> None:
    """Do a job of a pool, in whatever thread this is."""
    {"open": _open, "check": _check, "close": _close}[job.kind](pool, job)


def _open(pool: Callbacks[C], job: Job) -> None:
    if not job.current:  # given up on before a thread was free for it
        return
    started = time.perf_counter()
    try:
        connection: C = job.call(pool._driver.connect)
    except BaseException as error:  # noqa: BLE001  SystemExit in a connect() must not cost a slot
        open_failed(pool, job, error, started)
        return
    try:
        recognise(pool, connection)
        job.call(pool._driver.prepare, connection, pool._config.session_options)
        if pool._config.configure is not None:
            job.call(pool._config.configure, connection)
        traits = traits_of(pool, connection)
    except BaseException as error:  # noqa: BLE001
        _farewell(pool, job, connection)
        open_failed(pool, job, error, started)
        return
    if not fill(pool, job, connection, traits, started):
        _farewell(pool, job, connection)


def recognise(pool: Callbacks[C], connection: C) -> None:
    """Look at what connecting returned, which may tell the driver.

    Raises:
        PoolConfigError: It is no connection.
    """
    if connection is None:
        msg = "connect: must return a connection, not None"
        raise PoolConfigError(msg)
    pool._recognise(connection)


def traits_of(pool: Callbacks[C], connection: C) -> Traits:
    """Say how the core resets a connection, and how it sees that it is alive."""
    driver = pool._driver
    socket = driver.fileno(connection)
    asked = socket < 0 and driver.needs_is_alive
    return pool._reset_of(connection), socket, driver.is_alive if asked else None


def fill(pool: Callbacks[C], job: Job, connection: C, traits: Traits, started: float) -> bool:
    """Give the core a new connection; False when nobody wants it, and it is to be closed."""
    reset, socket, is_alive = traits
    try:
        kept = job.filled(connection, reset, time.perf_counter() - started, socket, is_alive)
    except ValueError:
        # It stays open: whoever has the other slot may be using it.
        open_failed(pool, job, PoolConfigError(SAME_AGAIN), started)
        return True
    if kept:
        seconds = time.perf_counter() - started
        pool._opened()
        logger.debug(
            "pool %r opened connection %d", pool.name, job.slot, extra=extra(pool, "opened")
        )
        pool._emit("opened", job.slot, seconds, shield=BaseException)
    return kept


def session_reset(driver: Driver[C], config: PoolConfig) -> Callable[[C], None]:
    """Return what makes a session new, and then again what a new one is made."""
    options, configure = config.session_options, config.configure

    # It knows nothing of the pool, which would otherwise keep itself alive.
    def reset(connection: C) -> None:
        driver.reset_session(connection)
        driver.prepare(connection, options)
        if configure is not None:
            configure(connection)

    return reset


def open_failed(pool: Callbacks[Any], job: Job, error: BaseException, started: float) -> None:
    """End an attempt that failed: tell the oldest waiter, or try again after a while."""
    delay = pool._backoff.failed(started)
    transient = not isinstance(error, PoolError) and pool._driver.is_transient(error)
    if not job.current:
        return
    pool._note_failure(error, started)
    # First the caller, then the place: else the place would be opened for that caller once more.
    told = not transient and pool._fail_oldest(error)
    job.open_failed(delay, transient)
    if not told:
        logger.warning(
            "pool %r couldn't connect, next attempt in %.2f s: %s",
            pool.name,
            delay,
            one_line(error),
            extra=extra(pool, "open_failed"),
        )
    seconds = time.perf_counter() - started
    pool._emit("open_failed", job.slot, seconds, error=error, shield=BaseException)


def _check(pool: Callbacks[Any], job: Job) -> None:
    if not job.current:
        return
    started = time.perf_counter()
    why: str | None = "it says no"
    raised: BaseException | None = None
    try:
        if _is_alive(pool, job):
            why = None
    except BaseException as error:  # noqa: BLE001
        why, raised = one_line(error), error
    judge(pool, job, why, raised, time.perf_counter() - started)


def judge(
    pool: Callbacks[Any],
    job: Job,
    why: str | None,
    raised: BaseException | None,
    seconds: float,
) -> None:
    """End a validation that found a reason why the connection is of no use, or ``None``."""
    limit = pool._config.max_latency
    if why is not None:
        job.failed()
    elif limit is not None and seconds > limit:
        job.slow(seconds)
        why = f"it took {seconds:.3g} s, which is longer than max_latency={limit:g}"
    else:
        job.passed(seconds)
        # A thread may wait for its own connection to be lent to it again.
        pool._changed()
        return
    # What is not the end of a connection is most likely a mistake in the validation itself.
    mistaken = raised is not None and not pool._driver.is_transient(raised)
    logger.log(
        logging.WARNING if mistaken else logging.INFO,
        "pool %r: connection %d failed its validation: %s",
        pool.name,
        job.slot,
        why,
        extra=extra(pool, "validation_failed"),
    )
    pool._changed()
    pool._emit("validation_failed", job.slot, seconds, why, raised, shield=BaseException)


def _is_alive(pool: Callbacks[Any], job: Job) -> bool:
    """Validate as the user said, or else as the driver does."""
    validate, driver = pool._config.validate, pool._driver
    if validate is None:
        job.call(driver.ping, job.connection)
        return True
    if isinstance(validate, str):
        job.call(_query, driver, job.connection, validate)
    elif job.call(validate, job.connection) is False:
        return False
    # It may have begun a transaction, which is not the next borrower's.
    job.call(driver.reset, job.connection)
    return True


def _query(driver: Driver[C], connection: C, statement: str) -> None:
    """Run a statement that may have a result, which must not stay unread."""
    make_cursor = getattr(connection, "cursor", None)
    if make_cursor is None:
        driver.execute(connection, statement)
        return
    cursor = make_cursor()
    try:
        cursor.execute(statement)
        if cursor.description:
            cursor.fetchall()
    finally:
        cursor.close()


def _close(pool: Callbacks[Any], job: Job) -> None:
    started = time.perf_counter()
    try:
        _farewell(pool, job, job.connection)
    finally:
        closed(pool, job, started)


def closed(pool: Callbacks[Any], job: Job, started: float) -> None:
    """End the closing of a connection, which began at `started` by `time.perf_counter()`."""
    seconds = time.perf_counter() - started
    logger.debug(
        "pool %r closed connection %d: %s",
        pool.name,
        job.slot,
        job.reason,
        extra=extra(pool, "closed"),
    )
    job.closed()
    pool._changed()
    pool._emit("closed", job.slot, seconds, job.reason, shield=BaseException)


def _farewell(pool: Callbacks[Any], job: Job, connection: Any) -> None:  # noqa: ANN401
    """Close a connection, whatever that raises."""
    closers = (pool._config.on_close, pool._driver.close)
    for closer in filter(None, closers):
        try:
            job.call(closer, connection)
        except BaseException as error:  # noqa: BLE001  it is gone either way
            close_failed(pool, error)


def close_failed(pool: Callbacks[Any], error: BaseException) -> None:
    """Note that closing a connection raised."""
    logger.info(
        "pool %r: closing a connection failed: %s",
        pool.name,
        one_line(error),
        extra=extra(pool, "close_failed"),
    )


def extra(pool: Callbacks[Any], event: str) -> dict[str, str]:
    """Return what a record of the log carries."""
    return {"pool": pool.name, "event": event}
