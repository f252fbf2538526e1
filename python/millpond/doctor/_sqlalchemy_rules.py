"""Rules about the configuration of SQLAlchemy's engines."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from millpond.doctor._findings import Remark
from millpond.doctor._options import UNKNOWN, PoolOptions
from millpond.doctor._project import Project
from millpond.doctor._reach import FRAMEWORKS
from millpond.doctor._rules import Rules

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PROJECT_RULES", "RULES"]

RULES: Final = Rules(PoolOptions)
PROJECT_RULES: Final = Rules(Project)

# MySQL's wait_timeout by default.
_EIGHT_HOURS: Final = 28_800
_KEEPS_NONE: Final = frozenset({"NullPool", "StaticPool", "SingletonThreadPool", "?"})
_BOUNCERS: Final = (":6432", ":6543")


def _pings(options: PoolOptions) -> bool:
    """Whether connections are, or may be, tested before they are given out."""
    value = options.value("pool_pre_ping")
    return value is UNKNOWN or bool(value)


def _is_sqlite(options: PoolOptions) -> bool:
    arguments = options.value("connect_args")
    has_its_option = isinstance(arguments, dict) and "check_same_thread" in arguments
    return has_its_option or options.database == "sqlite"


def _is_tool(options: PoolOptions) -> bool:
    """Whether an engine is made by something that runs for a moment: a migration, a script."""
    path = PurePath(options.place.file or "")
    # Only the nearest folder: those above may be named for anything.
    is_there = path.parent.name in {"alembic", "migrations", "scripts", "tests"}
    return is_there or path.stem in {"conftest", "env", "migrate", "migration", "migrations"}


def _goes_away(options: PoolOptions) -> bool:
    """Whether MySQL closes connections that the pool still keeps."""
    recycle = options.number("pool_recycle")
    if options.database != "mysql" or recycle is None or options.pool_class in _KEEPS_NONE:
        return False
    return recycle < 0 or recycle >= _EIGHT_HOURS


@RULES.add("MP121", "warning", "connections are not tested before they are given out")
def no_pre_ping(options: PoolOptions) -> Iterator[Remark]:
    """SQLAlchemy gives out connections that the server closed long ago.

    Without `pool_pre_ping` the pool finds out by the error of the first statement. That error is
    the request's; only then all connections that were opened before are replaced.

    At 3 a.m.: the database was restarted. Each worker process has one failed request at least,
    and with a firewall in between, one hanging request for each connection.

    Fix: `pool_pre_ping=True`: one round trip for each checkout.

    Before:
        engine = create_engine("postgresql+psycopg://db/app")

    After:
        engine = create_engine("postgresql+psycopg://db/app", pool_pre_ping=True)
    """
    # With a `creator` some other pool may be beneath, which has its own ways.
    others = options.given("creator") or options.given("async_creator") or options.given("pool")
    if not options.is_sqlalchemy or _pings(options) or _is_sqlite(options) or others:
        return
    if options.is_temporary or _is_tool(options):
        return
    if options.pool_class not in _KEEPS_NONE and not _goes_away(options):
        yield Remark(
            message="no pool_pre_ping: after a restart of the database, requests get connections "
            "that are dead",
            place=options.at("pool_pre_ping"),
            fix="test a connection before it is given out",
            change=options.change("pool_pre_ping", "True"),
        )


@RULES.add("MP122", "error", "MySQL closes connections before the pool replaces them")
def no_recycle_with_mysql(options: PoolOptions) -> Iterator[Remark]:
    """MySQL closes a session that was silent for `wait_timeout`, and the pool does not know.

    It is eight hours by default, and often some minutes where a provider set it. `pool_recycle`
    has to be shorter, or `pool_pre_ping` on.

    At 3 a.m.: rather at eight, after a quiet night: "MySQL server has gone away" (2006), once for
    each connection in each worker.

    Fix: `pool_recycle` well below `wait_timeout`, and `pool_pre_ping` for restarts.

    Before:
        engine = create_engine("mysql+pymysql://db/app")

    After:
        url = "mysql+pymysql://db/app"
        engine = create_engine(url, pool_recycle=1800, pool_pre_ping=True)
    """
    recycle = options.value("pool_recycle")
    if options.is_sqlalchemy and _goes_away(options) and not _pings(options):
        yield Remark(
            message=f"pool_recycle={recycle} with MySQL: sessions that were silent for "
            f"wait_timeout ({_EIGHT_HOURS} s by default) are closed by the server",
            place=options.at("pool_recycle"),
            fix="replace connections sooner than the server does",
            change=options.change("pool_recycle", "1800"),
        )


@PROJECT_RULES.add("MP123", "warning", "a server without a pool")
def null_pool_in_server(project: Project) -> Iterator[Remark]:
    """`NullPool` opens a connection for each request and closes it afterwards.

    That is right for scripts, migrations, tests, and behind a PgBouncer. In a server each request
    pays for TCP, TLS and authentication, and nothing limits how many are open.

    At 3 a.m.: a burst of 500 requests opens 500 connections, and PostgreSQL starts a process for
    each, until it refuses.

    Fix: leave `poolclass` out, and size the pool. Behind a PgBouncer, say so by a comment
    ``# millpond: ignore[MP123]``.

    Before:
        engine = create_engine(url, poolclass=NullPool)

    After:
        engine = create_engine(url, pool_size=10, pool_pre_ping=True)
    """
    if not project.imports(*FRAMEWORKS):
        return
    for options in project.pools:
        if not options.is_sqlalchemy or options.pool_class != "NullPool":
            continue
        is_bouncer = any(port in options.url for port in _BOUNCERS)
        others = options.given("creator") or options.given("async_creator")
        if not _is_tool(options) and not is_bouncer | others:
            yield Remark(
                message="NullPool in a server: a new connection for each request, without a limit",
                place=options.at("poolclass"),
                fix="leave poolclass out",
            )


@RULES.add("MP124", "error", "all threads share one connection")
def static_pool(options: PoolOptions) -> Iterator[Remark]:
    """`StaticPool` gives the same connection to everybody, also at the same time.

    It is made for tests on an SQLite database in memory. Threads that share a connection share its
    transaction: one commits what the other has half done.

    At 3 a.m.: rows of one request in the transaction of another, "commands out of sync", or a
    crash of the driver.

    Fix: leave `poolclass` out.

    Before:
        engine = create_engine("postgresql+psycopg://db/app", poolclass=StaticPool)

    After:
        engine = create_engine("postgresql+psycopg://db/app")
    """
    # In tests, the URL of an SQLite database in memory may come from a fixture.
    is_static = options.is_sqlalchemy and options.pool_class == "StaticPool"
    if is_static and options.url and not _is_sqlite(options):
        yield Remark(
            message="StaticPool: everybody gets the same connection at the same time",
            place=options.at("poolclass"),
            fix="leave poolclass out",
        )


@RULES.add("MP125", "error", "a pool for threads in an async engine")
def queue_pool_in_async_engine(options: PoolOptions) -> Iterator[Remark]:
    """`QueuePool` blocks the thread, and with it the event loop; SQLAlchemy refuses it.

    `create_async_engine` raises ArgumentError: "Pool class QueuePool cannot be used with asyncio
    engine".

    At 3 a.m.: the configuration was copied from the synchronous service, and no worker comes up.

    Fix: leave `poolclass` out; `AsyncAdaptedQueuePool` is the default.

    Before:
        engine = create_async_engine(url, poolclass=QueuePool)

    After:
        engine = create_async_engine(url)
    """
    if options.kind == "sqlalchemy.create_async_engine" and options.pool_class == "QueuePool":
        yield Remark(
            message="QueuePool in an async engine: SQLAlchemy refuses it",
            place=options.at("poolclass"),
            fix="leave poolclass out",
        )
