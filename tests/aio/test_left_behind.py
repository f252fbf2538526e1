"""What a borrower leaves behind on a connection, and what the next one finds: nothing of it."""

from __future__ import annotations

import asyncio
import gc
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

import millpond
from async_cancel import no_task_is_left
from drivers.aio.cases import CASES, LOOPS, AsyncCase
from millpond.drivers import TransactionStatus, aio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Leave = Callable[[AsyncCase, Any, Any, str], Awaitable[object]]


async def open_transaction(case: AsyncCase, driver: Any, conn: Any, table: str) -> None:
    """Leave a change uncommitted."""
    del case
    await driver.begin(conn)
    await driver.execute(conn, f"UPDATE {table} SET n = 7")


async def failed_transaction(case: AsyncCase, driver: Any, conn: Any, table: str) -> None:
    """Leave a change uncommitted, and after it a statement that failed."""
    await open_transaction(case, driver, conn, table)
    with suppress(Exception):
        await driver.execute(conn, "SELECT * FROM no_such_table")


async def savepoint(case: AsyncCase, driver: Any, conn: Any, table: str) -> None:
    """Leave a transaction within a savepoint."""
    del case
    await driver.begin(conn)
    await driver.execute(conn, "SAVEPOINT one")
    await driver.execute(conn, f"UPDATE {table} SET n = 7")


async def setting(case: AsyncCase, driver: Any, conn: Any, table: str) -> None:
    """Leave a session changed, and within a transaction; only ``reset="session"`` finds the first.

    So it is not looked for here, but it must not be in the way.
    """
    await driver.execute(conn, case.blocking.set_variable)
    await open_transaction(case, driver, conn, table)


async def statement(case: AsyncCase, driver: Any, conn: Any, table: str) -> None:
    """Leave a statement under way, which was cancelled by somebody who went on."""
    await open_transaction(case, driver, conn, table)
    with suppress(TimeoutError):
        await asyncio.wait_for(case.rows(conn, case.waiting), 0.01)


async def rows_of_sqlite(case: AsyncCase, driver: Any, conn: Any, table: str) -> object:
    """Leave rows unread."""
    del driver, table
    cursor = await conn.execute(case.blocking.many)
    await cursor.fetchone()
    return cursor


async def rows_of_mysql(case: AsyncCase, driver: Any, conn: Any, table: str) -> object:
    """Leave rows on the server."""
    del driver, table
    module = __import__(f"{case.package}.cursors", fromlist=["SSCursor"])
    cursor = conn.cursor(module.SSCursor)
    if asyncio.iscoroutine(cursor):
        cursor = await cursor
    await cursor.execute(case.blocking.many)
    await cursor.fetchone()
    return cursor


async def several_results(case: AsyncCase, driver: Any, conn: Any, table: str) -> None:
    """Leave the second of two results unread."""
    del case, driver, table
    await conn.query("SELECT 1; SELECT 2")


async def cursor_of_psycopg(case: AsyncCase, driver: Any, conn: Any, table: str) -> object:
    """Leave a cursor of the server open."""
    del driver, table
    cursor = conn.cursor(name="left_open")
    await cursor.execute(case.blocking.many)
    await cursor.fetchone()
    return cursor


async def pipeline(case: AsyncCase, driver: Any, conn: Any, table: str) -> object:
    """Leave a pipeline with statements whose results nobody has read."""
    del case, driver
    context = conn.pipeline()
    await context.__aenter__()
    for number in range(10):
        await conn.execute(f"UPDATE {table} SET n = {number}")
    return context


async def copy_in(case: AsyncCase, driver: Any, conn: Any, table: str) -> object:
    """Leave in the middle of COPY FROM STDIN."""
    del case, driver
    context = conn.cursor().copy(f"COPY {table} FROM STDIN")
    copy = await context.__aenter__()
    await copy.write_row((3, 3))
    return context, copy


async def copy_out(case: AsyncCase, driver: Any, conn: Any, table: str) -> object:
    """Leave in the middle of COPY TO STDOUT."""
    del driver, table
    context = conn.cursor().copy(f"COPY ({case.blocking.many}) TO STDOUT")
    copy = await context.__aenter__()
    return context, copy, await copy.read()


