"""The seam: what the extension module `millpond._core` offers to Python.

The code is Rust, so the documentation is here: at run time there is only the first line of each
docstring. stubtest compares the signatures, and `tests/test_public_api.py` these first lines.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import GenericAlias
from typing import Any, ClassVar, Final, Generic, Literal, Self, final, overload

from typing_extensions import TypeVar, disjoint_base

__all__ = [
    "MAX_SIZE",
    "Alarm",
    "AsyncLease",
    "CoreAsyncPool",
    "CoreCursor",
    "CorePool",
    "CorePooledDB",
    "CoreSteady",
    "CoreThreadLocalPool",
    "Histogram",
    "Job",
    "Lease",
    "ManualClock",
    "Place",
    "PooledDedicatedDBConnection",
    "PooledSharedDBConnection",
    "Seat",
    "ThreadLease",
    "Ticket",
    "Watch",
    "exited",
    "fork_generation",
    "leak",
]

_C = TypeVar("_C", default=Any)
_C_co = TypeVar("_C_co", default=Any, covariant=True)

MAX_SIZE: Final[int]

@disjoint_base
class CorePool(Generic[_C]):
    """The engine of one pool; `millpond.Pool` extends it."""

    def __new__(cls, *_args: object, **_kwargs: object) -> CorePool[_C]: ...
    def __class_getitem__(cls, key: object) -> GenericAlias: ...
    def acquire(self, *, timeout: float | None = None, priority: str = "normal") -> _C:
        """Acquire a connection, waiting for one if all are in use.

        Callers are served in the order in which they asked. May be called from any thread; while
        it waits, others run. Ctrl-C ends the wait, and nothing is lost.

        Args:
            timeout: Seconds to wait. ``None``, the default, means the pool's ``acquire_timeout``; 0
                does not wait; ``math.inf`` has no limit.
            priority: ``"high"`` goes before those who wait with ``"normal"``, the default; after
                four in a row one of those is served.

        Returns:
            The driver's own connection object. Give it to `release` or `discard` exactly once.

        Raises:
            PoolTimeout: No connection became free in time. ``__cause__`` is the driver's last
                error, if the pool could not connect.
            PoolExhausted: ``max_waiting`` callers are waiting already.
            PoolClosed: The pool was closed, before or during the wait.
            PoolConfigError: The timeout is not a number of seconds.
            PoolError: A hook of this pool asked, and would have to wait for its own pool.
            Exception: What ``on_acquire`` raised, or what connecting or ``configure`` raised when
                another attempt would not help.
        """

    def try_acquire(self) -> _C | None:
        """Acquire an idle connection, or return ``None`` at once if there is none.

        It overtakes nobody who waits. If the pool may grow, a connection is opened for the next
        attempt. May be called from any thread.

        Returns:
            The driver's own connection object, or ``None``.

        Raises:
            PoolClosed: The pool is closed.
            PoolError: A hook of this pool asked, and no connection is idle.
            Exception: What ``on_acquire`` raised.
        """

    def release(self, connection: _C, /) -> None:
        """Give a connection back, for the next caller to use.

        ``on_release`` and the reset run right here, in the calling thread, which need not be the
        one that acquired. If one of them fails the connection is closed instead, which is logged
        and no error of the caller. So is a connection that is too old, or whose pool was closed
        meanwhile.

        Args:
            connection: What `acquire` or `try_acquire` returned.

        Raises:
            PoolError: It was released already, or it is no connection of this pool.
        """

    def discard(self, connection: _C, /) -> None:
        """Give a connection back that nobody should use again: it is closed.

        It is not reset. A worker closes it, and its place is free for a new one. May be called from
        any thread.

        Args:
            connection: What `acquire` or `try_acquire` returned.

        Raises:
            PoolError: It was released already, or it is no connection of this pool.
        """

    def detach(self, connection: _C, /) -> None:
        """Take a connection out of the pool for good: it is the caller's to use and to close.

        Its place is free for a new one. May be called from any thread.

        Args:
            connection: What `acquire` or `try_acquire` returned.

        Raises:
            PoolError: It was released already, or it is no connection of this pool.
        """

    @overload
    def connection(
        self, *, timeout: float | None = None, priority: str = "normal", query_timeout: None = None
    ) -> Lease[_C]: ...
    @overload
    def connection(
        self,
        *,
        timeout: float | None = None,
        priority: str = "normal",
        query_timeout: float | None = None,
    ) -> AbstractContextManager[_C]:
        """Lend a connection for the time of a ``with`` block.

        It is acquired when the block begins and released when the block ends, also by an exception.
        The block gets the driver's own connection object.

        Args:
            timeout: Seconds to wait when the block begins. ``None``, the default, means the pool's
                ``acquire_timeout``; 0 does not wait; ``math.inf`` has no limit.
            priority: As in `acquire`.
            query_timeout: Seconds for the statements of the block, as in `query_timeout`. ``None``,
                the default, has no limit.

        Returns:
            A context manager, to be used once at a time.

        Raises:
            PoolConfigError: The timeout is not a number of seconds.
        """

    def evict(self) -> None:
        """Replace all connections: close the idle ones now, the others when they are released.

        Connections opened from now on are spared. Does not wait: workers close what is idle. May be
        called from any thread.

        Raises:
            PoolClosed: The pool is closed.
        """

    def suspend(self) -> None:
        """Keep all callers waiting until `resume`, even if connections are idle.

        Connections in use are not touched, and their release works as ever. Waiting callers time
        out as ever. May be called from any thread, and again.

        Raises:
            PoolClosed: The pool is closed.
        """

    def resume(self) -> None:
        """Serve callers again, those first who waited the longest.

        May be called from any thread, and without a `suspend` before.

        Raises:
            PoolClosed: The pool is closed.
        """

    @property
    def closed(self) -> bool:
        """Whether the pool was closed."""

    @property
    def suspended(self) -> bool:
        """Whether callers are kept waiting by `suspend`."""

    @property
    def min_size(self) -> int:
        """The connections to keep open, idle or in use."""

    @property
    def max_size(self) -> int:
        """The connections to have at the most."""

    # What `Pool` builds on.
    def _start(self, options: Mapping[str, Any], main_thread: int) -> None: ...
    def _after_fork(self, main_thread: int) -> None: ...
    def _resize(self, min_size: int, max_size: int) -> None: ...
    def _warm_up(self) -> None: ...
    def _shut(self) -> bool: ...
    def _advance(self) -> float | None: ...
    def _set_validation(self, interval: float | None, possible: bool) -> None: ...
    def _evict_with(self, connection: _C) -> None: ...
    def _suspect(self, connection: _C) -> None: ...
    def _condemn(self, connection: _C) -> None: ...
    def _set_alarm(self, seconds: float) -> Alarm: ...
    def _cancel_alarm(self, alarm: Alarm) -> None: ...
    def _register_waiter(
        self,
        callback: Callable[[], object],
        timeout: float | None = None,
        priority: str | None = None,
    ) -> Ticket: ...
    def _try_claim(self, holder: int) -> _C | None: ...
    def _set_clean(self, is_clean: Callable[[_C], bool] | None) -> None: ...
    def _begin_reset(self, connection: _C) -> Job | None: ...
    def _taken(self) -> int: ...
    def _slot_of(self, identity: int) -> int | None: ...
    def _fail_oldest(self, error: BaseException) -> bool: ...
    def _count_timeout(self) -> None: ...
    def _hear(self, events: int) -> None: ...
    def _call(self, function: Callable[..., Any], /, *args: object) -> Any: ...  # noqa: ANN401
    def _snapshot(self) -> dict[str, Any]: ...
    def _totals(self) -> dict[str, Any]: ...
    def _counts(self) -> tuple[int, int, int]: ...

@disjoint_base
class CoreAsyncPool(Generic[_C]):
    """The engine of one pool for asyncio; `millpond.AsyncPool` extends it."""

    def __new__(cls, *_args: object, **_kwargs: object) -> CoreAsyncPool[_C]: ...
    def __class_getitem__(cls, key: object) -> GenericAlias: ...
    @overload
    def connection(
        self, *, timeout: float | None = None, priority: str = "normal", query_timeout: None = None
    ) -> AsyncLease[_C]: ...
    @overload
    def connection(
        self,
        *,
        timeout: float | None = None,
        priority: str = "normal",
        query_timeout: float | None = None,
    ) -> AbstractAsyncContextManager[_C]:
        """Lend a connection for the time of an ``async with`` block.

        It is acquired when the block begins and released when the block ends, also by an exception
        or a cancellation; in the middle of a statement it is closed instead, unless its driver has
        brought it back in order. With an idle connection the block begins without suspending, and
        with nothing to reset it ends so. The block gets the driver's own connection object.

        Args:
            timeout: Seconds to wait when the block begins. ``None``, the default, means the pool's
                ``acquire_timeout``; 0 does not wait; ``math.inf`` has no limit.
            priority: As in `acquire`.
            query_timeout: Seconds for the statements of the block, as in `query_timeout`. ``None``,
                the default, has no limit.

        Returns:
            An asynchronous context manager, to be used once at a time.

        Raises:
            PoolConfigError: The timeout is not a number of seconds.
        """

    # What `AsyncPool` builds on.
    @staticmethod
    def _prepare(running_loop: Callable[[], object], current_task: object) -> None: ...
    @property
    def _engines(self) -> dict[Any, Any]: ...

@final
class AsyncLease(Generic[_C_co]):
    """What `connection()` returns: a connection for the time of an ``async with`` block.

    It can be used again after its block has ended. If it is garbage collected before, its
    connection is closed, with a ``ResourceWarning``.
    """

    def __class_getitem__(cls, key: object) -> GenericAlias: ...
    def __aenter__(self) -> Awaitable[_C_co]:
        """Acquire the connection.

        Returns:
            An awaitable for the driver's own connection object.

        Raises:
            PoolTimeout: No connection became free in time.
            PoolExhausted: ``max_waiting`` callers are waiting already.
            PoolClosed: The pool was closed, before or during the wait.
            PoolError: The lease is entered already, or a hook of its own pool would have to wait.
        """

    def __aexit__(self, /, *args: object) -> Awaitable[None]:
        """Release the connection.

        Raises:
            PoolError: The lease is not entered, or the connection was released inside the block.
        """

    # What `AsyncPool` does with it when something has to be awaited.
    @property
    def _terms(self) -> tuple[float | None, str | None]: ...
    def _begin(self) -> bool: ...
    def _fail(self) -> None: ...
    def _put(self, engine: Any, connection: object) -> None: ...  # noqa: ANN401
    def _take(self) -> tuple[Any, Any] | None: ...

@final
class Lease(Generic[_C_co]):
    """What `connection()` returns: a connection for the time of a ``with`` block.

    It can be used again after its block has ended. If it is garbage collected before, its
    connection is closed, with a ``ResourceWarning``.
    """

    def __class_getitem__(cls, key: object) -> GenericAlias: ...
    def __enter__(self) -> _C_co:
        """Acquire the connection.

        Returns:
            The driver's own connection object.

        Raises:
            PoolTimeout: No connection became free in time.
            PoolExhausted: ``max_waiting`` callers are waiting already.
            PoolClosed: The pool was closed, before or during the wait.
            PoolError: The lease is entered already, or a hook of its own pool would have to wait.
        """

    def __exit__(self, /, *args: object) -> None:
        """Release the connection.

        Raises:
            PoolError: The lease is not entered, or the connection was released inside the block.
        """

@disjoint_base
class CoreThreadLocalPool(Generic[_C]):
    """The engine of one thread-local pool; `millpond.ThreadLocalPool` extends it."""

    def __new__(cls, *_args: object, **_kwargs: object) -> CoreThreadLocalPool[_C]: ...
    def __class_getitem__(cls, key: object) -> GenericAlias: ...
    def acquire(self, *, timeout: float | None = None) -> _C:
        """Enter a block in the thread's connection, which is acquired if the thread has none.

        Each `acquire` needs a `release` in the same thread. Those inside of another enter the same
        connection, and its transaction, once more.

        Args:
            timeout: Seconds to wait for a connection, should the thread have none. ``None``, the
                default, means the pool's ``acquire_timeout``; 0 does not wait; ``math.inf`` has no
                limit.

        Returns:
            The driver's own connection object, in each thread another one.

        Raises:
            PoolTimeout: No other thread ended or let its connection go in time, or none could be
                opened. ``__cause__`` is the driver's last error, if the pool could not connect.
            PoolExhausted: ``max_waiting`` threads are waiting already.
            PoolClosed: The pool was closed, before or during the wait.
            PoolConfigError: The timeout is not a number of seconds.
            Exception: What ``on_acquire`` raised, or what connecting or ``configure`` raised when
                another attempt would not help.
        """

    def release(self, connection: _C, /) -> None:
        """Leave the block that the last `acquire` entered.

        With the outermost block, ``on_release`` and the reset run right here, and the thread keeps
        the connection. If one of them fails the connection is closed instead, which is logged and
        no error of the caller, and the next block gets a new one.

        Args:
            connection: What `acquire` returned, in the same thread.

        Raises:
            PoolError: It was released already, or it is another thread's.
        """

    def connection(self, *, timeout: float | None = None) -> ThreadLease[_C]:
        """Lend the thread its connection for the time of a ``with`` block.

        A block inside of another, however far away in the code, gets the same connection, and is
        part of the same transaction: only when the outermost block ends is the connection reset.

        Args:
            timeout: Seconds to wait for a connection when the block begins, should the thread have
                none. ``None``, the default, means the pool's ``acquire_timeout``; 0 does not wait;
                ``math.inf`` has no limit.

        Returns:
            A context manager, which may be used again, also while it is in use.

        Raises:
            PoolConfigError: The timeout is not a number of seconds.
        """

    def release_thread(self) -> None:
        """Let the calling thread's connection go before the thread ends.

        It is closed, at once or when the blocks that are open have ended, and its place is free for
        another thread. The next block of this thread gets a new connection. A thread that has none
        may ask as well. Use it for a connection that should not be used again, too.
        """

    # What `ThreadLocalPool` builds on.
    def _start(self, pool: CorePool[_C], seats: object) -> None: ...

@final
class ThreadLease(Generic[_C_co]):
    """What `connection()` returns: the thread's connection for the time of a ``with`` block."""

    def __class_getitem__(cls, key: object) -> GenericAlias: ...
    def __enter__(self) -> _C_co:
        """Enter the block.

        Returns:
            The driver's own connection object.

        Raises:
            PoolTimeout: The thread has no connection, and there was none for it in time.
            PoolExhausted: ``max_waiting`` threads are waiting already.
            PoolClosed: The pool was closed, before or during the wait.
        """

    def __exit__(self, /, *args: object) -> None:
        """Leave the block.

        Raises:
            PoolError: The thread has not entered a block.
        """

