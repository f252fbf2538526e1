"""The answer of every function here, and how its numbers are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from millpond._stats_table import three_digits

if TYPE_CHECKING:
    from collections.abc import Mapping

_KIB: Final = 1024
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


@dataclass(frozen=True)
class Sizing:
    """A size, and why.

    Attributes:
        size: Connections.
        reason: How it comes about, with the numbers, as a sentence that can be checked by hand.
        inputs: What it was computed from, by the names of the arguments. Durations are seconds,
            memory is bytes, rates are per second.
    """

    size: int
    reason: str
    inputs: Mapping[str, float | str | None]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, ready for JSON."""
        return {"size": self.size, "reason": self.reason, "inputs": dict(self.inputs)}


def memory(count: float) -> str:
    """Write a number of bytes with the unit that suits it: ``5.28 MiB``."""
    power = 0
    while count >= _KIB and power < len(_UNITS) - 1:
        count, power = count / _KIB, power + 1
    return f"{three_digits(count)} {_UNITS[power]}"