async def cursor_of_asyncpg(case: AsyncCase, driver: Any, conn: Any, table: str) -> object:
    """Leave a cursor open, in a transaction of asyncpg's own."""
    del driver, table
    transaction = conn.transaction()
    await transaction.start()
    cursor = await conn.cursor(case.blocking.many)
    await cursor.fetch(5)
    return transaction, cursor


async def listener(case: AsyncCase, driver: Any, conn: Any, table: str) -> None:
    """Leave somebody listening, and a lock of the session."""
    del case, driver, table
    await conn.add_listener("millpond", print)
    await conn.execute("SELECT pg_advisory_lock(7707)")


EVERYBODY: tuple[Leave, ...] = (
    open_transaction,
    failed_transaction,
    savepoint,
    setting,
    statement,
)
SOME: dict[str, tuple[Leave, ...]] = {
    "aiosqlite": (rows_of_sqlite,),
    "aiomysql": (rows_of_mysql, several_results),
    "asyncmy": (rows_of_mysql, several_results),
    "psycopg": (cursor_of_psycopg, pipeline, copy_in, copy_out),
    "asyncpg": (cursor_of_asyncpg, listener),
}

PARAMETERS = [
    pytest.param(
        (kind, loop),
        leave,
        id=f"{kind.name}-{loop}-{leave.__name__}",
        marks=[pytest.mark.server] if kind.twin.has_server else [],
    )
    for kind in CASES
    for loop in LOOPS
    for leave in (*EVERYBODY, *SOME[kind.name])
]


@pytest.fixture
def case(request: pytest.FixtureRequest) -> AsyncCase:
    """Give a driver with its database, and the loop to use."""
    kind, loop = request.param
    made: AsyncCase = kind(request, loop)
    return made


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # which a cursor of psycopg ends with
@pytest.mark.parametrize("reset", ["rollback", "session"])
@pytest.mark.parametrize(("case", "leave"), PARAMETERS, indirect=["case"])
def test_the_next_borrower_finds_a_clean_session(case: AsyncCase, leave: Leave, reset: str) -> None:
    """Twice, since what was not read may show only at the second statement."""
    if reset == "session" and "reset_session" not in aio.find(case.url).supports:
        with pytest.raises(millpond.PoolConfigError, match="reset='session'"):
            millpond.AsyncPool(case.url, reset=reset)
        return
    table = f"left_behind_{time.monotonic_ns()}"
    # What is left has to be kept alive, or the driver may tidy up by itself.
    kept: list[object] = []

    async def main() -> None:
        async with millpond.AsyncPool(case.url, max_size=1, reset=reset) as pool:
            async with pool.transaction() as conn:
                run = pool._driver.execute
                await run(conn, f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, n INTEGER)")
                await run(conn, f"INSERT INTO {table} VALUES (1, 0), (2, 0)")
                before = await case.rows(conn, case.blocking.variable)
            try:
                for _ in range(2):
                    async with pool.connection() as conn:
                        kept.append(await leave(case, pool._driver, conn, table))
                    await look(pool, before)
            finally:
                async with pool.transaction() as conn:
                    await run(conn, f"DROP TABLE {table}")
            stats = pool.stats()
            # What can't be cleaned is replaced, once for each time that it was left so.
            assert stats.opened <= 3
            assert stats.opened == 1 + stats.closed["reset"] + stats.closed["discarded"]
        await no_task_is_left()

    async def look(pool: millpond.AsyncPool[Any], before: Any) -> None:
        for number in range(3):
            async with pool.connection(timeout=20) as conn:
                assert pool._driver.transaction_status(conn) is TransactionStatus.IDLE
                rows = await case.rows(conn, f"SELECT {number}")
                assert [tuple(row) for row in rows] == [(number,)]
                rows = await case.rows(conn, f"SELECT n FROM {table} ORDER BY id")
                assert [tuple(row) for row in rows] == [(0,), (0,)]
                if reset == "session":
                    assert await case.rows(conn, case.blocking.variable) == before

    case.start(main())
    kept.clear()
    gc.collect()
