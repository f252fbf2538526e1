"""The deliberate differences between DBUtils and millpond, and how a script shows each of them.

`DIFFERENCES` is the whole list. A difference that single-threaded scripts can show has a function
that recognises it in the first step that differs; it is as narrow as it can be, since whatever it
recognises is not looked at any further. The others are tested by name, in the file they name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

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


_PLAIN: Final = ["BaseException", "object"]


def _closed_while_shared(where: Situation) -> bool:
    """The pool was closed, by the script or by the driver, while connections of it were shared."""
    for before, step in zip(where.steps, where.steps[1:], strict=False):
        if before.state.get("shared") and ("pool closed",) in step.events + step.leftovers:
            return True
    return False


def _over_the_limit(where: Situation) -> bool:
    """At the limit, DBUtils opens one more connection to share, as long as there is one already."""
    state = where.steps[-2].state if len(where.steps) > 1 else {}
    if where.theirs.operation not in [("connection", True), ("chain",)] or not state.get("shared"):
        return False
    pool = state["pool"]
    limit = pool["_maxconnections"]
    return bool(limit) and pool["_connections"] >= limit > 0


def _maxshared_none(where: Situation) -> bool:
    options = where.script.options
    return (
        where.theirs.operation == ("make",)
        and options.get("maxshared", 0) is None
        and bool(options.get("maxconnections"))
        and where.theirs.outcome[0] == "raised"
    )


def _counts_in_flight(where: Situation) -> bool:
    """The first thing that differs is the count which a driver sees while it is called."""
    pairs = zip(where.theirs.events, where.ours.events, strict=False)
    theirs, ours = next((pair for pair in pairs if pair[0] != pair[1]), ((), ()))
    return theirs[:1] == ours[:1] and theirs[:1] in {("seen",), ("borrow",)}


def _constructor_hangs(where: Situation) -> bool:
    return (
        where.theirs.operation == ("make",)
        and where.theirs.outcome[:2] == ("raised", ["WouldWait", "Exception", *_PLAIN])
        and where.ours.outcome[1][0] == "TooManyConnectionsError"
    )


def _limit_is_no_number(where: Situation) -> bool:
    """Both refuse a limit that is no number, in other words."""
    limits = ("mincached", "maxcached", "maxshared", "maxconnections")
    return (
        where.theirs.operation == ("make",)
        and any(isinstance(where.script.options.get(limit), str) for limit in limits)
        and where.theirs.outcome[:2]
        == where.ours.outcome[:2]
        == ("raised", ["TypeError", "Exception", *_PLAIN])
    )


def _maxshared_negative(where: Situation) -> bool:
    maxshared = where.script.options.get("maxshared")
    return isinstance(maxshared, int) and maxshared < 0


def _more_idle_than_allowed(where: Situation) -> bool:
    """A connection was returned while another one was rolled back, and DBUtils keeps both."""
    borrowed = any(event[0] == "borrow" for event in where.theirs.events)
    limit = where.theirs.state.get("pool", {}).get("_maxcached")
    return borrowed and bool(limit) and len(where.theirs.state["idle"]) > limit


def _returned_while_closing(where: Situation) -> bool:
    """What a connection that is being closed gives back to the pool is closed by DBUtils, too."""
    names = [event[0] for event in where.theirs.events]
    return "pool closed" in names and "borrow" in names[names.index("pool closed") :]


def _interrupted_finalizer(where: Situation) -> bool:
    """All that differs is that DBUtils counts a connection on, whose proxy is gone."""
    theirs, ours = where.theirs, where.ours
    interrupted = any(event[0] == "interrupted" for event in theirs.events + theirs.leftovers)
    if not interrupted or theirs.events != ours.events or theirs.outcome != ours.outcome:
        return False
    one: dict[str, Any] = theirs.state.get("pool", {})
    other: dict[str, Any] = ours.state.get("pool", {})
    return one != other and one | {"_connections": 0} == other | {"_connections": 0}


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
        "`maxconnections` is never exceeded: such a call shares a connection that is there",
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
        "limits-are-numbers",
        "1.3",
        "a limit that is a text is a TypeError from within",
        "it is a TypeError that names the limit",
        "only the words differ",
        _limit_is_no_number,
    ),
    Difference(
        "maxshared-negative",
        "1.3",
        "with a negative `maxshared` every call that would share is an IndexError",
        "a negative limit means 0, as with the other three",
        "such a pool can only be used without sharing",
        _maxshared_negative,
    ),
    Difference(
        "close-takes-what-is-there",
        "1.4",
        "`close()` also closes what the closing itself gives back to the pool",
        "`close()` closes what is idle when it is called",
        "it ends, whatever others give back meanwhile; the pool goes on in any case",
        _returned_while_closing,
    ),
    Difference(
        "maxcached-holds",
        "1.4",
        "a connection that is returned from within the rollback of another one can be idle above "
        "`maxcached`",
        "its place is taken before the rollback begins",
        "`maxcached` says how many",
        _more_idle_than_allowed,
    ),
    Difference(
        "interrupted-finalizer",
        "1.5",
        "a KeyboardInterrupt in the rollback of a connection whose proxy is dropped is swallowed, "
        "and the connection is counted for ever",
        "the connection is uncounted",
        "one such moment in a pool with one connection, and it never lends again",
        _interrupted_finalizer,
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
        "it raises TooManyConnectionsError, as without `blocking`, and says why",
        "nobody can use a pool that is never made",
        _constructor_hangs,
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
        "raise-serves-waiters",
        "6, 5",
        "raising `_maxconnections` wakes nobody",
        "it serves those who wait, as far as it reaches",
        "they would wait beside a place that is free",
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
