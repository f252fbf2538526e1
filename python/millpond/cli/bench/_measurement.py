"""What one pool did: the figures of all its clients together, and of each round."""

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["CanNotOpenError", "Log", "Measurement", "merge", "sum_up"]


class CanNotOpenError(Exception):
    """The pool can't, and is not measured then; the cause says why."""


@dataclass(frozen=True)
class Measurement:
    """What one pool did.

    Attributes:
        elapsed: Seconds it was measured for.
        counts: Checkouts of each client (thread or task) before the end.
        waits: Nanoseconds of every acquire, sorted, also of those that the end cut short.
        errors: How many acquires, queries and releases raised.
        first_error: What the first of them said.
        hung: Clients that had not come back when everybody was told to stop.
        rounds: The measurements that this one is made of, if it is.
    """

    elapsed: float
    counts: list[int]
    waits: "array[int]"
    errors: int = 0
    first_error: str | None = None
    hung: int = 0
    rounds: tuple["Measurement", ...] = ()

    @property
    def checkouts(self) -> int:
        """Checkouts of all clients together."""
        return sum(self.counts)

    @property
    def rate(self) -> float:
        """Checkouts per second."""
        return self.checkouts / self.elapsed

    @property
    def fairness(self) -> float | None:
        """Fewest checkouts of a client divided by the most; ``None`` if there were none."""
        return min(self.counts) / max(self.counts) if any(self.counts) else None

    @property
    def error_share(self) -> float:
        """Errors divided by all that was tried; 0.0 if nothing was."""
        return self.errors / ((self.errors + self.checkouts) or 1)

    def wait(self, share: float) -> float | None:
        """Return the seconds that ``share`` of the acquires (0.5, 0.99, 1) did not exceed."""
        if not self.waits:
            return None
        rank = max(1, math.ceil(share * len(self.waits)))
        return self.waits[rank - 1] / 1e9


@dataclass
class Log:
    """What one client writes down. Nobody else touches it before the end."""

    count: int = 0
    waits: "array[int]" = field(default_factory=lambda: array("q"))
    waiting_since: int = 0
    errors: list[str] = field(default_factory=list)


def sum_up(logs: Sequence[Log], elapsed: float, now: int, hung: int) -> Measurement:
    """Return what all clients wrote down; who still waits has waited until ``now``."""
    waits = array("q")
    for log in logs:
        waits.extend(log.waits)
        if since := log.waiting_since:
            waits.append(now - since)
    errors = [text for log in logs for text in log.errors]
    return Measurement(
        elapsed=elapsed,
        counts=[log.count for log in logs],
        waits=array("q", sorted(waits)),
        errors=len(errors),
        first_error=errors[0] if errors else None,
        hung=hung,
    )


def merge(rounds: Sequence[Measurement]) -> Measurement:
    """Return several rounds of the same as one measurement."""
    if len(rounds) == 1:
        return rounds[0]
    waits = array("q")
    for each in rounds:
        waits.extend(each.waits)
    return Measurement(
        elapsed=sum(each.elapsed for each in rounds),
        counts=[sum(counts) for counts in zip(*(each.counts for each in rounds), strict=True)],
        waits=array("q", sorted(waits)),
        errors=sum(each.errors for each in rounds),
        first_error=next((each.first_error for each in rounds if each.first_error), None),
        hung=sum(each.hung for each in rounds),
        rounds=tuple(rounds),
    )
