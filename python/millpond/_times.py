"""`TimeStats`: the distribution of a duration, and what can be done with several of them.

The counts are in the core's buckets (rust/core/src/histogram.rs): every power of two nanoseconds is
divided into four, so a bucket is never wider than a quarter of the durations in it, and its upper
bound tells its lower one. The quantiles here are those of the core, rank by rank, so that it makes
no difference who computed them.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Buckets: TypeAlias = tuple[tuple[float, int], ...]

NANOS: Final = 1_000_000_000
# Four buckets for each power of two.
SUB_BITS: Final = 2


@dataclass(frozen=True, slots=True)
class TimeStats:
    """The distribution of a duration, in seconds. All are ``None`` while there is nothing to tell.

    Quantiles come from a histogram with logarithmic buckets and are up to a quarter off; mean and
    maximum are exact.

    Attributes:
        count: How many durations there were.
        mean: Their mean.
        p50: What half of them do not exceed.
        p95: What 95 % of them do not exceed.
        p99: What 99 % of them do not exceed.
        max: The longest.
        sum: All of them together; 0.0 while there is none.
        buckets: How many fell into each bucket that is not empty, as (upper bound in seconds,
            count), ascending. The bounds are the same in all pools, and inclusive.
    """

    count: int
    mean: float | None
    p50: float | None
    p95: float | None
    p99: float | None
    max: float | None
    sum: float = 0.0
    buckets: Buckets = field(default=(), repr=False)

    @classmethod
    def from_buckets(cls, buckets: Mapping[float, int], total: float, limit: float) -> TimeStats:
        """Make the distribution from its counts.

        Args:
            buckets: Counts by the buckets' upper bounds.
            total: The sum of the durations in seconds.
            limit: A duration that the longest did not exceed.
        """
        filled = tuple(sorted((upper, count) for upper, count in buckets.items() if count > 0))
        count = sum(count for _, count in filled)
        if not count:
            return NO_TIMES
        longest = min(filled[-1][0], limit)
        p50, p95, p99 = (_quantile(filled, count, q, longest) for q in (0.50, 0.95, 0.99))
        return cls(count, total / count, p50, p95, p99, longest, total, filled)

    @classmethod
    def merged(cls, parts: Iterable[TimeStats]) -> TimeStats:
        """Make one distribution of several."""
        buckets: Counter[float] = Counter()
        total, longest = 0.0, 0.0
        for part in parts:
            buckets.update(dict(part.buckets))
            total += part.sum
            longest = max(longest, part.max or 0.0)
        return cls.from_buckets(buckets, total, longest)

    def since(self, before: TimeStats) -> TimeStats:
        """Take what came since an earlier look at the same distribution.

        The maximum of that is not known; it is the upper bound of the longest's bucket, or the
        maximum of all times if that is shorter.
        """
        if before.count == 0:
            return self
        if before.count == self.count:
            return NO_TIMES
        earlier = dict(before.buckets)
        buckets = {upper: count - earlier.get(upper, 0) for upper, count in self.buckets}
        total = max(0.0, self.sum - before.sum)
        return self.from_buckets(buckets, total, self.max or 0.0)


NO_TIMES: Final = TimeStats(0, None, None, None, None, None)


def _quantile(buckets: Buckets, count: int, q: float, longest: float) -> float:
    """Estimate the duration of a rank, assuming an even spread within its bucket."""
    rank = min(max(math.ceil(q * count), 1), count)
    if rank == count:
        return longest
    below = 0
    for upper, inside in buckets:
        if rank <= below + inside:
            return min(_interpolate(upper, rank - below, inside), longest)
        below += inside
    return longest


def _interpolate(upper: float, rank: int, inside: int) -> float:
    """Return the middle of the part of a bucket that belongs to one of the durations in it."""
    last = round(upper * NANOS)
    first = first_of(last)
    width = last - first + 1
    return (first + width * (2 * rank - 1) // (2 * inside)) / NANOS


def first_of(last: int) -> int:
    """Return the shortest duration of the bucket that ends with this one, in nanoseconds."""
    shift = max(0, last.bit_length() - 1 - SUB_BITS)
    return last >> shift << shift
