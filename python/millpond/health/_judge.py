"""`Judge`: which alerts there are, by the statistics of one pool, again and again.

An alert is raised by one evaluation, or several in a row, at which a value is above its threshold.
It is cleared by several in a row at which the value is well below, so that what wavers around a
threshold does not ring all the time:

```text
value
  │        ╭───╮      ╭╮
  ├────────┼───┼──────╯╰┼──────  threshold
  │        │   ╰────────┼─╮
  ├────────┼────────────┼─┼────  threshold * clear_ratio
  │   ─────╯            │ ╰────────────────
         raised                 cleared, after clear_after good evaluations
```
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from millpond.errors import PoolConfigError
from millpond.health._rules import RULES, Look, Thresholds, check_number
from millpond.health._status import SEVERITIES, Alert, HealthStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from millpond._stats import PoolStats
    from millpond.health._rules import Rule

# Good evaluations closer than this count as one: many may ask, of whom each would bring the end of
# an alert closer.
COUNTED_EVERY = 1.0


class Change(NamedTuple):
    """An alert that was raised, or else cleared."""

    raised: bool
    pool: str
    alert: Alert


@dataclass(slots=True)
class _State:
    """What is known of one rule."""

    alert: Alert | None = None
    bad: int = 0
    good: int = 0
    good_at: float = 0.0


class Judge:
    """See the head of this file. May be used from any thread. Knows no pool, so keeps none alive.

    Args:
        thresholds: What values must not be above.
        raise_after: Evaluations in a row above the threshold after which an alert is raised. 1 by
            default.
        clear_ratio: The share of the threshold that a value must not be above, for the alert to be
            cleared. 0.8 by default.
        clear_after: Evaluations in a row at which it is not, after which the alert is cleared, of
            which one a second is counted. 3 by default.
        clock: Tells the time in seconds.

    Raises:
        PoolConfigError: An argument is not valid.
    """

    def __init__(
        self,
        thresholds: Thresholds | None = None,
        *,
        raise_after: int = 1,
        clear_ratio: float = 0.8,
        clear_after: int = 3,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        _check_count("raise_after", raise_after)
        _check_count("clear_after", clear_after)
        check_number("clear_ratio", clear_ratio)
        if clear_ratio > 1:
            msg = f"clear_ratio={clear_ratio!r}: must be from 0 to 1"
            raise PoolConfigError(msg)
        self._thresholds = thresholds or Thresholds()
        self._raise_after = raise_after
        self._clear_ratio = clear_ratio
        self._clear_after = clear_after
        self._clock = clock
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._states = {rule.metric: _State() for rule in RULES}
        self._before: PoolStats | None = None

    def after_fork(self) -> None:
        """Begin anew in the child of a fork, whose pools do."""
        self._begin()

    def judge(
        self, stats: PoolStats, leak_threshold: float | None = None
    ) -> tuple[HealthStatus, list[Change]]:
        """Evaluate all rules.

        Args:
            stats: What the pool is like now.
            leak_threshold: The pool's, if known: then a leak lasts for as long as it does.

        Returns:
            How it is, and what became different by this evaluation.
        """
        with self._lock:
            look = Look(stats, self._before, leak_threshold)
            changes = [change for rule in RULES for change in self._apply(rule, look)]
            self._before = stats
            alerts = [state.alert for state in self._states.values() if state.alert is not None]
        alerts.sort(key=lambda alert: -SEVERITIES.index(alert.severity))
        healthy = all(alert.severity == "warning" for alert in alerts)
        return HealthStatus(healthy, tuple(alerts), stats), changes

    def _apply(self, rule: Rule, look: Look) -> list[Change]:
        threshold = getattr(self._thresholds, rule.metric)
        if threshold is None:
            return []
        state, stats, value = self._states[rule.metric], look.stats, rule.read(look)
        if value > threshold:
            state.good = 0
            state.bad += 1
            if state.alert is None and state.bad < self._raise_after:
                return []
            was_raised = state.alert is not None
            message = rule.message(value, threshold, stats)
            state.alert = Alert(rule.severity, message, rule.metric, value, threshold)
            return [] if was_raised else [Change(raised=True, pool=stats.name, alert=state.alert)]
        state.bad = 0
        return self._improve(state, stats.name, is_low=value <= threshold * self._clear_ratio)

    def _improve(self, state: _State, pool: str, *, is_low: bool) -> list[Change]:
        """Clear the alert, if there is one and it is time."""
        if state.alert is None or not is_low:
            state.good = 0
            return []
        now = self._clock()
        if not state.good or now - state.good_at >= COUNTED_EVERY:
            state.good += 1
            state.good_at = now
        if state.good < self._clear_after:
            return []
        cleared = Change(raised=False, pool=pool, alert=state.alert)
        state.alert, state.good = None, 0
        return [cleared]


def _check_count(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        msg = f"{name}={value!r}: must be an int, at least 1"
        raise PoolConfigError(msg)
