"""What an upkeep knows of one connection, and of the one who has it."""

from __future__ import annotations

import itertools
import math
import sys
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from millpond._stats import ConnectionStats

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType

Site = tuple[str, int, str]

# Lifetimes up to this one are exact; longer ones end up to a tenth earlier, so that connections
# that were opened together are not closed together.
_SPREAD_FROM: Final = 10.0
_GOLDEN: Final = 0x9E3779B9 / 2**32

_opened: Final = itertools.count()
_here: Final = str(Path(__file__).parent)


class Record:
    """What a connection went through. Who has the connection has the record.

    Attributes:
        con: Gives the connection, or ``None`` when it is gone.
        opened_at: When it was seen first.
        expires_at: When it is too old.
        idle_since: When it came back.
        proven_at: When it gave a sign of life.
        due: When it is to be looked at, if it is idle.
        uses: How often it was lent.
        lent_at: Since when it is lent, if it is.
        holder: The thread that it was lent to.
        site: The line that it was lent to, if that is noted.
        reported: Whether the loan was reported as a leak.
    """

    __slots__ = (
        "con",
        "due",
        "expires_at",
        "holder",
        "idle_since",
        "lent_at",
        "opened_at",
        "proven_at",
        "reported",
        "site",
        "uses",
    )

    def __init__(
        self, con: Any, now: float, lifetime: float | None, gone: Callable[[Record], None]
    ) -> None:
        """Begin with a connection that is there now; `gone` is told when it is not any more."""
        self.opened_at = self.idle_since = self.proven_at = self.due = now
        self.expires_at = math.inf if lifetime is None else now + _spread(lifetime)
        self.uses = 0
        self.lent_at: float | None = None
        self.holder = 0
        self.site: Site | None = None
        self.reported = False
        self.con: Callable[[], Any]
        try:
            self.con = weakref.ref(con, lambda _: gone(self))
        except TypeError:  # no connection of ours
            self.con = object

    def stats(self, number: int, now: float, names: Mapping[int, str]) -> ConnectionStats:
        """Describe the connection; `names` are those of all threads."""
        since = self.lent_at
        lent = since is not None
        return ConnectionStats(
            slot=number,
            state="in use" if lent else "idle",
            age=now - self.opened_at,
            uses=self.uses,
            idle=None if lent else now - self.idle_since,
            held=None if since is None else now - since,
            holder=self.holder if lent else None,
            site=self.site if lent else None,
            latency=None,
            holder_name=names.get(self.holder) if lent else None,
        )


def site_of_checkout() -> Site | None:
    """Find the line that asked a pool for a connection; called by what Rust calls."""
    frame: FrameType | None = sys._getframe(2)
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
