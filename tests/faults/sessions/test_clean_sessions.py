"""What a borrower leaves behind on a connection, and what the next one finds: nothing of it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

import millpond
from faults.sessions.bench import CASES, Bench, parameter

if TYPE_CHECKING:
    from collections.abc import Callable

    Leave = Callable[[Bench, millpond.Pool[Any], Any, str], object]

# What is left unread has to be kept alive, or the driver may tidy up by itself.
kept: list[object] = []


def unread_result(bench: Bench, pool: millpond.Pool[Any], conn: Any, table: str) -> object:
    """Leave rows of an ordinary cursor unread."""
    del pool, table
    cursor = conn.cursor()
    cursor.execute(bench.case.many if bench.kind != "mysql" else "SELECT seq FROM seq_1_to_50000")
    return cursor, cursor.fetchone()


def open_cursor(bench: Bench, pool: millpond.Pool[Any], conn: Any, table: str) -> object:
    """Leave a cursor open whose rows are still on the server."""
    del pool, table
    name = bench.case.name
    if name == "pymysql":
        import pymysql.cursors  # noqa: PLC0415  it may not be installed

        cursor = conn.cursor(pymysql.cursors.SSCursor)
    elif name == "mysqlclient":
        import MySQLdb.cursors  # type: ignore[import-not-found, import-untyped, unused-ignore]  # noqa: PLC0415

        cursor = conn.cursor(MySQLdb.cursors.SSCursor)
    elif bench.kind == "postgres":
        cursor = conn.cursor(name="left_open")
    else:
        cursor = conn.cursor()  # Connector/Python, SQLite and DuckDB read as one fetches
    cursor.execute(bench.case.many)
    return cursor, cursor.fetchone()


def open_transaction(bench: Bench, pool: millpond.Pool[Any], conn: Any, table: str) -> object:
    """Leave a change uncommitted."""
    del bench
    pool._driver.begin(conn)
    pool._driver.execute(conn, f"UPDATE {table} SET n = 7")
    return None


def failed_transaction(bench: Bench, pool: millpond.Pool[Any], conn: Any, table: str) -> object:
    """Leave a change uncommitted, and after it a statement that failed."""
    open_transaction(bench, pool, conn, table)
    with suppress(Exception):
        pool._driver.execute(conn, "SELECT * FROM no_such_table")
    return None


def savepoint(bench: Bench, pool: millpond.Pool[Any], conn: Any, table: str) -> object:
    """Leave a transaction within a savepoint."""
    del bench
    pool._driver.begin(conn)
    pool._driver.execute(conn, "SAVEPOINT one")
    pool._driver.execute(conn, f"UPDATE {table} SET n = 7")
    return None


def several_results(bench: Bench, pool: millpond.Pool[Any], conn: Any, table: str) -> object:
    """Leave the second of two results unread."""
    del bench, pool, table
    cursor = conn.cursor()
    cursor.execute("SELECT 1; SELECT 2")
    return cursor, cursor.fetchone()


def copy_in(bench: Bench, pool: millpond.Pool[Any], conn: Any, table: str) -> object:
    """Leave in the middle of COPY FROM STDIN."""
    del pool
    if bench.case.name == "psycopg":
        context = conn.cursor().copy(f"COPY {table} FROM STDIN")
        copy = context.__enter__()
        copy.write_row((3, 3))
        return context, copy
    if bench.case.name == "psycopg2":

        class _Fails:
            def read(self, _size: int = -1) -> str:
                raise OSError

        with suppress(Exception):
            conn.cursor().copy_expert(f"COPY {table} FROM STDIN", _Fails())
        return None
    return None


def copy_out(bench: Bench, pool: millpond.Pool[Any], conn: Any, table: str) -> object:
    """Leave in the middle of COPY TO STDOUT."""
    del pool, table
    context = conn.cursor().copy(f"COPY ({bench.case.many}) TO STDOUT")
    copy = context.__enter__()
    return context, copy, copy.read()


def pipeline(bench: Bench, pool: millpond.Pool[Any], conn: Any, table: str) -> object:
    """Leave a pipeline with statements whose results nobody has read."""
    del bench, pool
    context = conn.pipeline()
    context.__enter__()
    for number in range(10):
        conn.execute(f"UPDATE {table} SET n = {number}")
    return context


def error_in_pipeline(bench: Bench, pool: millpond.Pool[Any], conn: Any, table: str) -> object:
    """Leave a pipeline that the server has given up on."""
    context = pipeline(bench, pool, conn, table)
    with suppress(Exception):
        conn.execute("SELECT * FROM no_such_table").fetchall()
    return context


EVERYBODY: tuple[Leave, ...] = (unread_result, open_cursor, open_transaction, failed_transaction)
SOME: dict[str, tuple[Leave, ...]] = {
    "sqlite3": (savepoint,),
    "mysqlclient": (savepoint, several_results),
    "mysqlconnector": (savepoint,),
    "pymysql": (savepoint,),
    "psycopg": (savepoint, several_results, copy_in, copy_out, pipeline, error_in_pipeline),
    "psycopg2": (savepoint, several_results, copy_in),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Leave each driver's connections in all the ways that it has."""
    together = [
        parameter(kind, leave, id=leave.__name__)
        for kind in CASES
        for leave in (*EVERYBODY, *SOME.get(kind.name, ()))
    ]
    metafunc.parametrize(("bench", "leave"), together, indirect=["bench"])


@pytest.mark.parametrize("reset", ["rollback", "session"])
def test_the_next_borrower_finds_a_clean_session(
    bench: Bench, table: str, leave: Leave, reset: str
) -> None:
    """Thrice, since what was not read may show only at the second statement."""
    if reset == "session" and "reset_session" not in bench.supports:
        with pytest.raises(millpond.PoolConfigError, match="reset='session'"):
            millpond.Pool(bench.case.url, reset=reset)
        return
    with bench.pool(max_size=1, reset=reset) as pool:
        for _ in range(3):
            with pool.connection() as conn:
                kept.append(leave(bench, pool, conn, table))
            for number in range(3):
                with pool.connection() as conn:
                    assert bench.value(conn, f"SELECT {number}") == number
                    query = f"SELECT n FROM {table} ORDER BY id"
                    assert [n for (n,) in bench.case.rows(conn, query)] == [0, 0]
                    assert pool._driver.transaction_status(conn).value != "active"
        stats = pool.stats()

    for one in kept:
        with suppress(Exception):
            one[0].close()  # type: ignore[index]
    kept.clear()
    # What can't be cleaned is replaced, once for each time that it was left so.
    assert stats.opened <= 4
    assert stats.opened == 1 + stats.closed["reset"]
