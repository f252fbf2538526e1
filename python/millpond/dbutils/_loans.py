"""What is known of one connection, and of the one who has it."""

from __future__ import annotations

import itertools
import math
import os
import sys
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from millpond._stats import ConnectionStats

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

Site = tuple[str, int, str]

# Lifetimes up to this one are exact; longer ones end up to a tenth earlier, so that connections opened
# together are not closed together.
_SPREAD_FROM: Final = 10.0
_GOLDEN: Final = 0x9E3779B9 / 2**32

_opened: Final = itertools.count()
_here: Final = os.path.join(os.path.dirname(__file__), "")  # noqa: PTH118, PTH120  of code objects


@dataclass(slots=True)
class Record:
    """What a connection went through. It is an attribute of the steady connection.

    Attributes:
        raw: The driver's connection that this is about: a steady connection may replace it.
        opened_at: When it was seen first.
        expires_at: When it is too old.
        idle_since: When it came back.
        proven_at: When it gave a sign of life.
        uses: How often it was lent.
    """

    raw: Any
    opened_at: float
    expires_at: float
    idle_since: float
    proven_at: float
    uses: int = 0

    @staticmethod
    def of(con: Any, now: float, lifetime: float | None) -> Record:
        """Return what is known of a connection; nothing, if it is another one by now."""
        raw = getattr(con, "_con", None)
        record: Record | None = getattr(con, "_record", None)
        if record is None or record.raw is not raw:
            expiry = math.inf if lifetime is None else now + _spread(lifetime)
            record = con._record = Record(raw, now, expiry, now, now)
        return record

    def stats(self, number: int, now: float) -> ConnectionStats:
        """Describe an idle connection."""
        return ConnectionStats(
            slot=number,
            state="idle",
            age=now - self.opened_at,
            uses=self.uses,
            idle=now - self.idle_since,
            held=None,
            holder=None,
            site=None,
        )


@dataclass(slots=True)
class Loan:
    """Who has a connection, since when and from where.

    The reference is weak: a connection may be gone that never came back, since a subclass keeps and
    drops them in a way of its own.
    """

    con: Callable[[], Any]
    holder: int
    since: float
    opened_at: float
    uses: int
    site: Site | None
    reported: bool = False

    def stats(self, number: int, now: float) -> ConnectionStats:
        """Describe a connection in use."""
        return ConnectionStats(
            slot=number,
            state="in use",
            age=now - self.opened_at,
            uses=self.uses,
            idle=None,
            held=now - self.since,
            holder=self.holder,
            site=self.site,
        )


def reference(con: Any) -> Callable[[], Any]:
    """Refer to a connection without keeping it, if it can be."""
    try:
        return weakref.ref(con)
    except TypeError:  # no steady connection of ours
        return object


def site_of_checkout() -> Site | None:
    """Find the line that asked a pool for a connection."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_here):
        frame = frame.f_back
    if frame is None:
        return None
    return frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name


def _spread(lifetime: float) -> float:
    """Return a lifetime that is up to a tenth shorter, evenly spaced by a Weyl sequence."""
    if lifetime <= _SPREAD_FROM:
        return lifetime
    return lifetime * (1 - 0.1 * (next(_opened) * _GOLDEN % 1))