@final
class Seat(Generic[_C_co]):
    """What one thread has of a ``ThreadLocalPool``.

    It is referred to by a ``threading.local`` alone: when the thread ends, so does the seat, and
    the connection is closed.
    """

    def __class_getitem__(cls, key: object) -> GenericAlias: ...
    def reclaim(self) -> _C_co | None:
        """Take the thread's own connection again; ``None`` when it is not there or not ready."""

    def take(self, ticket: Ticket) -> _C_co | None:
        """Take the connection that a ticket was granted, to keep; ``None`` while it has to wait on.

        Raises:
            PoolClosed: The pool was closed.
            Exception: What connecting raised.
        """

    @property
    def proving(self) -> bool:
        """Whether the thread's connection is being validated right now."""

@final
class Job:
    """The right and the duty to open, check, reset or close one connection, for a worker or a task.

    A job ends with one of its methods. One that is dropped without gives its slot up by itself.
    """

    @property
    def kind(self) -> Literal["open", "check", "close", "reset"]:
        """What is to be done."""

    @property
    def connection(self) -> Any:  # noqa: ANN401  that of any driver
        """The connection to check, to reset or to close, ``None`` if there is none."""

    @property
    def reason(self) -> str | None:
        """Why it is closed, as a key of `PoolStats.closed`."""

    @property
    def slot(self) -> int:
        """The number of the connection's place in the pool."""

    @property
    def current(self) -> bool:
        """Whether the job still has its slot: not given up on, and not of another process."""

    def call(self, function: Callable[..., Any], /, *args: object) -> Any:  # noqa: ANN401
        """Call a hook of the pool, marking the thread so that it can't wait for its own pool."""

    def filled(
        self,
        connection: object,
        reset: object,
        seconds: float,
        socket: int,
        is_alive: Callable[[Any], object] | None,
    ) -> bool:
        """End an open job with a connection. False when nobody wants it: the caller closes it.

        Args:
            connection: The new connection.
            reset: How it is reset: ``None``, the name of its method, or a callable that takes it.
            seconds: How long it took to open.
            socket: The file descriptor to poll before each use, or -1.
            is_alive: What to ask before each use whether the connection is alive; ``False`` says
                no. Usually nothing.

        Raises:
            ValueError: The connection is in the pool already.
        """

    def open_failed(self, retry_in: float, pause: bool) -> bool:
        """End an open job without a connection. False when the job had been given up on before.

        Args:
            retry_in: Seconds until the next attempt.
            pause: Whether the attempts of others wait as long.
        """

    def passed(self, seconds: float) -> None:
        """End a check job: the connection is alive, as it said after so many seconds."""

    def slow(self, seconds: float) -> None:
        """End a check job: the connection is alive, but so slow that it is closed."""

    def failed(self) -> None:
        """End a check or reset job: the connection is of no more use."""

    def was_reset(self) -> None:
        """End a reset job: the connection is as the next borrower wants it."""

    def closed(self) -> None:
        """End a close job."""

