"""Rules about errors that say that there are not enough connections."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from millpond.doctor._behaviour import size_words
from millpond.doctor._rules import Rules
from millpond.doctor.outside._advice import advise, remark
from millpond.doctor.outside._symptoms import Symptoms

if TYPE_CHECKING:
    from collections.abc import Iterator

    from millpond.doctor._findings import Remark

__all__ = ["RULES"]

RULES: Final = Rules(Symptoms)


@RULES.add("MP411", "error", "the pool had no connection for its callers")
def pool_full(log: Symptoms) -> Iterator[Remark]:
    """All connections were in use, and a caller waited in vain.

    ``QueuePool limit of size 5 overflow 10 reached`` (SQLAlchemy), ``couldn't get a connection
    after 30.00 sec`` (psycopg_pool), ``TooManyConnections`` (DBUtils), ``PoolTimeout`` (millpond).
    It says that the pool was empty, not why. There are four reasons, and only one is its size:
    connections that were never given back, connections that are held during other work, queries
    that have become slow, and more users than before.

    At 3 a.m.: somebody doubles the pool, and it helps until the next night, as the leak goes on.

    Fix: first find out who has them: leak_threshold reports the line that acquired, and millpond's
    PoolTimeout lists the holders. Give back in a ``with`` block, and call other services outside of
    it. If all are in honest use, compute the size from the load: ``millpond doctor --users 200
    --query-ms 20``, or ``millpond size``.

    Before:
        engine = create_engine(url)                         # 5 + 10, without a word on who holds

    After:
        pool = millpond.Pool(url, max_size=15, leak_threshold=30.0)
    """
    said = log.said("pool-full")
    if not said:
        return
    had, name = _size(log)
    limit = f" with {name} = {had}" if had else ""
    if log.needed is None:
        size = f"{name} = {2 * had}" if had else f"twice the present {name}"
        size += ", if all of them are in honest use"
    elif had is not None and log.needed <= had:
        size = f"no other size: the load needs {log.needed}, so connections are held for too long"
    else:
        size = f"{name} = {log.needed}, which is what the load needs"
    yield remark(
        log,
        "pool-full",
        f"{said}: the pool was empty{limit}",
        f"{_find_holders(log)}; then {size}",
    )


@RULES.add("MP412", "warning", "the pool turned callers away")
def shed(log: Symptoms) -> Iterator[Remark]:
    """So many callers were waiting that the pool refused more of them.

    ``PoolExhausted`` (millpond, with max_waiting or shed) and ``TooManyRequests`` (psycopg_pool)
    are the pool's way to fail early: with an answer within microseconds, and not after the timeout.
    That is as it should be in an overload, if the caller makes a 503 of it.

    At 3 a.m.: the pages that are refused are noticed; the overload that causes it is not.

    Fix: answer 503 with Retry-After. If it happens on ordinary days, the pool is too small, or
    connections are held for too long. The queue need not be longer than what is served within
    acquire_timeout: max_size * acquire_timeout / time of use.

    Before:
        pool = millpond.Pool(url, max_size=10, max_waiting=10)      # queries of 20 ms

    After:
        pool = millpond.Pool(url, max_size=10, max_waiting=2500)    # 10 * 5 s / 20 ms
    """
    if said := log.said("shed"):
        needed = "" if log.needed is None else f" or max_size = {log.needed}"
        yield remark(
            log,
            "shed",
            f"{said}: callers were refused, as too many were waiting",
            f"max_waiting = max_size * acquire_timeout / time of use{needed}; and 503 for those "
            "who are refused",
        )


@RULES.add("MP413", "error", "the server had no session for the pool")
def server_full(log: Symptoms) -> Iterator[Remark]:
    """The server refused to open another session: all applications together want too many.

    ``sorry, too many clients already`` and ``remaining connection slots are reserved``
    (PostgreSQL), error 1040 (MySQL), ``max number of clients reached`` (Redis),
    ``no more connections allowed`` (PgBouncer).

    At 3 a.m.: a deployment starts the new workers before the old ones have ended, and twice the
    sessions don't fit.

    Fix: workers * max_size of all applications, twice during a deployment, below max_connections
    less what is reserved. ``millpond doctor --server URL --workers N`` computes it. Idle
    connections go by idle_timeout, if min_size lets them. PgBouncer is for the rest.

    Before:
        pool = millpond.Pool(url, min_size=20, max_size=20)     # 8 workers, max_connections = 100

    After:
        pool = millpond.Pool(url, min_size=1, max_size=6)       # 8 * 6, twice: 96
    """
    if said := log.said("server-full"):
        sizes = [pool.capacity for pool in log.pools]
        wanted = sum(size for size in sizes if size is not None) * log.workers
        number = "any number of them" if math.isinf(wanted) else f"{wanted:g}"
        asks = f"; the pools known here ask for {number}" if wanted and None not in sizes else ""
        yield remark(
            log,
            "server-full",
            f"{said}: the server has no session left{asks}",
            "max_size = (max_connections - reserved) / workers / 2, as a deployment runs both old "
            "and new workers; --server URL --workers N computes it",
        )


@RULES.add("MP414", "error", "the role, database or account had no session left")
def role_full(log: Symptoms) -> Iterator[Remark]:
    """The limit of this role, database or account was reached, not that of the server.

    ``too many connections for role`` and ``for database`` (PostgreSQL), errors 1203 and 1226
    (MySQL, max_user_connections).

    At 3 a.m.: the server's graph shows plenty of room.

    Fix: workers * max_size below that limit, or have it raised: ``ALTER ROLE … CONNECTION LIMIT``,
    ``ALTER USER … WITH MAX_USER_CONNECTIONS``. Or a role for each application.

    Before:
        ALTER ROLE shop CONNECTION LIMIT 20     # 4 workers * max_size 10

    After:
        ALTER ROLE shop CONNECTION LIMIT 80     # twice, for deployments
    """
    if said := log.said("role-full"):
        yield remark(
            log,
            "role-full",
            f"{said}: the limit of the role, database or account was reached",
            "max_size = limit / workers, or raise the limit; --server URL --workers N computes it",
        )


@RULES.add("MP424", "error", "the pool was used after it was closed, or before it was opened")
def pool_closed(log: Symptoms) -> Iterator[Remark]:
    """Somebody asked a pool for a connection that had been closed.

    As a rule it is the order at the end: the pool is closed while requests, background tasks or
    threads still run. Or a worker closes a pool that others share.

    At 3 a.m.: each deployment costs some requests.

    Fix: first stop taking requests, then wait for what runs, then close the pool. In ASGI the end
    of the lifespan is the place; psycopg_pool wants open() at its beginning.

    Before:
        signal.signal(signal.SIGTERM, lambda *_: pool.close())

    After:
        @asynccontextmanager
        async def lifespan(app):
            async with millpond.AsyncPool(url) as app.state.pool:
                yield
    """
    if said := log.said("pool-closed"):
        yield remark(
            log,
            "pool-closed",
            f"{said}: the pool was closed, and still used",
            "close the pool last: after the server has stopped and the tasks have ended",
        )


@RULES.add("MP426", "error", "the database could not be reached")
def unreachable(log: Symptoms) -> Iterator[Remark]:
    """Connecting failed: refused, unknown, or without an answer.

    That is no matter of the pool's size. What the pool can do is to keep callers from piling up
    meanwhile.

    At 3 a.m.: the database restarts within seconds, and the application needs minutes, as every
    worker waits out a timeout for each of its requests.

    Fix: look at the server, its address and its firewall. Then let callers fail fast while it is
    down: acquire_timeout of some seconds, connect_timeout below it, fail_fast_after.

    Before:
        pool = millpond.Pool(url, acquire_timeout=30.0, connect_timeout=None)

    After:
        pool = millpond.Pool(url, acquire_timeout=5.0, connect_timeout=3.0, fail_fast_after=5.0)
    """
    if said := log.said("unreachable"):
        yield remark(
            log,
            "unreachable",
            f"{said}: connecting to the database failed",
            advise(
                log,
                millpond="connect_timeout=3.0, fail_fast_after=5.0, so that callers learn it at "
                "once",
                sqlalchemy='connect_args={"connect_timeout": 3}, pool_timeout=5',
            )
            + "; then look at the server, its address and the firewall",
        )


def _find_holders(log: Symptoms) -> str:
    # SQLAlchemy's error has its sizes in it.
    of_others = log.number("pool-full", "overflow") is not None
    setting = 'echo_pool="debug"' if of_others else "leak_threshold=30.0"
    return f"{setting}, to learn who holds connections"


def _size(log: Symptoms) -> tuple[int | None, str]:
    """Return the size that the pool had, as the error or the configuration tells, and its name."""
    size, overflow = log.number("pool-full", "size"), log.number("pool-full", "overflow")
    if size is not None and overflow is not None:
        return size + overflow, "pool_size + max_overflow"
    told = log.number("pool-full", "max_size")
    if told is not None:
        return told, "max_size"
    if len(log.pools) == 1 and (known := log.pools[0].capacity):
        return None if math.isinf(known) else int(known), size_words(log.pools[0])
    return None, "max_size"
