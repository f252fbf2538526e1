"""What type checkers know of code with an `AsyncPool`. Nothing here runs: ``mypy`` reads it."""

import asyncio
from typing import Any, assert_type

import millpond
from millpond.drivers.aio import AsyncDbapi, AsyncDriver


class Connection:
    async def execute(self, statement: str) -> None: ...


async def connect() -> Connection:
    return Connection()


def connect_soon() -> asyncio.Future[Connection]:
    return asyncio.get_running_loop().create_future()


class OwnDriver(AsyncDbapi[Connection]):
    async def ping(self, conn: Connection) -> None:
        await conn.execute("SELECT 1")


class OtherDriver(AsyncDbapi[Connection]):
    async def connect(self) -> Connection:
        return Connection()


def a_driver_of_ones_own_is_a_driver() -> None:
    own: AsyncDriver[Connection] = OwnDriver(connect)
    assert_type(millpond.AsyncPool(connect, driver=own), millpond.AsyncPool[Connection])
    assert_type(
        millpond.AsyncPool(connect, driver=OwnDriver(connect)), millpond.AsyncPool[Connection]
    )
    declared: millpond.AsyncPool[Connection] = millpond.AsyncPool(
        connect_soon, driver=OtherDriver(connect_soon)
    )
    assert_type(declared, millpond.AsyncPool[Connection])
    millpond.AsyncPool(connect, driver=Connection())  # type: ignore[arg-type]


async def a_block_has_the_drivers_own_connection() -> None:
    async with millpond.AsyncPool(connect) as pool:
        assert_type(await pool.acquire(timeout=0.5), Connection)
        assert_type(await pool.try_acquire(), Connection | None)
        async with pool.connection(query_timeout=1) as connection:
            assert_type(connection, Connection)
        async with pool.transaction() as connection:
            assert_type(connection, Connection)


async def a_connection_goes_back_to_a_pool_of_its_kind(
    pool: millpond.AsyncPool[Connection],
) -> None:
    await pool.release(await pool.acquire())
    await pool.release("a string")  # type: ignore[arg-type]


def a_url_leaves_it_open_unless_somebody_says() -> None:
    assert_type(millpond.AsyncPool("sqlite:///app.db"), millpond.AsyncPool[Any])
