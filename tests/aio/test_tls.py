"""TLS that ends, in every way in which it can end: no such connection is ever lent."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

import millpond
from async_cancel import no_task_is_left
from async_loops import until
from private_postgres import PrivatePostgres, private_postgres, private_postgres_with_tls
from tls import Goodbye, TlsFront, tls_front

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("each_loop")]

SOON = 2.0
SIZE = 4
NAME = "millpond-aio-tls"

Pool = millpond.AsyncPool[Any]


@pytest.fixture(scope="module")
def plain() -> Iterator[PrivatePostgres]:
    """Run a server without TLS."""
    with private_postgres() as server:
        yield server


@pytest.fixture
def front(plain: PrivatePostgres, tmp_path: Path) -> Iterator[TlsFront]:
    """Give it TLS."""
    with tls_front(plain.address, tmp_path) as front:
        yield front


@pytest.fixture(scope="module")
def secure() -> Iterator[PrivatePostgres]:
    """Give a server that speaks TLS by itself."""
    with private_postgres_with_tls() as server:
        yield server


@pytest.fixture(params=["psycopg", "asyncpg"])
def driver(request: pytest.FixtureRequest) -> str:
    """Name a driver."""
    return str(request.param)


def url_of(front: TlsFront, driver: str) -> str:
    """Give the URL that leads through TLS, or nowhere."""
    host, port = front.address
    option = "&gssencmode=disable" if driver == "psycopg" else ""
    return f"postgresql+{driver}://postgres@{host}:{port}/postgres?sslmode=require{option}"


def play(url: str, act: Callable[[Pool], Awaitable[None]], **options: Any) -> None:
    """Do something with a pool all of whose connections are open and idle."""

    async def main() -> None:
        async with millpond.AsyncPool(url, max_size=SIZE, **options) as pool:
            lent = await asyncio.gather(*(pool.acquire(timeout=20) for _ in range(SIZE)))
            for conn in lent:
                await pool.release(conn)
            await act(pool)
            assert pool.stats().in_use == 0
        await no_task_is_left()

    asyncio.run(main())


async def ask(conn: Any) -> None:
    """Ask for a value, with either driver."""
    if hasattr(conn, "fetchval"):
        assert await conn.fetchval("SELECT 77") == 77
    else:
        assert await (await conn.execute("SELECT 77")).fetchone() == (77,)


def lost(pool: Pool) -> int:
    """Count those that a look found dead, and those that a ping did."""
    closed = pool.stats().closed
    return closed["dead"] + closed["invalid"]


@pytest.mark.parametrize("how", Goodbye, ids=lambda how: how.name.lower())
def test_a_connection_whose_tls_has_ended_is_never_lent(
    front: TlsFront, driver: str, how: Goodbye
) -> None:
    async def act(pool: Pool) -> None:
        await asyncio.to_thread(front.end, how)
        await asyncio.sleep(0.1)  # a segment takes its time, and then its loop
        began = time.perf_counter()

        async with pool.connection() as conn:
            await ask(conn)

        assert time.perf_counter() - began < SOON
        await until(lambda: lost(pool) == SIZE)
        assert pool.stats().gave_up == 0

    play(url_of(front, driver), act)


@pytest.mark.parametrize("how", Goodbye, ids=lambda how: how.name.lower())
def test_who_is_cancelled_when_tls_ends_leaves_nothing_behind(
    front: TlsFront, driver: str, how: Goodbye
) -> None:
    async def act(pool: Pool) -> None:
        async def work() -> None:
            async with pool.connection(timeout=20) as conn:
                await conn.execute("SELECT pg_sleep(20)")

        tasks = [asyncio.create_task(work()) for _ in range(2 * SIZE)]
        await until(lambda: pool.stats().in_use == SIZE)
        await asyncio.to_thread(front.end, how)
        for task in tasks:
            task.cancel()
        ended = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20)

        assert all(isinstance(one, BaseException) for one in ended)
        # One that was being opened meanwhile may hear of its end only now.
        for left in reversed(range(SIZE + 1)):
            try:
                async with pool.connection(timeout=20) as conn:
                    await ask(conn)
                break
            except Exception as error:
                if not left or not pool._driver.is_disconnect(error):
                    raise

    play(url_of(front, driver), act)


def test_sessions_over_tls_that_the_server_terminates_are_never_lent(
    secure: PrivatePostgres, driver: str
) -> None:
    url = secure.url.replace("postgresql:", f"postgresql+{driver}:") + "?sslmode=require"

    async def act(pool: Pool) -> None:
        assert secure.terminate(NAME) == SIZE
        began = time.perf_counter()

        async with pool.connection() as conn:
            await ask(conn)

        assert time.perf_counter() - began < SOON
        await until(lambda: lost(pool) == SIZE)

    play(url, act, application_name=NAME)
