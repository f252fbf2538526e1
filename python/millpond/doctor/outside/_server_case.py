"""A server and the pools that connect to it: what the rules about servers look at."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from millpond.doctor._behaviour import is_for, size_words
from millpond.doctor._findings import Place

if TYPE_CHECKING:
    from collections.abc import Iterable

    from millpond.doctor._options import PoolOptions
    from millpond.doctor.outside._server import ServerFacts

__all__ = ["ServerCase", "together"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCase:
    """A server, the pools of one process, and how many such processes there are.

    Attributes:
        facts: What the server told.
        pools: The pools of a process whose connections may be to this server.
        workers: Processes that each have all of these pools.
        http_timeout: Seconds for which whoever asks the application waits for its answer.
    """

    facts: ServerFacts
    pools: tuple[PoolOptions, ...] = ()
    workers: int = 1
    http_timeout: float | None = None

    @property
    def place(self) -> Place:
        """Where findings are that belong to no pool: at the server."""
        # Without user and query, which are long and of no help.
        scheme, _, rest = self.facts.where.partition("://")
        return Place(f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}")

    @property
    def sized(self) -> list[PoolOptions]:
        """The pools whose size is known; others come on top of that."""
        return [pool for pool in self.pools if pool.capacity is not None]

    @property
    def per_worker(self) -> float | None:
        """Connections that a process may open at least, if it may.

        ``inf`` for any number, ``None`` if nothing is known.
        """
        return sum(pool.capacity or 0.0 for pool in self.sized) if self.sized else None

    @property
    def wanted(self) -> float | None:
        """Connections that all processes together may open."""
        return None if self.per_worker is None else self.workers * self.per_worker

    @property
    def demand(self) -> str:
        """How many connections that are, and how it comes about."""
        if self.wanted is None or math.isinf(self.wanted):
            return "any number of connections"
        sizes = " + ".join(f"{size_words(pool)} {pool.capacity:g}" for pool in self.sized)
        if self.workers > 1:
            each = f"({sizes})" if len(self.sized) > 1 else sizes
            sizes = f"{self.workers} workers * {each}"
        least = "at least " if len(self.sized) < len(self.pools) else ""
        return f"{least}{self.wanted:g} connections ({sizes})"

    def wants_more_than(self, limit: int | None) -> bool:
        """Whether the pools may open more connections than that, if both are known."""
        return limit is not None and self.wanted is not None and self.wanted > limit

    def share(self, limit: int) -> int:
        """Return how many connections a process may have so that all keep to a limit."""
        return max(1, limit // self.workers)

    def resize(self, limit: int) -> str:
        """Say which sizes keep to a limit."""
        if limit < self.workers:
            return f"use fewer workers: there are {self.workers}, and room for {max(0, limit)}"
        share = self.share(limit)
        if len(self.pools) == 1:
            all_of_them = f" ({self.workers * share} in all workers)" if self.workers > 1 else ""
            return f"{size_words(self.pools[0])} = {share}{all_of_them}"
        of_whom = " of a worker" if self.workers > 1 else ""
        return f"let the {len(self.pools)} pools{of_whom} have at most {share} together"


def together(facts: ServerFacts, pools: Iterable[PoolOptions], **said: float | None) -> ServerCase:
    """Return the case of a server, with those of some pools that may be for it.

    Args:
        facts: What the server told.
        pools: All that were found.
        said: Further attributes of the case.
    """
    mine = tuple(pool for pool in pools if is_for(pool, facts.kind))
    return ServerCase(facts=facts, pools=mine, **said)  # type: ignore[arg-type]
