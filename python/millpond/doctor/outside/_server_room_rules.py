"""Rules about how many sessions a server has, and who takes them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from millpond.doctor._behaviour import size_option
from millpond.doctor._findings import Remark
from millpond.doctor._rules import Rules
from millpond.doctor.outside._server_case import ServerCase

if TYPE_CHECKING:
    from collections.abc import Iterator

    from millpond.doctor._findings import Change, Place

__all__ = ["RULES"]

RULES: Final = Rules(ServerCase)

_NEARLY_FULL: Final = 0.85
_WAS_FULL: Final = 0.95
_OFTEN_ABORTED: Final = 0.05
_ENOUGH_ABORTED: Final = 20


@RULES.add("MP301", "error", "the pools may open more connections than the server has")
def too_many_for_the_server(case: ServerCase) -> Iterator[Remark]:
    """All workers together may open more connections than the server takes.

    Every process has pools of its own, so that their sizes are multiplied by the number of
    processes, and during a deployment, when old and new ones run side by side, by two. What the
    server keeps for its administrators (superuser_reserved_connections) is not for pools.

    At 3 a.m.: a burst makes all pools grow at the same time. The server answers "too many clients
    already" (PostgreSQL), error 1040 (MySQL) or "max number of clients reached" (Redis), to the
    migrations, the cron jobs and the one who wants to look at it too.

    Fix: let workers * max_size stay under what the server has, with room for a deployment. More
    sessions than a few for each core make a database slower and not faster; if the processes are
    really that many, put PgBouncer in between.

    Before:
        pool = millpond.Pool(url, max_size=50)      # 8 workers, max_connections = 100

    After:
        pool = millpond.Pool(url, max_size=12)      # 8 * 12 = 96
    """
    facts = case.facts
    capacity = facts.capacity
    if facts.bouncer is None and capacity is not None and case.wants_more_than(capacity):
        limit = f"{facts.called('max_connections')} = {facts.max_connections}"
        reserve = f", {facts.reserved} of them reserved" if facts.reserved else ""
        yield Remark(
            message=f"the pools may open {case.demand}, and {facts.kind} has {limit}{reserve}",
            place=_place_of_size(case),
            fix=case.resize(capacity),
            change=_change_of_size(case, capacity),
        )


@RULES.add("MP302", "warning", "there is no room for the pools now")
def too_many_for_now(case: ServerCase) -> Iterator[Remark]:
    """The server has enough sessions for the pools, but others have taken them.

    A server is seldom alone with one application. What counts is what the others leave.

    At 3 a.m.: everything fits as long as the nightly report, the second service and the exporter of
    metrics don't run at the same time as you.

    Fix: look who has the sessions (``SELECT application_name, count(*) FROM pg_stat_activity GROUP
    BY 1``, ``SHOW PROCESSLIST``), give each application a limit of its own (``ALTER ROLE …
    CONNECTION LIMIT``), and plan with that. If they are your own workers, which run already, there
    is nothing to do: then this is the room that they have.

    Before:
        pool = millpond.Pool(url, max_size=20)      # 4 workers; 97 sessions, of which 60 are taken

    After:
        pool = millpond.Pool(url, max_size=9)       # 4 * 9 = 36
    """
    facts = case.facts
    if facts.bouncer is not None or facts.free is None or case.wants_more_than(facts.capacity):
        return
    if facts.sessions and case.wants_more_than(facts.free):
        yield Remark(
            message=f"the pools may open {case.demand}, and {facts.free} of {facts.capacity} "
            f"sessions are free, as {facts.sessions} are taken now",
            place=_place_of_size(case),
            evidence=_who(case),
            fix=f"if these are not your own workers: {case.resize(facts.free)}",
        )


@RULES.add("MP303", "error", "a role or account may not have as many sessions")
def too_many_for_the_role(case: ServerCase) -> Iterator[Remark]:
    """The server has the sessions, but not for this role, database or account.

    PostgreSQL has a CONNECTION LIMIT for each role and database, MySQL max_user_connections for
    each account. Hosters set them. They are reached long before the server is full.

    At 3 a.m.: "too many connections for role", or error 1226 or 1203, while the server's own graph
    shows plenty of room.

    Fix: keep the pools below the limit, or have it raised.

    Before:
        pool = millpond.Pool(url, max_size=10)      # 4 workers, CONNECTION LIMIT 20

    After:
        pool = millpond.Pool(url, max_size=5)
    """
    for limit in case.facts.limits:
        if case.facts.bouncer is None and case.wants_more_than(limit.value):
            yield Remark(
                message=f"the pools may open {case.demand}, and {limit.name} may have "
                f"{limit.value}",
                place=_place_of_size(case),
                fix=f"{case.resize(limit.value)}, or {limit.how} {_shown(case.wanted)}",
                change=_change_of_size(case, limit.value),
            )


@RULES.add("MP313", "warning", "the server is nearly full")
def nearly_full(case: ServerCase) -> Iterator[Remark]:
    """The server has few sessions left, or had none since it was started.

    At 3 a.m.: the next burst, deployment or forgotten psql is the one that doesn't get in any more,
    and neither do you.

    Fix: find out who has the sessions, and what for: most are idle as a rule, in pools that are
    larger than they need to be. Make those smaller, or put PgBouncer in between. A higher
    max_connections is the last resort, as each session costs memory.

    Before:
        pool = millpond.Pool(url, min_size=20, max_size=20)     # in each of five services

    After:
        pool = millpond.Pool(url, max_size=10, idle_timeout=60.0)
    """
    facts = case.facts
    if not facts.capacity or not facts.max_connections:
        return
    if facts.sessions >= _NEARLY_FULL * facts.capacity:
        yield Remark(
            message=f"{facts.sessions} of {facts.capacity} sessions are taken",
            evidence=_who(case),
            severity="error" if facts.free == 0 else None,
            fix="make the pools smaller that have most of them, or put PgBouncer in between",
        )
    elif facts.peak is not None and facts.peak >= _WAS_FULL * facts.max_connections:
        yield Remark(
            message=f"up to {facts.peak} of {facts.max_connections} sessions were taken since the "
            "server was started",
            fix="look in its log for error 1040 (too many connections), and make pools smaller",
        )


@RULES.add("MP314", "warning", "many clients go without a farewell")
def aborted_clients(case: ServerCase) -> Iterator[Remark]:
    """MySQL counts sessions that ended otherwise than by the client's own wish (Aborted_clients).

    Clients that crashed, connections that were cut on the way, and those that the server itself
    closed as they were idle for wait_timeout. Pools say farewell to what they close.

    At 3 a.m.: "MySQL server has gone away" (2006) at the first request after a quiet time.

    Fix: connections should be closed or pinged by the pool before the server or a firewall does it.

    Before:
        pool = millpond.Pool(url, validation_interval=None, idle_timeout=None)

    After:
        pool = millpond.Pool(url, validation_interval=30.0, idle_timeout=600.0)
    """
    if case.facts.aborted is None:
        return
    aborted, connections = case.facts.aborted
    if aborted >= _ENOUGH_ABORTED and aborted > _OFTEN_ABORTED * connections:
        share = aborted / max(1, connections)
        yield Remark(
            message=f"Aborted_clients = {aborted} of {connections} connections ({share:.0%})",
            evidence=f"{case.facts.called('idle_timeout')} = {case.facts.idle_timeout or 0:g} s",
            fix="have pools close or ping idle connections before the server or a firewall cuts "
            "them (validation_interval below wait_timeout), and close pools at exit",
        )


@RULES.add("MP315", "warning", "the pools connect as an administrator")
def administrators_reserve(case: ServerCase) -> Iterator[Remark]:
    """The application's role is a superuser, and takes the sessions that are kept for emergencies.

    superuser_reserved_connections are for the one who has to repair a server that is full. A pool
    that connects as a superuser gets these too. And SQL injected into it may do anything.

    At 3 a.m.: the server is full, and says so to you too.

    Fix: a role of the application's own, which owns its tables and nothing else.

    Before:
        pool = millpond.Pool("postgresql://postgres@db/shop")

    After:
        pool = millpond.Pool("postgresql://shop@db/shop")
    """
    facts = case.facts
    if facts.is_administrator and facts.reserved:
        yield Remark(
            message=f"the role is a superuser: the {facts.reserved} sessions that are reserved for "
            "emergencies go to the pools too",
            fix="connect as a role of the application's own, without SUPERUSER",
        )


def _place_of_size(case: ServerCase) -> Place | None:
    if len(case.pools) != 1:
        return None
    return case.pools[0].at(size_option(case.pools[0]))


def _change_of_size(case: ServerCase, limit: int) -> Change | None:
    if len(case.pools) != 1 or case.pools[0].is_sqlalchemy or limit < case.workers:
        return None
    return case.pools[0].change(size_option(case.pools[0]), str(case.share(limit)))


def _who(case: ServerCase) -> str:
    """Say who has the sessions, and in what state."""
    facts = case.facts
    states = ", ".join(f"{count} {state}" for state, count in facts.states.items() if count)
    most = ", ".join(f"{count} {name}" for name, count in list(facts.applications.items())[:4])
    return "\n".join(filter(None, [states, most]))


def _shown(count: float | None) -> str:
    return "…" if count is None or math.isinf(count) else f"{count:g}"
