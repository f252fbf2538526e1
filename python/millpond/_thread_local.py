"""`ThreadLocalPool`: one connection for each thread, under one limit.

It is a pool like any other, of whose connections each belongs to the thread that acquired it, for
as long as that thread lives. The core flags such a connection as kept: released, it is idle, and
ages, is validated and evicted like every idle connection, only that no other thread can acquire it.

A thread has its seat, with its connection, in a `threading.local`, so that the seat ends with the
thread, whoever made that; under gevent's monkey-patching, with the greenlet.
"""

from __future__ import annotations

import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Final

from millpond._config import CONNECT_TIMEOUT, FAIL_FAST_AFTER, VALIDATION_TIMEOUT
from millpond._core import CoreThreadLocalPool
from millpond._pool import Pool
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Self

    from typing_extensions import TypeVar

    from millpond import drivers
    from millpond._core import ManualClock, Seat
    from millpond._events import Listener
    from millpond._stats import PoolStats

    C = TypeVar("C", default=Any)
else:
    from typing import TypeVar  # which has no defaults before Python 3.13

    C = TypeVar("C")


class ThreadLocalPool(CoreThreadLocalPool[C]):
    """A pool in which each thread has a connection of its own.

    The first block of a thread opens its connection. It stays the thread's, is reset at the end of
    each outermost block, and is closed when the thread ends. Blocks inside of others share its
    transaction. At most `max_size` threads have one at a time; further ones wait, in the order in
    which they asked, until a thread ends or lets its connection go.

    Between two blocks the connection is looked after like every idle connection of a `Pool`. One
    that was too old, idle for too long or found dead is replaced when its thread needs it again.

    Under gevent's monkey-patching, each greenlet counts as a thread. All methods may be called from
    any thread.

    Args:
        connect: A URL (``sqlite:///file.db``, ``postgresql://host/name``), whose scheme picks the
            driver, or a callable without arguments that returns a new connection. It is called in
            a worker thread, so SQLite needs ``check_same_thread=False``.
        min_size: Connections to keep open, of which those that no thread has yet are for new
            threads. 0 by default.
        max_size: Connections to have at the most, so many threads can have one. 10 by default.
        acquire_timeout: Seconds that a thread waits for its connection. 5.0 by default, 0 does not
            wait, ``None`` has no limit.
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
        idle_timeout: Seconds after which a connection above `min_size` is closed whose thread does
            not use it; its place is then free for other threads. 600.0 by default, ``None`` never.
        max_lifetime: Seconds after which a connection is closed, up to a tenth earlier so that
            connections opened together are not closed together; one in use, at the end of the
            outermost block. 3600.0 by default, ``None`` never.
        max_uses: Outermost blocks after which a connection is closed. ``None``, the default, has no
            limit.
        max_waiting: Threads that may wait for a connection; the next one gets `PoolExhausted`.
            ``None``, the default, has no limit.
        validation_interval: Seconds without a sign of life (opened, released, validated) after
            which an idle connection is validated: in the background, and before the next
            block if that comes first. 30.0 by default, ``None`` never, and 0 before each
            outermost block. Needs `validate`, or a driver that can ping. Apart from that a
            socket that the server closed is seen at each acquire, without a round trip.
        validation_timeout: Seconds that `validate` may take. 5.0 by default, or `acquire_timeout`
            if that is shorter.
        max_latency: Seconds; a connection whose validation took longer is closed. ``None``, the
            default, has no limit.
        reset: What is done to a connection at the end of the outermost block: ``"rollback"``, the
            default, ends an open transaction; ``"session"`` does so too, forgets all that the
            session holds (settings, temporary tables, locks, ...), and carries out the options and
            calls `configure` once more; ``"none"`` does nothing; a callable is called with the
            connection.
        leak_threshold: Seconds after which an outermost block that has not ended is reported as a
            leak, with its line. ``None``, the default, never; a value makes blocks slower.
        policy: ``"fair"`` is the only one: for a connection that stays with its thread, nobody can
            be overtaken.
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
        on_acquire: Called with the connection at the beginning of each outermost block.
        on_release: Called with the connection at the end of it, before the reset.
        on_exhausted: What to do when `max_size` threads have a connection: ``"wait"``, the default;
            ``"raise"`` raises `PoolExhausted` at once.
        shed: ``False`` is the only choice: when a thread will end, the pace of those before does
            not tell.
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
        on_exhausted: str = "wait",
        shed: bool = False,
        on_close: Callable[[C], object] | None = None,
        _clock: ManualClock | None = None,
        _inline: bool = False,
    ) -> None:
        _refuse_what_makes_no_sense(policy, on_exhausted, shed=shed)
        self._pool: _Kept[C] = _Kept(
            connect,
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
            on_close=on_close,
            _clock=_clock,
            _inline=_inline,
        )
        self._pool._outer = weakref.ref(self)
        # Looked up now, so that gevent may have patched it since millpond was imported.
        self._start(self._pool, threading.local())

    @property
    def name(self) -> str:
        """The pool's name."""
        return self._pool.name

    @property
    def closed(self) -> bool:
        """Whether the pool was closed."""
        return self._pool.closed

    @property
    def min_size(self) -> int:
        """The connections to keep open, whoever has them."""
        return self._pool.min_size

    @property
    def max_size(self) -> int:
        """The connections to have at the most."""
        return self._pool.max_size

    def stats(self) -> PoolStats:
        """Return what the pool is like right now, and what it has done so far.

        A connection is in use while its thread is in a block, and else idle; its ``holder`` is the
        thread that it belongs to in both cases. ``acquired`` counts outermost blocks.
        """
        return self._pool.stats()

    def add_listener(self, listener: Listener, *kinds: str) -> Callable[[], None]:
        """Have a callable told what happens in the pool.

        As `Pool.add_listener`; ``"acquired"`` and ``"released"`` are the begin and the end of
        outermost blocks.

        Args:
            listener: Called with each `PoolEvent`.
            kinds: What it is told of; everything by default.

        Returns:
            A callable without arguments that has the listener told no more.

        Raises:
            PoolConfigError: The listener is not callable, or there is no such kind.
        """
        return self._pool.add_listener(listener, *kinds)

    def wait(self, timeout: float | None = 30.0) -> None:
        """Wait until `min_size` connections are open.

        Args:
            timeout: Seconds to wait. 30.0 by default, ``None`` has no limit.

        Raises:
            PoolTimeout: They were not, in time. ``__cause__`` is the driver's last error, if any.
            PoolClosed: The pool is closed.
        """
        self._pool.wait(timeout)

    def resize(self, *, min_size: int | None = None, max_size: int | None = None) -> None:
        """Change the sizes while the pool is in use.

        A larger pool serves waiting threads at once. From a smaller one connections are closed
        whose threads do not use them, now, and others at the end of their outermost block.

        Args:
            min_size: Connections to keep open. ``None`` keeps the present value.
            max_size: Connections to have at the most. ``None`` keeps the present value.

        Raises:
            PoolConfigError: A size is not valid, or `min_size` would be above `max_size`.
        """
        self._pool.resize(min_size=min_size, max_size=max_size)

    def evict(self) -> None:
        """Replace all connections: now, or at the end of the outermost block of their thread.

        Does not wait: workers close them, and each thread gets a new one with its next block.

        Raises:
            PoolClosed: The pool is closed.
        """
        self._pool.evict()

    def close(self, timeout: float = 5.0) -> None:
        """Close the pool, and wait for blocks to end and for the connections to be closed.

        Threads that wait for a connection get `PoolClosed`. May be called again, and from several
        threads.

        Args:
            timeout: Seconds to wait. 5.0 by default. What is in use longer is closed at the end of
                its outermost block.

        Raises:
            PoolConfigError: The timeout is not a number of seconds.
        """
        self._pool.close(timeout)

    def __enter__(self) -> Self:
        """Return the pool.

        Raises:
            PoolClosed: The pool is closed.
        """
        self._pool.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """Close the pool."""
        self.close()

    def __repr__(self) -> str:
        """Show the pool's name, and how full it is."""
        if not hasattr(self, "_pool"):
            return f"<{type(self).__name__}, not started>"
        return self._pool._describe(type(self).__name__)

    def _occupy(self, seat: Seat[C], timeout: float | None) -> C:
        """Find a connection for a thread whose own is not there, for the core.

        Args:
            seat: The thread's seat.
            timeout: Seconds to wait, ``None`` without limit.
        """
        started = time.monotonic()
        connection = self._await_proof(seat, timeout) if seat.proving else seat.reclaim()
        if connection is None:
            left = None if timeout is None else started + timeout - time.monotonic()
            connection = self._await_grant(seat, left)
        if connection is None:
            raise self._pool._failure("timeout", time.monotonic() - started)
        return connection

    def _await_proof(self, seat: Seat[C], timeout: float | None) -> C | None:
        """Wait for the end of the validation of the thread's own connection."""
        progress = self._pool._progress
        with progress:
            progress.wait_for(lambda: not seat.proving, timeout)
        return seat.reclaim()

    def _await_grant(self, seat: Seat[C], timeout: float | None) -> C | None:
        """Wait in the pool's queue, in a way that gevent and signals can interrupt."""
        # A bare lock: its release may be called from a finalizer that interrupts this very wait.
        news = threading.Lock()
        news.acquire()
        ticket = self._pool._register_waiter(news.release)
        try:
            # Once more after a timeout: a grant that just came counts.
            news.acquire(timeout=_MAX_WAIT if timeout is None else _clamp(timeout))
            return seat.take(ticket)
        finally:
            ticket.cancel()


def _refuse_what_makes_no_sense(policy: object, on_exhausted: object, *, shed: object) -> None:
    """Refuse arguments of `Pool` that only mean something where connections go round."""
    why = ""
    if policy != "fair":
        why = f"policy={policy!r}: must be 'fair'"
    elif callable(on_exhausted):
        why = f"on_exhausted={on_exhausted!r}: must be 'wait' or 'raise'"
    elif shed is not False:
        why = f"shed={shed!r}: must be False"
    if why:
        msg = f"{why} in a ThreadLocalPool, where a connection stays with its thread"
        raise PoolConfigError(msg)


# What `Lock.acquire` can wait at the most, which is centuries.
_MAX_WAIT: Final = threading.TIMEOUT_MAX


def _clamp(seconds: float) -> float:
    return min(max(0.0, seconds), _MAX_WAIT)


class _Kept(Pool[C]):
    """The pool whose connections the threads keep."""

    _outer: weakref.ref[ThreadLocalPool[C]] | None = None

    def _face(self) -> ThreadLocalPool[C] | None:
        return None if self._outer is None else self._outer()
