"""`max_size`, shared among the event loops of one pool.

A connection belongs to the loop that opened it, so what loops share is not connections but the
right to have some. As long as there is one loop it has all of it. When others come, each gets what
nobody uses, at once, and beyond that its share by demand (connections in use plus callers waiting),
at least one unless it is quiet: who has more than its share gives one up, which is closed when it
is idle or released, and its place goes over when that is done. So the sum over all loops never
exceeds `max_size`. With more loops than connections they take turns.
"""

from __future__ import annotations

import math
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from millpond._aio._loop import call_in
from millpond.errors import PoolClosed

if TYPE_CHECKING:
    from millpond._aio._engine import LoopEngine

# How often a loop that waits for its share looks again: the load of the others may have changed.
LOOK_AGAIN: Final = 0.02

# How long a loop has its last connection before another one may take it: opening one is expensive.
TURN: Final = 0.1

# How long a loop may acquire nothing before it is quiet: what it has idle is for who wants it.
QUIET: Final = 1.0

# By how much more than another loop one has to be above its share to give it a connection, unless
# that one lacks a whole one: demand goes up and down all the time, and opening one is expensive.
UNEVEN: Final = 2.0

# How long one that was given up, and is in use, is waited for before another loop is asked as well.
STUCK: Final = 1.0


