"""Subjects in, findings out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from millpond.doctor._findings import Finding, Place
from millpond.doctor._registry import RULES
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Selection", "examine"]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rules are asked.

    Attributes:
        select: Codes, or beginnings of codes (``"MP2"``); all rules if empty.
        ignore: The same; wins over `select`.

    Raises:
        PoolConfigError: One of them is the beginning of no rule's code.
    """

    select: tuple[str, ...] = field(default=())
    ignore: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        """Refuse what fits no rule."""
        for name in ("select", "ignore"):
            for code in getattr(self, name):
                if not any(known.startswith(code) for known in RULES):
                    msg = (
                        f"{name}={code!r}: must be the code of a rule (MP101), "
                        "or how several of them begin (MP1)"
                    )
                    raise PoolConfigError(msg)

    def has(self, code: str) -> bool:
        """Whether the rule with this code is asked."""
        return not code.startswith(self.ignore or ("-",)) and code.startswith(self.select or "")


def examine(
    subjects: Iterable[object], selection: Selection | None = None, *, place: Place | None = None
) -> list[Finding]:
    """Ask every rule about each subject of its kind.

    Args:
        subjects: What is looked at: `PoolOptions`, modules, servers, ... A subject may have a
            `place`, for findings that have none.
        selection: Which rules are asked; all by default.
        place: Where subjects are that have no place.

    Returns:
        The findings in their order: by file and line, the worst first.
    """
    chosen = selection or Selection()
    found = {
        finding
        for subject in subjects
        for rule in RULES.values()
        if chosen.has(rule.code) and isinstance(subject, rule.subject)
        for finding in rule.examine(subject, getattr(subject, "place", place or Place()))
    }
    return sorted(found, key=lambda finding: finding.order)
