"""Which value of a varied parameter to take: the smallest that is as good as the best.

Throughput is as good if it is within five percent of the best one. A wait is as good if it is
longer than the shortest by at most five percent of a client's whole cycle (waiting, querying and
holding; by Little's law, clients divided by throughput): against a shortest wait of nothing, a
ratio would say nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from millpond.cli.bench._measurement import Measurement

__all__ = ["Recommendation", "recommend"]

_TOLERANCE = 0.05
_ERRORS = 0.01
_WAIT = 0.95


@dataclass(frozen=True)
class Recommendation:
    """What to take, and why, in one sentence."""

    value: Any
    reason: str


def recommend(
    parameter: str, values: Sequence[Any], measured: Sequence[Measurement | None]
) -> Recommendation | None:
    """Return the recommendation for the values of ``parameter``, measured in the same order.

    ``None`` where there is nothing to choose from.
    """
    both = [(v, m) for v, m in zip(values, measured, strict=True) if m is not None and m.checkouts]
    if not both or len(values) < 2:  # noqa: PLR2004 - a choice
        return None
    fewest = min(one.error_share for _, one in both)
    sound = [(value, one) for value, one in both if one.error_share <= fewest + _ERRORS]
    most = max(one.rate for _, one in sound)
    shortest = min(_wait(one) for _, one in sound)
    good = [
        value
        for value, one in sound
        if one.rate >= (1 - _TOLERANCE) * most and _wait(one) <= shortest + _slack(one)
    ]
    if not good:
        best = max(sound, key=lambda pair: pair[1].rate)[0]
        why = "has the most throughput; another value has shorter waits, so look at both"
        return Recommendation(best, f"{parameter}={told(best)} {why}")
    smallest = min(good, key=_order)
    if len(good) == len(values):
        why = "no value is better by more than 5 %; this is the smallest"
    else:
        why = "the smallest within 5 % of the best throughput and 95th percentile of the wait"
    if isinstance(smallest, str):
        why = why.replace("the smallest", "the first")
        smallest = next(value for value in values if value in good)
    elif _is_at_the_edge(smallest, both):
        why += ", and the largest that was tried: try larger ones as well"
    return Recommendation(smallest, f"{parameter}={told(smallest)}: {why}")


def told(value: object) -> str:
    """Write a value as ``--vary`` takes it."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _is_at_the_edge(value: object, both: Sequence[tuple[Any, Measurement]]) -> bool:
    """Tell whether more of it could still be better: it is the largest, and people wait."""
    largest, measured = max(both, key=lambda pair: _order(pair[0]))
    return value == largest and value is not None and _wait(measured) > _slack(measured)


def _slack(measured: Measurement) -> float:
    """Return five percent of the time from one checkout of a client to its next."""
    return _TOLERANCE * len(measured.counts) / measured.rate


def _wait(measured: Measurement) -> float:
    return measured.wait(_WAIT) or 0.0


def _order(value: object) -> tuple[int, Any]:
    """No limit is more than any number; words have no order, and keep theirs."""
    if value is None:
        return (1, 0)
    return (0, value) if isinstance(value, int | float) else (0, 0)
