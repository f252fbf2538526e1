"""Where two tellings part, and how a script shows that it is on purpose.

Each function recognises one of the deliberate differences in the first step that differs. It is as
narrow as it can be, since whatever it recognises is not looked at any further.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
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


_PLAIN: Final = ["BaseException", "object"]


def closed_while_shared(where: Situation) -> bool:
    """The pool was closed, by the script or by the driver, while connections of it were shared."""
    for before, step in zip(where.steps, where.steps[1:], strict=False):
        if before.state.get("shared") and ("pool closed",) in step.events + step.leftovers:
            return True
    return False


def over_the_limit(where: Situation) -> bool:
    """At the limit, DBUtils opens one more connection to share, as long as there is one already."""
    state = where.steps[-2].state if len(where.steps) > 1 else {}
    if where.theirs.operation not in [("connection", True), ("chain",)] or not state.get("shared"):
        return False
    pool = state["pool"]
    limit = pool["_maxconnections"]
    return bool(limit) and pool["_connections"] >= limit > 0


def maxshared_none(where: Situation) -> bool:
    options = where.script.options
    return (
        where.theirs.operation == ("make",)
        and options.get("maxshared", 0) is None
        and bool(options.get("maxconnections"))
        and where.theirs.outcome[0] == "raised"
    )


def counts_in_flight(where: Situation) -> bool:
    """The first thing that differs is the count which a driver sees while it is called."""
    pairs = zip(where.theirs.events, where.ours.events, strict=False)
    theirs, ours = next((pair for pair in pairs if pair[0] != pair[1]), ((), ()))
    return theirs[:1] == ours[:1] and theirs[:1] in {("seen",), ("borrow",)}


def constructor_hangs(where: Situation) -> bool:
    return (
        where.theirs.operation == ("make",)
        and where.theirs.outcome[:2] == ("raised", ["WouldWait", "Exception", *_PLAIN])
        and where.ours.outcome[1][0] == "TooManyConnectionsError"
    )


def limit_is_no_number(where: Situation) -> bool:
    """Both refuse a limit that is no number, in other words."""
    limits = ("mincached", "maxcached", "maxshared", "maxconnections")
    return (
        where.theirs.operation == ("make",)
        and any(isinstance(where.script.options.get(limit), str) for limit in limits)
        and where.theirs.outcome[:2]
        == where.ours.outcome[:2]
        == ("raised", ["TypeError", "Exception", *_PLAIN])
    )


def maxshared_negative(where: Situation) -> bool:
    maxshared = where.script.options.get("maxshared")
    return isinstance(maxshared, int) and maxshared < 0


def more_idle_than_allowed(where: Situation) -> bool:
    """A connection was returned while another one was rolled back, and DBUtils keeps both."""
    borrowed = any(event[0] == "borrow" for event in where.theirs.events)
    limit = where.theirs.state.get("pool", {}).get("_maxcached")
    return borrowed and bool(limit) and len(where.theirs.state["idle"]) > limit


def returned_while_closing(where: Situation) -> bool:
    """What a connection that is being closed gives back to the pool is closed by DBUtils, too."""
    names = [event[0] for event in where.theirs.events]
    return "pool closed" in names and "borrow" in names[names.index("pool closed") :]


def interrupted_finalizer(where: Situation) -> bool:
    """All that differs is that DBUtils counts a connection on, whose proxy is gone."""
    theirs, ours = where.theirs, where.ours
    interrupted = any(event[0] == "interrupted" for event in theirs.events + theirs.leftovers)
    if not interrupted or theirs.events != ours.events or theirs.outcome != ours.outcome:
        return False
    one: dict[str, Any] = theirs.state.get("pool", {})
    other: dict[str, Any] = ours.state.get("pool", {})
    return one != other and one | {"_connections": 0} == other | {"_connections": 0}


def interrupted_share(where: Situation) -> bool:
    """All that differs is that DBUtils shares a connection no more, whose check was interrupted."""
    theirs, ours = where.theirs, where.ours
    if theirs.operation not in [("connection", True), ("chain",)]:
        return False
    same = theirs.events == ours.events and theirs.outcome == ours.outcome
    names = [event[0] for event in theirs.events]
    interrupted = names[-2:] in (["ping", "interrupted"], ["pinger", "interrupted"])
    shared = [len(step.state.get("shared", ())) for step in (theirs, ours)]
    return same and interrupted and shared[0] == shared[1] - 1
