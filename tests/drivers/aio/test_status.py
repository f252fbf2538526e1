"""How a connection stands, which the driver knows without asking the server."""

from __future__ import annotations

import asyncio

import pytest

from drivers.aio.cases import AsyncCase, AsyncSession, in_a_session
from drivers.aio.test_cancel import cancel_until_it_ends
from millpond.drivers import TransactionStatus


async def begin_and_write(session: AsyncSession) -> None:
    """Leave a transaction open that has done something."""
    await session.driver.begin(session.conn)
    await session.run("CREATE TEMPORARY TABLE t (n INTEGER)")
    await session.run("INSERT INTO t VALUES (1)")


@in_a_session
async def test_a_new_connection_is_clean(case: AsyncCase, session: AsyncSession) -> None:
    del case
    assert session.status is TransactionStatus.IDLE
    assert session.is_clean()


@in_a_session
async def test_a_transaction_is_open_until_it_is_committed(
    case: AsyncCase, session: AsyncSession
) -> None:
    del case
    await begin_and_write(session)
    assert session.status is TransactionStatus.OPEN
    assert not session.is_clean()

    await session.driver.commit(session.conn)

    assert session.is_clean()


@in_a_session
async def test_a_transaction_is_open_until_it_is_rolled_back(
    case: AsyncCase, session: AsyncSession
) -> None:
    del case
    await begin_and_write(session)

    await session.driver.rollback(session.conn)

    assert session.is_clean()


@in_a_session
async def test_after_an_error_a_transaction_is_failed_or_still_open(
    case: AsyncCase, session: AsyncSession
) -> None:
    del case
    await begin_and_write(session)
    with pytest.raises(Exception, match="no_such_table"):
        await session.run("INSERT INTO no_such_table VALUES (1)")

    assert session.status in {TransactionStatus.FAILED, TransactionStatus.OPEN}
    assert not session.is_clean()
    await session.driver.rollback(session.conn)


def test_in_autocommit_mode_a_statement_opens_no_transaction(case: AsyncCase) -> None:
    async def body(session: AsyncSession) -> None:
        await session.run("CREATE TEMPORARY TABLE t (n INTEGER)")
        await session.run("INSERT INTO t VALUES (1)")

        assert session.is_clean()

    case.run(body, autocommit=True)


@in_a_session
async def test_a_statement_that_another_task_awaits_is_active(
    case: AsyncCase, session: AsyncSession
) -> None:
    running = asyncio.ensure_future(session.value(case.blocking.endless))
    await session.is_at_work()

    assert not session.is_clean()
    for verb in (session.driver.reset, session.driver.reset_session):
        with pytest.raises(Exception, match=r"cannot be used again"):
            await verb(session.conn)

    await cancel_until_it_ends(session, running)
    running.exception()
    await session.driver.reset(session.conn)
    assert session.is_clean()
