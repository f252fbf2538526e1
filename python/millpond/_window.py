"""What a pool did in about the last minute, with no thread and no timer of its own.

Counters only grow, so what happened in a minute is the difference of two looks at them. The later
one is now; the earlier one is a sample of those that were taken on the way: whenever somebody asks
for statistics, and when the pool's timer runs anyway. A pool that is idle is left alone.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from millpond._stats import WINDOW_COUNTERS, WINDOW_TIMES, WindowStats, share
from millpond._times import NO_TIMES, TimeStats

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# What a window is meant to cover.
SECONDS: Final = 60.0

# What it has to cover, unless the pool is younger. It is then longer than a minute where nobody
# asked for a while, rather than empty.
LEAST: Final = 10.0

# Between two samples: thirty of them make a minute.
STEP: Final = 2.0


@dataclass(frozen=True, slots=True)
class _Sample:
    """The counters at one moment."""

    at: float
    counters: tuple[int, ...]
    times: tuple[TimeStats, ...]
    utilization: float


class Window:
    """The samples of one pool. Any thread may use it, also a finalizer that interrupts another use.

    Args:
        now: Tells the time in seconds, of no particular origin.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        """Begin with a pool that has done nothing yet."""
        self._now = now
        # Reentrant, see above. What it guards is only ever appended to and cut off at the front.
        self._lock = threading.RLock()
        nothing = _Sample(now(), (0,) * len(WINDOW_COUNTERS), (NO_TIMES,) * len(WINDOW_TIMES), 0.0)
        self._samples = deque([nothing])

    def is_due(self) -> bool:
        """Say whether the last sample is old enough for another one."""
        return self._now() - self._samples[-1].at >= STEP

    def measure(self, stats: Mapping[str, Any]) -> WindowStats:
        """Compare the present statistics with those of a minute ago, and keep them for later.

        Args:
            stats: The arguments of a `PoolStats`.
        """
        present = _Sample(self._now(), *_read(stats))
        with self._lock:
            samples = list(self._samples)
            if present.at - samples[-1].at >= STEP:
                self._keep(present)
        start = _find_start([present.at - sample.at for sample in samples])
        return _difference(samples[start], [*samples[start + 1 :], present])

    def _keep(self, sample: _Sample) -> None:
        self._samples.append(sample)
        # One that is too old stays, since the window may have to begin there.
        while len(self._samples) > 1 and self._samples[1].at <= sample.at - SECONDS:
            self._samples.popleft()


def _find_start(ages: list[float]) -> int:
    """Say where the window begins best, given the ages of the samples, the oldest first."""
    old_enough = [number for number, age in enumerate(ages) if age >= LEAST] or [0]
    return min(old_enough, key=lambda number: abs(ages[number] - SECONDS))


def _read(stats: Mapping[str, Any]) -> tuple[tuple[int, ...], tuple[TimeStats, ...], float]:
    counters = {one: stats[one] for one in WINDOW_COUNTERS}
    counters["closed"] = sum(stats["closed"].values())
    times = tuple(stats[one] for one in WINDOW_TIMES)
    return tuple(counters.values()), times, share(stats["in_use"], stats["max_size"])


def _difference(first: _Sample, rest: list[_Sample]) -> WindowStats:
    last = rest[-1]
    # Parts are read one after the other while the pool works on: none may seem to go back.
    counters = (max(0, now - then) for now, then in zip(last.counters, first.counters, strict=True))
    times = (now.since(then) for now, then in zip(last.times, first.times, strict=True))
    values: dict[str, Any] = dict(zip(WINDOW_COUNTERS, counters, strict=True))
    values |= zip(WINDOW_TIMES, times, strict=True)
    return WindowStats(
        seconds=max(0.0, last.at - first.at),
        utilization=sum(sample.utilization for sample in rest) / len(rest),
        **values,
    )