@final
class Ticket:
    """The place in the queue of a caller that does not block its thread.

    Its callback is called when there is news, by whatever thread brings it. Dropped, it gives the
    place or the connection back.
    """

    def claim(self, holder: int | None = None) -> Any | None:  # noqa: ANN401  the connection of any driver
        """Return the connection, or ``None`` while the caller has to wait on.

        Raises:
            PoolClosed: The pool was closed.
            Exception: What connecting raised.
        """

    @property
    def overtaken(self) -> int:
        """How many urgent callers were served since this one joined."""

    def cancel(self) -> None:
        """Give the place in the queue back, or the connection that was granted and not claimed."""

@final
class ManualClock:
    """A clock that stands still until it is told to go on, for tests."""

    def __new__(cls) -> ManualClock: ...
    def advance(self, seconds: float) -> None:
        """Let some seconds pass.

        Raises:
            ValueError: They are negative, or too many.
        """

    def now(self) -> float:
        """Return the time in seconds, of no particular origin."""

@disjoint_base
class CorePooledDB:
    """The base class of `millpond.dbutils.pooled_db.PooledDB`.

    Who has a permit may take a connection out of `_idle_cache`, or open one. The subclass has what
    waits (`_await_permit`), opens (`steady_connection`), shares (`_share`, `_waking`) and wakes
    (`_tell_watchers`).
    """

    def __new__(cls, *_args: object, **_kwargs: object) -> Self: ...
    def connection(self, shareable: bool = True) -> Any:  # noqa: ANN401  one of the proxies
        """Lend a connection, waiting for one if the pool is at its limit and may block.

        Callers are served in the order in which they asked. May be called from any thread; while it
        waits, others run. Ctrl-C ends the wait, and nothing is lost.

        Args:
            shareable: Whether others may use the connection as well, if the pool shares
                connections.

        Raises:
            TooManyConnectionsError: The pool is at its limit, and does not block.
            NotSupportedError: The driver's connections may not be used by several threads.
            Exception: What connecting raised.
        """

    def dedicated_connection(self) -> Any:  # noqa: ANN401  a proxy
        """Lend a connection that nobody else uses meanwhile.

        Raises:
            Exception: As `connection`.
        """

    def cache(self, con: Any) -> None:  # noqa: ANN401  any steady connection
        """Take a connection back: what a proxy does when it is closed.

        It is reset and becomes idle, or is closed when `_maxcached` connections are idle. Then its
        permit goes to the next caller.

        Args:
            con: The steady connection.

        Raises:
            Exception: What resetting or closing raised; the permit is still in use.
        """

    _idle_cache: Any
    _maxconnections: Any
    _maxcached: Any
    _maxshared: Any
    _reset: Any
    _upkeep: Any
    @property
    def _connections(self) -> int: ...
    @_connections.setter
    def _connections(self, connections: float) -> None: ...
    def _try_permit(self) -> Place | None: ...
    def _join(self, callback: Callable[[], object]) -> Place: ...
    def _force_permit(self) -> None: ...
    def _release_permit(self) -> None: ...
    def _refuse(self) -> None: ...
    def _watch(self) -> Watch: ...
    def _obtain(self) -> Any: ...  # noqa: ANN401  a steady connection
    def _find_or_open(self) -> Any: ...  # noqa: ANN401  likewise
    def _keep(self, con: Any) -> None: ...  # noqa: ANN401  likewise
    def _tally(self) -> dict[str, int]: ...
    def _new_line(self) -> None: ...

