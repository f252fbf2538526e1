"""Rules about the timeouts and lifetimes of any pool."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from millpond._config import LONG_ACQUIRE, SHORT_IDLE
from millpond.doctor._behaviour import lifetime, patience
from millpond.doctor._findings import Remark
from millpond.doctor._options import UNKNOWN, PoolOptions
from millpond.doctor._rules import Rules

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["RULES"]

RULES: Final = Rules(PoolOptions)

# AWS's load balancers and NAT gateways forget a silent connection after 350 s; Azure's after 240 s.
_FIREWALL: Final = 350.0
_DAY: Final = 86_400.0
# QueuePool's own default; who gives more has thought of it, and wrongly.
_LONG_POOL_TIMEOUT: Final = 30.0
_SHORT_LIFETIME: Final = 60.0
_FEW_USES: Final = 100


@RULES.add("MP101", "warning", "idle connections are not validated")
def validation_is_off(options: PoolOptions) -> Iterator[Remark]:
    """Nobody looks whether an idle connection is still alive.

    A firewall, a load balancer or the server drops a connection that has been silent for some
    minutes, and often says nothing. A pool that never validates finds out by giving it to a
    request.

    At 3 a.m.: traffic is low, connections are idle for longer than by day, and the first request
    after each quiet spell fails, or hangs until a TCP timeout of minutes.

    Fix: validate what was idle for a while. With millpond it costs a request nothing while traffic
    is high. For SQLAlchemy see MP121, for Django MP141.

    Before:
        pool = millpond.Pool(url, validation_interval=None)
        pool = PooledDB(pymysql, ping=0, host="db")

    After:
        pool = millpond.Pool(url, validation_interval=30.0)
        pool = PooledDB(pymysql, ping=1, host="db")
    """
    if options.is_millpond and options.is_none("validation_interval"):
        yield Remark(
            message="validation_interval=None: a connection that died while idle is given out",
            place=options.at("validation_interval"),
            fix="validate connections that were silent for 30 seconds",
            change=options.change("validation_interval", "30.0"),
        )
    is_dbutils = options.is_pooled_db or options.is_persistent_db
    if is_dbutils and options.value("ping") in (0, None) and options.given("ping"):
        yield Remark(
            message="ping=0: a connection that died while idle is given out",
            place=options.at("ping"),
            fix="ping a connection when it is asked for",
            change=options.change("ping", "1"),
        )


@RULES.add("MP102", "warning", "connections live for ever")
def no_lifetime(options: PoolOptions) -> Iterator[Remark]:
    """A connection is never replaced, however old it is.

    Sessions grow: prepared statements, caches, temporary files and memory of the server's process.
    After a failover or a change of DNS, old connections stay with the old host for as long as they
    work. Some servers and proxies end sessions at a certain age, in the middle of their use.

    At 3 a.m.: the database was moved in the evening, half of the pool still writes to the old
    primary, and nothing but a restart of all workers brings it over.

    Fix: a lifetime of half an hour to some hours, below what the server or a proxy allows. millpond
    spreads the ends, so that connections opened together are not closed together.

    Before:
        pool = millpond.Pool(url, max_lifetime=None)
        DATABASES = {"default": {..., "CONN_MAX_AGE": None}}

    After:
        pool = millpond.Pool(url, max_lifetime=3600.0)
        DATABASES = {"default": {..., "CONN_MAX_AGE": 600}}
    """
    limit = lifetime(options)
    if limit is not None and math.isinf(limit.value):
        yield Remark(
            message=f"{limit.name}={options.value(limit.name)}: "
            "a connection is never replaced, however old it gets",
            place=options.at(limit.name),
            fix="replace connections after a while",
            change=options.change(limit.name, "600" if options.is_django else "3600.0"),
        )


@RULES.add("MP103", "warning", "firewalls forget connections sooner than they are validated")
def silent_for_too_long(options: PoolOptions) -> Iterator[Remark]:
    """Between two signs of life a connection is silent for longer than firewalls remember it.

    AWS's network load balancers and NAT gateways drop a flow after 350 s of silence, Azure's
    after 240 s, many firewalls after 5 to 60 minutes, and none of them tells the two ends.

    At 3 a.m.: every connection of the pool is a black hole. Statements hang until TCP gives up,
    which takes 15 minutes, unless a `socket_timeout` is shorter.

    Fix: validate at least every 5 minutes, or have TCP probe silent connections, or close what is
    idle for so long.

    Before:
        pool = millpond.Pool(url, validation_interval=1800.0, idle_timeout=7200.0)

    After:
        pool = millpond.Pool(url, validation_interval=30.0, idle_timeout=7200.0)
        pool = millpond.Pool(url, validation_interval=1800.0, keepalive=60.0)
    """
    interval, idle = options.number("validation_interval"), options.number("idle_timeout")
    if not options.is_millpond or interval is None or interval <= _FIREWALL:
        return
    keepalive = options.value("keepalive")
    probes = keepalive is True or keepalive is UNKNOWN
    seconds = options.number("keepalive")
    if probes or (seconds is not None and seconds <= _FIREWALL):
        return
    is_silent = options.is_none("idle_timeout") or (idle is not None and idle > _FIREWALL)
    if is_silent and options.database not in {"sqlite", "other"}:
        yield Remark(
            message=f"validation_interval={interval:g}: firewalls and load balancers drop a "
            f"connection after {_FIREWALL:g} s of silence or less",
            place=options.at("validation_interval"),
            fix="validate more often, or let TCP probe with keepalive=60.0",
            change=options.change("validation_interval", "30.0"),
        )


@RULES.add("MP104", "warning", "connections live for longer than a day")
def very_long_lifetime(options: PoolOptions) -> Iterator[Remark]:
    """The lifetime is so long that it will hardly ever apply.

    It has most of the consequences of no lifetime at all (MP102), and hides them behind a number.
    It is often a number of milliseconds where seconds are meant.

    At 3 a.m.: `1_800_000` were meant as half an hour and are three weeks. The session whose memory
    grew for three weeks is the one that the server's out-of-memory killer takes.

    Fix: half an hour to some hours; in seconds.

    Before:
        pool = millpond.Pool(url, max_lifetime=1_800_000)

    After:
        pool = millpond.Pool(url, max_lifetime=1800.0)
    """
    limit = lifetime(options)
    if limit is not None and _DAY < limit.value < math.inf:
        yield Remark(
            message=f"{limit.name}={limit.value:g} are {limit.value / _DAY:.3g} days: it will "
            "hardly ever apply",
            place=options.at(limit.name),
            fix="give seconds, from half an hour to some hours",
            change=options.change(limit.name, "3600" if options.is_django else "3600.0"),
        )


@RULES.add("MP105", "error", "acquiring waits without a limit")
def waits_for_ever(options: PoolOptions) -> Iterator[Remark]:
    """A caller waits for a connection for as long as it takes, be it for ever.

    When the pool is exhausted, or the database is down, every thread of the server ends in the
    queue of the pool. Nothing fails, so nothing is logged and no alert comes.

    At 3 a.m.: one slow query held the connections for a minute; now all 200 threads wait, the
    health check waits too, the load balancer takes every machine out, and the log is empty.

    Fix: a timeout shorter than that of whoever waits for the answer. For PooledDB see MP131.

    Before:
        pool = millpond.Pool(url, acquire_timeout=None)
        engine = create_engine(url, pool_timeout=None)

    After:
        pool = millpond.Pool(url, acquire_timeout=5.0)
        engine = create_engine(url, pool_timeout=5)
    """
    limit = patience(options)
    if limit is not None and math.isinf(limit.value):
        yield Remark(
            message=f"{limit.name}={options.value(limit.name)}: "
            "whoever finds the pool exhausted waits for ever",
            place=options.at(limit.name),
            fix="give up after some seconds, sooner than whoever waits for the answer",
            change=options.change(limit.name, "5" if options.is_sqlalchemy else "5.0"),
        )


@RULES.add("MP108", "warning", "acquiring waits for very long")
def waits_for_long(options: PoolOptions) -> Iterator[Remark]:
    """A caller waits for a connection for longer than anybody waits for the answer.

    The queue of a pool is no place to stay: who has waited for five seconds has been given up by
    the browser, the proxy or the caller's own timeout, and then gets a connection for work that
    nobody wants. Meanwhile callers pile up.

    At 3 a.m.: the database was slow for ten seconds. The server is busy for minutes with requests
    whose clients are gone, and has none left for those who try again.

    Fix: a second or two for a web service. A batch job may wait for longer by
    `pool.acquire(timeout=...)`.

    Before:
        pool = millpond.Pool(url, acquire_timeout=60.0)

    After:
        pool = millpond.Pool(url, acquire_timeout=2.0)
    """
    limit = patience(options)
    most = _LONG_POOL_TIMEOUT if options.is_sqlalchemy else LONG_ACQUIRE
    if limit is not None and most < limit.value < math.inf:
        yield Remark(
            message=f"{limit.name}={limit.value:g}: over {most:g} s callers pile up behind a "
            "database that is down or busy, rather than being told",
            place=options.at(limit.name),
            fix="give up sooner than whoever waits for the answer",
            change=options.change(limit.name, "2" if options.is_sqlalchemy else "2.0"),
        )


@RULES.add("MP109", "warning", "connections are closed after very little use")
def thrown_away(options: PoolOptions) -> Iterator[Remark]:
    """Connections are closed so soon that the pool opens one for almost every use.

    Opening one costs round trips, TLS, authentication and a process of the server: a hundred times
    of what most statements take. To close them soon is no remedy for broken connections;
    validation is.

    At 3 a.m.: a burst comes after a quiet minute, and the server is busy with sign-ins rather than
    with queries.

    Fix: idle for minutes, a lifetime from half an hour on, uses from some thousands on.

    Before:
        pool = millpond.Pool(url, idle_timeout=5.0, max_uses=10)
        pool = PooledDB(pymysql, maxusage=1, host="db")

    After:
        pool = millpond.Pool(url)
        pool = PooledDB(pymysql, host="db")
    """
    limits = {"idle_timeout": SHORT_IDLE, "max_lifetime": _SHORT_LIFETIME, "max_uses": _FEW_USES}
    if options.is_sqlalchemy:
        limits = {"pool_recycle": _SHORT_LIFETIME}
    elif not options.is_millpond:
        limits = {"maxusage": _FEW_USES}
    for name, least in limits.items():
        value = options.number(name)
        # Zero is "no limit" for DBUtils, and -1 for SQLAlchemy.
        is_limit = value is not None and (value > 0 or (value == 0 and name == "pool_recycle"))
        if value is not None and is_limit and value < least and name in options.options:
            unit = "uses" if name in {"max_uses", "maxusage"} else "s"
            yield Remark(
                message=f"{name}={value:g}: under {least:g} {unit} connections are opened for very "
                "few uses each, which costs more than it saves",
                place=options.at(name),
                fix="leave it out, or give much more",
            )
