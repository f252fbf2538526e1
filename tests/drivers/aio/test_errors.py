"""What an error means: gone, cancelled, worth repeating, or the program's own fault."""

from __future__ import annotations

import asyncio

import pytest

from drivers.aio.cases import AsyncCase, AsyncSession, in_a_session
from drivers.contract.test_errors import meanings
from millpond.drivers import aio
from millpond.errors import PoolTimeout, for_driver
from servers import accept_and_close, nobody_listening


@pytest.mark.usefixtures("served")
@in_a_session
async def test_a_connection_that_the_server_ended_is_a_disconnect(
    case: AsyncCase, session: AsyncSession
) -> None:
    await case.kill(session)

    for _ in range(2):  # the first error is the server's, the second the driver's own
        with pytest.raises(Exception, match=r".") as caught:
            await session.value("SELECT 1")
        assert meanings(session.driver, caught.value) == {"disconnect"}


@in_a_session
async def test_a_closed_connection_is_a_disconnect(case: AsyncCase, session: AsyncSession) -> None:
    await session.driver.close(session.conn)

    with pytest.raises(Exception, match=case.closed) as caught:
        await session.value("SELECT 1")

    assert meanings(session.driver, caught.value) == {"disconnect"}


@in_a_session
async def test_a_mistake_of_the_program_means_nothing(
    case: AsyncCase, session: AsyncSession
) -> None:
    with pytest.raises(Exception, match=r"(?i)syntax") as caught:
        await session.run(case.blocking.not_a_statement)

    assert meanings(session.driver, caught.value) == set()


@in_a_session
async def test_a_conflict_is_worth_repeating(case: AsyncCase, session: AsyncSession) -> None:
    assert meanings(session.driver, await case.conflict()) == {"retryable"}


@in_a_session
async def test_errors_of_others_mean_nothing(case: AsyncCase, session: AsyncSession) -> None:
    del case
    timeout = for_driver(session.driver.operational_error).timeout
    others = (
        ValueError("closed"),
        PoolTimeout("connection closed"),
        timeout("connection is closed"),
        asyncio.CancelledError(),
    )
    for error in others:
        assert meanings(session.driver, error) == set()


@in_a_session
async def test_the_errors_of_the_pool_are_the_drivers_too(
    case: AsyncCase, session: AsyncSession
) -> None:
    kind = session.driver.operational_error
    errors = for_driver(kind)

    for made in (errors.timeout("it took too long"), errors.closed("it is closed")):
        assert isinstance(made, kind)
        assert str(made).startswith("it ")
    assert isinstance(errors.timeout("it"), TimeoutError) is case.is_timeout


def test_a_server_that_is_not_there_is_worth_another_attempt(served: AsyncCase) -> None:
    async def refused(url: str) -> None:
        driver = aio.find(url, connect_timeout=5.0)
        with pytest.raises(Exception, match=r".") as caught:
            await driver.connect()
        assert driver.is_transient(caught.value), caught.value

    for nowhere in (nobody_listening, accept_and_close):
        with nowhere() as (host, port):
            served.start(refused(f"{served.scheme}://u:p@{host}:{port}/db"))
