"""Transactions that the pool begins, commits and rolls back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from millpond.drivers import ISOLATION_LEVELS, TransactionStatus
from millpond.errors import PoolConfigError, PoolError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from drivers.aio.cases import AsyncCase, AsyncSession


@pytest.fixture(params=[False, True], ids=["implicit", "autocommit"])
def autocommit(request: pytest.FixtureRequest, case: AsyncCase) -> bool:
    """Give each mode that the driver has."""
    return request.param or not case.implicit


def run(case: AsyncCase, body: Callable[[AsyncSession], Awaitable[None]], *, mode: bool) -> None:
    """Run a test's body with a table of its own."""

    async def with_a_table(session: AsyncSession) -> None:
        await session.run("CREATE TEMPORARY TABLE t (n INTEGER)")
        if not mode:
            await session.driver.commit(session.conn)
        await body(session)

    case.run(with_a_table, autocommit=mode)


async def count(session: AsyncSession) -> Any:
    """Count the rows of the table."""
    return await session.value("SELECT count(*) FROM t")


def test_what_is_committed_stays(case: AsyncCase, *, autocommit: bool) -> None:
    async def body(session: AsyncSession) -> None:
        await session.driver.begin(session.conn)
        await session.run("INSERT INTO t VALUES (1)")
        await session.driver.commit(session.conn)
        await session.driver.reset(session.conn)

        assert await count(session) == 1

    run(case, body, mode=autocommit)


def test_what_is_rolled_back_never_was(case: AsyncCase, *, autocommit: bool) -> None:
    async def body(session: AsyncSession) -> None:
        await session.driver.begin(session.conn)
        await session.run("INSERT INTO t VALUES (1)")
        await session.driver.rollback(session.conn)

        assert session.is_clean()
        assert await count(session) == 0

    run(case, body, mode=autocommit)


def test_a_commit_after_a_statement_that_failed_says_so_unless_it_is_one(
    case: AsyncCase, *, autocommit: bool
) -> None:
    async def body(session: AsyncSession) -> None:
        await session.driver.begin(session.conn)
        await session.run("INSERT INTO t VALUES (1)")
        with pytest.raises(Exception, match="no_such_table"):
            await session.run("INSERT INTO no_such_table VALUES (1)")
        if session.status is TransactionStatus.FAILED:  # the pool does not even try
            return

        try:
            await session.driver.commit(session.conn)
        except PoolError as error:
            assert "rolled back and not committed" in str(error)  # noqa: PT017  or nothing is raised
            assert session.is_clean()
        else:
            assert await count(session) == 1

    run(case, body, mode=autocommit)


def test_one_transaction_can_follow_the_other(case: AsyncCase, *, autocommit: bool) -> None:
    async def body(session: AsyncSession) -> None:
        for end in ("commit", "rollback", "commit"):
            await session.driver.begin(session.conn)
            await session.run("INSERT INTO t VALUES (1)")
            await getattr(session.driver, end)(session.conn)

        assert await count(session) == 2

    run(case, body, mode=autocommit)


def test_a_savepoint_takes_back_a_part(case: AsyncCase, *, autocommit: bool) -> None:
    async def body(session: AsyncSession) -> None:
        begin, go_back, drop = session.driver.savepoint_sql
        await session.driver.begin(session.conn)
        await session.run("INSERT INTO t VALUES (1)")
        await session.run(begin.format("a"))
        await session.run("INSERT INTO t VALUES (2)")
        await session.run(go_back.format("a"))
        await session.run(begin.format("b"))
        await session.run("INSERT INTO t VALUES (3)")
        await session.run(drop.format("b"))
        await session.driver.commit(session.conn)

        assert await count(session) == 2

    run(case, body, mode=autocommit)


@pytest.mark.parametrize("level", [*ISOLATION_LEVELS, "chaos"])
def test_the_isolation_level_holds_for_the_transaction(
    case: AsyncCase, level: str, *, autocommit: bool
) -> None:
    async def body(session: AsyncSession) -> None:
        if level not in session.driver.isolation_levels:
            with pytest.raises(PoolConfigError, match=f"^isolation='{level}': with {case.name} it"):
                await session.driver.begin(session.conn, isolation=level)
            return
        await session.driver.begin(session.conn, isolation=level)
        assert await case.isolation(session) in {None, level}
        await session.driver.commit(session.conn)
        assert session.is_clean()

    run(case, body, mode=autocommit)


def test_a_read_only_transaction_refuses_to_write(case: AsyncCase, *, autocommit: bool) -> None:
    async def body(session: AsyncSession) -> None:
        if not session.driver.read_only_transactions:
            with pytest.raises(PoolConfigError, match=f"^read_only=True: {case.name} has no"):
                await session.driver.begin(session.conn, read_only=True)
            return
        await session.driver.begin(session.conn, read_only=True)
        with pytest.raises(Exception, match=r"(?i)read.?only"):
            await session.run(case.blocking.write)
        await session.driver.rollback(session.conn)

        for read_only in (None, False):
            await session.driver.begin(session.conn, read_only=read_only)
            await session.run(case.blocking.write)
            await session.driver.rollback(session.conn)

    run(case, body, mode=autocommit)
