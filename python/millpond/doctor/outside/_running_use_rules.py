"""Rules about a pool at work, and what its borrowers do with connections."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from millpond.doctor._findings import Remark
from millpond.doctor._rules import Rules
from millpond.doctor.outside._running import Fleet, RunningPool

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["FLEET_RULES", "RULES"]

RULES: Final = Rules(RunningPool)
FLEET_RULES: Final = Rules(Fleet)

# Seconds after which a connection is held for longer than any request takes.
_LONG_HELD: Final = 60.0
_SHOWN: Final = 5
# A pool that never had more than this share of its connections open, after so many acquires.
_LITTLE: Final = 0.4
_ENOUGH: Final = 1000
_WORTH_A_WORD: Final = 10
_NEAR: Final = 0.8
# Of the connections that were closed: when it is no accident any more.
_OFTEN: Final = 0.2
_SOME: Final = 5


@RULES.add("MP504", "warning", "a connection is held for very long")
def held_long(pool: RunningPool) -> Iterator[Remark]:
    """Somebody has had a connection for longer than a request takes: a minute, or leak_threshold.

    It was forgotten (no release, or none after an exception), is held during other work, or its
    statement does not end. The evidence says who, since when, and with leak_threshold from which
    line.

    At 3 a.m.: one is lost each hour, and the last one at three.

    Fix: release in a ``with`` block. Without a line below, set leak_threshold, which costs little
    more than a microsecond for each acquire.

    Before:
        conn = pool.acquire()
        work(conn)                      # raises
        pool.release(conn)

    After:
        with pool.connection() as conn:
            work(conn)
    """
    limit = min(pool.option("leak_threshold") or _LONG_HELD, _LONG_HELD)
    long = [one for one in pool.connections if _held(one) >= limit]
    if not long:
        return
    long.sort(key=_held, reverse=True)
    sites = [_site(one) for one in long]
    known = next(filter(None, sites), "")
    yield Remark(
        message=f"pool {pool.name!r}: {_count(len(long), 'connection')} held for more than "
        f"{limit:g} s, of max_size = {pool.number('max_size'):g}",
        evidence="\n".join(map(_holder, long[:_SHOWN])),
        fix=f"release in a with block: {known}"
        if known
        else "leak_threshold=30.0 tells the line that acquired; then a with block there",
        severity="error" if len(long) >= pool.number("max_size") / 2 else None,
    )


@RULES.add("MP508", "info", "the pool is larger than was ever needed")
def oversized(pool: RunningPool) -> Iterator[Remark]:
    """Of the connections that the pool may have, most were never opened.

    It opens them as they are needed. What was never opened does no harm here, but counts where all
    sizes are added up against max_connections, and lets an overload reach the database.

    At 3 a.m.: something is slow, all pools grow to the sizes that nobody has ever tried, and the
    server falls over.

    Fix: a max_size of what was needed, with some reserve. Look again after a busy day.

    Before:
        pool = millpond.Pool(url, max_size=100)

    After:
        pool = millpond.Pool(url, max_size=20)
    """
    opened, size = pool.number("opened"), pool.number("max_size")
    if pool.number("acquired") < _ENOUGH or size < _WORTH_A_WORD or opened > _LITTLE * size:
        return
    enough = max(math.ceil(1.5 * opened), int(pool.number("min_size")), 1)
    yield Remark(
        message=f"pool {pool.name!r}: max_size = {size:g}, and {opened:g} were enough for all of "
        f"{pool.number('acquired'):g} acquires",
        fix=f"max_size = {enough}, if the busy days were among them",
    )


@RULES.add("MP511", "warning", "connections are held for nearly as long as a statement may take")
def near_the_limit(pool: RunningPool) -> Iterator[Remark]:
    """One use in a hundred takes nearly as long as statement_timeout allows, or longer.

    A bit slower, and statements will be cancelled; or they are already.

    At 3 a.m.: the table has grown over the size for which the plan was good, and what took 24 s
    takes 26.

    Fix: EXPLAIN the slow ones. If they are reports, they belong into a pool of their own, with a
    limit of its own.

    Before:
        pool = millpond.Pool(url, statement_timeout=25.0)       # p99 of the time of use: 22 s

    After:
        reports = millpond.Pool(url, statement_timeout=300.0, max_size=2)
    """
    limit, p99 = pool.option("statement_timeout"), pool.number("use_time", "p99")
    if limit and p99 >= _NEAR * limit:
        yield Remark(
            message=f"pool {pool.name!r}: p99 of the time of use is {p99:.3g} s, and "
            f"statement_timeout = {limit:g} s",
            fix="EXPLAIN the slow statements, or give them a pool of their own with a longer limit",
        )


@RULES.add("MP515", "warning", "connections were reported as leaks")
def leaks(pool: RunningPool) -> Iterator[Remark]:
    """Connections were held for longer than leak_threshold; each was reported once, in the log.

    At 3 a.m.: the log of the pool, ``millpond.pool``, has the line of each.

    Fix: a ``with`` block where they were acquired; or a higher leak_threshold, if that time is in
    order.

    Before:
        conn = pool.acquire()

    After:
        with pool.connection() as conn: ...
    """
    count = pool.number("leaks")
    if count:
        yield Remark(
            message=f"pool {pool.name!r}: {_count(count, 'leak')} reported, held for more than "
            f"leak_threshold = {pool.option('leak_threshold') or 0:g} s, "
            f"{pool.number('window', 'leaks'):g} of them in the last minute",
            fix="look into the log of millpond.pool for the lines, and release in a with block",
        )


@RULES.add("MP516", "warning", "borrowers leave connections that can't be used again")
def left_broken(pool: RunningPool) -> Iterator[Remark]:
    """Many connections were closed because of what their borrowers did with them.

    ``reset``: the rollback on release failed, as a statement was under way, or rows were unread.
    ``discarded``: the borrower had an error that ended the connection. ``leaked``: nobody gave it
    back, and the garbage collector found it. Each costs a new connection.

    At 3 a.m.: cancelled requests (asyncio, a client that hangs up) leave their statements running,
    and the pool opens as many connections as there are cancellations.

    Fix: for ``leaked`` a ``with`` block. For ``reset`` read results to their end, and end
    statements by a timeout of the pool (query_timeout), which keeps the connection.

    Before:
        await asyncio.wait_for(conn.execute(query), 2.0)

    After:
        async with pool.connection(query_timeout=2.0) as conn:
            await conn.execute(query)
    """
    closed = pool.closed
    bad = {name: closed[name] for name in ("reset", "discarded", "leaked") if closed.get(name)}
    total = sum(bad.values())
    if total >= _SOME and total >= _OFTEN * sum(closed.values()):
        most = max(bad, key=lambda name: bad[name])
        yield Remark(
            message=f"pool {pool.name!r}: {total:g} of {sum(closed.values()):g} connections that "
            "were closed had been left unusable",
            evidence=", ".join(f"{count:g} {name}" for name, count in bad.items()),
            fix="release in a with block"
            if most == "leaked"
            else "read results to the end, and use query_timeout rather than cancel from outside",
        )


@FLEET_RULES.add("MP510", "warning", "processes have different options for the same pool")
def not_the_same(fleet: Fleet) -> Iterator[Remark]:
    """Pools of the same name have other options in other processes.

    A deployment that has stopped half-way, an environment variable on one machine, a worker that
    nobody has restarted.

    At 3 a.m.: a third of the requests behaves in another way, and nobody can reproduce it.

    Fix: restart those that are different, or give different pools different names.

    Before:
        millpond.Pool(url, name="orders", max_size=int(os.environ.get("POOL", 10)))

    After:
        millpond.Pool(url, name="orders", max_size=settings.pool_size)     # one place for all
    """
    first: dict[str, RunningPool] = {}
    for pool in fleet.pools:
        other = first.setdefault(pool.name, pool)
        differences = [
            f"{name}: {other.options.get(name)!r} at {other.place.file}, {value!r} at "
            f"{pool.place.file}"
            for name, value in pool.options.items()
            if other.options and other.options.get(name) != value
        ]
        if differences and other.where != pool.where:
            yield Remark(
                message=f"pool {pool.name!r} has other options in another process",
                place=pool.place,
                evidence="\n".join(differences[:_SHOWN]),
                fix="restart what runs with the old ones, or name the pools differently",
            )


def _held(connection: Mapping[str, Any]) -> float:
    held = connection.get("held")
    return held if isinstance(held, (int, float)) else 0.0


def _site(connection: Mapping[str, Any]) -> str:
    site = connection.get("site")
    return f"{site[0]}:{site[1]}" if isinstance(site, list) and len(site) > 1 else ""


def _holder(connection: Mapping[str, Any]) -> str:
    name, number = connection.get("holder_name"), connection.get("holder")
    who = name or ("somebody" if number is None else f"thread {number}, which has ended")
    site = _site(connection)
    said = f"connection {connection.get('slot', '?')} held for {_held(connection):.0f} s by {who}"
    return f"{said}, acquired at {site}" if site else said


def _count(count: float, what: str) -> str:
    return f"{count:g} {what}{'s' * (count != 1)}"
