"""The deliberate differences between DBUtils and millpond, and how a script shows each of them.

`DIFFERENCES` is the whole list. A difference that single-threaded scripts can show has a function
that recognises it in the first step that differs; it is as narrow as it can be, since whatever it
recognises is not looked at any further. The others are tested by name, in the file they name.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from differential.fake_driver import Event
    from differential.player import Step
    from differential.scripts import Script


@dataclass(frozen=True)
class Situation:
    """Where two tellings of a script part.

    Attributes:
        script: The script.
        steps: How DBUtils tells it, up to and with the step that differs.
        theirs: That step as DBUtils tells it.
        ours: The same as millpond tells it.
    """

    script: Script
    steps: list[Step]
    theirs: Step
    ours: Step


@dataclass(frozen=True)
class Difference:
    """Something that millpond does otherwise, on purpose.

    Attributes:
        id: Its name.
        contract: Where the contract has it, if it does.
        dbutils: What DBUtils does.
        millpond: What millpond does.
        why: Why nobody can depend on the former.
        explains: Whether it is why a script goes another way here; `None` if no script can tell.
    """

    id: str
    contract: str
    dbutils: str
    millpond: str
    why: str
    explains: Callable[[Situation], bool] | None = None


def _closed_while_shared(where: Situation) -> bool:
    """The pool was closed, by the script or by the driver, while connections of it were shared."""
    for before, step in zip(where.steps, where.steps[1:], strict=False):
        if before.state.get("shared") and (
            step.operation == ("close the pool",) or not step.state.get("shared")
        ):
            return True
    return False


def _over_the_limit(where: Situation) -> bool:
    """DBUtils lends more than it may, by its own count."""
    pool = where.theirs.state.get("pool", {})
    limit = pool.get("_maxconnections")
    return bool(limit) and pool["_connections"] > limit and bool(pool["_maxshared"])


def _maxshared_none(where: Situation) -> bool:
    options = where.script.options
    return (
        where.theirs.operation == ("make",)
        and options.get("maxshared", 0) is None
        and bool(options.get("maxconnections"))
        and where.theirs.outcome[0] == "raised"
    )


def _counts_in_flight(where: Situation) -> bool:
    """All that differs is the count which a driver sees while it is called."""

    def without_count(events: list[Event]) -> list[Event]:
        return [event[:1] + event[2:] if event[0] == "seen" else event for event in events]

    theirs, ours = where.theirs, where.ours
    return (
        without_count(theirs.events) == without_count(ours.events)
        and theirs.outcome == ours.outcome
        and theirs.state == ours.state
    )


def _dropped_at_once(where: Situation) -> bool:
    """All that differs is when things are closed that a failed call has left behind."""

    def but_for_closes(step: Step) -> tuple[list[Event], Counter[Event]]:
        events = step.events + step.leftovers
        closes = Counter(event for event in events if event[0] in {"close", "cursor.close"})
        return [event for event in events if event not in closes], closes

    theirs, ours = where.theirs, where.ours
    return (
        theirs.outcome[0] == "raised"
        and theirs.outcome == ours.outcome
        and theirs.state == ours.state
        and but_for_closes(theirs) == but_for_closes(ours)
    )


DIFFERENCES: Final = (
    Difference(
        "close-counts-once",
        "4.2, 1",
        "`close()` of a pool uncounts shared connections that are in use, and their own `close()` "
        "does so again: `_connections` becomes negative, and the limit is then exceeded",
        "a connection is uncounted once",
        "a negative count is of no use to anybody",
        _closed_while_shared,
    ),
    Difference(
        "limit-holds-for-shared",
        "4.2, 2",
        "once a connection is shared, the next may be opened above `maxconnections`",
        "`maxconnections` is never exceeded: such a call waits, or raises TooManyConnectionsError",
        "the limit is there to protect the server",
        _over_the_limit,
    ),
    Difference(
        "maxshared-none",
        "4.2, 5",
        "`maxshared=None` with `maxconnections` raises TypeError",
        "`None` means 0",
        "DBUtils documents it so",
        _maxshared_none,
    ),
    Difference(
        "counts-in-flight",
        "1.4",
        "`_connections` counts a connection when it has been opened and checked",
        "`_connections` counts it from the moment that its place is taken",
        "only a driver that looks at the pool while it connects can tell, and the lock which made "
        "it so is gone",
        _counts_in_flight,
    ),
    Difference(
        "dropped-at-once",
        "6, 1",
        "what a failed call leaves behind is closed when the garbage collector finds the "
        "traceback's cycle",
        "it is closed before the call raises",
        "when a cycle is collected is chance",
        _dropped_at_once,
    ),
    Difference(
        "no-lost-wake-up",
        "4.2, 3",
        "a notification can be swallowed by a waiter who cannot use it",
        "what becomes free goes to the oldest waiter who can use it",
        "a thread that sleeps beside a free connection is of no use to anybody",
    ),
    Difference(
        "transaction-end-wakes",
        "4.2, 4",
        "the end of a transaction on a shared connection wakes nobody",
        "it wakes who waits for a connection to share",
        "the same",
    ),
    Difference(
        "constructor-never-hangs",
        "4.2, 6",
        "with `blocking=True` and `mincached` above `maxconnections` the constructor waits for "
        "itself forever",
        "it raises TooManyConnectionsError, as without `blocking`",
        "nobody can use a pool that is never made",
    ),
    Difference(
        "nothing-slow-under-a-lock",
        "4.2, 7",
        "connect, ping and rollback run one after the other, under the pool's lock",
        "they run in parallel, in the callers' threads, and a return never waits for them",
        "the order among threads was chance before",
    ),
    Difference(
        "first-come-first-served",
        "1.4",
        "a thread that asks at the right moment gets ahead of those who wait",
        "who waits longest is served first, always",
        "the order was chance before",
    ),
    Difference(
        "close-once",
        "4.2, 11",
        "two threads that close the same proxy can return its connection twice",
        "it is returned once",
        "two owners of a connection corrupt each other's work",
    ),
    Difference(
        "fields-are-not-in-vars",
        "A",
        "`vars()` of a pool, a proxy, a connection or a cursor has all of its attributes",
        "those that the core keeps are found by getattr and setattr, and not by vars()",
        "they are fields of a C object",
    ),
    Difference(
        "fork-starts-clean",
        "4.1, 39",
        "after a fork, parent and child use the same sockets",
        "the child starts with no connection, and closes none of its parent's",
        "two processes on one socket corrupt each other's work",
    ),
)
BY_ID: Final = {difference.id: difference for difference in DIFFERENCES}


def explanation(where: Situation) -> Difference | None:
    """Find the deliberate difference that is why a script goes another way here."""
    for difference in DIFFERENCES:
        if difference.explains is not None and difference.explains(where):
            return difference
    return None


def as_markdown() -> str:
    """Give the list as the table that is in `python/millpond/dbutils/README.md`."""

    def row(*cells: Any) -> str:
        return f"| {' | '.join(cells)} |\n"

    lines = [row("id", "DBUtils 3.2.0", "millpond", "why"), row(*["---"] * 4)]
    lines += [row(f"`{one.id}`", one.dbutils, one.millpond, one.why) for one in DIFFERENCES]
    return "".join(lines)
