"""`Pool`: a connection pool for threads."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from millpond import _jobs, _lifecycle, _messages, drivers, errors
from millpond._callbacks import Callbacks
from millpond._config import (
    CONNECT_TIMEOUT,
    FAIL_FAST_AFTER,
    VALIDATION_TIMEOUT,
    PoolConfig,
    check_timeout,
)
from millpond._query import QueryTimeouts
from millpond._timer import TIMER
from millpond._transactions import Transactions
from millpond._workers import Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Self

    from typing_extensions import TypeVar

    from millpond._core import ManualClock

    # Without a default, `Pool("postgresql://...")` would not be enough for a type checker.
    C = TypeVar("C", default=Any)
else:
    from typing import TypeVar  # which has no defaults before Python 3.13

    C = TypeVar("C")

logger = logging.getLogger("millpond.pool")

_numbers: Final = itertools.count(1)

# Beside the connections' own jobs: attempts that hang and were given up on.
_SPARE_WORKERS: Final = 8


class Pool(Transactions[C], QueryTimeouts[C], Callbacks[C]):
    """A pool of connections for threads, with or without the GIL.

    Callers are served in the order in which they asked. Connections are opened, validated and
    closed in worker threads, several at a time, so no caller ever waits longer than its own
    timeout. All methods may be called from any thread.

    Args:
        connect: A URL (``sqlite:///file.db``, ``postgresql://host/name``), whose scheme picks the
            driver, or a callable without arguments that returns a new connection.
        min_size: Connections to keep open, idle or in use. 0 by default.
        max_size: Connections to have at the most. 10 by default.
        acquire_timeout: Seconds that an acquire waits. 5.0 by default, 0 does not wait, ``None``
            has no limit.
        connect_timeout: Seconds that opening or closing a connection may take before the pool gives
            it up and uses its place again. 5.0 by default, or `socket_timeout` if that is shorter;
            ``None`` has no limit.
        max_connecting: Connections that may be opened at the same time. 32 by default, ``None`` has
            no limit. After a failure one at a time is tried, until one succeeds.
        fail_fast_after: Seconds for which no attempt to connect has succeeded after which a caller
            is told at once, by a `PoolTimeout` with the driver's last error as its cause, that the
            database is down. Whose own timeout is longer still waits, and so does everybody while a
            connection is open. 5.0 by default, or `acquire_timeout` if that is shorter; ``None``
            never.
        idle_timeout: Seconds after which an idle connection above `min_size` is closed. 600.0 by
            default, ``None`` never.
        max_lifetime: Seconds after which a connection is closed, up to a tenth earlier so that
            connections opened together are not closed together; one in use, when it is released.
            3600.0 by default, ``None`` never.
        max_uses: Borrows after which a connection is closed. ``None``, the default, has no limit.
        max_waiting: Callers that may wait for a release; the next one gets `PoolExhausted`.
            ``None``, the default, has no limit.
        validation_interval: Seconds without a sign of life (opened, released, validated) after
            which an idle connection is validated: in the background, and before it is given to a
            caller if that comes first. 30.0 by default, ``None`` never, and 0 before each time that
            it is given to a caller. Needs `validate`, or a driver that can ping. Apart from that a
            socket that the server closed is seen at each acquire, without a round trip.
        validation_timeout: Seconds that a validation may take; it holds nobody but whoever waits
            for that connection, who after a tenth of a second gets a new one if there is room. 5.0
            by default, or `acquire_timeout` if that is shorter.
        max_latency: Seconds; a connection whose validation took longer is closed. ``None``, the
            default, has no limit.
        reset: What is done to a connection on release: ``"rollback"``, the default, ends an open
            transaction; ``"session"`` does so too, forgets all that the session holds (settings,
            temporary tables, locks, ...), and carries out the options and calls `configure` once
            more; ``"none"`` does nothing; a callable is called with the connection.
        leak_threshold: Seconds after which a connection in use is reported as a leak, with the line
            that acquired it. ``None``, the default, never; a value makes acquires slower.
        policy: ``"fair"``, the default, serves callers strictly in order. ``"throughput"`` lets
            others go first for up to a millisecond, which is many times faster for very short uses.
        name: The pool's name in messages and thread names. ``pool-N`` by default.
        driver: With a callable, the name of the driver whose connections it returns, or a
            `millpond.drivers.Driver`. Found by the first connection by default.
        connect_kwargs: With a URL, further arguments for the driver's ``connect()``.
        socket_timeout: Seconds that a read from or a write to the server may take, not less than
            `connect_timeout`. This and the other options down to `profile` make the sessions what
            they are to be like; ``None`` leaves each to the driver. Which a driver can carry out
            differs, and what it cannot is an error. With a callable only those that need not be
            said when connecting are possible.
        statement_timeout: Seconds that the server may work on one statement.
        keepalive: Whether TCP probes a silent connection; a number is the seconds of silence before
            the first probe.
        application_name: What the server shows in its list of sessions.
        autocommit: Whether each statement is a transaction of its own.
        isolation_level: ``"read uncommitted"``, ``"read committed"``, ``"repeatable read"``,
            ``"snapshot"`` or ``"serializable"``, for all transactions.
        read_only: Whether the sessions may only read.
        session: A statement, or several, to run on each new connection.
        profile: ``"pgbouncer"`` behind a PgBouncer with transaction pooling: no prepared statements
            by the driver, nothing that a session would have to keep.
        configure: Called with each new connection, in the worker that opened it.
        validate: How a connection is validated: a statement such as ``"SELECT 1"``, or a callable
            that is called with it, and says by raising, or by returning ``False``, that it is dead.
            ``None``, the default, is the driver's own ping, if it has one. Runs in a worker.
        on_acquire: Called with a connection before `acquire` returns it, in the caller's thread.
        on_release: Called with a connection before it is reset, in the caller's thread.
        on_exhausted: What to do when no connection is free: ``"wait"``, the default;
            ``"raise"`` raises `PoolExhausted` at once unless one can be opened; a callable is
            called with the error that a caller would get, in its thread, and what it returns is
            lent in place of a connection.
        shed: Whether to refuse a caller at once, with `PoolTimeout`, who by the pace of those
            before it would wait for longer than its timeout. ``False`` by default.
        on_close: Called with a connection before it is closed, in a worker.

    Raises:
        PoolConfigError: An argument is not valid, or two contradict each other.
    """

    def __init__(
        self,
        connect: str | Callable[[], C],
        /,
        *,
        min_size: int = 0,
        max_size: int = 10,
        acquire_timeout: float | None = 5.0,
        connect_timeout: float | None = CONNECT_TIMEOUT,
        max_connecting: int | None = 32,
        fail_fast_after: float | None = FAIL_FAST_AFTER,
        idle_timeout: float | None = 600.0,
        max_lifetime: float | None = 3600.0,
        max_uses: int | None = None,
        max_waiting: int | None = None,
        validation_interval: float | None = 30.0,
        validation_timeout: float = VALIDATION_TIMEOUT,
        max_latency: float | None = None,
        reset: str | Callable[[C], object] = "rollback",
        leak_threshold: float | None = None,
        policy: str = "fair",
        name: str | None = None,
        driver: str | drivers.Driver[C] | None = None,
        connect_kwargs: Mapping[str, Any] | None = None,
        socket_timeout: float | None = None,
        statement_timeout: float | None = None,
        keepalive: bool | float | None = None,
        application_name: str | None = None,
        autocommit: bool | None = None,
        isolation_level: str | None = None,
        read_only: bool | None = None,
        session: str | Sequence[str] = (),
        profile: str | None = None,
        configure: Callable[[C], object] | None = None,
        validate: str | Callable[[C], object] | None = None,
        on_acquire: Callable[[C], object] | None = None,
        on_release: Callable[[C], object] | None = None,
        on_exhausted: str | Callable[[errors.PoolError], Any] = "wait",
        shed: bool = False,
        on_close: Callable[[C], object] | None = None,
        _clock: ManualClock | None = None,
        _inline: bool = False,
    ) -> None:
        config = PoolConfig(
            min_size=min_size,
            max_size=max_size,
            acquire_timeout=acquire_timeout,
            connect_timeout=connect_timeout,
            max_connecting=max_connecting,
            fail_fast_after=fail_fast_after,
            idle_timeout=idle_timeout,
            max_lifetime=max_lifetime,
            max_uses=max_uses,
            max_waiting=max_waiting,
            validation_interval=validation_interval,
            validation_timeout=validation_timeout,
            max_latency=max_latency,
            reset=reset,
            leak_threshold=leak_threshold,
            policy=policy,
            name=name,
            driver=driver,
            connect_kwargs=connect_kwargs,
            socket_timeout=socket_timeout,
            statement_timeout=statement_timeout,
            keepalive=keepalive,
            application_name=application_name,
            autocommit=autocommit,
            isolation_level=isolation_level,
            read_only=read_only,
            session=session,
            profile=profile,
            configure=configure,
            validate=validate,
            on_acquire=on_acquire,
            on_release=on_release,
            on_exhausted=on_exhausted,
            shed=shed,
            on_close=on_close,
        )
        self._driver: drivers.Driver[C] = drivers.find(
            connect,
            driver=driver,
            connect_kwargs=config.connect_kwargs,
            connect_timeout=config.connect_timeout,
            options=config.session_options,
            needs=config.needs,
        )
        config.advise()
        self._begin(config, _clock, inline=_inline)

    def _begin(self, config: PoolConfig, clock: ManualClock | None, *, inline: bool) -> None:
        self._config = config
        self._clock = clock
        self._name = config.name or f"pool-{next(_numbers)}"
        self._errors = errors.for_driver(self._driver.operational_error)
        self._recognised = False
        self._finished = False
        self._last_error: BaseException | None = None
        self._backoff = _jobs.Backoff()
        self._transactions = {}
        self._begin_watching()
        self._progress = threading.Condition()
        limit = 2 * config.max_size + _SPARE_WORKERS
        options = self._engine_options()
        self._workers = Workers(self._name, limit=limit, inline=inline)
        self._start(options, threading.main_thread().ident or 0)
        _lifecycle.register(self, self._workers.stop)
        if config.min_size:
            self._warm_up()

    def wait(self, timeout: float | None = 30.0) -> None:
        """Wait until `min_size` connections are open.

        Args:
            timeout: Seconds to wait. 30.0 by default, ``None`` has no limit.

        Raises:
            PoolTimeout: They were not, in time. ``__cause__`` is the driver's last error, if any.
            PoolClosed: The pool is closed.
        """
        started = time.monotonic()
        with self._progress:
            self._progress.wait_for(self._is_ready, check_timeout(timeout))
        if self.closed:
            raise self._failure("closed", None)
        if not self._is_ready():
            raise self._failure("not_ready", time.monotonic() - started) from self._last_error

    def resize(self, *, min_size: int | None = None, max_size: int | None = None) -> None:
        """Change the sizes while the pool is in use.

        A larger pool serves waiting callers at once. From a smaller one idle connections are closed
        now and others on their release.

        Args:
            min_size: Connections to keep open. ``None`` keeps the present value.
            max_size: Connections to have at the most. ``None`` keeps the present value.

        Raises:
            PoolConfigError: A size is not valid, or `min_size` would be above `max_size`.
        """
        self._config = self._config.resized(min_size=min_size, max_size=max_size)
        self._workers.limit = 2 * self._config.max_size + _SPARE_WORKERS
        self._resize(self._config.min_size, self._config.max_size)

    def close(self, timeout: float = 5.0) -> None:
        """Close the pool, and wait for its connections in use to be released and closed.

        Whoever waits for a connection gets `PoolClosed`. May be called again, and from several
        threads.

        Args:
            timeout: Seconds to wait. 5.0 by default. What is in use longer is closed on its
                release.

        Raises:
            PoolConfigError: The timeout is not a number of seconds.
        """
        seconds = check_timeout(timeout, none="5 seconds")
        self._shut()
        self._finish(5.0 if seconds is None else seconds)

    def __enter__(self) -> Self:
        """Return the pool.

        Raises:
            PoolClosed: The pool is closed.
        """
        if self.closed:
            raise self._failure("closed", None)
        return self

    def __exit__(self, *_: object) -> None:
        """Close the pool."""
        self.close()

    def __repr__(self) -> str:
        """Show the pool's name, and how full it is."""
        if not hasattr(self, "_workers"):
            return f"<{type(self).__name__}, not started>"
        return self._describe(type(self).__name__)

    def _describe(self, kind: str) -> str:
        size, used, waiting = self._counts()
        state = "closed" if self.closed else "suspended" if self.suspended else "open"
        return (
            f"<{kind} {self.name!r} {state}: {used} in use, {size - used} idle, "
            f"at most {self.max_size}, {waiting} waiting>"
        )

    def __del__(self) -> None:
        """Close idle connections as their driver wants it, without waiting for anything."""
        if hasattr(self, "_workers"):
            self._shut()

    def _is_ready(self) -> bool:
        return self.closed or self._counts()[0] >= self.min_size

    def _is_drained(self) -> bool:
        return not self._snapshot()["slots"]

    def _finish(self, timeout: float, *, idle_only: bool = False) -> None:
        """Wait for the connections of a closed pool, then end its threads."""
        deadline = time.monotonic() + timeout

        def done() -> bool:
            return (idle_only and not self._is_closing()) or self._is_drained()

        with self._progress:
            drained = self._progress.wait_for(done, timeout)
        self._workers.stop()
        self._workers.join(max(0.0, deadline - time.monotonic()))
        # First the flag: a job that ends late must not bring the timer back.
        self._finished = True
        TIMER.forget(self)
        if not drained and not idle_only:
            held = [one for one in self.stats().connections if one.held is not None]
            lines = [f"pool {self.name!r} closed with {len(held)} connections in use"]
            logger.warning(
                "\n".join([*lines, *map(_messages.holder, held)]),
                extra={"pool": self.name, "event": "closed_in_use"},
            )

    def _is_closing(self) -> bool:
        return any(slot["state"] == "closing" for slot in self._snapshot()["slots"])

    def _run_due(self) -> None:
        """Do what is due by the manual clock, as the timer thread does by the machine's."""
        self._advance()

    def _begin_in_child(self) -> None:
        """Begin anew after a fork, with no connections and no threads."""
        self._transactions = {}
        self._begin_watching()
        self._backoff = _jobs.Backoff()
        self._progress = threading.Condition()
        self._workers.after_fork()
        self._after_fork(threading.main_thread().ident or 0)
