"""When an `AdaptiveSizer` makes a pool larger or smaller: pure functions of what was seen.

The thresholds are far apart: a pool that goes up by half because all of it is in use is then in use
by two thirds, and one that goes down by a fifth from 0.3 is then in use by 0.375.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from millpond._stats import PoolStats

# Shares of the target wait: over the one it goes up, and only up to the other one down.
IMPATIENT: Final = 0.5
CALM: Final = 0.25
LOW_UTILIZATION: Final = 0.3

# With fewer acquires their mean wait says nothing.
ENOUGH: Final = 10

# By how much a step down is put off when one had to be taken back, and to how many windows.
SETBACK: Final = 3
MAX_PATIENCE: Final = 60


@dataclass(frozen=True, slots=True)
class Rules:
    """What the user asked for; see `AdaptiveSizer`."""

    min_size: int
    max_size: int
    target_wait: float
    cool_down: float
    window: float


@dataclass(frozen=True, slots=True)
class Sample:
    """What one look at the pool showed. `missed` are those who gave up or were refused."""

    time: float
    min_size: int
    max_size: int
    is_full: bool
    in_use: int
    waiting: int
    longest_wait: float
    acquired: int
    missed: int
    waited: float
    failing: float | None

    @classmethod
    def of(cls, stats: PoolStats, now: float) -> Sample:
        """Take what is needed."""
        return cls(
            time=now,
            min_size=stats.min_size,
            max_size=stats.max_size,
            is_full=stats.size + stats.opening >= stats.max_size,
            in_use=stats.in_use,
            waiting=stats.waiting,
            longest_wait=stats.longest_wait,
            acquired=stats.acquired,
            missed=stats.gave_up + stats.refused,
            waited=stats.wait_time.sum,
            failing=stats.failing,
        )


@dataclass(frozen=True, slots=True)
class SizerDecision:
    """What an `AdaptiveSizer` decided, and why.

    Attributes:
        time: When, by the sizer's clock.
        before: The pool's ``max_size`` when it looked.
        after: What it made of that; the same if it left it.
        reason: Why, with the numbers.
        wait: Mean wait of an acquire in the window, in seconds, since the last change at most;
            ``None`` if there were too few to tell.
        utilization: Share of the connections that was in use, on average of the same time.
    """

    time: float
    before: int
    after: int
    reason: str
    wait: float | None
    utilization: float


@dataclass(frozen=True, slots=True)
class View:
    """What is decided upon.

    Attributes:
        size: The pool's ``max_size``.
        least: The pool's ``min_size``.
        wait: Mean wait of an acquire in the window, in seconds; ``None`` if there were too few.
        recent: The same of the last so many seconds as the cool-down has.
        is_full: Whether all connections that the pool may have were open.
        utilization: Mean of the window.
        peak: The most who had or wanted a connection at the same time, within the patience.
        failing: Whether connecting fails.
        settled: Seconds since the last change and since all who came before it were served.
        patience: How many of these there have to be before a step down.
    """

    size: int
    least: int
    wait: float | None
    recent: float | None
    is_full: bool
    utilization: float
    peak: int
    failing: bool
    settled: float
    patience: float


def view(
    rules: Rules, samples: Sequence[Sample], *, peak: int, settled: float, patience: float
) -> View:
    """Sum up the samples since the last change, at least one and at most a window long."""
    last = samples[-1]
    before = sum(one.time <= last.time - rules.cool_down for one in samples)
    recent = list(samples)[max(0, before - 1) :]
    return View(
        size=last.max_size,
        least=last.min_size,
        wait=_mean_wait(samples[0], last, rules.target_wait),
        recent=_mean_wait(recent[0], last, rules.target_wait),
        is_full=any(one.is_full for one in recent),
        utilization=sum(one.in_use for one in samples) / len(samples) / last.max_size,
        peak=peak,
        failing=last.failing is not None,
        settled=settled,
        patience=patience,
    )


def _mean_wait(first: Sample, last: Sample, target: float) -> float | None:
    acquired, missed = last.acquired - first.acquired, last.missed - first.missed
    if acquired + missed + last.waiting < ENOUGH:
        return None
    # How long each of those in the queue has waited is not known, only the longest.
    waited = last.waited - first.waited + missed * target + last.longest_wait
    return waited / (acquired + missed + bool(last.waiting))


def decide(rules: Rules, seen: View, now: float) -> SizerDecision:
    """Say which size the pool is to have."""
    after, reason = _choose(rules, seen)
    return SizerDecision(now, seen.size, after, reason, seen.wait, seen.utilization)


def _choose(rules: Rules, seen: View) -> tuple[int, str]:
    size = seen.size
    within = min(max(size, rules.min_size), rules.max_size)
    if within != size:
        return within, f"the sizer's limits are {rules.min_size} and {rules.max_size}"
    if seen.failing:
        return size, "connecting fails, which more connections would not help"
    if seen.settled < rules.cool_down:
        return size, f"{seen.settled:.3g} s since the last change, of {rules.cool_down:g} at least"
    for wait, limit in (
        (seen.recent, rules.target_wait),
        (seen.wait, rules.target_wait * IMPATIENT),
    ):
        if wait is not None and wait > limit:
            return _up(rules, seen, f"acquires wait {wait:.3g} s on average, over {limit:.3g} s")
    if seen.utilization < LOW_UTILIZATION:
        why = f"{seen.utilization:.1%} in use on average, under {LOW_UTILIZATION:.0%}"
        return _down(rules, seen, why)
    return size, f"{seen.utilization:.0%} in use on average, and nobody waits for long"


def _up(rules: Rules, seen: View, why: str) -> tuple[int, str]:
    if not seen.is_full:
        return seen.size, f"{why}, but for connections to be opened: there is room for more"
    after = min(rules.max_size, seen.size + (seen.size + 1) // 2)
    return after, why if after > seen.size else f"{why}; the sizer's limit is {rules.max_size}"


def _down(rules: Rules, seen: View, why: str) -> tuple[int, str]:
    # Somebody may have raised the pool's own since the sizer was made.
    after = max(rules.min_size, seen.least, seen.size - max(1, seen.size // 5))
    limit = rules.target_wait * CALM
    if after == seen.size:
        whose = "the sizer's limit" if seen.least < after else "the pool's min_size"
        return after, f"{why}; {whose} is {after}"
    if seen.wait is not None and seen.wait > limit:
        return seen.size, f"{why}, but acquires wait {seen.wait:.3g} s, over {limit:.3g} s"
    if seen.peak > after:
        return seen.size, f"{why}, but {seen.peak} at the same time"
    if seen.settled < seen.patience:
        return seen.size, f"{why}, but for {seen.settled:.3g} s only, of {seen.patience:g} at least"
    return after, why


class Peaks:
    """The most who had or wanted a connection at the same time, for each window of the past."""

    def __init__(self, window: float) -> None:
        """Begin without any."""
        self._window = window
        self._peaks: deque[tuple[float, int]] = deque(maxlen=MAX_PATIENCE + 1)

    def note(self, sample: Sample) -> None:
        """Take a sample into account."""
        wanted = sample.in_use + sample.waiting
        if self._peaks and sample.time < self._peaks[-1][0] + self._window:
            since, before = self._peaks.pop()
            self._peaks.append((since, max(before, wanted)))
        else:
            self._peaks.append((sample.time, wanted))

    def since(self, time: float) -> int:
        """Return the highest since a time, or up to a window before it."""
        return max(peak for begun, peak in self._peaks if begun + self._window > time)


def next_patience(
    rules: Rules, last: SizerDecision | None, decision: SizerDecision, patience: float
) -> float:
    """Return the seconds before the next step down, after a change of the size.

    Each step down that is taken back triples them, so that a size that is now and then too small is
    tried less and less often. As loads change, they halve in the time that they can be at most.
    """
    if last is None:
        return patience
    longest = MAX_PATIENCE * rules.window
    patience = max(rules.window, patience * 0.5 ** ((decision.time - last.time) / longest))
    is_taken_back = last.after < last.before and decision.after > decision.before
    return min(longest, SETBACK * patience) if is_taken_back else patience
