"""Rules about PgBouncer and its kin between the pools and the server."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from millpond.doctor._behaviour import patience, prepares
from millpond.doctor._findings import Remark
from millpond.doctor._rules import Rules
from millpond.doctor.outside._server_case import ServerCase

if TYPE_CHECKING:
    from collections.abc import Iterator

    from millpond.doctor._findings import Change
    from millpond.doctor._options import PoolOptions

__all__ = ["RULES"]

RULES: Final = Rules(ServerCase)


@RULES.add("MP308", "error", "PgBouncer shares sessions, and the pool does not know")
def unaware_of_the_bouncer(case: ServerCase) -> Iterator[Remark]:
    """PgBouncer gives each transaction another session, and the driver relies on having one.

    With transaction pooling, what belongs to a session is somebody else's a moment later: prepared
    statements, SET, temporary tables, advisory locks, LISTEN. psycopg prepares a statement when it
    has run five times, asyncpg at once. (PgBouncer from 1.21 can follow prepared statements, if
    max_prepared_statements says so; the rest holds all the same.)

    At 3 a.m.: ``prepared statement "_pg3_0" already exists``, or does not exist, now and then, and
    only under load; or a search_path that another service has set.

    Fix: say that PgBouncer is there: profile="pgbouncer" prepares nothing, sends no options in the
    connection request, says isolation levels with each BEGIN, and refuses what can't work. With
    SQLAlchemy turn the preparing off.

    Before:
        pool = millpond.Pool("postgresql://bouncer:6432/shop")

    After:
        pool = millpond.Pool("postgresql://bouncer:6432/shop", profile="pgbouncer")
    """
    bouncer = case.facts.bouncer
    if bouncer is None or not bouncer.shares_sessions:
        return
    for pool in case.pools:
        if bouncer.follows_prepared and not pool.is_millpond:
            continue
        if prepares(pool):
            does = (
                "it follows prepared statements, but nothing else of a session"
                if bouncer.follows_prepared
                else "the driver prepares statements"
            )
            yield Remark(
                message=f"{bouncer.product} with pool_mode = {bouncer.mode} is in between, and "
                f"{does}",
                severity="info" if bouncer.follows_prepared else None,
                place=pool.place,
                evidence="" if pool.place.source else bouncer.how,
                fix=_how_to_tell(pool),
                change=_tell(pool),
            )


@RULES.add("MP309", "error", "PgBouncer takes fewer clients than the pools have connections")
def too_many_for_the_bouncer(case: ServerCase) -> Iterator[Remark]:
    """All workers together may open more connections than PgBouncer takes.

    To PgBouncer the connections of your pools are clients, and max_client_conn limits them: 100, if
    nobody has changed it.

    At 3 a.m.: "no more connections allowed (max_client_conn)", while the server behind is bored.

    Fix: raise max_client_conn: a client costs PgBouncer 2 kB. (The limit of open files has to be
    above it.)

    Before:
        max_client_conn = 100           # 8 workers * max_size 20

    After:
        max_client_conn = 1000
    """
    bouncer = case.facts.bouncer
    if bouncer is not None and case.wants_more_than(bouncer.max_clients):
        assert bouncer.max_clients is not None  # noqa: S101  for the type checker: it was compared
        yield Remark(
            message=f"the pools may open {case.demand}, and PgBouncer has max_client_conn = "
            f"{bouncer.max_clients}",
            fix=f"raise max_client_conn, or {case.resize(bouncer.max_clients)}",
        )


@RULES.add("MP310", "warning", "callers wait in PgBouncer, which the pool does not see")
def waits_elsewhere(case: ServerCase) -> Iterator[Remark]:
    """PgBouncer has fewer sessions than the pools have connections, so that the wait is in there.

    A caller gets a connection of the pool at once, and its first statement waits in PgBouncer for a
    session: for query_wait_timeout, 120 seconds if nobody has changed it. acquire_timeout,
    max_waiting, priorities and the pool's statistics see nothing of that: to them the connection is
    in use.

    At 3 a.m.: requests take minutes, and every graph of the pool says that nobody waits.

    Fix: let one of the two do the waiting: a query_wait_timeout of about acquire_timeout, or pools
    that together are no larger than PgBouncer's default_pool_size.

    Before:
        query_wait_timeout = 120        # default_pool_size = 20, 4 workers * max_size 20

    After:
        query_wait_timeout = 5
    """
    bouncer = case.facts.bouncer
    if bouncer is None or not case.wants_more_than(bouncer.pool_size):
        return
    for pool in case.pools:
        waits = patience(pool)
        if waits is None or not 0 < waits.value < math.inf:
            continue
        if bouncer.wait_timeout is None or bouncer.wait_timeout > waits.value:
            longest = "for ever" if bouncer.wait_timeout is None else f"{bouncer.wait_timeout:g} s"
            yield Remark(
                message=f"the pools may open {case.demand}, PgBouncer has {bouncer.pool_size} "
                f"sessions for them, and a statement waits {longest} there; {waits.name} is "
                f"{waits.value:g} s",
                place=pool.at(waits.name),
                fix=f"query_wait_timeout = {waits.value:g} in PgBouncer, or a larger "
                "default_pool_size, or smaller pools",
            )


def _how_to_tell(pool: PoolOptions) -> str:
    if pool.is_millpond:
        return 'profile="pgbouncer"'
    if pool.is_async:
        return (
            'connect_args={"prepared_statement_name_func": lambda: f"__{uuid4()}__"}, '
            "poolclass=NullPool"
        )
    return 'connect_args={"prepare_threshold": None}'


def _tell(pool: PoolOptions) -> Change | None:
    return pool.change("profile", '"pgbouncer"') if pool.is_millpond else None
