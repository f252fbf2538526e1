"""The exporters' histograms: their few buckets are made of the core's, and nothing is estimated."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millpond._times import TimeStats
from millpond.exporters._buckets import BOUNDS, cumulative, lower_bound, spread
from observing import use

if TYPE_CHECKING:
    from helpers import MakePool
    from millpond._core import ManualClock

# Durations as the core has them: whole nanoseconds, here up to two minutes.
nanos = st.integers(0, 120 * 10**9) | st.integers(0, 10**6)


def end_of_bucket(duration: int) -> int:
    """Return the last nanosecond of the core's bucket with this duration, by the core's rule."""
    shift = max(0, duration.bit_length() - 3)
    return ((duration >> shift) + 1 << shift) - 1


def measured(durations: list[int]) -> TimeStats:
    """Give what a pool would tell of these durations."""
    buckets: dict[float, int] = {}
    for duration in durations:
        upper = end_of_bucket(duration) / 1e9
        buckets[upper] = buckets.get(upper, 0) + 1
    return TimeStats.from_buckets(buckets, sum(durations) / 1e9, max(durations, default=0) / 1e9)


@pytest.mark.parametrize("bound", BOUNDS)
def test_one_of_the_cores_buckets_ends_at_each_bound(bound: float) -> None:
    nanos = round(bound * 1e9)

    assert end_of_bucket(nanos) == nanos
    assert bound == nanos / 1e9


@pytest.mark.parametrize("bound", [bound for bound in BOUNDS if bound > 0.001])
def test_a_real_pool_counts_exactly_at_each_bound(
    make_pool: MakePool, clock: ManualClock, bound: float
) -> None:
    """By the millisecond, which is what the fake clock can do."""
    pool = make_pool(leak_threshold=1000.0, _clock=clock, _inline=True)
    before, after = math.floor(bound * 1000) / 1000, math.ceil(bound * 1000) / 1000

    use(pool, clock, before, after)

    counted = cumulative(pool.stats().use_time)
    assert counted[BOUNDS.index(bound)] == 1
    assert counted[-1] == 2


def test_the_bounds_are_near_the_customary_ones() -> None:
    near = {0.001: 0.001048575, 0.1: 0.100663295, 1.0: 0.939524095, 10.0: 10.737418239}

    for customary, bound in near.items():
        assert bound in BOUNDS
        assert abs(bound / customary - 1) < 0.1
    assert list(BOUNDS) == sorted(set(BOUNDS))


@given(st.lists(nanos, max_size=50))
def test_each_bound_counts_exactly_the_durations_that_do_not_exceed_it(
    durations: list[int],
) -> None:
    counted = cumulative(measured(durations))

    true = [sum(duration / 1e9 <= bound for duration in durations) for bound in BOUNDS]
    assert counted == [*true, len(durations)]


@given(st.lists(nanos, min_size=1, max_size=50))
def test_what_is_recorded_has_the_same_sum_and_falls_into_the_same_buckets(
    durations: list[int],
) -> None:
    times = measured(durations)

    recorded = list(spread(list(times.buckets), times.sum))

    assert sum(one * count for one, count in recorded) == pytest.approx(times.sum)
    for (upper, expected), (one, count) in zip(times.buckets, recorded, strict=True):
        assert count == expected
        assert lower_bound(upper) <= one <= upper


def test_a_sum_that_the_buckets_cannot_have_becomes_the_nearest_that_they_can() -> None:
    (upper, _), *_ = measured([10**6]).buckets

    assert list(spread([(upper, 2)], 100.0)) == [(upper, 2)]
    assert list(spread([(upper, 2)], 0.0)) == [(lower_bound(upper), 2)]
