"""Stories with several threads, which wait for each other's connections.

The threads take turns: an operation is over when its thread has done it or waits for the pool, and
so has everybody else. So who gets which connection is the same every time, as long as the waiters
are served in their order.
"""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from hypothesis import strategies as st

from differential.fake_driver import FakeDriver, Kind
from helpers import PATIENCE, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from differential.implementations import Implementation
    from differential.scripts import Operation

THREADS: Final = 5


@dataclass(frozen=True)
class CrewScript:
    """A story of `THREADS` threads and one blocking pool.

    Attributes:
        options: The keyword arguments of the pool.
        operations: What they do in turn: an operation, who does it, and what it needs.
    """

    options: dict[str, Any]
    operations: tuple[Operation, ...]


_who: Final = st.integers(0, THREADS - 1)
_faults: Final = st.sampled_from([("operational",), ("operational",) * 2, ("", "operational")])
_operations: Final = (
    *[st.tuples(st.just("borrow"), _who)] * 10,
    *[st.tuples(st.just("close"), _who)] * 4,
    *[st.tuples(st.just("forget"), _who)] * 2,
    st.tuples(st.just("use"), _who),
    st.tuples(st.just("begin"), _who),
    st.tuples(st.just("kill"), _who),
    st.tuples(st.just("lower the limit"), st.integers(1, 3)),
    st.tuples(st.just("close the pool"), _who),
    st.tuples(
        st.just("fail"), st.sampled_from(["connect", "ping", "rollback", "execute"]), _faults
    ),
)


@st.composite
def crew_scripts(draw: st.DrawFn) -> CrewScript:
    """Make up a script in which more is asked for than there is."""
    options = {
        "mincached": draw(st.integers(0, 1)),
        "maxcached": draw(st.integers(0, 2)),
        "maxconnections": draw(st.sampled_from([1, 1, 2, 3])),
        "maxusage": draw(st.sampled_from([None, 2])),
        "reset": draw(st.booleans()),
        "ping": draw(st.sampled_from([0, 1, 7])),
    }
    count = draw(st.integers(0, 30))
    chosen = (draw(st.integers(0, len(_operations) - 1)) for _ in range(count))
    return CrewScript(options, tuple(draw(_operations[number]) for number in chosen))


class Sailor:
    """A thread that does what it is told, and keeps the connection that it borrows."""

    def __init__(self) -> None:
        self.held: list[Any] = []
        self.said: list[str] = []
        self.busy = False
        self._orders: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def tell(self, order: Callable[[], None]) -> None:
        self.busy = True
        self._orders.put(order)

    def leave(self) -> None:
        self._orders.put(None)
        self._thread.join(PATIENCE)

    def _run(self) -> None:
        while (order := self._orders.get()) is not None:
            try:
                order()
            except Exception as error:  # noqa: BLE001  it is part of the story
                self.said.append(f"{type(error).__name__}{error.args}")
            del order  # it may be the last to have a connection
            self.busy = False


@dataclass
class Crew:
    """One telling of a story."""

    script: CrewScript
    implementation: Implementation
    driver: FakeDriver
    sailors: list[Sailor] = field(default_factory=lambda: [Sailor() for _ in range(THREADS)])

    def __post_init__(self) -> None:
        made = self.implementation.PooledDB
        self.pool = made(self.driver.creator, blocking=True, **self.script.options)

    def log(self) -> Iterator[tuple[Any, ...]]:
        """Tell the story, and give what can be seen after each step."""
        yield self.state(("make",))
        for operation in self.script.operations:
            self.perform(*operation)
            self.settle()
            yield self.state(operation)
        yield from self.go_home()

    def go_home(self) -> Iterator[tuple[Any, ...]]:
        """Give back everything, so that nobody is left waiting."""
        while any(sailor.held for sailor in self.sailors):
            number = next(n for n, sailor in enumerate(self.sailors) if sailor.held)
            self.perform("close", number)
            self.settle()
            yield self.state(("close", number))
        for sailor in self.sailors:
            sailor.leave()
        self.pool.close()
        yield self.state(("end",))

    def perform(self, name: str, who: Any, faults: tuple[str, ...] = ()) -> None:
        if name == "fail":
            self.driver.schedule(who, faults)
        elif name == "lower the limit":
            # Not below what is lent: in DBUtils a return would send the longest waiter to the end.
            lowest = max(who, self.pool._connections)
            self.pool._maxconnections = min(lowest, self.pool._maxconnections)
        elif name == "close the pool":
            if not self.waiting():  # it wakes them, and DBUtils may change their order then
                self.sailors[who].tell(self.pool.close)
        elif not self.sailors[who].busy:
            self.order(name, self.sailors[who])

    def order(self, name: str, sailor: Sailor) -> None:
        held = sailor.held
        if name == "borrow" and not held:  # with two each, they could all wait for each other
            sailor.tell(lambda: held.append(self.pool.connection(shareable=False)))
        elif name != "borrow" and held:
            sailor.tell(
                {
                    "close": lambda: held.pop().close(),
                    "forget": held.clear,
                    "use": lambda: held[0].cursor().execute("SELECT 1"),
                    "begin": held[0].begin,
                    "kill": lambda: setattr(held[0]._con._con, "dead", True),
                }[name]
            )

    def waiting(self) -> int:
        """Tell how many threads wait for the pool, as this implementation counts them."""
        if self.implementation.name == "dbutils":
            return len(self.pool._lock._waiters)
        count: int = self.pool._tally()["waiting"]
        return count

    def settle(self) -> None:
        """Return when everybody is done or waits."""
        eventually(lambda: sum(sailor.busy for sailor in self.sailors) == self.waiting())

    def state(self, operation: Operation) -> tuple[Any, ...]:
        events, self.driver.events = self.driver.events, []
        return (
            operation,
            events,
            [sailor.busy for sailor in self.sailors],
            [[con._con._con.number for con in sailor.held] for sailor in self.sailors],
            [sailor.said for sailor in self.sailors],
            (self.pool._connections, self.pool._maxconnections),
            [con._con.number for con in self.pool._idle_cache],
        )


def tell(script: CrewScript, implementation: Implementation) -> list[tuple[Any, ...]]:
    """Tell a story with threads."""
    with FakeDriver(Kind()) as driver:
        return list(Crew(script, implementation, driver).log())
