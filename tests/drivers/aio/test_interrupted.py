"""Cancellation at each point at which a coroutine can be cancelled, swallowed by its user.

Whatever happened, either the driver says that the connection is not clean, and then `reset` makes
it so or refuses it; or the next one who uses it gets the answers to his own questions.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from drivers.aio.cancelling import cancelled_at
from drivers.aio.cases import connections
from helpers import eventually
from millpond.drivers import SessionOptions, TransactionStatus, aio

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from drivers.aio.cases import AsyncCase, AsyncSession

    Action = Callable[[AsyncCase, AsyncSession], Coroutine[Any, Any, Any]]

# More suspensions than any of them has: what is never done is a test that hangs.
MANY = 60


async def in_a_transaction(case: AsyncCase, session: AsyncSession) -> None:
    """Do several things, one after the other."""
    await session.driver.begin(session.conn)
    await session.value(case.waiting)
    await session.run("SAVEPOINT a")
    await session.driver.commit(session.conn)


ACTIONS: dict[str, Action] = {
    "query": lambda _, session: session.value("SELECT 1"),
    "slow query": lambda case, session: session.value(case.waiting),
    "transaction": in_a_transaction,
    "begin": lambda _, session: session.driver.begin(session.conn, isolation="serializable"),
    "commit": lambda _, session: session.driver.commit(session.conn),
    "rollback": lambda _, session: session.driver.rollback(session.conn),
    "execute": lambda _, session: session.run("SELECT 1"),
    "ping": lambda _, session: session.driver.ping(session.conn),
    "prepare": lambda _, session: session.driver.prepare(
        session.conn, SessionOptions(session=("SELECT 1", "SELECT 2"))
    ),
    "reset": lambda _, session: session.driver.reset(session.conn),
    "reset_session": lambda _, session: session.driver.reset_session(session.conn),
    "cancel": lambda _, session: session.driver.cancel(session.conn),
}
IN_A_TRANSACTION = {"commit", "rollback", "reset", "ping", "reset_session"}


async def expect_own_answers(session: AsyncSession, *, hit: bool = False) -> bool:
    """Do what a pool does at a release, and say whether the connection may be used again.

    When it may be ``hit``, a cancellation is on its way that nobody waited for. It ends one
    statement, which is no answer to another question; a pool validates such a connection.
    """
    if not session.is_clean():
        if session.status in {TransactionStatus.ACTIVE, TransactionStatus.UNKNOWN}:
            return False
        try:
            await session.driver.reset(session.conn)
        except Exception:  # noqa: BLE001  then it is not to be used again
            return False
        assert session.is_clean()
    try:
        for number in (77, 78, 79):
            assert await session.value(f"SELECT {number}") == number
        await session.driver.reset(session.conn)
    except Exception as error:
        if not hit or not session.driver.is_cancelled(error):
            raise
        return await expect_own_answers(session)
    return True


@pytest.mark.parametrize("delay", [0.0, 0.02], ids=["at once", "a moment later"])
@pytest.mark.parametrize("action", ACTIONS)
def test_nobody_gets_the_answer_to_another_question(
    case: AsyncCase, action: str, delay: float
) -> None:

    async def sweep() -> None:
        for at in range(MANY):
            async with case.open() as session:
                if action == "reset_session" and action not in session.driver.supports:
                    return
                if action in IN_A_TRANSACTION:
                    await session.driver.begin(session.conn)
                    await session.value("SELECT 5")
                done = await cancelled_at(ACTIONS[action](case, session), at, delay)
                hit = action == "cancel" and done.cancelled
                await expect_own_answers(session, hit=hit)
            if not done.cancelled:
                return
        pytest.fail(f"more than {MANY} suspensions")

    case.start(sweep())


@pytest.mark.parametrize("delay", [0.0, 0.001], ids=["at once", "a moment later"])
def test_connecting_that_is_cancelled_leaves_no_socket_and_no_thread(
    case: AsyncCase, delay: float
) -> None:
    threads = threading.active_count()
    before = connections()
    opened = []

    async def connect() -> None:
        opened.append(await driver.connect())

    driver = aio.find(case.url)

    async def sweep() -> None:
        for at in range(MANY):
            done = await cancelled_at(connect(), at, delay)
            while opened:
                await driver.close(opened.pop())
            if not done.cancelled:
                return
        pytest.fail(f"more than {MANY} suspensions")

    case.start(sweep())

    assert connections() == before
    eventually(lambda: threading.active_count() <= threads)


@pytest.mark.parametrize("delay", [0.0, 0.001], ids=["at once", "a moment later"])
def test_closing_that_is_cancelled_can_be_made_good_by_abort(case: AsyncCase, delay: float) -> None:
    before = connections()

    async def sweep() -> None:
        for at in range(MANY):
            driver = aio.find(case.url)
            conn = await driver.connect()
            await driver.prepare(conn, SessionOptions())
            done = await cancelled_at(_close(driver, conn), at, delay)
            driver.abort(conn)
            if not done.cancelled:
                return
        pytest.fail(f"more than {MANY} suspensions")

    case.start(sweep())

    assert connections() == before


async def _close(driver: Any, conn: Any) -> None:
    await driver.close(conn)
