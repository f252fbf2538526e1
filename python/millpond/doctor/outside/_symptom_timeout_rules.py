"""Rules about the reasons that millpond's PoolTimeout tells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from millpond.doctor._rules import Rules
from millpond.doctor.outside._advice import remark
from millpond.doctor.outside._symptoms import Symptoms

if TYPE_CHECKING:
    from collections.abc import Iterator

    from millpond.doctor._findings import Remark

__all__ = ["RULES"]

RULES: Final = Rules(Symptoms)


@RULES.add("MP429", "error", "a timeout suspects a leak")
def leak(log: Symptoms) -> Iterator[Remark]:
    """Callers got no connection, and some are held for far longer than is usual.

    PoolTimeout says ``a leak is suspected`` when a holder has one for longer than leak_threshold,
    when its thread has ended, or when it took ten times as long as 99 of 100 uses take.

    At 3 a.m.: one connection is lost for each exception of one endpoint, and after ten of them
    there are none.

    Fix: the lines below the error name the holders, and with leak_threshold the line that acquired.
    Release there in a ``with`` block.

    Before:
        conn = pool.acquire()
        work(conn)                      # raises
        pool.release(conn)

    After:
        with pool.connection() as conn:
            work(conn)
    """
    if said := log.said("leak"):
        yield remark(
            log,
            "leak",
            f"{said}: connections were held for far longer than is usual",
            "leak_threshold=30.0 for the lines that acquire them, and a with block there",
        )


@RULES.add("MP430", "warning", "a timeout says that others had priority")
def starved(log: Symptoms) -> Iterator[Remark]:
    """Callers got no connection, as those with priority="high" were served first.

    At 3 a.m.: the jobs of the night stand still, and the pages are fast.

    Fix: priority is for the few. What must not delay others, and must not be delayed by them,
    belongs into a pool of its own.

    Before:
        pool.acquire(priority="high")       # in each request

    After:
        web = millpond.Pool(url, max_size=8)
        jobs = millpond.Pool(url, max_size=2)
    """
    if said := log.said("starved"):
        yield remark(
            log,
            "starved",
            f"{said}: callers without priority were overtaken until their timeout",
            "a pool of their own for those with priority, or priority for fewer",
        )


@RULES.add("MP431", "error", "a timeout blames slow statements")
def slow_statements(log: Symptoms) -> Iterator[Remark]:
    """Callers got no connection, as at least half of the holders have theirs for very long.

    The pool is as large as ever, and stands still: the statements have become slow, wait for a
    lock, or the holders do something else.

    At 3 a.m.: a migration waits for a lock, and all others wait behind it, with a connection each.

    Fix: look at what the database does (pg_stat_activity, SHOW PROCESSLIST) while it lasts. Limit
    statements: query_timeout in the pool, lock_timeout and statement_timeout on the server.

    Before:
        with pool.connection() as conn: ...

    After:
        with pool.connection(query_timeout=2.0) as conn: ...
    """
    if said := log.said("slow-statements"):
        yield remark(
            log,
            "slow-statements",
            f"{said}: all connections were in use for long at the same time",
            "query_timeout=2.0 in connection(), lock_timeout on the server, and look for what "
            "became slow",
        )


@RULES.add("MP432", "warning", "a timeout blames slow connects")
def slow_connects(log: Symptoms) -> Iterator[Remark]:
    """Callers got no connection, as it took too long to open one. There was room for it.

    At 3 a.m.: the first requests after each quiet hour time out, as idle_timeout has closed all.

    Fix: min_size keeps connections ready. Then look at what takes the time: DNS, TLS, the login.

    Before:
        pool = millpond.Pool(url, min_size=0, acquire_timeout=0.5)

    After:
        pool = millpond.Pool(url, min_size=4, acquire_timeout=2.0)
    """
    if said := log.said("slow-connects"):
        yield remark(
            log,
            "slow-connects",
            f"{said}: opening a connection took longer than the caller waited",
            "min_size = what is needed after a quiet hour, and acquire_timeout above the time to "
            "connect",
        )


@RULES.add("MP433", "error", "a thread waits for a connection that it has itself")
def nested(log: Symptoms) -> Iterator[Remark]:
    """A caller that has connections already asks for another, and all of them are its own.

    Or, with several threads: each has one, and waits for a second. Nobody will give one back.

    At 3 a.m.: it works with one user, and with two. With as many users as connections everything
    stands still until the timeout.

    Fix: pass the connection on, instead of acquiring another one within the block.

    Before:
        with pool.connection() as conn:
            for order in orders(conn):
                store(order)                    # which acquires a connection by itself

    After:
        with pool.connection() as conn:
            for order in orders(conn):
                store(order, conn)
    """
    if said := log.said("nested"):
        yield remark(
            log,
            "nested",
            f"{said}: the caller waited for a connection that it had itself",
            "pass the connection on to what needs one within the block",
        )
