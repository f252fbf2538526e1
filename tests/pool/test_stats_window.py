"""What happened lately: the window of about a minute, by a clock that stands still."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import millpond
from helpers import pass_time, together

if TYPE_CHECKING:
    from fakes import FakeDatabase
    from helpers import MakePool
    from millpond._core import ManualClock


class TestWindow:
    """What happened lately, by a clock that stands still."""

    def test_it_begins_with_the_pool(self, make_pool: MakePool, clock: ManualClock) -> None:
        pool = make_pool(_clock=clock, _inline=True)
        assert pool.stats().window == millpond.WindowStats()
        clock.advance(4)
        pool.release(pool.acquire())

        window = pool.stats().window

        assert (window.seconds, window.acquired, window.opened) == (4.0, 1, 1)
        assert window.acquire_rate == 0.25

    def test_it_forgets_what_is_older_than_a_minute(
        self, make_pool: MakePool, clock: ManualClock
    ) -> None:
        pool = make_pool(_clock=clock, _inline=True)
        pool.discard(pool.acquire())
        for _ in range(40):
            clock.advance(3)
            pool.release(pool.acquire())
            stats = pool.stats()

        assert stats.acquired == 41
        assert (stats.window.seconds, stats.window.acquired) == (60.0, 20)
        assert (stats.window.opened, stats.window.closed) == (0, 0)

    def test_it_is_longer_when_nobody_asked_meanwhile(
        self, make_pool: MakePool, clock: ManualClock
    ) -> None:
        pool = make_pool(_clock=clock, _inline=True)
        clock.advance(500)
        pool.release(pool.acquire())

        for _ in range(2):
            window = pool.stats().window
            assert (window.seconds, window.acquired) == (500.0, 1)
        clock.advance(10)
        window = pool.stats().window
        assert (window.seconds, window.acquired) == (10.0, 0)

    def test_the_timer_takes_samples_when_it_runs_anyway(
        self, make_pool: MakePool, clock: ManualClock
    ) -> None:
        pool = make_pool(_clock=clock, _inline=True)
        pass_time(pool, clock, 500)
        pool.release(pool.acquire())
        clock.advance(20)

        assert (pool.stats().window.seconds, pool.stats().window.acquired) == (20.0, 1)

    def test_it_adds_nothing_for_the_timer_to_do(
        self, make_pool: MakePool, clock: ManualClock
    ) -> None:
        pool = make_pool(idle_timeout=None, max_lifetime=None, _clock=clock, _inline=True)
        pool.release(pool.acquire())

        assert pool._advance() is None

    def test_samples_are_few_however_often_somebody_asks(
        self, make_pool: MakePool, clock: ManualClock
    ) -> None:
        pool = make_pool(_clock=clock, _inline=True)

        for _ in range(5000):
            clock.advance(0.1)
            pool.stats()

        assert 30 <= len(pool._window._samples) <= 33
        assert pool.stats().window.seconds == pytest.approx(60, abs=1.0)

    def test_its_times_are_those_of_the_window(
        self, make_pool: MakePool, clock: ManualClock
    ) -> None:
        pool = make_pool(_clock=clock, _inline=True)
        slow = pool.acquire()
        clock.advance(8.0)
        pool.release(slow)
        pool.evict()
        pool.stats()
        clock.advance(60.0)
        quick = pool.acquire()
        clock.advance(0.25)
        pool.release(quick)

        stats = pool.stats()

        assert (stats.use_time.count, stats.use_time.max) == (2, 8.0)
        assert (stats.window.use_time.count, stats.window.use_time.sum) == (1, 0.25)
        assert stats.window.use_time.max == pytest.approx(0.25, rel=0.25)

    def test_its_utilization_is_the_mean_of_its_samples(
        self, make_pool: MakePool, clock: ManualClock
    ) -> None:
        pool = make_pool(max_size=4, _clock=clock, _inline=True)
        for _ in range(4):
            pool.acquire()
            clock.advance(2)
            pool.stats()

        assert pool.stats().window.utilization == pytest.approx((0.25 + 0.5 + 0.75 + 1 + 1) / 5)

    def test_failures_and_leaks_are_in_it(
        self, make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
    ) -> None:
        pool = make_pool(max_size=1, leak_threshold=1.0, _clock=clock, _inline=True)
        driver.fail_next(LookupError("no"))
        with pytest.raises(LookupError):
            pool.acquire()
        pass_time(pool, clock, 1.0)
        held = pool.acquire()
        pass_time(pool, clock, 2.0)
        with pytest.raises(millpond.PoolTimeout):
            pool.acquire(timeout=0)

        window = pool.stats().window

        assert (window.failed, window.timed_out, window.leaks, window.open_failed) == (2, 1, 1, 1)
        assert window.failure_rate == pytest.approx(2 / 3)
        pool.release(held)

    def test_it_begins_anew_in_the_child_of_a_fork(self, make_pool: MakePool) -> None:
        pool = make_pool(_inline=True)
        pool.discard(pool.acquire())
        pool.stats()

        pool._begin_in_child()

        assert pool.stats().acquired == pool.stats().window.acquired == 0

    def test_asking_from_many_threads_harms_nothing(
        self, make_pool: MakePool, clock: ManualClock
    ) -> None:
        pool = make_pool(_clock=clock, _inline=True)

        def ask(_number: int) -> None:
            for _ in range(200):
                clock.advance(0.5)
                assert pool.stats().window.seconds >= 0

        together(8, ask)

        ages = [sample.at for sample in pool._window._samples]
        assert ages == sorted(ages)
