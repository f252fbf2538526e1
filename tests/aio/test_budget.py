"""How loops share `max_size`, told to loops that only say what they have: no time passes here."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import millpond
from millpond._aio import _budget
from millpond._aio._budget import LOOK_AGAIN, QUIET, STUCK, TURN, Budget


class Engine:
    """An engine that has a number of connections, and does at once what it is told."""

    def __init__(self, budget: Budget, *, used: int = 0, idle: int = 0, waiting: int = 0) -> None:
        self.used, self.idle, self.waiting = used, idle, waiting
        self.acquired = 0
        self.has_ended = False
        self.loop = SimpleNamespace(call_soon_threadsafe=lambda *_: None)
        self.limit = budget.first_share()[1]
        budget.join(self, self.limit)  # type: ignore[arg-type]

    def _resize(self, _: int, limit: int) -> None:
        if self.has_ended:
            raise millpond.PoolClosed
        self.limit = limit
        self.idle = min(self.idle, max(0, limit - self.used))

    def _counts(self) -> tuple[int, int, int]:
        return self.used + self.idle, self.used, self.waiting

    def _taken(self) -> int:
        return self.used + self.idle

    def _totals(self) -> dict[str, int]:
        return {"acquired": self.acquired}


class Clock:
    """The time of the budget."""

    def __init__(self) -> None:
        self.now = 1000.0

    def pass_time(self, budget: Budget, seconds: float) -> None:
        """Let it pass, while those who want something look again as often as they do."""
        end = self.now + seconds
        while self.now < end:
            self.now += LOOK_AGAIN
            budget.settle()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Stop the time."""
    stopped = Clock()
    monkeypatch.setattr(_budget, "time", SimpleNamespace(monotonic=lambda: stopped.now))
    return stopped


def wants(budget: Budget, engine: Engine) -> None:
    budget.wants(engine)  # type: ignore[arg-type]


@pytest.mark.usefixtures("clock")
def test_what_nobody_uses_goes_over_at_once() -> None:
    budget = Budget(0, 10)
    first = Engine(budget, used=1, idle=1)
    second = Engine(budget, waiting=5)

    wants(budget, second)

    assert (first.limit, second.limit) == (5, 5)
    assert first.idle == 1


@pytest.mark.usefixtures("clock")
def test_what_a_loop_has_to_keep_open_is_not_unused() -> None:
    budget = Budget(4, 6)
    first = Engine(budget, used=1)
    second = Engine(budget, waiting=5)

    wants(budget, second)

    assert (first.limit, second.limit) == (4, 2)


def test_what_was_shrunk_counts_until_it_is_released(clock: Clock) -> None:
    budget = Budget(0, 4)
    first = Engine(budget, used=4, waiting=4)
    second = Engine(budget, waiting=4)
    clock.pass_time(budget, TURN)

    wants(budget, second)
    assert (first.limit, second.limit) == (3, 0)

    first.used -= 1
    budget.settle()
    assert (first.limit, second.limit) == (3, 1)


def test_all_by_demand_and_nothing_is_left_over(clock: Clock) -> None:
    budget = Budget(0, 25)
    engines = [Engine(budget, waiting=6) for _ in range(10)]
    for engine in engines:
        wants(budget, engine)
        clock.pass_time(budget, TURN)

    clock.pass_time(budget, 10 * TURN)

    assert sum(engine.limit for engine in engines) == 25
    assert {engine.limit for engine in engines} == {2, 3}


def test_a_loop_without_demand_keeps_one_as_long_as_it_is_used(clock: Clock) -> None:
    budget = Budget(0, 4)
    busy = Engine(budget, used=3)
    other = Engine(budget, waiting=1)
    wants(budget, other)
    other.idle, other.waiting, busy.waiting = 1, 0, 9
    wants(budget, busy)

    for _ in range(30):
        other.acquired += 1
        clock.pass_time(budget, QUIET / 2)
    assert (busy.limit, other.limit) == (3, 1)

    clock.pass_time(budget, QUIET + 2 * LOOK_AGAIN)
    assert (busy.limit, other.limit) == (4, 0)


def test_who_has_one_idle_gives_it_up_before_who_has_it_in_use(clock: Clock) -> None:
    budget = Budget(0, 4)
    slow = Engine(budget, used=4)
    other = Engine(budget, waiting=1)
    clock.pass_time(budget, TURN)
    wants(budget, other)
    slow.used = 3
    budget.settle()
    other.idle, other.waiting = 1, 0
    other.acquired += 1
    third = Engine(budget, waiting=1)
    clock.pass_time(budget, 2 * TURN)

    wants(budget, third)

    assert (slow.limit, other.limit, third.limit) == (3, 0, 1)


def test_a_borrower_that_keeps_what_was_given_up_is_not_waited_for(clock: Clock) -> None:
    budget = Budget(0, 2)
    keeper = Engine(budget, used=2)
    quick = Engine(budget, waiting=1)
    clock.pass_time(budget, TURN)
    wants(budget, quick)
    keeper.used = 1
    budget.settle()
    quick.used, quick.waiting = 1, 0
    third = Engine(budget, waiting=1)
    clock.pass_time(budget, 2 * TURN)
    wants(budget, third)
    assert (keeper.limit, quick.limit, third.limit) == (0, 1, 0)

    clock.pass_time(budget, STUCK + 2 * LOOK_AGAIN)
    assert (keeper.limit, quick.limit, third.limit) == (0, 0, 0)
    quick.used = 0
    budget.settle()

    assert third.limit == 1


def test_a_loop_that_is_just_ending_is_no_error_of_another(clock: Clock) -> None:
    budget = Budget(0, 2)
    ending = Engine(budget, used=2)
    other = Engine(budget, waiting=1)
    clock.pass_time(budget, 2 * TURN)
    ending.has_ended = True

    wants(budget, other)
    ending.used = 0
    budget.leave(ending)  # type: ignore[arg-type]

    assert other.limit == 2


def test_a_pool_that_shrinks_takes_from_who_has_most() -> None:
    budget = Budget(0, 10)
    first = Engine(budget, used=8)
    second = Engine(budget, used=0, waiting=2)
    wants(budget, second)
    assert (first.limit, second.limit) == (8, 2)

    budget.resize(0, 4)

    assert (first.limit, second.limit) == (2, 2)


def test_a_demand_that_goes_up_and_down_a_little_moves_nothing(clock: Clock) -> None:
    """What is given up is closed, and what is got has to be opened."""
    budget = Budget(0, 10)
    engines = [Engine(budget, used=5), Engine(budget, waiting=5)]
    wants(budget, engines[1])
    engines[1].used = 5

    for waiting in ((10, 15), (15, 10), (15, 20), (20, 12)) * 5:
        for engine, count in zip(engines, waiting, strict=True):
            engine.waiting = count
            wants(budget, engine)
        clock.pass_time(budget, TURN)
        assert [engine.limit for engine in engines] == [5, 5]

    engines[0].used, engines[0].idle, engines[0].waiting = 1, 4, 0
    clock.pass_time(budget, TURN)
    assert [engine.limit for engine in engines] == [1, 9]
