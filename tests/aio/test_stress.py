"""Everything at once, for as long as MILLPOND_STRESS_SECONDS says, and then the books must balance.

Every connection carries its owner and its loop, so that the second hand sees two hands at once, and
notices when it is in the middle of somebody's statement.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

import millpond
from async_cancel import is_as_good_as_new, no_task_is_left
from async_fakes import QueryCancelledError
from async_loops import Home, run_in_threads, until
from fakes import InterfaceError, OperationalError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from concurrent.futures import Future

pytestmark = [
    pytest.mark.stress,
    pytest.mark.freethreaded,
    pytest.mark.usefixtures("fast_switching"),
]

TASKS = 12
LARGEST = 6
PATIENT = 20.0


class ConflictError(Exception):
    """What a server says of a transaction that may be repeated."""

    sqlstate = "40001"


# What may happen to a borrower, and is no fault of the pool.
EXPECTED = (
    ConflictError,
    InterfaceError,
    KeyError,
    OperationalError,
    millpond.PoolExhausted,
    millpond.QueryTimeout,
    QueryCancelledError,
)


class Stress(Home):
    """Tasks that use one pool in every way they can, each with its own dice."""

    def __init__(self, *, loops: int, listening: bool) -> None:
        super().__init__(
            min_size=1,
            max_size=LARGEST,
            max_waiting=TASKS - 1,
            max_uses=500,
            validation_interval=0.001,
            acquire_timeout=PATIENT,
        )
        self.loops = loops
        self.over = threading.Event()
        self.counts: Counter[str] = Counter()
        self.events: Counter[str] = Counter()
        self._running: list[asyncio.AbstractEventLoop] = []
        self._handed: set[Future[None]] = set()
        if listening:
            self.pool.add_listener(self._hear, "acquired", "released")

    def _hear(self, event: millpond.PoolEvent) -> None:
        with self._lock:
            self.events[event.kind] += 1

    def count(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1

    # What a borrower does.

    async def use(self, conn: Any, dice: random.Random) -> None:
        """Work on a connection, which may die of it."""
        self.count("acquired")
        with conn.held_by(asyncio.current_task()):
            assert self._loops[conn.number] is asyncio.get_running_loop()
            fate = dice.random()
            if fate < 0.02:
                conn.kill()
            elif fate < 0.5:
                await conn.execute()
            elif fate < 0.6:
                await asyncio.sleep(dice.uniform(0, 0.001))
            elif fate < 0.65:
                # Given up by who goes on as if nothing had been, in the middle of an answer.
                with suppress(TimeoutError):
                    await asyncio.wait_for(conn.execute(), 0)

    async def in_a_block(self, dice: random.Random) -> None:
        async with self.pool.connection() as conn:
            await self.use(conn, dice)

    async def in_a_transaction(self, dice: random.Random) -> None:
        async with self.pool.transaction() as conn:
            await self.use(conn, dice)
            with suppress(KeyError):
                async with self.pool.transaction():
                    await conn.execute()
                    if dice.random() < 0.5:
                        raise KeyError
            if dice.random() < 0.2:
                raise KeyError

    async def again_after_a_conflict(self, dice: random.Random) -> None:
        async def work(conn: Any) -> None:
            await self.use(conn, dice)
            if dice.random() < 0.3:
                raise ConflictError

        await self.pool.run(work, retries=1)

    async def with_a_query_timeout(self, dice: random.Random) -> None:
        async with self.pool.connection(query_timeout=dice.choice([0.001, 20.0])) as conn:
            await self.use(conn, dice)
            if dice.random() < 0.3:
                async with self.pool.query_timeout(conn, 0.001):
                    await conn.execute("SLEEP")

    async def by_hand(self, dice: random.Random) -> None:
        conn = await self.acquire(dice)
        if conn is None:
            return
        try:
            await self.use(conn, dice)
        finally:
            give_back = self.pool.discard if dice.random() < 0.1 else self.pool.release
            await give_back(conn)

    async def acquire(self, dice: random.Random) -> Any:
        """Acquire, and give up when that takes too long; the patient must be served."""
        way = dice.randrange(4)
        if way == 0:
            return await self.pool.try_acquire()
        timeout, priority = [(PATIENT, "high"), (0.001, "normal"), (0, "normal")][way - 1]
        try:
            return await self.pool.acquire(timeout=timeout, priority=priority)
        except millpond.PoolTimeout:
            assert timeout < 1, "a patient waiter was forgotten"
            return None

    async def released_elsewhere(self, dice: random.Random) -> None:
        """Have another task give it back, in whichever loop."""
        conn = await self.pool.acquire()
        try:
            await self.use(conn, dice)
        finally:
            there = dice.choice(self._running)
            with self._lock:
                runs = there in self._running
                if runs:
                    handed = asyncio.run_coroutine_threadsafe(self.pool.release(conn), there)
                    self._handed.add(handed)
            if runs:
                handed.add_done_callback(self._handed.discard)
            if not runs:
                await self.pool.release(conn)

    async def go_for_one(self, dice: random.Random) -> None:
        """Use the pool in one of the ways, and perhaps be cancelled at that."""
        ways: list[Callable[[random.Random], Awaitable[None]]] = [
            self.in_a_block,
            self.in_a_block,
            self.by_hand,
            self.by_hand,
            self.in_a_transaction,
            self.again_after_a_conflict,
            self.with_a_query_timeout,
            self.released_elsewhere,
        ]

        async def errand() -> None:
            await dice.choice(ways)(dice)

        task = asyncio.create_task(errand())
        if dice.random() < 0.3:
            for _ in range(dice.randrange(12)):
                await asyncio.sleep(0)
            task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            self.count("cancelled")
        except millpond.PoolTimeout:
            # As it is one of EXPECTED too, by the driver's OperationalError.
            msg = f"a patient waiter was forgotten: {self.pool.stats()}"
            raise AssertionError(msg) from None
        except EXPECTED as error:
            self.count(type(error).__name__)

    # What the pool's owner does.

    async def pause(self) -> None:
        self.pool.suspend()
        await asyncio.sleep(0.001)
        self.pool.resume()

    async def disturb(self, dice: random.Random) -> None:
        """Do to the pool what its owner may do at any time."""
        largest = dice.randint(1, LARGEST)
        disturbances: list[Callable[[], Any]] = [
            self.pool.evict,
            lambda: self.pool.resize(min_size=dice.randint(0, largest), max_size=largest),
            lambda: self.database.fail_next(OperationalError("no"), at="rollback"),
            lambda: self.database.fail_next(OperationalError("no"), at="close"),
            self.database.kill_all,
            self.pool.stats,
            lambda: repr(self.pool),
        ]
        # Seldom and one at a time, as the pool backs off after each.
        if dice.random() < 0.005 and not self.database.has_faults():
            self.database.fail_next(OperationalError("no"))
        elif dice.random() < 0.15:
            await self.pause()
        else:
            dice.choice(disturbances)()
        await asyncio.sleep(dice.uniform(0, 0.005))
        self.count("disturbed")

    # All of it.

    async def keep_on(
        self, step: Callable[[random.Random], Awaitable[None]], dice: random.Random
    ) -> None:
        """Repeat a step until it is over; what is not expected is a failure."""
        try:
            while not self.over.is_set():
                await step(dice)
                await asyncio.sleep(0)
        except BaseException:
            self.over.set()
            raise

    async def run_here(self, number: int, seconds: float) -> None:
        """Let the tasks of one loop loose, and see every one of them come back."""
        loop = asyncio.get_running_loop()
        with self._lock:
            self._running.append(loop)
        steps = [self.go_for_one] * (TASKS // self.loops) + [self.disturb] * (number == 0)
        seed = number * 1000
        tasks = [
            asyncio.create_task(self.keep_on(step, random.Random(seed + index)))
            for index, step in enumerate(steps)
        ]
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self.over.is_set():
            await asyncio.sleep(0.02)
            if self.database.violations:
                break
        self.over.set()
        await asyncio.wait_for(asyncio.gather(*tasks), 60)
        with self._lock:
            self._running.remove(loop)
        # Also what other loops have asked this one to release.
        await until(lambda: not self._handed, 20)

    async def look_back(self) -> None:
        """See that the books balance, and that all is as in the beginning."""
        pool, database = self.pool, self.database
        assert database.violations == []
        assert database.peak_underway <= LARGEST
        assert (pool.stats().in_use, pool.stats().waiting) == (0, 0), pool.stats()
        database._faults.clear()
        pool.resize(min_size=0, max_size=LARGEST)
        await is_as_good_as_new(pool)
        await until(lambda: pool.stats().size == len(pool.stats().connections) == database.live)
        stats = pool.stats()
        assert stats.opened - sum(stats.closed.values()) == stats.size
        # Who was cancelled may have acquired without having known.
        assert stats.acquired >= self.counts["acquired"]
        if self.events:
            assert self.events["acquired"] == self.events["released"] == stats.acquired
        await pool.close()
        await no_task_is_left()
        assert database.live == 0
        assert database.closes == database.connects


@pytest.mark.usefixtures("each_loop")
def test_whatever_happens_at_once_in_a_loop_the_books_balance(stress_seconds: float) -> None:
    seconds = stress_seconds / 2

    async def main(stress: Stress) -> None:
        await stress.run_here(0, seconds)
        await stress.look_back()

    for listening in (False, True):
        stress = Stress(loops=1, listening=listening)
        asyncio.run(main(stress))

        assert stress.counts["acquired"] > 100 * seconds, stress.counts
        assert stress.counts["cancelled"] > 10 * seconds, stress.counts


def test_whatever_happens_at_once_in_three_loops_the_books_balance(stress_seconds: float) -> None:
    stress = Stress(loops=3, listening=False)

    run_in_threads(
        3,
        lambda number: stress.run_here(number, stress_seconds),
        seconds=stress_seconds + 50,
        mixed=True,
    )

    assert stress.counts["acquired"] > 30 * stress_seconds, stress.counts
    asyncio.run(stress.look_back())
