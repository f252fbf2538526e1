"""The server changes its role, and the pool goes where it is wanted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

import millpond
from async_cancel import no_task_is_left
from async_loops import until
from faults import test_failover
from faults.test_failover import demote, promote
from helpers import eventually
from private_postgres import PrivatePostgres, private_postgres

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

pytestmark = pytest.mark.server

Pool = millpond.AsyncPool[Any]


@pytest.fixture(scope="module")
def server() -> Iterator[PrivatePostgres]:
    """Run a server."""
    with private_postgres() as server:
        yield server


@pytest.fixture(scope="module")
def other() -> Iterator[PrivatePostgres]:
    """Run a second server."""
    with private_postgres() as server:
        yield server


@pytest.fixture(params=["psycopg", "asyncpg"])
def driver(request: pytest.FixtureRequest) -> str:
    """Name a driver."""
    return str(request.param)


def url_of(driver: str, *servers: PrivatePostgres, wanted: str) -> str:
    """Name all of them in one URL."""
    return test_failover.url_of(*servers, wanted=wanted).replace("://", f"+{driver}://", 1)


def play(
    driver: str,
    servers: tuple[PrivatePostgres, ...],
    wanted: str,
    act: Callable[[Pool], Awaitable[None]],
) -> None:
    """Do something with a pool of three connections, all of which are open."""

    async def main() -> None:
        async with millpond.AsyncPool(url_of(driver, *servers, wanted=wanted), max_size=3) as pool:
            lent = await asyncio.gather(*(pool.acquire(timeout=20) for _ in range(3)))
            for conn in lent:
                await pool.release(conn)
            await act(pool)
            assert pool.stats().in_use == 0
        await no_task_is_left()

    asyncio.run(main())


async def write(pool: Pool) -> int:
    """Try to write, and say at which port that was."""
    async with pool.transaction() as conn:
        await conn.execute("CREATE TEMPORARY TABLE written (n INTEGER) ON COMMIT DROP")
        await conn.execute("CREATE TABLE IF NOT EXISTS written_for_good (n INTEGER)")
        return port_of(conn)


def port_of(conn: Any) -> int:
    """Say to which server a connection leads."""
    info = getattr(conn, "info", None)
    return int(conn._addr[1] if info is None else info.port)


def is_read_only(error: Exception) -> bool:
    """Say whether it is what a server says that takes no writes."""
    return getattr(error, "sqlstate", None) == "25006"


def test_a_demoted_primary_is_left_for_the_server_that_takes_writes(
    server: PrivatePostgres, other: PrivatePostgres, driver: str
) -> None:
    async def act(pool: Pool) -> None:
        assert await write(pool) == server.address[1]
        await asyncio.to_thread(demote, server)
        async with asyncio.timeout(20):
            while True:
                try:
                    await write(pool)
                except Exception as error:
                    if not is_read_only(error):
                        raise
                    break
                await asyncio.sleep(0.01)

        assert [await write(pool) for _ in range(6)] == [other.address[1]] * 6
        stats = pool.stats()
        assert stats.closed["dead"] + stats.closed["discarded"] == 1
        assert stats.closed["evicted"] == 2

    try:
        play(driver, (server, other), "read-write", act)
    finally:
        promote(server)


def test_who_waits_while_no_server_takes_writes_is_served_by_the_first_that_does(
    server: PrivatePostgres, driver: str
) -> None:
    async def main() -> None:
        async with millpond.AsyncPool(url_of(driver, server, wanted="read-write")) as pool:
            waiting = asyncio.ensure_future(write(pool))
            await until(lambda: waiting.done() or pool.stats().open_failed)
            await asyncio.to_thread(promote, server)
            assert await waiting == server.address[1]
        await no_task_is_left()

    demote(server)
    eventually(lambda: takes_no_writes(server))
    try:
        asyncio.run(main())
    finally:
        promote(server)


def takes_no_writes(server: PrivatePostgres) -> bool:
    """Say whether a server tells so to whoever connects."""
    with psycopg.connect(server.url) as conn:
        return conn.info.parameter_status("default_transaction_read_only") == "on"


@pytest.mark.parametrize("wanted", ["any", "read-write"])
def test_a_transaction_of_ones_own_that_only_reads_demotes_nobody(
    server: PrivatePostgres, driver: str, wanted: str
) -> None:
    async def act(pool: Pool) -> None:
        with pytest.raises(Exception, match="read-only transaction") as caught:
            async with pool.transaction(read_only=True) as conn:
                await conn.execute("CREATE TABLE refused (n INTEGER)")
        assert is_read_only(caught.value)

        stats = pool.stats()
        assert (stats.size, stats.opened, sum(stats.closed.values())) == (3, 3, 0)

    play(driver, (server,), wanted, act)
