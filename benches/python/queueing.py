"""A pool that exists only in a discrete-event simulation: callers, connections, and a clock.

It knows nothing of millpond's formulas, so that they can be compared with it, and it has what an
`AdaptiveSizer` uses of a pool: `stats()`, `resize()` and the sizes. The same seed gives the same
events on every machine.
"""

import heapq
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from millpond._stats import COUNTERS, PoolStats
from millpond._times import NO_TIMES

__all__ = ["Arrivals", "SimulatedPool", "Simulation", "constant", "exponential", "lognormal"]

Draw = Callable[[random.Random], float]


def exponential(mean: float) -> Draw:
    """Return a source of exponential durations."""
    return lambda dice: dice.expovariate(1.0 / mean)


def constant(mean: float) -> Draw:
    """Return a source of equal durations."""
    return lambda _dice: mean


def lognormal(mean: float, cv: float) -> Draw:
    """Return a source of durations with a mean and a coefficient of variation."""
    spread = math.log(1.0 + cv * cv)
    middle = math.log(mean) - spread / 2
    return lambda dice: dice.lognormvariate(middle, math.sqrt(spread))


@dataclass(frozen=True)
class Arrivals:
    """Callers that do not know of each other, and come more or less often as time goes by.

    Attributes:
        rate: Callers per second at a time.
        most: The highest that `rate` ever returns.
    """

    rate: Callable[[float], float]
    most: float

    def after(self, now: float, dice: random.Random) -> float:
        """Return when the next one comes, by thinning (Lewis and Shedler, 1979)."""
        while True:
            now += dice.expovariate(self.most)
            if dice.random() * self.most <= self.rate(now):
                return now


class Simulation:
    """Events in the order of their time."""

    def __init__(self) -> None:
        """Begin at 0.0."""
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._count = 0

    def at(self, time: float, call: Callable[[], object]) -> None:
        """Have `call()` happen at a time. Those of the same time happen in the order of asking."""
        self._count += 1
        heapq.heappush(self._events, (time, self._count, call))

    def every(self, interval: float, call: Callable[[], object]) -> None:
        """Have `call()` happen again and again."""

        def again() -> None:
            call()
            self.at(self.now + interval, again)

        self.at(self.now + interval, again)

    def run(self, until: float) -> None:
        """Let everything happen that is due by a time."""
        while self._events and self._events[0][0] <= until:
            self.now, _, call = heapq.heappop(self._events)
            call()
        self.now = until


class SimulatedPool:
    """Connections, and callers who wait for one in the order in which they came.

    Args:
        simulation: Where it lives.
        use: How long a caller keeps a connection.
        max_size: Connections that it may have.
        opening: Seconds to open one.
        seed: Of the dice.

    Attributes:
        on_wait: Called with what each acquire waited, when it is served.
    """

    name = "simulated"
    min_size = 0
    closed = False

    def __init__(
        self,
        simulation: Simulation,
        use: Draw,
        *,
        max_size: int,
        opening: float = 0.0,
        seed: int = 1,
    ) -> None:
        """Begin without connections."""
        self.max_size = max_size
        self.in_use = 0
        self.on_wait: Callable[[float], object] = lambda _wait: None
        self._simulation, self._use, self._takes = simulation, use, opening
        self._dice = random.Random(seed)  # noqa: S311 - dice
        self._idle = self._opening = self._acquired = self._queued = 0
        self._queue: deque[float] = deque()
        self._waited = 0.0

    def serve(self, arrivals: Arrivals) -> None:
        """Let callers come for ever."""
        simulation = self._simulation

        def come() -> None:
            simulation.at(arrivals.after(simulation.now, self._dice), come)
            self.acquire()

        simulation.at(arrivals.after(simulation.now, self._dice), come)

    def acquire(self) -> None:
        """Let a caller come, who keeps a connection for a while as soon as there is one."""
        self._queue.append(self._simulation.now)
        if self._idle:
            self._dispatch()
        else:
            self._queued += 1
            self._open()

    def resize(self, *, max_size: int) -> None:
        """Change `max_size`: at once, but for connections in use, which are closed on release."""
        self.max_size = max_size
        self._idle = max(0, min(self._idle, max_size - self.in_use - self._opening))
        self._open()

    def stats(self) -> PoolStats:
        """Return what an `AdaptiveSizer` looks at; the rest is nought."""
        now, waiting = self._simulation.now, len(self._queue)
        waits = replace(NO_TIMES, count=self._queued - waiting, sum=self._waited)
        counters: dict[str, Any] = dict.fromkeys(COUNTERS, 0)
        counters |= {"acquired": self._acquired, "queued": self._queued}
        return PoolStats(
            name=self.name,
            min_size=self.min_size,
            max_size=self.max_size,
            size=self._idle + self.in_use,
            idle=self._idle,
            in_use=self.in_use,
            opening=self._opening,
            waiting=waiting,
            longest_wait=now - self._queue[0] if self._queue else 0.0,
            failing=None,
            closed={},
            wait_time=waits,
            use_time=NO_TIMES,
            open_time=NO_TIMES,
            check_time=NO_TIMES,
            connections=(),
            time=now,
            **counters,
        )

    def _open(self) -> None:
        room = self.max_size - self._idle - self.in_use - self._opening
        for _ in range(min(room, len(self._queue) - self._opening)):
            self._opening += 1
            self._simulation.at(self._simulation.now + self._takes, self._opened)

    def _opened(self) -> None:
        self._opening -= 1
        self._idle += 1
        self._dispatch()

    def _released(self) -> None:
        self.in_use -= 1
        if self._idle + self.in_use + self._opening < self.max_size:
            self._idle += 1
        self._dispatch()

    def _dispatch(self) -> None:
        while self._queue and self._idle:
            wait = self._simulation.now - self._queue.popleft()
            self._idle -= 1
            self.in_use += 1
            self._acquired += 1
            self._waited += wait
            self.on_wait(wait)
            self._simulation.at(self._simulation.now + self._use(self._dice), self._released)
