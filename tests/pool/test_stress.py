"""Everything at once, for as long as MILLPOND_STRESS_SECONDS says, and then the books must balance.

Every connection carries its owner, so that two hands at once are seen by the second hand.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

import millpond
from fakes import FakeConnection, FakeDatabase, OperationalError
from helpers import eventually, in_thread, threads_of

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.stress, pytest.mark.freethreaded]

THREADS = 12
LARGEST = 6


class Stress:
    """Threads that use one pool in every way they can, each with its own dice."""

    def __init__(self, policy: str) -> None:
        self.database = FakeDatabase()
        self.pool: millpond.Pool[FakeConnection] = millpond.Pool(
            self.database.connect,
            min_size=1,
            max_size=LARGEST,
            max_waiting=THREADS - 1,
            max_uses=500,
            validate=FakeConnection.ping,
            validation_interval=0.001,
            acquire_timeout=30.0,
            policy=policy,
        )
        self.over = threading.Event()
        self.lock = threading.Lock()
        self.counts: Counter[str] = Counter()

    def borrow(self, dice: random.Random) -> None:
        """Acquire in one of the ways, keep it for a moment, give it back in one of the ways."""
        owner = threading.get_ident()
        way = dice.randrange(10)
        if way < 4:
            with self.pool.connection() as connection, connection.held_by(owner):
                self.use(connection, dice)
            return self.count("acquired")
        found = self.pool.try_acquire() if way == 9 else self.acquire(dice.choice([30, 0.001, 0]))
        if found is None:
            return self.count("nothing idle")
        with found.held_by(owner):
            self.use(found, dice)
        give_back = self.pool.discard if dice.random() < 0.05 else self.pool.release
        give_back(found)
        return self.count("acquired")

    def acquire(self, timeout: float) -> FakeConnection | None:
        """Acquire, and give up when that takes too long; the patient must be served."""
        try:
            return self.pool.acquire(timeout=timeout)
        except millpond.PoolTimeout:
            assert timeout < 1, "a patient waiter was forgotten"
            return None

    def use(self, connection: FakeConnection, dice: random.Random) -> None:
        """Work on the connection, which may die of it."""
        fate = dice.random()
        if fate < 0.02:
            connection.kill()
        elif fate < 0.5:
            connection.in_transaction = True
        elif fate < 0.6:
            threading.Event().wait(dice.uniform(0, 0.001))

    def pause(self) -> None:
        self.pool.suspend()
        self.pool.resume()

    def disturb(self, dice: random.Random) -> None:
        """Do to the pool what its owner may do at any time."""
        largest = dice.randint(1, LARGEST)
        disturbances: list[Callable[[], Any]] = [
            self.pool.evict,
            lambda: self.pool.resize(min_size=dice.randint(0, largest), max_size=largest),
            self.pause,
            lambda: self.database.fail_next(OperationalError("no"), at="rollback"),
            lambda: self.database.fail_next(OperationalError("no"), at="close"),
            self.database.kill_all,
            self.pool.stats,
            lambda: repr(self.pool),
        ]
        # Seldom, as the pool backs off after each, and one at a time: while it backs off it uses
        # none up, and more would come than it ever could.
        if dice.random() < 0.005 and not self.database.has_faults():
            disturbances = [lambda: self.database.fail_next(OperationalError("no"))]
        dice.choice(disturbances)()
        threading.Event().wait(dice.uniform(0, 0.005))
        self.count("disturbed")

    def count(self, what: str) -> None:
        with self.lock:
            self.counts[what] += 1

    def keep_on(self, step: Callable[[random.Random], None], number: int) -> None:
        """Repeat a step until it is over; a refusal is an answer, anything else is a failure."""
        dice = random.Random(number)
        while not self.over.is_set():
            try:
                step(dice)
            except millpond.PoolExhausted:
                self.count("refused")

    def run(self, seconds: float) -> None:
        """Let all threads loose, and see every one of them come back."""
        threads = [in_thread(self.keep_on, self.borrow, number) for number in range(THREADS)]
        threads += [in_thread(self.keep_on, self.disturb, THREADS + number) for number in (1, 2)]
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self.database.violations:
            self.over.wait(0.05)
        self.over.set()
        for thread in threads:
            thread.result(timeout=60)


def has_settled(stats: millpond.PoolStats) -> bool:
    """Say whether no worker opens or closes anything, and none is going to."""
    return stats.min_size <= stats.size == stats.idle == len(stats.connections)


@pytest.mark.usefixtures("fast_switching")
@pytest.mark.parametrize("policy", ["fair", "throughput"])
def test_whatever_happens_at_once_the_books_balance(policy: str, stress_seconds: float) -> None:
    """Scenario 42."""
    stress = Stress(policy)
    pool, database = stress.pool, stress.database

    stress.run(stress_seconds)

    assert database.violations == []
    assert database.peak_underway <= LARGEST
    assert stress.counts["acquired"] > 100 * stress_seconds, stress.counts
    assert pool.stats().waiting == 0
    assert pool.stats().in_use == 0
    eventually(lambda: has_settled(pool.stats()))
    stats = pool.stats()
    assert stats.size == database.live
    assert stats.opened - sum(stats.closed.values()) == stats.size
    assert stats.acquired == stress.counts["acquired"]
    in_thread(pool.close).result(timeout=10)
    assert database.live == 0
    assert database.closes == database.connects
    assert threads_of(pool) == []
