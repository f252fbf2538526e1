"""Rules about errors of connections and transactions that went wrong while somebody had them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from millpond.doctor._rules import Rules
from millpond.doctor.outside._advice import advise, remark
from millpond.doctor.outside._symptoms import Symptoms

if TYPE_CHECKING:
    from collections.abc import Iterator

    from millpond.doctor._findings import Remark

__all__ = ["RULES"]

RULES: Final = Rules(Symptoms)


@RULES.add("MP415", "error", "connections were cut, and used afterwards")
def cut(log: Symptoms) -> Iterator[Remark]:
    """A connection was gone when a statement was sent over it.

    ``server closed the connection unexpectedly``, ``SSL connection has been closed unexpectedly``
    (PostgreSQL), ``MySQL server has gone away`` (2006), ``Lost connection`` (2013). The server's
    own timeout, a firewall, a load balancer or a restart ended it while it was idle, and the pool
    has lent it without looking.

    At 3 a.m.: the first requests after a quiet hour fail. By day it never happens.

    Fix: have the pool look before it lends, ping what is idle, and replace what is old. If it
    happens in the midst of statements, it is the server: look for out of memory and crashes.

    Before:
        engine = create_engine(url)

    After:
        engine = create_engine(url, pool_pre_ping=True, pool_recycle=1800)
        pool = millpond.Pool(url, validation_interval=30.0, max_lifetime=1800.0)    # or ours
    """
    if said := log.said("cut"):
        yield remark(
            log,
            "cut",
            f"{said}: a connection was used that the server or the network had cut",
            advise(
                log,
                millpond="validation_interval=30.0, max_lifetime=1800.0, keepalive=60.0",
                sqlalchemy="pool_pre_ping=True, pool_recycle=1800",
                django='"CONN_HEALTH_CHECKS": True, "CONN_MAX_AGE": 300',
                dbutils="ping=1, failures=(OperationalError, InterfaceError)",
            )
            + "; all below the server's idle timeout",
        )


@RULES.add("MP416", "error", "a connection was used after it was closed")
def closed(log: Symptoms) -> Iterator[Remark]:
    """The program used a connection, or a cursor of it, that it had closed or given back.

    ``connection already closed`` (psycopg2, Django), ``the connection is closed`` (psycopg).
    Connections that are kept in a global, an attribute or a generator outlive their block. In
    Django it is a thread or a task of one's own: its connection is closed by nobody, dies, and is
    used again.

    At 3 a.m.: a background worker that ran for weeks has its database restarted, and fails for
    ever after.

    Fix: get the connection where it is used, in a ``with`` block. In threads of Django's:
    ``close_old_connections()`` around each piece of work, and CONN_HEALTH_CHECKS.

    Before:
        self.conn = pool.acquire()          # for the life of the object

    After:
        with pool.connection() as conn:     # for each piece of work
            ...
    """
    if said := log.said("closed"):
        yield remark(
            log,
            "closed",
            f"{said}: a connection was used after its end",
            advise(
                log,
                millpond="acquire where it is used: with pool.connection() as conn, and keep no "
                "connection beyond the block",
                django='"CONN_HEALTH_CHECKS": True, and close_old_connections() in threads and '
                "tasks of your own",
            ),
        )


@RULES.add("MP417", "error", "two used one connection at the same time")
def shared(log: Symptoms) -> Iterator[Remark]:
    """Two threads, tasks or processes talked over the same connection.

    ``another operation is in progress`` (asyncpg), ``Packet sequence number wrong`` (PyMySQL),
    ``Commands out of sync`` (mysqlclient), ``decryption failed or bad record mac`` (TLS, after a
    fork). Each reads answers that are the other's, so that rows may reach the wrong user.

    At 3 a.m.: rare errors that nobody can reproduce, and once a customer who sees another's order.

    Fix: a connection belongs to the one who acquired it, until it is released. No global
    connection; none from before a fork: pools are made in the worker (post_fork), or are
    millpond's, which notice a fork.

    Before:
        conn = pool.acquire()
        await asyncio.gather(load(conn, 1), load(conn, 2))

    After:
        async def load(key):
            async with pool.connection() as conn:
                ...
        await asyncio.gather(load(1), load(2))
    """
    if said := log.said("shared"):
        yield remark(
            log,
            "shared",
            f"{said}: one connection was in two hands",
            "one connection for each thread and task (with pool.connection()), and none that was "
            "opened before a fork",
        )


@RULES.add("MP418", "error", "a pool was used in another event loop")
def other_loop(log: Symptoms) -> Iterator[Remark]:
    """A connection or a lock belongs to the event loop in which it was made.

    ``got Future attached to a different loop``, ``Event loop is closed``. A pool that is made at
    import, or in the first ``asyncio.run()``, is used in the next one: in tests, in Celery tasks,
    in code that calls ``asyncio.run()`` for each piece of work.

    At 3 a.m.: the worker's first task succeeds, and all others fail.

    Fix: one loop for the life of the process, with the pool made in it: in the lifespan, in a
    fixture of the loop's scope. Where there are several loops, a pool for each.

    Before:
        pool = millpond.AsyncPool(url)
        def task(key):
            asyncio.run(work(pool, key))        # a new loop each time

    After:
        async def main():
            async with millpond.AsyncPool(url) as pool:
                ...
        asyncio.run(main())
    """
    if said := log.said("other-loop"):
        yield remark(
            log,
            "other-loop",
            f"{said}: a pool or a connection was used in another event loop than its own",
            "make the pool in the loop that uses it (lifespan), and run one loop for each process",
        )


@RULES.add("MP419", "error", "prepared statements met a pooler")
def prepared(log: Symptoms) -> Iterator[Remark]:
    """A prepared statement was in a session that belongs to somebody else by now.

    ``prepared statement "_pg3_0" already exists``, ``prepared statement "__asyncpg_stmt_1__" does
    not exist``: PgBouncer with transaction pooling, Supabase's pooler, RDS Proxy. The driver
    prepared it in the session of one transaction, and the next one has another session.

    At 3 a.m.: it begins with more load than a developer's machine has ever seen.

    Fix: have the driver prepare nothing, or PgBouncer 1.21 follow it (max_prepared_statements).

    Before:
        pool = millpond.Pool(url)

    After:
        pool = millpond.Pool(url, profile="pgbouncer")
        psycopg.connect(url, prepare_threshold=None)
        asyncpg.connect(url, statement_cache_size=0)
    """
    if said := log.said("prepared"):
        yield remark(
            log,
            "prepared",
            f"{said}: a prepared statement belonged to another session",
            advise(
                log,
                millpond='profile="pgbouncer"',
                sqlalchemy='connect_args={"prepare_threshold": None} (psycopg), '
                '{"statement_cache_size": 0, "prepared_statement_cache_size": 0} (asyncpg)',
                django='"OPTIONS": {"prepare_threshold": None}, '
                '"DISABLE_SERVER_SIDE_CURSORS": True',
            ),
        )


@RULES.add("MP420", "warning", "writers of SQLite waited for each other in vain")
def sqlite_locked(log: Symptoms) -> Iterator[Remark]:
    """SQLite has one writer at a time, and this one waited for longer than it would.

    More connections make it worse. A transaction that begins as a reader and writes later does not
    even wait if another has written meanwhile.

    At 3 a.m.: a nightly job writes for a minute in one transaction, and all others fail.

    Fix: the write-ahead log, in which readers and the writer don't wait for each other; a longer
    busy timeout; short transactions that say BEGIN IMMEDIATE; and one connection that writes.

    Before:
        pool = millpond.Pool("sqlite:///app.db", max_size=10)

    After:
        pool = millpond.Pool(
            "sqlite:///app.db?timeout=30", session=["PRAGMA journal_mode = WAL"], max_size=10
        )
        writer = millpond.Pool("sqlite:///app.db?timeout=30", max_size=1)
    """
    if said := log.said("sqlite-locked"):
        yield remark(
            log,
            "sqlite-locked",
            f"{said}: a writer waited for another one in vain",
            "PRAGMA journal_mode = WAL, timeout=30 in the URL, and a pool with max_size=1 for what "
            "writes",
        )


@RULES.add("MP421", "error", "a connection of SQLite went to another thread")
def sqlite_thread(log: Symptoms) -> Iterator[Remark]:
    """Python's sqlite3 lets only that thread use a connection which has opened it.

    A pool lends connections to any thread, and opens them in threads of its own.

    At 3 a.m.: nothing, as it fails at once; unless the first thread was the only one in tests.

    Fix: check_same_thread=False, which is safe in a pool, as only one has a connection at a time.
    millpond does so by itself with a URL.

    Before:
        pool = millpond.Pool(lambda: sqlite3.connect("app.db"))

    After:
        pool = millpond.Pool("sqlite:///app.db")
    """
    if said := log.said("sqlite-thread"):
        yield remark(
            log,
            "sqlite-thread",
            f"{said}: a connection was used by another thread than the one that opened it",
            advise(
                log,
                millpond='the URL "sqlite:///file", or check_same_thread=False in connect()',
                sqlalchemy='connect_args={"check_same_thread": False}',
                dbutils="check_same_thread=False",
            ),
        )


@RULES.add("MP425", "info", "the server was restarted, or its administrator ended sessions")
def restarted(log: Symptoms) -> Iterator[Remark]:
    """The server ended its sessions on purpose: a restart, a failover, an upgrade, or a crash.

    Statements that were under way fail, and nobody can know whether a commit was carried out.
    What is idle can be replaced without an error.

    At 3 a.m.: the maintenance window. The restart takes a second, the errors last for minutes in
    pools that find dead connections one by one.

    Fix: repeat transactions that may be repeated: pool.run(work, retries=3). If it was a crash
    (``crash of another server process``), look for out of memory in the server's log.

    Before:
        with pool.transaction() as conn:
            transfer(conn)

    After:
        pool.run(transfer, retries=3)
    """
    if said := log.said("restarted"):
        yield remark(
            log,
            "restarted",
            f"{said}: the server ended sessions, as it was restarted or told to",
            "pool.run(work, retries=3) for transactions that may be repeated; pool_pre_ping=True "
            "in SQLAlchemy",
        )
