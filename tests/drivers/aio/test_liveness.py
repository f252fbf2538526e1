"""Liveness without a round trip, and ping, which makes one."""

from __future__ import annotations

import pytest

from drivers.aio.cases import AsyncCase, AsyncSession, in_a_session, let_the_loop_look


@in_a_session
async def test_a_connection_that_works_is_alive(case: AsyncCase, session: AsyncSession) -> None:
    del case
    assert session.driver.is_alive(session.conn) is True
    await session.value("SELECT 1")
    await session.driver.reset(session.conn)
    assert session.driver.is_alive(session.conn) is True


@pytest.mark.usefixtures("served")
@in_a_session
async def test_a_connection_that_the_server_ended_is_seen_before_the_loop_runs(
    case: AsyncCase, session: AsyncSession
) -> None:
    await case.kill(session)

    assert session.driver.is_alive(session.conn) is False


@pytest.mark.usefixtures("served")
@in_a_session
async def test_a_connection_that_the_server_ended_is_seen_after_the_loop_has_run(
    case: AsyncCase, session: AsyncSession
) -> None:
    await case.kill(session)
    await let_the_loop_look()

    assert session.driver.is_alive(session.conn) is False


@in_a_session
async def test_a_closed_connection_is_dead_and_fails_its_ping(
    case: AsyncCase, session: AsyncSession
) -> None:
    await session.driver.close(session.conn)

    assert session.driver.is_alive(session.conn) is not True
    with pytest.raises(Exception, match=case.closed):
        await session.driver.ping(session.conn)


@in_a_session
async def test_ping_leaves_no_transaction_open(case: AsyncCase, session: AsyncSession) -> None:
    del case
    for _ in range(3):
        await session.driver.ping(session.conn)

    assert session.is_clean()


def test_ping_leaves_autocommit_as_it_is(case: AsyncCase) -> None:
    async def body(session: AsyncSession) -> None:
        await session.driver.ping(session.conn)

        await case.prove_autocommit(session)

    case.run(body, autocommit=True)


@in_a_session
async def test_ping_leaves_an_open_transaction_alone(
    case: AsyncCase, session: AsyncSession
) -> None:
    del case
    await session.run("CREATE TEMPORARY TABLE t (n INTEGER)")
    await session.driver.commit(session.conn)
    await session.driver.begin(session.conn)
    await session.run("INSERT INTO t VALUES (1)")

    await session.driver.ping(session.conn)

    await session.driver.commit(session.conn)
    assert await session.value("SELECT count(*) FROM t") == 1


@pytest.mark.usefixtures("served")
@in_a_session
async def test_ping_fails_on_a_connection_that_the_server_ended(
    case: AsyncCase, session: AsyncSession
) -> None:
    await case.kill(session)

    with pytest.raises(Exception, match=r"."):
        await session.driver.ping(session.conn)
