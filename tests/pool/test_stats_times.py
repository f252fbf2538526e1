"""Distributions of durations, against numpy: mean, maximum, sum and quantiles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millpond._core import Histogram
from millpond._times import NO_TIMES, TimeStats

NANOS = 1_000_000_000
QUANTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}

# From nothing to eleven days, as evenly over the powers of two as over the numbers.
nanoseconds = st.one_of(
    st.integers(0, 2**50),
    st.builds(lambda power, part: part >> power, st.integers(0, 50), st.integers(0, 2**50)),
)
durations = st.lists(nanoseconds, max_size=300)
some_durations = st.lists(nanoseconds, min_size=1, max_size=300)


def recorded(sample: list[int]) -> TimeStats:
    """Give what the core makes of durations in nanoseconds."""
    histogram = Histogram()
    for duration in sample:
        histogram.record(duration / NANOS)
    return TimeStats(**histogram.snapshot())


def rank(sample: list[int], q: float) -> float:
    """Give the duration that a share of all do not exceed."""
    return float(np.quantile(np.array(sample), q, method="inverted_cdf")) / NANOS


def quantiles(times: TimeStats) -> list[float | None]:
    return [getattr(times, name) for name in QUANTILES]


@given(some_durations)
def test_mean_sum_and_maximum_are_exact(sample: list[int]) -> None:
    times = recorded(sample)

    assert times.count == len(sample)
    assert times.sum == pytest.approx(float(np.sum(sample)) / NANOS, rel=1e-12)
    assert times.mean == pytest.approx(float(np.mean(sample)) / NANOS, rel=1e-9, abs=1e-9)
    assert times.max == pytest.approx(float(np.max(sample)) / NANOS, rel=1e-15)


@given(some_durations)
def test_a_quantile_is_less_than_a_quarter_off(sample: list[int]) -> None:
    times = recorded(sample)

    for name, q in QUANTILES.items():
        assert getattr(times, name) == pytest.approx(rank(sample, q), rel=0.25, abs=1e-12)


@given(some_durations)
def test_short_durations_have_exact_quantiles(sample: list[int]) -> None:
    short = [duration % 8 for duration in sample]

    assert quantiles(recorded(short)) == [rank(short, q) for q in QUANTILES.values()]


@given(durations)
def test_the_buckets_hold_every_duration_once_and_none_is_empty(sample: list[int]) -> None:
    buckets = recorded(sample).buckets

    uppers = [upper for upper, _ in buckets]
    assert uppers == sorted(set(uppers))
    edges = [-1.0, *(upper * NANOS + 0.5 for upper in uppers)]
    counts = np.histogram(np.array(sample), edges)[0].tolist() if sample else []
    assert [count for _, count in buckets] == counts
    assert all(count > 0 for count in counts)


@given(some_durations)
def test_a_duration_is_in_a_bucket_that_is_not_wider_than_a_quarter(sample: list[int]) -> None:
    uppers = np.array([upper for upper, _ in recorded(sample).buckets])
    seconds = np.array(sample) / NANOS

    bounds = uppers[np.searchsorted(uppers, seconds - 1e-10)]

    assert np.all(bounds >= seconds - 1e-9)
    assert np.all(bounds <= np.maximum(seconds * 1.25, seconds + 1e-9))


@given(some_durations)
def test_what_is_made_of_buckets_is_what_the_core_makes(sample: list[int]) -> None:
    times = recorded(sample)
    assert times.max is not None

    again = TimeStats.from_buckets(dict(times.buckets), times.sum, times.max)

    assert quantiles(again) == pytest.approx(quantiles(times), rel=1e-12)
    assert (again.count, again.max, again.buckets) == (times.count, times.max, times.buckets)
    assert again.mean == pytest.approx(times.mean, rel=1e-9, abs=1e-9)


@given(st.lists(durations, max_size=4))
def test_merged_distributions_are_as_one(samples: list[list[int]]) -> None:
    merged = TimeStats.merged([recorded(sample) for sample in samples])

    whole = recorded([duration for sample in samples for duration in sample])
    assert (merged.count, merged.max, merged.buckets) == (whole.count, whole.max, whole.buckets)
    assert merged.sum == pytest.approx(whole.sum, rel=1e-12)
    for name in QUANTILES if whole.count else ():
        assert getattr(merged, name) == pytest.approx(getattr(whole, name), rel=1e-12)


@given(durations, some_durations)
def test_what_came_since_a_look_is_told_without_what_was_before(
    before: list[int], since: list[int]
) -> None:
    lately = recorded(before + since).since(recorded(before))

    alone = recorded(since)
    assert (lately.count, lately.buckets) == (alone.count, alone.buckets)
    assert lately.sum == pytest.approx(alone.sum, rel=1e-9, abs=1e-3)
    for name, q in QUANTILES.items():
        assert getattr(lately, name) == pytest.approx(rank(since, q), rel=0.25, abs=1e-12)
    longest = max(since) / NANOS
    assert lately.max is not None
    assert longest - 1e-12 <= lately.max <= longest * 1.25 + 1e-9


@given(durations)
def test_nothing_came_since_the_last_look(sample: list[int]) -> None:
    times = recorded(sample)

    assert times.since(times) == NO_TIMES


def test_a_distribution_of_nothing_has_no_figures() -> None:
    assert recorded([]) == NO_TIMES == TimeStats.merged([]) == TimeStats.from_buckets({}, 0.0, 0.0)
    assert (NO_TIMES.count, NO_TIMES.sum, NO_TIMES.mean, NO_TIMES.max) == (0, 0.0, None, None)
