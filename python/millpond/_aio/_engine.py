"""The engine of an `AsyncPool` in one event loop: acquire, wait, release.

It is the engine of `Pool`, whose waiters are callbacks and whose jobs are tasks. An acquire with an
idle connection and a release with nothing to reset do not suspend. A connection never leaves the
loop that opened it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import sys
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from millpond import _messages
from millpond._aio import _jobs
from millpond._aio._loop import (
    IN_HOOK,
    Bell,
    call_in,
    hear_the_end,
    running_loop,
)
from millpond._aio._tasks import TASKS, number_of
from millpond._aio._work import LoopWork
from millpond._config import check_acquire
from millpond._stats import WindowStats
from millpond.drivers import TransactionStatus, aio
from millpond.errors import PoolExhausted, PoolTimeout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from millpond._aio._control import Controlled
    from millpond._core import Ticket
    from millpond._stats import PoolStats
    from millpond.errors import PoolError

C = TypeVar("C")

logger = logging.getLogger("millpond.pool")

# How long the end of a loop waits for connections to be closed.
LEAVE_SECONDS: Final = 1.0


class LoopEngine(LoopWork[C]):
    """See the head of this file.

    Args:
        owner: The pool.
        loop: The loop, which is running.
        sizes: What it has of the pool's ``min_size`` and ``max_size``, for a start.
    """

    def __init__(
        self, owner: Controlled[C], loop: asyncio.AbstractEventLoop, sizes: tuple[int, int]
    ) -> None:
        """Begin without connections."""
        super().__init__(loop)
        self._owner = owner
        self._config = owner._config
        self._clock = owner._clock
        self._name = owner.name
        self._errors = owner._errors
        self._driver = owner._driver
        self._backoff = owner._backoff
        self._recognised = owner._recognised
        self._last_error = None
        self.inside = id(owner)
        options = self._engine_options() | {"min_size": sizes[0], "max_size": sizes[1]}
        # The core's own hooks would be called without being awaited.
        options |= {"on_acquire": None, "on_release": None, "on_exhausted": None}
        self._start(options, threading.main_thread().ident or 0)
        self._listeners = owner._listeners
        self._learn()
        TASKS.watch(loop)
        self._farewell = hear_the_end(self)

    # Acquire.

    async def take(self, timeout: float | None, priority: str) -> C:
        """Acquire a connection, without suspending if one is idle."""
        holder = number_of(asyncio.current_task(self.loop))
        conn = self._try_claim(holder)
        if conn is None:
            try:
                conn = await self._wait(timeout, priority, holder)
            except (PoolTimeout, PoolExhausted) as error:
                if not callable(self._config.on_exhausted):
                    raise
                return await self._stand_in(self._config.on_exhausted, error)
        if self._config.on_acquire is not None:
            await self._on_acquire(conn)
        return conn

    async def try_to_take(self) -> C | None:
        """Acquire an idle connection; if there is none, have one opened for the next attempt."""
        conn = self._try_claim(number_of(asyncio.current_task(self.loop)))
        if conn is None:
            self._check_hook()
            self._owner._budget.could_use(self)
            # The core queues and leaves for us, and asks for a connection meanwhile.
            conn = self.try_acquire()
        if conn is not None and self._config.on_acquire is not None:
            await self._on_acquire(conn)
        return conn

    async def _stand_in(self, hook: Callable[[PoolError], Any], error: PoolError) -> C:
        """Ask the user for something to lend in place of a connection."""
        stand_in: Any = await _jobs.call(hook, error)
        with self._owner._lock:
            self._owner._stand_ins.append(stand_in)
        return cast("C", stand_in)

    async def _on_acquire(self, conn: C) -> None:
        try:
            await self._call_hook(self._config.on_acquire, conn)
        except BaseException:
            self.discard(conn)
            raise

    async def _on_release(self, conn: C) -> bool:
        try:
            await self._call_hook(self._config.on_release, conn)
        except BaseException as error:
            self.discard(conn)
            if not isinstance(error, Exception):
                raise
            self._hook_failed("on_release", error)
            return False
        return True

    async def _call_hook(self, hook: Callable[[C], Any] | None, conn: C) -> None:
        if hook is None:
            return
        token = IN_HOOK.set(IN_HOOK.get() | {(self.inside, asyncio.current_task())})
        try:
            await _jobs.call(hook, conn)
        finally:
            IN_HOOK.reset(token)

    def _check_hook(self) -> None:
        """Refuse a hook of this pool: its own connection may be the one that it would wait for."""
        # By its task: what a hook starts inherits the context, and may wait.
        task = asyncio.current_task()
        if task in self._tasks or (self.inside, task) in IN_HOOK.get():
            raise self._failure("in_hook", None)

    async def _wait(self, timeout: float | None, priority: str, holder: int) -> C:
        """Queue for a connection. Whatever ends the wait, nothing is lost."""
        self._check_hook()
        limit = self.limit_of(timeout)
        loop = self.loop
        began = loop.time()
        bell = Bell(loop)
        # With the terms as they were given: the core checks them as it does for threads.
        ticket = bell.ticket = self._register_waiter(bell.ring, timeout, priority)
        alarm: asyncio.TimerHandle | None = None
        waited = 0.0
        try:
            if limit is not None:
                alarm = loop.call_later(limit, bell.ring_last)
            self._owner._budget.wants(self)
            # By the bell as well: the alarm of uvloop may go off a moment early by its clock.
            while (limit is None or waited < limit) and not bell.is_over:
                await bell.wait()
                conn: C | None = ticket.claim(holder)
                if conn is not None:
                    return conn
                waited = loop.time() - began
        finally:
            # What was claimed stays so; what was granted and not claimed goes to the next.
            ticket.cancel()
            bell.ticket = None
            if alarm is not None:
                alarm.cancel()
        raise self._timed_out(waited, ticket, priority)

    def _timed_out(self, waited: float, ticket: Ticket, priority: str) -> PoolError:
        overtaken = ticket.overtaken if priority == "normal" else 0
        return self._failure("timeout", (waited, overtaken))

    def limit_of(self, timeout: float | None) -> float | None:
        """Return the seconds that a caller is ready to wait; ``None`` for as long as it takes.

        Raises:
            PoolConfigError: It is not a number of seconds.
        """
        if timeout is None:
            return self._config.acquire_timeout
        check_acquire(timeout, "normal")
        return None if timeout == math.inf else float(timeout)

    # Release.

    def ends(self, conn: C, error: Exception) -> bool:
        """Say whether a block's error was the end of its connection."""
        try:
            return self._is_fatal(conn, error)
        except Exception as second:  # noqa: BLE001  which must not hide the block's error
            self._driver_failed("what an error means", second)
            return False

    def let_go(self, conn: C) -> bool:
        """Release a connection if nothing has to be awaited for that."""
        if self._config.on_release is not None or self._needs_reset(conn):
            return False
        self.release(conn)
        return True

    async def give_back(self, conn: C) -> None:
        """Release a connection, with hooks, and wait for its reset.

        A cancellation meanwhile ends the wait, and not the reset.
        """
        is_heard = self._config.on_release is not None and not self.is_over
        if is_heard and not await self._on_release(conn):
            return
        if self.is_over or self.is_mid_statement(conn):
            # Its answer would be the next borrower's.
            self.discard(conn)
            return
        if not self._needs_reset(conn):
            self.release(conn)
            return
        job = self._begin_reset(conn)
        if job is None:
            return
        if running_loop() is not self.loop:
            self._submit(job)
            return
        # Which is not cancelled with who waits; nor does its cancellation, when it takes too long,
        # become the waiter's.
        await asyncio.wait([self._begin(job)])

    def is_mid_statement(self, conn: C) -> bool:
        """Say whether an answer may still come; also when the driver can't say."""
        try:
            return self._driver.transaction_status(conn) is TransactionStatus.ACTIVE
        except Exception as error:  # noqa: BLE001  which must not cost a connection
            self._driver_failed("how a connection stands", error)
            return True

    def _is_quiet(self, conn: C) -> bool:
        return not self.is_mid_statement(conn)

    def _needs_reset(self, conn: C) -> bool:
        if self._config.reset == "none":
            return self.is_mid_statement(conn)
        if self._config.reset != "rollback":
            return True
        try:
            return not self._driver.is_clean(conn)
        except Exception as error:  # noqa: BLE001
            self._driver_failed("whether a connection is clean", error)
            return True

    def _driver_failed(self, what: str, error: Exception) -> None:
        logger.error(
            "pool %r: the driver couldn't say %s",
            self._name,
            what,
            exc_info=error,
            extra={"pool": self._name, "event": "driver_failed"},
        )

    def _learn(self) -> None:
        """Say what each block asks first at its end, now that the driver is known."""
        config = self._config
        if config.on_acquire is not None or config.on_release is not None:
            self._set_clean(None)
        elif config.reset == "none":
            self._set_clean(self._is_quiet)
        else:
            self._set_clean(self._driver.is_clean if config.reset == "rollback" else None)

    # What the core calls back.

    def stats(self) -> PoolStats:
        """Return what the whole pool is like right now."""
        return self._owner.stats()

    def _holder_names(self, slots: Iterable[Mapping[str, Any]]) -> dict[int, str]:
        """Name those who hold connections, by slot: here, tasks."""
        holders = {slot["slot"]: slot["holder"] for slot in slots if slot["holder"] is not None}
        tasks = TASKS.find(holders.values())
        return {slot: tasks[one].get_name() for slot, one in holders.items() if one in tasks}

    def _caller(self) -> int:
        return number_of(asyncio.current_task(self.loop))

    def _emit_later(self, kind: str, **details: Any) -> None:  # noqa: ANN401
        if self._listeners.of(kind):
            call_in(self.loop, partial(self._emit, kind, **details, shield=BaseException))

    def own_stats(self) -> PoolStats:
        """Return what this engine is like right now, without a window."""
        return super().stats()

    # The window is the whole pool's: it goes on when this loop ends, and this engine is forgotten.

    def _begin_window(self) -> None:
        super()._begin_window()
        self._window = self._owner._window

    def _take_sample(self) -> None:
        self._owner.stats()

    def _measure(self, values: Mapping[str, Any]) -> WindowStats:
        del values
        return WindowStats()

    def _is_known(self) -> bool:
        driver: object = self._driver
        return type(driver) is not aio.AsyncDbapi

    def _recognise(self, connection: C) -> None:
        if self._recognised:
            return
        config = self._config
        self._driver = aio.refine(
            self._driver, connection, options=config.session_options, needs=config.needs
        )
        self._set_validation(*self._validation(is_known=True))
        self._owner._recognised_as(self._driver)
        self._errors = self._owner._errors
        self._recognised = True
        self._learn()

    def _reset_of(self, connection: C) -> object:
        del connection  # the core can't await
        return None

    def _changed(self) -> None:
        self._owner._changed()

    def _site(self) -> tuple[str, int, str]:
        """Find the line that acquires: the first outside of this package."""
        TASKS.note(asyncio.current_task(self.loop))
        return _messages.caller(sys._getframe(1))

    # The end.

    async def _leave(self) -> None:
        """Let go of the loop, which is about to end, and of what is in use in it."""
        # Its other generators are closed at the same time, and may have something to give back.
        await asyncio.sleep(0)
        await self._retire()
        # Before others may open as many.
        self.abandon()
        self._owner._forget(self)

    async def _retire(self) -> None:
        self._shut()
        await self.settle(LEAVE_SECONDS)
        self.finish()

    def abandon(self) -> None:
        """Drop the connections in use: their loop is over, and nothing can be awaited in it."""
        self.is_over = True
        # Several threads may find that a loop was closed.
        with suppress(KeyError):
            while True:
                _, conn = self.open.popitem()
                self._driver.abort(conn)

    async def say_farewell(self) -> None:
        """Leave the loop, which goes on. Several tasks may do so at once."""
        await self._retire()
        # There is nothing left to be awaited, so it does not suspend, and nobody comes between.
        # What is in use the end of the loop has still to see to.
        if not self.open and not self._farewell.ag_running:
            await self._farewell.aclose()
