"""Rules about how many connections a pool may have."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from millpond.doctor._findings import Remark
from millpond.doctor._options import PoolOptions
from millpond.doctor._rules import Rules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from millpond.doctor._findings import Place

__all__ = ["RULES"]

RULES: Final = Rules(PoolOptions)

_SQLITE: Final = 16
_HUGE: Final = 100
_LARGE_MINIMUM: Final = 20
_SIZES: Final = ("max_size", "pool_size", "max_overflow", "maxconnections")


@RULES.add("MP114", "warning", "a large pool for SQLite")
def large_for_sqlite(options: PoolOptions) -> Iterator[Remark]:
    """SQLite lets one connection write at a time, however many there are.

    All others wait in SQLite itself, which polls with growing pauses and serves nobody in order,
    and gives up with "database is locked". A small pool queues callers in their order instead.

    At 3 a.m.: the nightly import writes, 60 requests fight for the lock, and most of them fail
    with "database is locked" although each would have taken a millisecond.

    Fix: a few connections, WAL mode and a `busy_timeout`.

    Before:
        pool = millpond.Pool("sqlite:///app.db", max_size=64)

    After:
        pool = millpond.Pool("sqlite:///app.db", max_size=8)
    """
    most = options.capacity
    given = any(options.given(name) for name in _SIZES)
    if options.database == "sqlite" and given and most is not None and _SQLITE < most < math.inf:
        yield Remark(
            message=f"up to {most:g} connections, of which one can write at a time",
            place=_of_size(options),
            fix="a few connections, so that callers queue in the pool",
            change=options.change("max_size", "8") if options.is_millpond else None,
        )


@RULES.add("MP115", "error", "each connection is a database of its own")
def private_memory(options: PoolOptions) -> Iterator[Remark]:
    """Each connection to ``:memory:`` is a new, empty database.

    With more than one connection, what one request wrote the next one does not find, depending on
    which connection it gets. It works in tests with one thread, where it is always the same one.

    At 3 a.m.: "no such table", every few requests, and never when somebody looks.

    Fix: a file; or one memory for all connections; or a pool of one.

    Before:
        pool = millpond.Pool(lambda: sqlite3.connect(":memory:"), max_size=10)

    After:
        url = "file:app?mode=memory&cache=shared"
        pool = millpond.Pool(lambda: sqlite3.connect(url, uri=True), max_size=10)
    """
    if options.database != "sqlite" or options.capacity is None or options.capacity <= 1:
        return
    first = options.creator_options.get("0") or options.creator_options.get("database")
    path = first.value if first is not None else None
    if options.is_sqlalchemy:
        # By default SQLAlchemy has other pools for such URLs, which know about it.
        is_queue = options.url and options.pool_class.endswith("QueuePool")
        path = (options.url.partition("://")[2].strip("/") or ":memory:") if is_queue else None
    if path == ":memory:":
        yield Remark(
            message=f":memory: with up to {options.capacity:g} connections: each is an empty "
            "database of its own",
            fix="use a file, or file:name?mode=memory&cache=shared",
        )


@RULES.add("MP116", "info", "the pool never shrinks")
def never_shrinks(options: PoolOptions) -> Iterator[Remark]:
    """The smallest size is the largest, and that is much.

    The pool holds as many connections at night as at noon, in every process. Each costs the server
    some megabytes, and a place below `max_connections` that nobody else can have.

    At 3 a.m.: a deployment starts the new workers before the old ones end. Both hold all their
    connections, and the server has no more.

    Fix: a `min_size` for quiet hours. Opening a connection takes milliseconds and the pool opens
    many at once; `idle_timeout` closes what is not used.

    Before:
        pool = millpond.Pool(url, min_size=50, max_size=50)

    After:
        pool = millpond.Pool(url, min_size=5, max_size=50)
    """
    least, most = options.number("min_size"), options.number("max_size")
    if options.is_millpond and least is not None and least == most and least >= _LARGE_MINIMUM:
        yield Remark(
            message=f"min_size=max_size={least:g}: as many are held at night as at noon",
            place=options.at("min_size"),
            fix="a min_size for quiet hours",
            change=options.change("min_size", f"{max(2, least // 10):g}"),
        )


@RULES.add("MP117", "warning", "more than a hundred connections in one process")
def huge(options: PoolOptions) -> Iterator[Remark]:
    """One process may open more connections than the whole server can work on.

    A server works on about as many statements at once as it has cores and disks; further ones take
    turns and make each other slower. PostgreSQL allows 100 connections by default, MySQL 151, to
    all processes together. A long queue belongs into the pool, which is fair and can say no.

    At 3 a.m.: a slow query lets every process open all it may, the server refuses the next, and
    the administrator's own session is among those.

    Fix: ten or twenty for each process; ``millpond size`` computes it. Count the processes.

    Before:
        pool = millpond.Pool(url, max_size=500)

    After:
        pool = millpond.Pool(url, max_size=20)
    """
    most = options.capacity
    if most is not None and _HUGE < most < math.inf and options.database != "sqlite":
        yield Remark(
            message=f"up to {most:g} connections from each process: servers allow 100 to 151 in "
            "all by default, and work on about as many as they have cores",
            place=_of_size(options),
            fix="ten or twenty for each process; 'millpond size' computes it",
            change=options.change("max_size", "20") if options.is_millpond else None,
        )


@RULES.add("MP118", "error", "there is no limit of connections")
def unlimited(options: PoolOptions) -> Iterator[Remark]:
    """The pool opens a connection for whoever comes, without a limit.

    Such a pool only keeps connections; it does not protect the server from anything. Whenever
    statements are slow, there are more of them at once, which makes them slower.

    At 3 a.m.: a missing index makes one query slow, every request opens one more connection, and
    the server refuses all: "too many connections", also for those who come to help.

    Fix: a limit, and a wait for those who come when it is reached. In PooledDB no limit is the
    default.

    Before:
        engine = create_engine(url, max_overflow=-1)
        pool = PooledDB(pymysql, mincached=2, host="db")

    After:
        engine = create_engine(url, max_overflow=10)
        pool = PooledDB(pymysql, mincached=2, maxconnections=20, host="db")
    """
    if options.capacity != math.inf:
        return
    if options.is_pooled_db:
        given = options.given("maxconnections")
        yield Remark(
            message="maxconnections=0: a connection is opened for whoever comes"
            if given
            else "no maxconnections: a connection is opened for whoever comes",
            place=options.at("maxconnections"),
            fix="set a limit, and blocking=True for those who come when it is reached",
            change=options.change("maxconnections", "20"),
        )
        return
    name = "pool_size" if options.number("pool_size") == 0 else "max_overflow"
    yield Remark(
        message=f"{name}={options.value(name)}: a connection is opened for whoever comes",
        place=options.at(name),
        fix="set a limit",
        change=options.change(name, "5" if name == "pool_size" else "10"),
    )


def _of_size(options: PoolOptions) -> Place:
    return next((options.at(name) for name in _SIZES if options.given(name)), options.place)
