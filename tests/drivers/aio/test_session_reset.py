"""`reset="session"`: the session is what it was when it was new."""

from __future__ import annotations

import pytest

from drivers.aio.cases import AsyncCase, AsyncSession, in_a_session
from millpond.drivers import SessionOptions, aio
from millpond.errors import PoolConfigError

NEEDS = {"reset_session": "reset='session'"}


async def can_reset(case: AsyncCase, session: AsyncSession) -> bool:
    """Say whether the driver can; if not, it has to be refused."""
    if "reset_session" in session.driver.supports:
        return True
    with pytest.raises(PoolConfigError, match=r"^reset='session': not possible with the driver"):
        aio.find(case.url, needs=NEEDS)
    with pytest.raises(NotImplementedError, match=case.name):
        await session.driver.reset_session(session.conn)
    return False


@in_a_session
async def test_a_setting_of_the_session_is_forgotten(
    case: AsyncCase, session: AsyncSession
) -> None:
    if not await can_reset(case, session):
        return
    before = await session.value(case.blocking.variable)
    await session.run(case.blocking.set_variable)
    await session.driver.commit(session.conn)
    assert str(await session.value(case.blocking.variable)) == case.blocking.value

    await session.driver.reset_session(session.conn)

    assert await session.value(case.blocking.variable) == before
    assert session.driver.transaction_status(session.conn)


@in_a_session
async def test_a_temporary_table_is_forgotten(case: AsyncCase, session: AsyncSession) -> None:
    if not await can_reset(case, session):
        return
    await session.run("CREATE TEMPORARY TABLE t (n INTEGER)")
    await session.driver.commit(session.conn)

    await session.driver.reset_session(session.conn)

    with pytest.raises(Exception, match=r"\bt\b"):
        await session.value("SELECT count(*) FROM t")


@in_a_session
async def test_an_open_transaction_is_rolled_back(case: AsyncCase, session: AsyncSession) -> None:
    if not await can_reset(case, session):
        return
    await session.driver.begin(session.conn)
    await session.run("CREATE TEMPORARY TABLE t (n INTEGER)")

    await session.driver.reset_session(session.conn)

    assert session.is_clean()


@pytest.mark.parametrize("option", ["read_only", "isolation_level", "session"])
def test_preparing_again_brings_the_options_back(case: AsyncCase, option: str) -> None:
    value = case.values()[option]

    async def body(session: AsyncSession) -> None:
        if not await can_reset(case, session):
            return
        await session.driver.reset_session(session.conn)
        await session.driver.prepare(session.conn, SessionOptions(**{option: value}))

        await case.prove(option, session)

    case.run(body, **{option: value})


@in_a_session
async def test_the_connection_works_as_before_many_times(
    case: AsyncCase, session: AsyncSession
) -> None:
    if not await can_reset(case, session):
        return
    for number in range(12):  # past every threshold for preparing a statement
        assert await session.value(f"SELECT {number}") == number
        assert await session.value("SELECT 77") == 77
        await session.driver.reset(session.conn)
        await session.driver.reset_session(session.conn)

    assert session.is_clean()