class _Proxy:
    """What both proxies have: reads go to the steady connection, writes stay on the proxy."""

    version: ClassVar[str]
    _con: Any
    _pool: Any
    # The steady connection's.
    begin: Callable[..., None]
    cancel: Callable[..., None]
    commit: Callable[[], None]
    cursor: Callable[..., Any]
    dbapi: Callable[[], Any]
    dbapi_connection: Any
    ping: Callable[..., Any]
    rollback: Callable[[], None]
    threadsafety: Callable[[], Any]

    def close(self) -> None:
        """Give the connection back to the pool; again, do nothing.

        Raises:
            Exception: What resetting raised; the connection is still to be given back.
        """

    def __enter__(self) -> Self:
        """Return the proxy."""

    def __exit__(self, /, *exc: object) -> None:
        """Close the proxy."""

    def __getattr__(self, name: str, /) -> Any:  # noqa: ANN401  any attribute
        """Return an attribute of the steady connection.

        Raises:
            InvalidConnectionError: The proxy was closed.
            AttributeError: The steady connection has none of that name.
        """

    def __del__(self, /) -> None:
        """Give the connection back to the pool."""

@disjoint_base
class PooledDedicatedDBConnection(_Proxy):
    """A proxy for a connection that nobody else uses meanwhile."""

    def __init__(self, pool: Any, con: Any) -> None: ...  # noqa: ANN401  a pool and a connection

