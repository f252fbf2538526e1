"""When a sizer changes a pool's size, and when it leaves it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from millpond import _decision
from stub_pool import TARGET, StubPool, sizer_of, watch

BUSY: dict[str, Any] = {"in_use": 1.0, "wait": 0.6 * TARGET}
IDLE: dict[str, Any] = {"in_use": 0.2}


def test_it_goes_up_by_half_when_acquires_wait_for_more_than_half_the_target() -> None:
    pool = StubPool(10)
    sizer = sizer_of(pool)

    watch(sizer, pool, 12, **BUSY)

    assert pool.sizes == [10, 15]
    (change,) = sizer.history
    assert (change.before, change.after) == (10, 15)
    assert change.reason == "acquires wait 0.06 s on average, over 0.05 s"
    assert change.wait == pytest.approx(0.06)
    assert change.utilization == 1.0


@pytest.mark.parametrize(("size", "next_size"), [(2, 3), (3, 5), (4, 6), (9, 14), (30, 40)])
def test_half_is_rounded_up_and_limited(size: int, next_size: int) -> None:
    pool = StubPool(size)
    sizer = sizer_of(pool)

    watch(sizer, pool, 12, **BUSY)

    assert pool.max_size == next_size


def test_it_stays_when_acquires_wait_for_less_than_half_the_target() -> None:
    pool = StubPool(10)

    watch(sizer_of(pool), pool, 200, in_use=1.0, wait=0.45 * TARGET)

    assert pool.sizes == [10]


def test_a_short_wait_in_a_long_calm_is_no_reason() -> None:
    pool = StubPool(10)
    sizer = sizer_of(pool)
    watch(sizer, pool, 60, in_use=0.9)

    watch(sizer, pool, 9, in_use=1.0, wait=0.9 * TARGET)

    assert pool.sizes == [10]


def test_a_missed_target_is_a_reason_at_once() -> None:
    pool = StubPool(10)
    sizer = sizer_of(pool)
    watch(sizer, pool, 60, in_use=0.9)

    watch(sizer, pool, 5, in_use=1.0, wait=3 * TARGET)

    assert pool.sizes == [10, 15]


def test_it_goes_down_by_a_fifth_when_few_are_in_use() -> None:
    pool = StubPool(10)
    sizer = sizer_of(pool)

    watch(sizer, pool, 62, **IDLE)

    assert pool.sizes == [10, 8]
    assert sizer.history[0].reason == "20.0% in use on average, under 30%"


@pytest.mark.parametrize(("size", "next_size"), [(3, 2), (4, 3), (9, 8), (10, 8), (40, 32)])
def test_a_fifth_is_rounded_down_but_one_at_least(size: int, next_size: int) -> None:
    pool = StubPool(size)

    watch(sizer_of(pool), pool, 62, in_use=0.0)

    assert pool.max_size == next_size


def test_it_stays_when_enough_are_in_use() -> None:
    pool = StubPool(10)

    watch(sizer_of(pool), pool, 300, in_use=0.3)

    assert pool.sizes == [10]


def test_it_does_not_go_down_while_acquires_wait() -> None:
    pool = StubPool(10)

    reason = watch(sizer_of(pool), pool, 100, in_use=0.2, wait=0.3 * TARGET)

    assert pool.sizes == [10]
    assert "but acquires wait 0.03 s, over 0.025 s" in reason


def test_it_does_not_go_below_what_was_in_use_at_the_same_time() -> None:
    pool = StubPool(10)
    sizer = sizer_of(pool)

    watch(sizer, pool, 30, in_use=0.0)
    watch(sizer, pool, 1, in_use=0.9)
    reason = watch(sizer, pool, 60, in_use=0.1)

    assert pool.sizes == [10]
    assert reason.endswith("but 9 at the same time")


def test_it_does_not_leave_its_limits() -> None:
    small, large = StubPool(2), StubPool(40)

    too_small = watch(sizer_of(small), small, 100, **IDLE)
    too_large = watch(sizer_of(large), large, 100, **BUSY)

    assert (small.sizes, large.sizes) == ([2], [40])
    assert too_small.endswith("the sizer's limit is 2")
    assert too_large.endswith("the sizer's limit is 40")


def test_it_does_not_go_below_what_the_pool_has_to_keep_open() -> None:
    """Somebody has raised its `min_size` since the sizer was made."""
    pool = StubPool(10)
    sizer = sizer_of(pool)
    pool.current = replace(pool.current, min_size=9)

    reason = watch(sizer, pool, 200, in_use=0.0)

    assert pool.sizes == [10, 9]
    assert reason.endswith("the pool's min_size is 9")


@pytest.mark.parametrize(("size", "limit"), [(1, 2), (100, 40)])
def test_a_pool_out_of_its_limits_is_brought_into_them_at_once(size: int, limit: int) -> None:
    pool = StubPool(size)

    watch(sizer_of(pool), pool, 1, in_use=0.5)

    assert pool.sizes == [size, limit]


def test_it_looks_for_the_cool_down_before_it_goes_up_again() -> None:
    pool = StubPool(10)
    sizer = sizer_of(pool, cool_down=20.0)
    watch(sizer, pool, 21, **BUSY)
    assert pool.sizes == [10, 15]

    reason = watch(sizer, pool, 20, **BUSY)
    assert pool.sizes == [10, 15]
    assert reason == "19 s since the last change, of 20 at least"
    watch(sizer, pool, 1, **BUSY)

    assert pool.sizes == [10, 15, 23]


def test_it_looks_for_a_window_before_it_goes_down_again() -> None:
    pool = StubPool(10)
    sizer = sizer_of(pool, window=30.0)

    watch(sizer, pool, 31, in_use=0.0)
    assert pool.sizes == [10, 8]
    watch(sizer, pool, 30, in_use=0.0)
    assert pool.sizes == [10, 8]
    watch(sizer, pool, 1, in_use=0.0)

    assert pool.sizes == [10, 8, 7]


def test_waits_of_those_who_came_before_a_change_are_no_reason_for_the_next() -> None:
    pool = StubPool(10)
    sizer = sizer_of(pool)
    watch(sizer, pool, 11, **BUSY)

    # Five seconds long, those are served who came before the change.
    for second in range(1, 6):
        watch(sizer, pool, 1, in_use=1.0, wait=5.0, waiting=3, longest_wait=second + 1.0)
    watch(sizer, pool, 60, in_use=0.8, waiting=0, longest_wait=0.0)

    assert pool.sizes == [10, 15]


def test_it_stays_while_connecting_fails() -> None:
    pool = StubPool(10)

    reason = watch(sizer_of(pool), pool, 100, in_use=1.0, wait=10 * TARGET, failing=2.0)

    assert pool.sizes == [10]
    assert reason == "connecting fails, which more connections would not help"


def test_it_stays_while_the_pool_may_open_more() -> None:
    pool = StubPool(10)

    reason = watch(sizer_of(pool), pool, 100, in_use=0.5, wait=10 * TARGET, size=5, opening=2)

    assert pool.sizes == [10]
    assert reason.endswith("but for connections to be opened: there is room for more")


@pytest.mark.parametrize("counter", ["gave_up", "refused"])
def test_those_who_got_no_connection_waited_too(counter: str) -> None:
    pool = StubPool(10)
    sizer = sizer_of(pool)
    for second in range(15):
        pool.pass_second(in_use=1.0, acquired=40, **{counter: 60 * second})
        sizer.step()

    assert pool.sizes == [10, 15]


def test_those_who_still_wait_waited_too() -> None:
    """All connections are held for ever, and nobody is served any more."""
    pool = StubPool(10)
    sizer = sizer_of(pool)

    for second in range(15):
        watch(sizer, pool, 1, in_use=1.0, acquired=0, waiting=50, longest_wait=second - 2.0)

    assert pool.sizes == [10, 15]


def test_a_few_acquires_say_nothing() -> None:
    pool = StubPool(10)
    sizer = sizer_of(pool)

    for _ in range(3):
        watch(sizer, pool, 1, in_use=1.0, acquired=2, wait=10 * TARGET)
        watch(sizer, pool, 50, in_use=0.5, acquired=0)

    assert pool.sizes == [10]


def test_a_size_that_somebody_else_has_set_is_a_new_beginning() -> None:
    pool = StubPool(10)
    sizer = sizer_of(pool)
    watch(sizer, pool, 55, **IDLE)

    pool.resize(max_size=30)
    watch(sizer, pool, 60, **IDLE)
    assert pool.max_size == 30
    watch(sizer, pool, 2, **IDLE)

    assert pool.max_size == 24


def test_steps_that_are_rare_do_the_same() -> None:
    """Once in two minutes, which is longer than the window."""
    busy, idle = StubPool(10), StubPool(10)
    upwards, downwards = sizer_of(busy), sizer_of(idle)
    for _ in range(3):
        for _second in range(120):
            busy.pass_second(**BUSY)
            idle.pass_second(**IDLE)
        upwards.step()
        downwards.step()

    assert busy.max_size == 15
    assert idle.max_size == 8


def test_each_step_down_that_is_taken_back_triples_the_time_before_the_next() -> None:
    pool = StubPool(10)
    sizer = sizer_of(pool)
    took: list[float] = []
    for _ in range(3):
        begun = pool.now
        while pool.max_size == 10:
            watch(sizer, pool, 1, **IDLE)
        took.append(pool.now - begun)
        while pool.max_size == 8:
            watch(sizer, pool, 1, in_use=1.0, wait=2 * TARGET)
        pool.resize(max_size=10)

    assert took[1] == pytest.approx(3 * took[0], rel=0.1)
    assert took[2] == pytest.approx(9 * took[0], rel=0.1)


def test_the_time_before_a_step_down_has_a_limit_and_becomes_short_again() -> None:
    rules = _decision.Rules(2, 40, TARGET, cool_down=10.0, window=60.0)
    down = _decision.SizerDecision(0.0, 10, 8, "", None, 0.0)
    up = _decision.SizerDecision(100.0, 8, 12, "", None, 0.0)
    a_day_later = _decision.SizerDecision(86_400.0, 12, 10, "", None, 0.0)

    assert _decision.next_patience(rules, down, up, 3000.0) == 3600.0
    assert _decision.next_patience(rules, up, a_day_later, 3600.0) == 60.0