class Budget:
    """See the head of this file. May be used from any thread.

    Args:
        min_size: Connections to keep open, in the loop that came first.
        max_size: Connections to have at the most, in all loops together.
    """

    def __init__(self, min_size: int, max_size: int) -> None:
        """Begin without loops."""
        self.min_size = min_size
        self.max_size = max_size
        # Reentrant: what is resized closes connections, whose end comes back here.
        self.lock = threading.RLock()
        self._limits: dict[LoopEngine[Any], int] = {}
        # Who waits for more, in the order in which they came, and whether it looks again by itself.
        self._wanting: dict[LoopEngine[Any], bool] = {}
        # Since when each has had at least one, by `time.monotonic()`.
        self._since: dict[LoopEngine[Any], float] = {}
        # How many acquires each had counted, since when they are as many, and when that was seen.
        self._seen: dict[LoopEngine[Any], tuple[int, float, float]] = {}
        self._asked_at = 0.0

    def first_share(self) -> tuple[int, int]:
        """Return the sizes to begin with: what nobody has, and none if all is taken."""
        with self.lock:
            share = max(0, self._free())
            return (min(self.min_size, share) if not self._limits else 0), share

    def join(self, engine: LoopEngine[Any], share: int) -> None:
        """Note an engine that began with its first share."""
        with self.lock:
            self._limits[engine] = share
            self._since[engine] = time.monotonic()

    def leave(self, engine: LoopEngine[Any]) -> None:
        """Forget an engine, whose share goes to the others."""
        with self.lock:
            self._limits.pop(engine, None)
            self._wanting.pop(engine, None)
            self._since.pop(engine, None)
            self._seen.pop(engine, None)
            self._pass_on()
        self.settle()

    def resize(self, min_size: int, max_size: int) -> None:
        """Change the sizes; what is too much is taken from who has most."""
        with self.lock:
            self.min_size, self.max_size = min_size, max_size
            limits = self._limits.copy()
            while sum(limits.values()) > max_size:
                limits[max(limits, key=limits.__getitem__)] -= 1
            for engine, limit in limits.items():
                self._set(engine, limit)
            self._pass_on()
            # Who had everything, and queued for it, has said nothing; now there may be more.
            for engine in self._limits:
                self._wanting.setdefault(engine, False)
        self.settle()

    def _pass_on(self) -> None:
        """Give the first engine its `min_size`, and one that is alone everything."""
        for first in tuple(self._limits)[:1]:
            alone = len(self._limits) == 1
            self._set(first, self.max_size if alone else self._limits[first])

    def wants(self, engine: LoopEngine[Any]) -> None:
        """Have an engine get more, if somebody waits for a connection that it can't open."""
        # The one engine of an ordinary pool has everything.
        if self._limits.get(engine) == self.max_size:
            return
        with self.lock:
            self._wanting.setdefault(engine, False)
        self.settle()

    def could_use(self, engine: LoopEngine[Any]) -> None:
        """Have an engine that has all it may open get one more that nobody uses: none waits."""
        with self.lock:
            limit = self._limits.get(engine, self.max_size)
            if limit == self.max_size or engine._taken() < limit:
                return
            self._free_unused(engine, 1 - self._free())
            if self._free() > 0:
                self._set(engine, limit + 1)

    def settle(self) -> None:
        """Give what is free to who wants it, and have who has too much give up some."""
        if not self._wanting:
            return
        with self.lock:
            seen: set[LoopEngine[Any]] = set()
            # Who has to give up something meanwhile may want it back.
            while left := self._wanting.keys() - seen:
                for engine in [one for one in self._wanting if one in left]:
                    seen.add(engine)
                    self._settle_for(engine)

    def _settle_for(self, engine: LoopEngine[Any]) -> None:
        need = self._need_of(engine)
        if need <= 0 or engine not in self._limits:
            self._wanting.pop(engine, None)
            return
        free = self._free()
        if free < need:
            self._free_unused(engine, need - free)
        grown = min(need, max(0, self._free()))
        if grown:
            self._set(engine, self._limits[engine] + grown)
        else:
            self._ask_for_one(engine)
        # What is resized may have come back here, and been served.
        if grown < need and self._wanting.get(engine) is False:
            self._wanting[engine] = call_in(engine.loop, self._look_again, engine)

    def _look_again(self, engine: LoopEngine[Any]) -> None:
        """Settle in a while, in the engine's loop."""
        engine.loop.call_later(LOOK_AGAIN, self._look, engine)

    def _look(self, engine: LoopEngine[Any]) -> None:
        # What a loop had that was closed without a word is for who waits. Not under the lock.
        engine._owner._sweep()
        with self.lock:
            if engine in self._wanting:
                self._wanting[engine] = False
        self.settle()

    def _need_of(self, engine: LoopEngine[Any]) -> int:
        """Return how many more an engine could use right now."""
        _, used, waiting = engine._counts()
        # What is in use beyond the limit was given up, and is not asked for again.
        return min(used + waiting, self.max_size) - self._limits.get(engine, 0) if waiting else 0

    def _free(self) -> int:
        """Return what no engine has: a smaller limit counts when the connections are closed."""
        had = sum(max(limit, engine._taken()) for engine, limit in self._limits.items())
        return self.max_size - had

    def _demand_of(self, engine: LoopEngine[Any]) -> int:
        _, used, waiting = engine._counts()
        return used + waiting

    def _surpluses(self) -> dict[LoopEngine[Any], float]:
        """Return how many each engine has above its share by demand: of a connection too."""
        demands = {engine: self._demand_of(engine) for engine in self._limits}
        whole = sum(demands.values()) or 1
        return {
            # Who is quiet has no share at all.
            one: math.inf
            if not demand and self._is_quiet(one)
            else self._limits[one] - max(1, self.max_size * demand / whole)
            for one, demand in demands.items()
        }

    def _is_quiet(self, engine: LoopEngine[Any]) -> bool:
        """Say whether an engine without demand has acquired nothing for a while."""
        now = time.monotonic()
        acquired, since, seen_at = self._seen.get(engine, (-1, now, -LOOK_AGAIN))
        # Counting takes some microseconds, and this may be asked very often.
        if now - seen_at >= LOOK_AGAIN:
            before, acquired = acquired, engine._totals()["acquired"]
            since = since if acquired == before else now
            self._seen[engine] = acquired, since, now
        return now - since >= QUIET

    def _free_unused(self, asking: LoopEngine[Any], wanted: int) -> None:
        """Take back from others what they have and neither use nor have open."""
        for engine, limit in self._limits.copy().items():
            floor = self.min_size if self._is_first(engine) else 0
            unused = limit - max(engine._taken(), self._demand_of(engine), floor)
            freed = min(unused, wanted)
            if freed > 0 and engine is not asking:
                wanted -= freed
                self._set(engine, limit - freed)

    def _ask_for_one(self, asking: LoopEngine[Any]) -> None:
        """Have one engine give up a connection, unless one is on its way already."""
        donor = None if self._is_one_coming() else self._donor_for(asking)
        if donor is None:
            return
        self._asked_at = time.monotonic()
        self._set(donor, self._limits[donor] - 1)
        if self._free() > 0:
            self._set(asking, self._limits[asking] + 1)

    def _is_one_coming(self) -> bool:
        """Say whether one was given up, and will soon be free as well."""
        coming = any(engine._taken() > limit for engine, limit in self._limits.items())
        # Its borrower may keep it for hours, and others may have what is released sooner.
        return coming and time.monotonic() - self._asked_at < STUCK

    def _donor_for(self, asking: LoopEngine[Any]) -> LoopEngine[Any] | None:
        """Choose who has most above its share; or else who has had its last one for the longest.

        Before that, in both cases, who need not wait for a borrower.
        """
        surplus = self._surpluses()
        # Who has just got one must have the time to open it, or all would only ever be opening.
        settled = time.monotonic() - TURN
        others = [
            one
            for one, limit in self._limits.items()
            if limit and one is not asking and self._since[one] <= settled
        ]
        lacking = -surplus[asking]
        least = 0.0 if lacking >= 1 else UNEVEN - lacking
        givers = [one for one in others if surplus[one] > least]
        if givers:
            return max(givers, key=lambda one: (_has_idle(one), surplus[one]))
        # With more loops than connections somebody has to do without for a while.
        if self._limits[asking]:
            return None
        return min(others, key=lambda one: (not _has_idle(one), self._since[one]), default=None)

    def _is_first(self, engine: LoopEngine[Any]) -> bool:
        return next(iter(self._limits)) is engine

    def _set(self, engine: LoopEngine[Any], limit: int) -> None:
        if limit < self._limits[engine]:
            # Its waiters may have queued when it had everything, and nobody had to be asked.
            self._wanting.setdefault(engine, False)
        if limit > self._limits[engine]:
            self._since[engine] = time.monotonic()
        self._limits[engine] = limit
        # Its loop may just be ending, in its own thread: then it closes all, and leaves.
        with suppress(PoolClosed):
            engine._resize(min(self.min_size, limit) if self._is_first(engine) else 0, limit)


def _has_idle(engine: LoopEngine[Any]) -> bool:
    opened, used, _ = engine._counts()
    return opened > used
