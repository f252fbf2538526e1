"""Dropping a connection at once, whatever it and its event loop are doing."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import TYPE_CHECKING, Any

import pytest

from async_loops import until
from drivers.aio.cases import (
    LOOPS,
    AioSqlite,
    AsyncCase,
    AsyncSession,
    connections,
    in_a_session,
    opened,
)
from helpers import eventually, in_thread
from millpond.drivers import TransactionStatus

if TYPE_CHECKING:
    from collections.abc import Callable


@in_a_session
async def test_an_idle_connection_is_dropped(case: AsyncCase, session: AsyncSession) -> None:
    del case
    session.driver.abort(session.conn)
    session.driver.abort(session.conn)
    await asyncio.sleep(0)

    assert session.driver.is_alive(session.conn) is False
    assert session.status in {TransactionStatus.UNKNOWN, TransactionStatus.ACTIVE}
    assert not session.is_clean()
    with pytest.raises(Exception, match=r"."):
        await session.value("SELECT 1")


@in_a_session
async def test_who_awaits_a_statement_is_told_soon(case: AsyncCase, session: AsyncSession) -> None:
    running = asyncio.ensure_future(session.value(case.blocking.endless))
    await session.is_at_work()

    session.driver.abort(session.conn)

    await asyncio.wait([running], timeout=5)
    assert running.done()
    assert running.exception() is not None


def test_a_connection_is_dropped_in_the_middle_of_a_transaction(case: AsyncCase) -> None:
    before = connections()

    async def body() -> None:
        driver, conn = await opened(case.url)
        await driver.begin(conn)
        driver.abort(conn)
        await asyncio.sleep(0)

    case.start(body())

    eventually(lambda: connections() == before)


def left_over(case: AsyncCase, loop: Callable[[], asyncio.AbstractEventLoop]) -> tuple[Any, Any]:
    """Open a connection in an event loop that is closed then, with a statement under way."""

    async def body() -> tuple[Any, Any]:
        driver, conn = await opened(case.url)
        await driver.begin(conn)
        return driver, conn

    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(body())


# uvloop closes the sockets of its transports with the loop, and says so.
@pytest.mark.filterwarnings("ignore:unclosed resource:ResourceWarning")
def test_a_closed_event_loop_does_not_matter(case: AsyncCase, capfd: Any) -> None:
    before = connections()
    threads = threading.active_count()
    driver, conn = left_over(case, LOOPS[case.loop])

    driver.abort(conn)
    driver.abort(conn)

    eventually(lambda: connections() == before)
    eventually(lambda: threading.active_count() <= threads)
    assert not driver.is_clean(conn)
    del conn
    gc.collect()
    assert capfd.readouterr().err == ""


@pytest.mark.usefixtures("served")
def test_a_thread_that_is_not_the_loops_may_drop_it(case: AsyncCase) -> None:
    before = connections()

    async def body() -> None:
        driver, conn = await opened(case.url)
        await asyncio.to_thread(driver.abort, conn)
        await until(lambda: driver.is_alive(conn) is False)

    case.start(body())

    eventually(lambda: connections() == before)


def test_the_thread_of_a_connection_that_is_busy_ends_too(make: Any) -> None:
    case = make(AioSqlite)
    threads = threading.active_count()

    async def body() -> Any:
        driver, conn = await opened(case.url)
        running = asyncio.ensure_future(case.rows(conn, case.blocking.endless))
        await until(lambda: driver.transaction_status(conn) is TransactionStatus.ACTIVE)
        running.cancel()
        await asyncio.wait([running])
        return driver, conn

    with asyncio.Runner(loop_factory=LOOPS[case.loop]) as runner:
        driver, conn = runner.run(body())
    assert driver.transaction_status(conn) is TransactionStatus.ACTIVE

    in_thread(driver.abort, conn).result()

    eventually(lambda: threading.active_count() <= threads)
