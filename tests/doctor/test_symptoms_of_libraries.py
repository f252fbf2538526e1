"""The errors of libraries and servers, made by them: they are what the doctor knows them by."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import ExitStack, closing, suppress
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
import psycopg_pool
import pymysql
import pytest
import sqlalchemy
from dbutils.pooled_db import PooledDB
from sqlalchemy.pool import QueuePool

from bouncer import pgbouncer
from databases import mysql_arguments
from doctor.roles import account, role
from helpers import eventually
from millpond import _explain
from millpond.doctor.outside._symptoms import read_errors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from helpers import MakePool


def kind_of(fail: Callable[[], object]) -> str:
    """Return the kind of the error that a function raises, as a traceback's last line has it."""
    with pytest.raises(Exception) as caught:  # noqa: PT011  any: its text is what is tested
        fail()
    error = caught.value
    text = f"{type(error).__module__}.{type(error).__qualname__}: {error}"
    (kind,) = read_errors(" ".join(text.split())).counts
    return kind


def test_sqlalchemys_pool_is_empty() -> None:
    engine = sqlalchemy.create_engine(
        "sqlite://", poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0.01
    )
    with engine.connect():
        assert kind_of(engine.connect) == "pool-full"
    engine.dispose()


def test_psycopgs_pool_is_empty_full_and_closed(postgres_url: str) -> None:
    pool = psycopg_pool.ConnectionPool(postgres_url, min_size=1, max_size=1, open=True)
    with pool.connection():
        assert kind_of(lambda: pool.getconn(timeout=0.01)) == "pool-full"
    pool.close()
    assert kind_of(pool.getconn) == "pool-closed"


def test_dbutils_pool_is_empty(tmp_path: Path) -> None:
    file = str(tmp_path / "a.db")
    pool = PooledDB(sqlite3, maxconnections=1, database=file, check_same_thread=False)
    with closing(pool.connection()):
        assert kind_of(pool.connection) == "pool-full"
    pool.close()


def test_millponds_pool_is_empty_full_and_closed(make_pool: MakePool) -> None:
    for options, kind in (({}, "pool-full"), ({"max_waiting": 0}, "shed")):
        pool = make_pool(max_size=1, **options)
        held = pool.acquire()
        assert kind_of(lambda pool=pool: pool.acquire(timeout=0.01)) == kind  # type: ignore[misc]
        pool.release(held)
        pool.close()
        assert kind_of(pool.acquire) == "pool-closed"


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("leak_suspected", "leak"),
        ("starved_by_priority", "starved"),
        ("slow_queries", "slow-statements"),
        ("connects_slow", "slow-connects"),
        ("exhausted", None),
    ],
)
def test_every_reason_that_a_timeout_tells_is_known(
    make_pool: MakePool, reason: str, kind: str | None
) -> None:
    text = _explain.message_of(make_pool().stats(), _explain.Wait(1.0), reason)

    assert set(read_errors(text).counts) == {"pool-full", *([kind] if kind else [])}


