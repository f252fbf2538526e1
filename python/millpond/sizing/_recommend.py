"""One size out of several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from millpond._stats_table import seconds
from millpond.sizing.queues import mean_wait, variability

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from millpond.sizing._result import Sizing


@dataclass(frozen=True)
class Recommendation:
    """The size to take, and what decided.

    Attributes:
        size: Connections; 0 if the limits leave none.
        decided_by: The name of the sizing that it comes from.
        reason: Why that one, as a sentence.
        notes: What else should be looked at.
    """

    size: int
    decided_by: str
    reason: str
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, ready for JSON."""
        return {
            "size": self.size,
            "decided_by": self.decided_by,
            "reason": self.reason,
            "notes": list(self.notes),
        }


def recommend(
    cpu: Sizing, *, load: Sizing | None = None, limits: Mapping[str, Sizing] | None = None
) -> Recommendation:
    """Choose a size: what callers need, or else the rule of thumb, but nothing above a limit.

    Args:
        cpu: What `by_cpu` returned.
        load: What `by_load` returned, if the load is known. It then counts, and `cpu` is only
            compared with it.
        limits: What must not be exceeded, by name: memory, the server's limit, ...
    """
    wanted, name = (cpu, "cpu") if load is None else (load, "load")
    limits = limits or {}
    tightest = min(limits, key=lambda one: limits[one].size, default=None)
    if tightest is None or limits[tightest].size >= wanted.size:
        reason = _FREE[name]
        if tightest is not None:
            reason += f"; {tightest} would allow {limits[tightest].size}"
        return Recommendation(wanted.size, name, reason, tuple(_notes(wanted.size, cpu, load)))
    size = limits[tightest].size
    reason = f"{name} asks for {wanted.size}, but {tightest} allows no more than {size}"
    return Recommendation(size, tightest, reason, tuple(_notes(size, cpu, load)))


_FREE: Final = {
    "cpu": "the rule of thumb for processors, as no load is given or measured",
    "load": "the fewest connections that meet the target wait",
}


def _notes(size: int, cpu: Sizing, load: Sizing | None) -> Iterator[str]:
    if not size:
        yield "there are not enough connections for all workers"
    if load is None:
        yield "give the load (rate and query time, or a running pool), and it decides"
        return
    if size < load.size:
        yield _consequence(size, load)
    if size > cpu.size:
        yield (
            f"more than the {cpu.size} that the processors keep busy: good if those who hold a "
            "connection mostly wait for something else; if not, queries slow each other down"
        )


def _consequence(size: int, load: Sizing) -> str:
    given: dict[str, Any] = dict(load.inputs)
    use_time = given["use_time"]
    average = given["arrival_rate"] * use_time
    if average >= size:
        return f"{average:.3g} are in use on average, so with {size} the queue never ends"
    factor = variability(given["cv_use"], given["cv_arrivals"])
    wait = mean_wait(size, average, use_time, factor)
    return f"with {size} callers wait {seconds(wait)} on average"
