"""Histograms with few buckets, made of the core's many, without estimating anything.

The core divides every power of two nanoseconds into four buckets. A bound is exact where one of
those ends, so the customary bounds (1, 2.5, 5, 10, ...) are moved to the nearest such place, which
is no more than a tenth away. It is the longest duration in that bucket, as a bucket of a
histogram includes its upper bound.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from millpond._times import NANOS, SUB_BITS, first_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from millpond._times import TimeStats

_CUSTOMARY: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)


def _nearest_end(seconds: float) -> float:
    """Return the longest duration of the core's bucket that ends nearest to this one."""
    nanos = round(seconds * NANOS)
    shift = nanos.bit_length() - 1 - SUB_BITS
    begin = nanos >> shift
    nearest = min((begin << shift, begin + 1 << shift), key=lambda edge: abs(edge - nanos))
    return (nearest - 1) / NANOS


BOUNDS: Final = tuple(map(_nearest_end, _CUSTOMARY))


def cumulative(times: TimeStats) -> list[int]:
    """Count, for each bound and for no bound at all, the durations that do not exceed it."""
    counts = [0] * (len(BOUNDS) + 1)
    for upper, count in times.buckets:
        counts[bisect_left(BOUNDS, upper)] += count
    return list(accumulate(counts))


def spread(counts: list[tuple[float, int]], total: float) -> Iterator[tuple[float, int]]:
    """Give durations that fall into the same buckets and have the same sum.

    In each bucket they are all the same, at the same height of each bucket: at which, follows from
    the sum.

    Args:
        counts: How many durations there are in each of the core's buckets, by its upper bound.
        total: The sum of the durations. If the buckets cannot have it, the nearest is taken.

    Yields:
        A duration, and how many times.
    """
    lowest = sum(lower_bound(upper) * count for upper, count in counts)
    highest = sum(upper * count for upper, count in counts)
    room = highest - lowest
    height = min(max((total - lowest) / room, 0.0), 1.0) if room > 0 else 0.0
    for upper, count in counts:
        lower = lower_bound(upper)
        yield min(lower + height * (upper - lower), upper), count


def lower_bound(upper: float) -> float:
    """Return the shortest duration of the core's bucket with this upper bound."""
    return first_of(round(upper * NANOS)) / NANOS
