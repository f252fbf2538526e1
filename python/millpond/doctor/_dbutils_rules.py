"""Rules about the configuration of ``PooledDB``, of DBUtils or of millpond."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from millpond.doctor._findings import Remark
from millpond.doctor._options import UNKNOWN, PoolOptions
from millpond.doctor._rules import Rules

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["RULES"]

RULES: Final = Rules(PoolOptions)

# PEP 249's `threadsafety`, of the versions that Python 3.11 can have.
_NOT_SHARED: Final = frozenset({"MySQLdb", "pymysql", "pyodbc", "mysql.connector", "pgdb"})
_SHARED: Final = frozenset({"oracledb", "psycopg", "psycopg2"})


@RULES.add("MP131", "error", "PooledDB waits without a limit")
def blocks_for_ever(options: PoolOptions) -> Iterator[Remark]:
    """With `blocking=True` a caller of PooledDB waits for a connection for as long as it takes.

    DBUtils has no timeout for it. When all connections are in use by something slow, every thread
    of the server ends in that wait, and nothing fails, so nothing is logged. Moreover DBUtils
    wakes waiters in no order: some wait for ever while others are served.

    At 3 a.m.: all threads wait, the log is empty, and only a restart helps.

    Fix: `millpond.dbutils` has the same interface, serves in order, and takes a timeout.

    Before:
        from dbutils.pooled_db import PooledDB
        pool = PooledDB(pymysql, maxconnections=10, blocking=True, host="db")

    After:
        from millpond.dbutils.pooled_db import PooledDB
        pool = PooledDB(pymysql, maxconnections=10, blocking=True, host="db",
                        pool_options={"acquire_timeout": 5.0})
    """
    if not options.is_pooled_db or not options.value("blocking"):
        return
    ours = options.value("pool_options")
    has_timeout = ours is UNKNOWN or (isinstance(ours, dict) and "acquire_timeout" in ours)
    if not (options.kind == "millpond.dbutils.PooledDB" and has_timeout):
        is_ours = options.kind == "millpond.dbutils.PooledDB"
        change = options.change("pool_options", '{"acquire_timeout": 5.0}') if is_ours else None
        yield Remark(
            message="blocking=True: whoever finds the pool exhausted waits for ever",
            place=options.at("blocking"),
            fix='pool_options={"acquire_timeout": 5.0}'
            + ("" if is_ours else " of millpond.dbutils, which has the same interface"),
            change=change if not isinstance(ours, dict) else None,
        )


@RULES.add("MP132", "warning", "PooledDB's limits contradict each other")
def contradicting_limits(options: PoolOptions) -> Iterator[Remark]:
    """One of PooledDB's limits is above the one that should contain it.

    DBUtils does not refuse that: it silently raises `maxcached` to `mincached`, and
    `maxconnections` to `maxcached` and to `maxshared`, so that there may be more connections than
    the configuration says. Only `mincached` above `maxconnections` is an error, at the start.

    At 3 a.m.: five processes with `maxconnections=10` have 100 connections, and the server is full.

    Fix: mincached <= maxcached <= maxconnections.

    Before:
        pool = PooledDB(pymysql, mincached=5, maxcached=20, maxconnections=10)

    After:
        pool = PooledDB(pymysql, mincached=5, maxcached=10, maxconnections=10)
    """
    if not options.is_pooled_db:
        return
    for low, high in (
        ("mincached", "maxcached"),
        ("maxcached", "maxconnections"),
        ("maxshared", "maxconnections"),
    ):
        least, most = options.number(low), options.number(high)
        # Zero is "no limit".
        if least and most and least > most:
            yield Remark(
                message=f"{low}={least:g} is above {high}={most:g}, which is silently raised to it",
                place=options.at(low),
                fix="mincached <= maxcached <= maxconnections, and maxshared <= maxconnections",
                change=options.change(low, f"{most:g}"),
            )
    least, most = options.number("mincached"), options.number("maxconnections")
    if least and most and least > most:
        yield Remark(
            message=f"mincached={least:g} is above maxconnections={most:g}: the pool can't be made",
            place=options.at("mincached"),
            fix="mincached <= maxconnections",
            change=options.change("mincached", f"{most:g}"),
            severity="error",
        )


@RULES.add("MP133", "warning", "connections are shared by threads")
def shared(options: PoolOptions) -> Iterator[Remark]:
    """With `maxshared`, several threads get the same connection at the same time.

    That takes a driver whose `threadsafety` is 2 or more; with any other, DBUtils ignores the
    option and says nothing. With such a driver the threads share a transaction: one commits or
    rolls back the work of the other.

    At 3 a.m.: half of an order is missing, because another request failed at that moment and its
    rollback took it along.

    Fix: leave it out. A pool of dedicated connections is faster, too.

    Before:
        pool = PooledDB(psycopg2, maxshared=10, dsn=dsn)

    After:
        pool = PooledDB(psycopg2, maxconnections=10, blocking=True, dsn=dsn)
    """
    count = options.number("maxshared")
    if not options.is_pooled_db or not count:
        return
    module = options.creator.removesuffix(".connect")
    if module in _NOT_SHARED:
        yield Remark(
            message=f"maxshared={count:g}: {module} has threadsafety=1, so it is ignored",
            place=options.at("maxshared"),
            fix="leave it out",
        )
    elif module in _SHARED:
        yield Remark(
            message=f"maxshared={count:g}: threads share a connection, and with it a transaction",
            place=options.at("maxshared"),
            fix="leave it out",
        )
