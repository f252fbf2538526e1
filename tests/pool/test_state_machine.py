"""The pool against a plain model: whatever the order of the calls, both say the same.

The clock is fake and the workers' jobs run inline, so each step is over when its call returns, and
hypothesis can shrink a failure to the shortest story that shows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

import millpond
from fakes import FakeConnection, FakeDatabase
from millpond._core import ManualClock

IDLE_TIMEOUT = 60.0
LIFETIME = 1000.0
VALIDATION = 30.0
MAX_USES = 20


@dataclass
class Facts:
    """What the model knows of an open connection."""

    opened_at: float
    proven_at: float  # the last time that it was certainly alive
    uses: int = 0
    held: bool = False
    condemned: bool = False


class PoolMachine(RuleBasedStateMachine):
    """Calls in any order, each checked against the model; the invariants hold between them."""

    def __init__(self) -> None:
        super().__init__()
        self.database = FakeDatabase()
        self.clock = ManualClock()
        self.now = 0.0
        self.facts: dict[FakeConnection, Facts] = {}
        self.suspended = self.closed = False
        self.acquired = 0

    @initialize(
        min_size=st.integers(0, 2),
        max_size=st.integers(2, 4),
        policy=st.sampled_from(["fair", "throughput"]),
    )
    def open_pool(self, min_size: int, max_size: int, policy: str) -> None:
        self.max_size, self.min_size = max_size, min_size
        self.ceiling = max_size  # above max_size while more than that are held after a resize
        self.pool: millpond.Pool[Any] = millpond.Pool(
            self.database.connect,
            min_size=min_size,
            max_size=max_size,
            idle_timeout=IDLE_TIMEOUT,
            max_lifetime=LIFETIME,
            max_uses=MAX_USES,
            validation_interval=VALIDATION,
            validate=self.validate,
            policy=policy,
            _clock=self.clock,
            _inline=True,
        )
        self.notice()

    def teardown(self) -> None:
        if hasattr(self, "pool"):
            for connection in self.held:
                self.pool.release(connection)
            self.pool.close(timeout=0)
            assert self.database.live == 0
            assert self.database.closes == self.database.connects

    @property
    def held(self) -> list[FakeConnection]:
        return [connection for connection, facts in self.facts.items() if facts.held]

    @property
    def idle(self) -> list[FakeConnection]:
        return [connection for connection, facts in self.facts.items() if not facts.held]

    def notice(self) -> None:
        """Take over what was opened and closed by the last call."""
        for connection in self.database.connections:
            if connection.closed:
                facts = self.facts.pop(connection, None)
                assert facts is None or not facts.held, f"{connection!r} was closed in use"
            elif connection not in self.facts:
                self.facts[connection] = Facts(opened_at=self.now, proven_at=self.now)

    def validate(self, connection: FakeConnection) -> None:
        """What the pool calls to find out whether a connection is alive."""
        self.notice()
        assert not self.facts[connection].held, f"{connection!r} was validated in use"
        connection.ping()
        self.facts[connection].proven_at = self.now

    def lent(self, connection: FakeConnection) -> None:
        """Check a connection that the pool has just lent."""
        self.notice()
        facts = self.facts[connection]
        assert not facts.held, f"{connection!r} was lent twice"
        assert not facts.condemned, f"{connection!r} was lent after evict()"
        assert facts.uses < MAX_USES
        # A dead one may be lent, but only while there was no reason to doubt it.
        assert self.now - facts.proven_at <= VALIDATION
        facts.held = True
        facts.uses += 1
        self.acquired += 1

    @rule()
    def try_acquire(self) -> None:
        if self.closed:
            with pytest.raises(millpond.PoolClosed):
                self.pool.try_acquire()
        elif self.suspended or len(self.held) >= self.max_size:
            assert self.pool.try_acquire() is None
        else:
            connection = self.pool.try_acquire()
            assert connection is not None
            self.lent(connection)

    @rule()
    def acquire_at_once(self) -> None:
        if self.closed:
            with pytest.raises(millpond.PoolClosed):
                self.pool.acquire(timeout=0)
        elif self.suspended or len(self.held) >= self.max_size:
            with pytest.raises(millpond.PoolTimeout):
                self.pool.acquire(timeout=0)
        else:
            self.lent(self.pool.acquire(timeout=0))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        connection = data.draw(st.sampled_from(self.held))
        facts = self.facts[connection]
        must_close = (
            facts.condemned
            or self.closed
            or connection.killed
            or facts.uses >= MAX_USES
            or self.now - facts.opened_at >= LIFETIME
        )
        facts.held = False
        facts.proven_at = self.now
        self.pool.release(connection)
        assert connection.closed or not must_close
        self.notice()

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def discard(self, data: st.DataObject) -> None:
        connection = data.draw(st.sampled_from(self.held))
        self.facts[connection].held = False
        self.pool.discard(connection)
        assert connection.closed
        self.notice()

    @precondition(lambda self: self.database.connections)
    @rule(data=st.data())
    def release_what_is_not_held(self, data: st.DataObject) -> None:
        others = [one for one in self.database.connections if one not in self.held]
        if others:
            with pytest.raises(millpond.PoolError):
                # How many there are depends on threads, and what is drawn must not.
                self.pool.release(others[data.draw(st.integers(0, 999)) % len(others)])

    @precondition(lambda self: not self.closed)
    @rule()
    def evict(self) -> None:
        for facts in self.facts.values():
            facts.condemned = True
        self.pool.evict()
        self.notice()
        assert not any(facts.condemned and not facts.held for facts in self.facts.values())

    @precondition(lambda self: not self.closed)
    @rule(min_size=st.integers(0, 3), more=st.integers(0, 4))
    def resize(self, min_size: int, more: int) -> None:
        self.min_size, self.max_size = min_size, max(1, min_size + more)
        self.ceiling = max(self.max_size, len(self.held))
        self.pool.resize(min_size=self.min_size, max_size=self.max_size)
        self.notice()

    @precondition(lambda self: not self.closed)
    @rule(suspend=st.booleans())
    def suspend_or_resume(self, *, suspend: bool) -> None:
        self.suspended = suspend
        if suspend:
            self.pool.suspend()
        else:
            self.pool.resume()
        self.notice()

    @rule(seconds=st.sampled_from([0.5, 10.0, 31.0, 61.0, 400.0, 1001.0]), timer=st.booleans())
    def time_passes(self, seconds: float, *, timer: bool) -> None:
        self.now += seconds
        self.clock.advance(seconds)
        if timer:
            self.pool._run_due()
            self.notice()
            for connection in self.idle:
                facts = self.facts[connection]
                assert self.now - facts.opened_at <= LIFETIME
                assert self.now - facts.proven_at <= VALIDATION

    @precondition(lambda self: self.facts)
    @rule(data=st.data())
    def a_connection_dies(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(list(self.facts))).kill()

    @precondition(lambda self: self.acquired > 10)
    @rule()
    def close(self) -> None:
        self.closed = True
        self.pool.close(timeout=0)
        self.notice()
        assert not self.idle

    @invariant()
    def the_counts_agree(self) -> None:
        if hasattr(self, "pool"):
            stats = self.pool.stats()
            assert stats.in_use == len(self.held)
            assert stats.idle == len(self.idle)
            assert stats.size == self.database.live == len(self.facts)
            assert stats.waiting == 0

    @invariant()
    def the_bounds_are_kept(self) -> None:
        if hasattr(self, "pool"):
            assert len(self.facts) <= self.ceiling
            if not self.closed and not self.suspended:
                assert len(self.facts) >= self.min_size

    @invariant()
    def nothing_was_done_twice(self) -> None:
        assert self.database.violations == []


PoolMachine.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


class TestPoolAgainstTheModel(PoolMachine.TestCase):  # type: ignore[misc, valid-type]
    """What pytest collects."""
