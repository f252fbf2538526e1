"""The rules: what is asked of a pool's statistics, how bad it is, and how it is said."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from millpond._messages import span
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from millpond._stats import PoolStats
    from millpond.health._status import Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What a pool's values must not be above. ``None`` leaves a rule out.

    "Lately" is the window of the statistics, about a minute.

    Attributes:
        utilization: The mean share of `max_size` that was in use lately. 0.95 by default; above it
            is critical.
        mean_wait: Seconds that an acquire waited on average lately, those that did not have to
            included. 0.1 by default; above it is a warning.
        failure_rate: The share of the acquires that failed lately. 0.01 by default; above it is an
            error.
        leaks: Connections that were reported as leaks lately, or are held for so long now. 0 by
            default; above it is a warning. Pools without ``leak_threshold`` have none.
        open_failures: Attempts to connect that failed lately. 0 by default; above it is a warning.
        failing: Seconds for which no attempt to connect has succeeded. 1.0 by default; above it is
            an error.
        turned_away: Callers that were told at once that the database is down, since the last
            evaluation. 0 by default; above it is critical.

    Raises:
        PoolConfigError: One is no number, or negative, or a share above 1.
    """

    utilization: float | None = 0.95
    mean_wait: float | None = 0.1
    failure_rate: float | None = 0.01
    leaks: float | None = 0
    open_failures: float | None = 0
    failing: float | None = 1.0
    turned_away: float | None = 0

    def __post_init__(self) -> None:
        """Check each."""
        for one in fields(self):
            check_number(one.name, getattr(self, one.name), optional=True)
        for name in ("utilization", "failure_rate"):
            if (getattr(self, name) or 0) > 1:
                msg = f"{name}={getattr(self, name)!r}: must be a share, from 0 to 1"
                raise PoolConfigError(msg)


def check_number(name: str, value: Any, *, optional: bool = False) -> None:  # noqa: ANN401
    """Refuse what is no finite number from 0 on.

    Raises:
        PoolConfigError: The value is something else.
    """
    if value is None and optional:
        return
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value < 0:
        advice = ", or None to leave the rule out" if optional else ""
        msg = f"{name}={value!r}: must be a number, not negative{advice}"
        raise PoolConfigError(msg)


class Look(NamedTuple):
    """What a rule can ask.

    Attributes:
        stats: The statistics of now.
        before: Those of the last evaluation, if there was one.
        leak_threshold: The pool's.
    """

    stats: PoolStats
    before: PoolStats | None
    leak_threshold: float | None


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        metric: The name of its threshold.
        severity: Of its alert.
        read: Gives the value.
        words: Say what is wrong, with ``value``, also as a ``span`` of time, ``threshold``,
            ``stats`` and ``why``.
    """

    metric: str
    severity: Severity
    read: Callable[[Look], float]
    words: str

    def message(self, value: float, threshold: float, stats: PoolStats) -> str:
        """Say what is wrong."""
        said = self.words.format(
            value=value,
            threshold=threshold,
            stats=stats,
            span=span(value),
            why=_why(stats.last_error),
        )
        return f"pool {stats.name!r}: {said}"


def _why(error: str | None) -> str:
    return f" ({error})" if error else ""


def _mean_wait(look: Look) -> float:
    window = look.stats.window
    return window.wait_time.sum / window.acquired if window.acquired else 0.0


def _turned_away(look: Look) -> float:
    if look.before is None:
        return 0
    return max(0, look.stats.turned_away - look.before.turned_away)


def _leaks(look: Look) -> float:
    """Count reports, each of which is made once, and what they were about while it lasts."""
    limit = math.inf if look.leak_threshold is None else look.leak_threshold
    held = sum((one.held or 0.0) > limit for one in look.stats.connections)
    return max(look.stats.window.leaks, held)


# The worst first.
RULES: Final = (
    Rule(
        "utilization",
        "critical",
        lambda look: look.stats.window.utilization,
        "{value:.0%} of max_size={stats.max_size} in use lately, more than {threshold:.0%}",
    ),
    Rule(
        "turned_away",
        "critical",
        _turned_away,
        "callers who were told at once that the database is down: {value}{why}",
    ),
    Rule(
        "failure_rate",
        "error",
        lambda look: look.stats.window.failure_rate,
        "{value:.1%} of the acquires failed lately, more than {threshold:.1%}",
    ),
    Rule(
        "failing",
        "error",
        lambda look: look.stats.failing or 0.0,
        "no attempt to connect has succeeded for {span}{why}",
    ),
    Rule(
        "leaks",
        "warning",
        _leaks,
        "connections held for longer than leak_threshold: {value}",
    ),
    Rule(
        "mean_wait",
        "warning",
        _mean_wait,
        "an acquire waited {span} on average lately, more than {threshold:.3g} s",
    ),
    Rule(
        "open_failures",
        "warning",
        lambda look: look.stats.window.open_failed,
        "failed attempts to connect lately: {value}{why}",
    ),
)
