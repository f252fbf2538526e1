"""What a release leaves behind: nothing that the next borrower could stumble over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drivers.aio.cases import AsyncCase, AsyncSession, in_a_session

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def count(session: AsyncSession) -> int:
    """Return how many rows are in the table, which is there."""
    number = await session.value("SELECT count(*) FROM t")
    return int(number)


async def with_a_table(session: AsyncSession) -> None:
    """Make a table that stays."""
    await session.run("CREATE TEMPORARY TABLE t (n INTEGER)")
    await session.driver.commit(session.conn)


@in_a_session
async def test_an_open_transaction_is_rolled_back(case: AsyncCase, session: AsyncSession) -> None:
    del case
    await with_a_table(session)
    await session.driver.begin(session.conn)
    await session.run("INSERT INTO t VALUES (1)")

    await session.driver.reset(session.conn)

    assert session.is_clean()
    assert await count(session) == 0


@in_a_session
async def test_a_failed_transaction_is_rolled_back(case: AsyncCase, session: AsyncSession) -> None:
    del case
    await with_a_table(session)
    await session.driver.begin(session.conn)
    await session.run("INSERT INTO t VALUES (1)")
    with pytest.raises(Exception, match="no_such_table"):
        await session.run("INSERT INTO no_such_table VALUES (1)")

    await session.driver.reset(session.conn)

    assert session.is_clean()
    assert await count(session) == 0


def test_a_transaction_that_autocommit_would_leave_open_is_rolled_back(case: AsyncCase) -> None:
    async def body(session: AsyncSession) -> None:
        await session.run("CREATE TEMPORARY TABLE t (n INTEGER)")
        await session.driver.begin(session.conn)
        await session.run("INSERT INTO t VALUES (1)")

        await session.driver.reset(session.conn)

        assert session.is_clean()
        assert await count(session) == 0

    case.run(body, autocommit=True)


def test_a_transaction_that_was_begun_by_a_statement_is_rolled_back(case: AsyncCase) -> None:
    async def body(session: AsyncSession) -> None:
        await session.run("CREATE TEMPORARY TABLE t (n INTEGER)")
        await session.run("BEGIN")
        await session.run("INSERT INTO t VALUES (1)")
        assert not session.is_clean()

        await session.driver.reset(session.conn)

        assert session.is_clean()
        assert await count(session) == 0

    case.run(body, autocommit=True)


@in_a_session
async def test_without_a_transaction_nothing_is_lost(
    case: AsyncCase, session: AsyncSession
) -> None:
    del case
    await with_a_table(session)
    await session.driver.begin(session.conn)
    await session.run("INSERT INTO t VALUES (1)")
    await session.driver.commit(session.conn)

    for _ in range(3):
        await session.driver.reset(session.conn)

    assert session.is_clean()
    assert await count(session) == 1


@in_a_session
async def test_a_closed_connection_is_refused(case: AsyncCase, session: AsyncSession) -> None:
    await session.driver.close(session.conn)

    assert not session.is_clean()
    for verb in reset_verbs(session):
        with pytest.raises(Exception, match=rf"{case.closed}|UNKNOWN"):
            await verb(session.conn)


def reset_verbs(session: AsyncSession) -> list[Callable[[object], Awaitable[object]]]:
    """Return the ways to reset that the driver has."""
    verbs = [session.driver.reset]
    if "reset_session" in session.driver.supports:
        verbs.append(session.driver.reset_session)
    return verbs


@pytest.mark.usefixtures("served")
@in_a_session
async def test_a_connection_that_died_in_a_transaction_is_refused(
    case: AsyncCase, session: AsyncSession
) -> None:
    await session.driver.begin(session.conn)
    await case.kill(session)
    with pytest.raises(Exception, match=r"."):
        await session.value("SELECT 1")

    assert not session.is_clean()
    with pytest.raises(Exception, match=r"."):
        await session.driver.reset(session.conn)
