"""`AsyncPool` behind the face of `Pool`, so that the tests of the one are the tests of the other.

Each pool runs in a loop of its own, in a thread of its own. A test's threads are tasks in it: see
`async_threads`. What the pool calls back is called in the thread whose task that is, and what a
task of the pool's calls (a connect, a reset) in a thread of its own, with the name of a worker.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import threading
import weakref
from concurrent.futures import Future
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import millpond
from async_blocking import Blocking
from async_threads import in_own_thread, line_in
from helpers import PATIENCE
from millpond import drivers
from millpond._aio import _query
from millpond._config import PoolConfig
from millpond.drivers import Dbapi

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from typing import Self

    from millpond._core import ManualClock

HOOKS: Final = (
    "configure",
    "validate",
    "on_acquire",
    "on_release",
    "on_close",
    "on_exhausted",
    "reset",
)

# What is not awaited, and may be called from any thread.
PLAIN: Final = frozenset(
    [
        "name",
        "min_size",
        "max_size",
        "closed",
        "suspended",
        "stats",
        "resize",
        "evict",
        "suspend",
        "resume",
        "add_listener",
    ]
)

# What tests know of the inner life of `Pool`, and each loop's engine has.
OF_THE_ENGINE: Final = frozenset({"_advance", "_window"})

_numbers: Final = itertools.count(1)
_loops: Final[weakref.WeakSet[asyncio.AbstractEventLoop]] = weakref.WeakSet()


class Block:
    """An ``async with`` block as a ``with`` block."""

    def __init__(self, pool: Pool, manager: AbstractAsyncContextManager[Any]) -> None:
        self._pool = pool
        self._manager = manager

    def __enter__(self) -> Any:
        return self._pool._await(self._manager.__aenter__)

    def __exit__(self, *exc: object) -> Any:
        return self._pool._await(self._manager.__aexit__, *exc)


class Pool:
    """See the head of this file. The arguments are those of `millpond.Pool`."""

    def __init__(self, connect: Any, /, *, _inline: bool = False, **options: Any) -> None:
        self._inline = _inline
        options.setdefault("name", None)
        name = options["name"] or f"facade-{next(_numbers)}"
        self._workers = f"millpond-{name}-worker"
        if options["name"] is None:
            options["name"] = name
        for hook in HOOKS:
            if callable(options.get(hook)):
                options[hook] = self._hook(options[hook])
        connect, options = self._with_driver(connect, options)
        self._loop = asyncio.new_event_loop()
        _loops.add(self._loop)
        ended: Future[None] = Future()
        self._thread = threading.Thread(target=_run, args=(self._loop, ended), daemon=True)
        self._thread.start()
        self._end = weakref.finalize(self, ended.set_result, None)

        async def make() -> millpond.AsyncPool[Any]:
            return millpond.AsyncPool(connect, **options)

        try:
            self._pool: millpond.AsyncPool[Any] = line_in(self._loop).call(make)
            self._settle()
        except BaseException:
            self._end()
            raise

    def _hook(self, hook: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
        workers = self._workers

        async def call(*args: Any) -> Any:
            return await in_own_thread(hook, *args, workers=workers)

        return call

    def _with_driver(self, connect: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Give the pool the driver that `Pool` would have, one call a thread."""
        driver = options.get("driver")
        if not (callable(connect) or isinstance(connect, str)):
            return connect, options
        if driver is not None and not isinstance(driver, Dbapi):
            return connect, options
        known = {
            name: value
            for name, value in options.items()
            if name in PoolConfig.__dataclass_fields__
        }
        config = PoolConfig(**known)
        found = drivers.find(
            connect,
            driver=driver,
            connect_kwargs=config.connect_kwargs,
            connect_timeout=config.connect_timeout,
            options=config.session_options,
            needs=config.needs,
        )
        blocking = Blocking(found, self._workers)
        options = {**options, "driver": blocking, "connect_kwargs": None}
        return blocking.connect, options

    # Calls.

    def _await(self, function: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> Any:
        try:
            return line_in(self._loop).call(function, *args, **options)
        finally:
            self._settle()

    def _settle(self) -> None:
        """With ``_inline``, wait until the pool has done what there is to do."""
        if self._inline:
            line_in(self._loop).call(_settled, self._pool)

    def _in_loop(self, function: Callable[..., Any], *args: Any) -> Any:
        async def call() -> Any:
            return function(*args)

        return self._await(call)

    def acquire(self, **options: Any) -> Any:
        try:
            return self._await(self._pool.acquire, **options)
        except millpond.PoolTimeout:
            if options.get("timeout") != 0 or not self._opens_at_once():
                raise
        return self._await(self._pool.acquire, timeout=PATIENCE)

    def try_acquire(self) -> Any:
        found = self._await(self._pool.try_acquire)
        if found is None and self._opens_at_once():
            return self._await(self._pool.acquire, timeout=PATIENCE)
        return found

    def _opens_at_once(self) -> bool:
        """With ``_inline``, a caller validates and opens what it asks for, and need not wait."""
        if not self._inline or self.suspended or self._engine._last_error is not None:
            return False
        _, used, _ = self._engine._counts()
        return bool(used < self.max_size)

    def release(self, connection: Any, /) -> None:
        self._await(self._pool.release, connection)

    def discard(self, connection: Any, /) -> None:
        self._await(self._pool.discard, connection)

    def detach(self, connection: Any, /) -> None:
        self._await(self._pool.detach, connection)

    def wait(self, timeout: float | None = 30.0) -> None:
        self._await(self._pool.wait, timeout)

    def close(self, timeout: float = 5.0) -> None:
        self._await(self._pool.close, timeout)

    def run(self, work: Callable[[Any], Any], /, **options: Any) -> Any:
        return self._await(self._pool.run, self._hook(work), **options)

    def connection(self, **options: Any) -> Block:
        return Block(self, self._in_loop(lambda: self._pool.connection(**options)))

    def transaction(self, **options: Any) -> Block:
        return Block(self, self._pool.transaction(**options))

    def savepoint(self, conn: Any) -> Block:
        return Block(self, self._pool.savepoint(conn))

    def query_timeout(self, conn: Any, seconds: float) -> Block:
        return Block(self, self._pool.query_timeout(conn, seconds))

    def __enter__(self) -> Self:
        self._await(self._pool.__aenter__)
        return self

    def __exit__(self, *exc: object) -> None:
        self._await(self._pool.__aexit__, *exc)

    def __repr__(self) -> str:
        return repr(self._pool).replace("AsyncPool", "Pool")

    def __getattr__(self, name: str) -> Any:
        if name in PLAIN:
            found = getattr(self._pool, name)
            if not self._inline or not inspect.ismethod(found):
                return found
            return lambda *args, **options: self._in_loop(lambda: found(*args, **options))
        if name in OF_THE_ENGINE:
            return getattr(self._engine, name)
        raise AttributeError(name)

    def end(self) -> None:
        """End the loop."""
        self._end()
        self._thread.join(10)
        assert not self._thread.is_alive()

    # What tests know of the inner life of `Pool`.

    def _run_due(self) -> None:
        self._in_loop(self._pool._run_due)
        self._in_loop(_fire_due, self._engine._clock)

    def _register_waiter(self, *args: Any) -> Any:
        return self._in_loop(self._engine._register_waiter, *args)

    def _begin_in_child(self) -> None:
        self._in_loop(self._pool._begin_in_child)

    @property
    def _engine(self) -> Any:
        (engine,) = self._pool._all()
        return engine

    @property
    def _driver(self) -> Any:
        return self._pool._driver.inner  # type: ignore[attr-defined]


def tasks_of(pool: Pool | str) -> list[str]:
    """Name the tasks which that pool has running, as `helpers.threads_of` does with threads."""
    prefix = f"millpond-{pool if isinstance(pool, str) else pool.name}-"
    tasks = [task for loop in tuple(_loops) for task in asyncio.all_tasks(loop)]
    return [task.get_name() for task in tasks if task.get_name().startswith(prefix)]


# Query timeouts by the manual clock: those of AsyncPool are the loop's, which no test can move.
_watches: Final[weakref.WeakKeyDictionary[_query._Watch[Any], float]] = weakref.WeakKeyDictionary()
_begin = _query._Watch.begin


def _begin_by_clock(watch: _query._Watch[Any], seconds: float) -> None:
    clock = watch._engine._clock
    if clock is None:
        _begin(watch, seconds)
    else:
        _watches[watch] = clock.now() + seconds


_query._Watch.begin = _begin_by_clock  # type: ignore[method-assign, assignment]


def _fire_due(clock: ManualClock | None) -> None:
    for watch, due in list(_watches.items()):
        if watch._engine._clock is clock and clock is not None and clock.now() >= due:
            del _watches[watch]
            if not watch._over.is_set():
                watch._fire()


async def _settled(pool: millpond.AsyncPool[Any]) -> None:
    while tasks := [task for engine in pool._all() for task in engine._tasks]:
        await asyncio.wait(tasks)
        await asyncio.sleep(0)


def _run(loop: asyncio.AbstractEventLoop, ended: Future[None]) -> None:
    async def wait() -> None:
        loop.set_exception_handler(lambda _, context: troubles.append(context))
        await asyncio.wrap_future(ended)
        # A collection in another thread, which has just finalized the facade, may go on to the
        # pool's generator and have a task made for that: not in the very last turn of the loop.
        await asyncio.sleep(0.003)

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(wait())


# What the loops had to say: see `asyncio.loop.call_exception_handler`.
troubles: Final[list[dict[str, Any]]] = []

# What the tests' modules have for `millpond`.
facade: Final = SimpleNamespace(**{**vars(millpond), "Pool": Pool})
