"""Results that a borrower leaves unread, and other things that only one driver has."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from async_loops import until
from drivers.aio.cases import LOOPS, AioSqlite, AsyncCase, AsyncMy, AsyncSession, Psycopg, opened
from drivers.aio.cases import AioMySQL as AioMySQLCase
from helpers import eventually
from millpond.drivers import TransactionStatus


def test_an_open_cursor_of_sqlite_is_not_clean(make: Any) -> None:
    case = make(AioSqlite)

    async def body(session: AsyncSession) -> None:
        cursor = await session.conn.execute(case.blocking.many)
        await cursor.fetchone()
        assert not session.is_clean()
        with pytest.raises(Exception, match="interrupted"):
            await session.driver.reset(session.conn)

        await cursor.close()
        assert session.is_clean()

    case.run(body)


def test_a_result_of_sqlite_that_nobody_has_is_no_unread_one(make: Any) -> None:
    case = make(AioSqlite)

    async def body(session: AsyncSession) -> None:
        for _ in range(100):
            await session.conn.execute(case.blocking.many)
            session.is_clean()
            # Until the task suspends, the loop has it. A pool's resets are tasks of their own.
            await asyncio.sleep(0)
            await session.driver.reset(session.conn)
            assert session.is_clean()

    case.run(body)


def test_a_connection_of_sqlite_that_is_bound_to_its_thread_is_reset_in_there(make: Any) -> None:
    case = make(AioSqlite)

    async def body(session: AsyncSession) -> None:
        # Nobody but its thread may ask whether a result is unread, so `reset` has to.
        assert not session.driver.is_clean(session.conn)
        assert session.status is TransactionStatus.IDLE
        await session.driver.reset(session.conn)
        assert await session.value("SELECT 77") == 77

    case.run(body, by_callable=True)


def test_a_statement_of_sqlite_that_outlives_its_loop_makes_no_noise(
    make: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    case = make(AioSqlite)
    threads = threading.active_count()

    async def body() -> tuple[Any, Any]:
        driver, conn = await opened(case.url)
        running = asyncio.ensure_future(case.rows(conn, case.waiting))
        await until(lambda: driver.transaction_status(conn) is TransactionStatus.ACTIVE)
        running.cancel()
        return driver, conn

    with asyncio.Runner(loop_factory=LOOPS[case.loop]) as runner:
        driver, conn = runner.run(body())
    eventually(lambda: driver.transaction_status(conn) is not TransactionStatus.ACTIVE)

    driver.abort(conn)

    eventually(lambda: threading.active_count() <= threads)
    assert capfd.readouterr().err == ""


@pytest.mark.server
@pytest.mark.parametrize("kind", [AioMySQLCase, AsyncMy])
def test_unread_rows_of_mysql_are_refused(make: Any, kind: type[AsyncCase]) -> None:
    case = make(kind)

    async def body(session: AsyncSession) -> None:
        module = __import__(f"{case.package}.cursors", fromlist=["SSCursor"])
        cursor = await settled(session.conn.cursor(module.SSCursor))
        await cursor.execute(case.blocking.many)
        await cursor.fetchone()
        assert session.status is TransactionStatus.ACTIVE
        assert not session.is_clean()
        with pytest.raises(Exception, match=r"rows that were not read|under way"):
            await session.driver.reset(session.conn)

    case.run(body)


@pytest.mark.server
@pytest.mark.parametrize("kind", [AioMySQLCase, AsyncMy])
def test_further_results_of_mysql_are_read_by_a_reset(make: Any, kind: type[AsyncCase]) -> None:
    case = make(kind)

    async def body(session: AsyncSession) -> None:
        await session.conn.query("SELECT 1; SELECT 2; SELECT 3")
        assert session.status is TransactionStatus.ACTIVE

        await session.driver.reset(session.conn)

        assert session.is_clean()
        assert await session.value("SELECT 77") == 77

    case.run(body)


async def settled(value: Any) -> Any:
    """Return a cursor, which one of the two awaits."""
    return await value if hasattr(value, "__await__") else value


@pytest.mark.server
def test_a_pipeline_of_psycopg_is_refused(make: Any) -> None:
    case = make(Psycopg)

    async def body(session: AsyncSession) -> None:
        async with session.conn.pipeline():
            assert not session.is_clean()
            with pytest.raises(Exception, match="it is in pipeline mode"):
                await session.driver.reset(session.conn)
        await session.driver.reset(session.conn)
        assert session.is_clean()

    case.run(body)


@pytest.mark.server
def test_attributes_of_psycopg_are_restored_with_the_session(make: Any) -> None:
    import psycopg  # noqa: PLC0415

    case = make(Psycopg)

    async def body(session: AsyncSession) -> None:
        conn = session.conn
        await conn.set_autocommit(True)
        await conn.set_read_only(True)
        conn.row_factory = psycopg.rows.dict_row

        await session.driver.reset_session(conn)

        assert conn.autocommit is False
        assert conn.read_only is None
        assert conn.row_factory is psycopg.rows.tuple_row

    case.run(body)