def test_a_thread_that_waits_for_itself(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    with pool.connection(), pytest.raises(TimeoutError) as caught:
        pool.acquire(timeout=0.01)

    assert "nested" in read_errors(str(caught.value)).counts


def test_a_roles_last_session_is_taken(postgres_url: str) -> None:
    with role(postgres_url, "CONNECTION LIMIT 0") as url:
        assert kind_of(lambda: psycopg.connect(url)) == "role-full"


def test_an_accounts_last_session_is_taken(mysql_url: str) -> None:
    with account(mysql_url, "WITH MAX_USER_CONNECTIONS 1") as url:
        arguments = mysql_arguments(url)
        with closing(pymysql.connect(**arguments)):
            assert kind_of(lambda: pymysql.connect(**arguments)) == "role-full"


def test_a_session_that_was_ended_by_its_administrator(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as admin, psycopg.connect(postgres_url) as conn:
        admin.execute("SELECT pg_terminate_backend(%s, 5000)", (conn.info.backend_pid,))
        assert kind_of(lambda: conn.execute("SELECT 1")) == "restarted"
        assert kind_of(lambda: conn.execute("SELECT 1")) == "closed"


def test_a_transaction_that_the_server_found_idle(postgres_url: str) -> None:
    with closing(psycopg.connect(postgres_url)) as conn:
        conn.execute("SET idle_in_transaction_session_timeout = 1")
        alive = f"SELECT count(*) FROM pg_stat_activity WHERE pid = {conn.info.backend_pid}"
        with psycopg.connect(postgres_url, autocommit=True) as admin:
            eventually(lambda: admin.execute(alive.encode()).fetchone() == (0,))
        assert kind_of(lambda: conn.execute("SELECT 1")) == "idle-transaction"


def test_a_statement_that_takes_too_long(postgres_url: str, mysql_url: str) -> None:
    with psycopg.connect(postgres_url) as conn:
        conn.execute("SET statement_timeout = 1")
        assert kind_of(lambda: conn.execute("SELECT pg_sleep(5)")) == "statement-timeout"
        assert kind_of(lambda: conn.execute("SELECT 1")) == "failed-transaction"
    with closing(pymysql.connect(**mysql_arguments(mysql_url))) as other, other.cursor() as cursor:
        statement = "SET STATEMENT max_statement_time = 0.001 FOR SELECT SLEEP(5)"
        assert kind_of(lambda: cursor.execute(statement)) == "statement-timeout"


def test_prepared_statements_through_pgbouncer(postgres_url: str) -> None:
    def twice(url: str) -> None:
        with ExitStack() as stack:
            for _ in range(2):
                conn = stack.enter_context(psycopg.connect(url, autocommit=True, connect_timeout=5))
                conn.execute("SELECT 1", prepare=True)

    with pgbouncer(postgres_url) as url:
        assert kind_of(lambda: twice(url)) == "prepared"


def test_a_deadlock(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as one, psycopg.connect(postgres_url) as other:
        for conn in (one, other):
            conn.execute("SET deadlock_timeout = 10")
        one.execute("SELECT pg_advisory_xact_lock(4711)")
        other.execute("SELECT pg_advisory_xact_lock(4712)")

        def wait() -> None:
            with suppress(psycopg.Error):
                one.execute("SELECT pg_advisory_xact_lock(4712)")
            one.rollback()

        waiter = threading.Thread(target=wait)
        waiter.start()
        texts = []
        try:
            other.execute("SELECT pg_advisory_xact_lock(4711)")
        except psycopg.Error as error:
            texts.append(str(error))
        other.rollback()
        waiter.join()
        # Only one of the two is told so.
        assert all(read_errors(text).counts.keys() == {"conflict"} for text in texts)


def test_sqlite_has_one_writer_and_one_thread(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as one,
        closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as other,
    ):
        one.execute("BEGIN IMMEDIATE")
        assert kind_of(lambda: other.execute("BEGIN IMMEDIATE")) == "sqlite-locked"
        kinds: list[str] = []
        thread = threading.Thread(
            target=lambda: kinds.append(kind_of(lambda: other.execute("SELECT 1")))
        )
        thread.start()
        thread.join()
        assert kinds == ["sqlite-thread"]


def test_asyncpgs_connection_in_two_hands_and_in_two_loops(postgres_url: str) -> None:
    async def gather() -> None:
        conn = await asyncpg.connect(postgres_url)
        try:
            await asyncio.gather(*(conn.execute("SELECT pg_sleep(0.01)") for _ in range(2)))
        finally:
            conn.terminate()

    assert kind_of(lambda: asyncio.run(gather())) == "shared"


def test_a_lock_of_another_loop() -> None:
    lock = asyncio.Lock()

    async def contend() -> None:
        async def hold() -> None:
            async with lock:
                await asyncio.sleep(0)

        await asyncio.gather(hold(), hold())

    asyncio.run(contend())
    assert kind_of(lambda: asyncio.run(contend())) == "other-loop"


def test_a_server_that_is_not_there(make_pool: MakePool) -> None:
    url = "postgresql://app@127.0.0.1:1/shop"
    assert kind_of(lambda: psycopg.connect(url)) == "unreachable"
    pool = make_pool(url, acquire_timeout=0.2, fail_fast_after=None)
    with pytest.raises(TimeoutError) as caught:
        pool.acquire()
    assert read_errors(str(caught.value)).counts.keys() == {"pool-full", "unreachable"}


def connection_that_was_cut(url: str) -> Any:
    """Return a connection of MySQL that the server has ended."""
    conn: Any = pymysql.connect(**mysql_arguments(url))
    with closing(pymysql.connect(**mysql_arguments(url))) as other, other.cursor() as cursor:
        cursor.execute(f"KILL {conn.server_thread_id[0]}")
    return conn


def test_mysql_has_gone_away(mysql_url: str) -> None:
    conn = connection_that_was_cut(mysql_url)
    assert kind_of(conn.begin) == "cut"