@disjoint_base
class PooledSharedDBConnection(_Proxy):
    """A proxy for a connection that others may use, too."""

    _shared_con: Any
    def __init__(self, pool: Any, con: Any) -> None: ...  # noqa: ANN401  a pool, and what is shared

@final
class Place:
    """A place in the line of those who wait for a permit, or a permit.

    Dropped, it gives back what it is.
    """

    @property
    def granted(self) -> bool:
        """Whether this is a permit by now."""

    def take(self) -> bool:
        """Take the permit out of the place, for the caller to give back.

        False when there is none yet.
        """

    def leave(self) -> None:
        """Leave the line, or give the permit back."""

@final
class Watch:
    """Counts those who wait for a permit by means of a lock of Python's.

    As long as there are any, each release tells them.
    """

    def begin(self) -> None:
        """Have each release tell, from now on."""

    def end(self) -> None:
        """End what one `begin` began.

        Raises:
            RuntimeError: Nobody watches.
        """

@disjoint_base
class CoreSteady:
    """What a steady connection knows; `millpond.dbutils.steady_db.SteadyDBConnection` extends it.

    When something goes wrong, methods of the subclass go on: `_check_alive`, `_reopen_after`,
    `_reopen_cursor`, `_threadsafety_unknown`.
    """

    def __new__(cls, *_args: object, **_kwargs: object) -> Self: ...
    def begin(self, *args: object, **kwargs: object) -> None:
        """Mark the beginning of a transaction, and tell the driver if it has ``begin()``.

        Until `commit` or `rollback` nothing is repeated, since what came before would be lost. The
        arguments are the driver's.
        """

    def commit(self) -> None:
        """Commit the transaction.

        Raises:
            Exception: What the driver raised. If that means that the connection is lost, it was
                replaced.
        """

    def rollback(self) -> None:
        """Roll the transaction back.

        Raises:
            Exception: What the driver raised. If that means that the connection is lost, it was
                replaced.
        """

    def __del__(self) -> None:
        """Close the connection."""

    def threadsafety(self) -> Any:  # noqa: ANN401  an integer, unless the driver says otherwise
        """Return the driver's level of thread safety.

        Raises:
            AttributeError: It could not be found out.
        """

    _con: Any
    _failures: Any
    _threadsafety: Any
    _transaction: bool
    _closed: bool
    _usage: int
    _maxusage: int
    _ping: int
    _pinger: Any
    @property
    def _inherited(self) -> bool: ...
    def _ping_check(self, ping: int = 1, reconnect: bool = True) -> Any: ...  # noqa: ANN401
    def _reset(self, force: object = False) -> None: ...
    def _cursor(self, *args: Any, **kwargs: Any) -> Any: ...  # noqa: ANN401
    def _store(self, con: Any) -> None: ...  # noqa: ANN401
    def _count_use(self) -> None: ...

