"""Cancelling on the server the statement that another task is awaiting."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from drivers.aio.cases import AsyncCase, AsyncSession, in_a_session

if TYPE_CHECKING:
    from typing import Any


async def cancel_until_it_ends(session: AsyncSession, running: asyncio.Future[Any]) -> None:
    """Cancel what is running; before it has begun there is nothing to cancel, and no harm done."""
    async with asyncio.timeout(10):
        while not running.done():
            await session.driver.cancel(session.conn)
            await asyncio.wait([running], timeout=0.02)


@in_a_session
async def test_a_running_statement_is_cancelled(case: AsyncCase, session: AsyncSession) -> None:
    assert "cancel" in session.driver.supports
    running = asyncio.ensure_future(session.value(case.blocking.endless))
    await cancel_until_it_ends(session, running)

    error = running.exception()
    if error is None:  # MariaDB ends SLEEP with a value instead
        assert running.result() == 1
        return
    assert session.driver.is_cancelled(error)
    assert not session.driver.is_disconnect(error)
    assert not session.driver.is_retryable(error)


@in_a_session
async def test_a_connection_whose_statement_was_cancelled_can_be_used_again(
    case: AsyncCase, session: AsyncSession
) -> None:
    running = asyncio.ensure_future(session.value(case.blocking.endless))
    await cancel_until_it_ends(session, running)
    running.exception()

    await session.driver.reset(session.conn)
    await session.driver.ping(session.conn)

    assert session.is_clean()
    assert await session.value("SELECT 77") == 77


@in_a_session
async def test_cancelling_an_idle_connection_does_no_harm(
    case: AsyncCase, session: AsyncSession
) -> None:
    del case
    await session.driver.cancel(session.conn)

    await session.driver.ping(session.conn)

    assert session.is_clean()


@pytest.mark.usefixtures("served")
@in_a_session
async def test_cancelling_leaves_no_task_behind(case: AsyncCase, session: AsyncSession) -> None:
    running = asyncio.ensure_future(session.value(case.blocking.endless))
    await cancel_until_it_ends(session, running)
    running.exception()
    await session.driver.reset(session.conn)

    assert asyncio.all_tasks() == {asyncio.current_task()}