@disjoint_base
class CoreCursor:
    """What a steady cursor knows; `millpond.dbutils.steady_db.SteadyDBCursor` extends it.

    When something goes wrong, methods of the subclass go on: `_retry_statement`, `_run_statement`,
    `_raise_invalid`.
    """

    def __new__(cls, *_args: object, **_kwargs: object) -> Self: ...
    def __init__(self, con: Any, *args: Any, **kwargs: Any) -> None: ...  # noqa: ANN401
    def __getattr__(self, name: str, /) -> Any:  # noqa: ANN401
        """Return a tough method, or an attribute of the driver's cursor.

        Raises:
            InvalidCursorError: There is no cursor of the driver's.
            AttributeError: It has no such attribute.
        """

    def __del__(self) -> None:
        """Close the cursor."""

    def close(self) -> None:
        """Close the cursor. Another time does nothing.

        Errors of the driver's are ignored. A cursor that is used afterwards may reopen itself.
        """

    # The driver's, as far as its cursor has them.
    arraysize: Any
    connection: Any
    description: Any
    lastrowid: Any
    messages: Any
    rowcount: Any
    rownumber: Any
    statusmessage: Any
    callproc: Callable[..., Any]
    execute: Callable[..., Any]
    executemany: Callable[..., Any]
    fetchall: Callable[..., Any]
    fetchmany: Callable[..., Any]
    fetchone: Callable[..., Any]
    mogrify: Callable[..., Any]
    nextset: Callable[..., Any]
    scroll: Callable[..., Any]

    _con: Any
    _cursor: Any
    _args: Any
    _kwargs: Any
    _inputsizes: Any
    _outputsizes: Any
    _closed: bool
    _no_failover: int
    def _clearsizes(self) -> None: ...
    def _get_tough_method(self, name: str, /) -> Callable[..., Any]: ...

@final
class Histogram:
    """The distribution of a duration. Any thread may add to it."""

    def __new__(cls) -> Histogram: ...
    def record(self, seconds: float) -> None:
        """Add a duration in seconds; what is no duration counts as 0."""

    @property
    def count(self) -> int:
        """How many durations were added."""

    def snapshot(self) -> dict[str, Any]:
        """Return the arguments of `TimeStats`."""

def exited() -> None:
    """Note that the exit handlers ran: from now on no pool calls into Python."""

def leak(object: object) -> None:  # noqa: A002
    """Keep an object for ever: after a fork, what belongs to the parent is never finalized."""

def fork_generation() -> int:
    """Return how many forks lie between the process that imported the module and this one.

    What belongs to an ancestor (an open connection) must not be closed here: closing says farewell
    on a socket that the ancestor is still using.
    """

@final
class Alarm:
    """A moment at which `Pool._alarm` is called."""

    @property
    def number(self) -> int:
        """What it is called with."""
