"""oracledb for asyncio, against a fake.

No Oracle Database can be had here. `FakeOracle` behaves as the documentation of python-oracledb
says that an `AsyncConnection` does; whether a real one agrees is not tested.
"""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import psutil
import pytest

from drivers.aio.cases import opened
from drivers.test_oracledb import FakeOracle
from helpers import eventually
from millpond.drivers import TransactionStatus, aio
from millpond.drivers.aio import AsyncDriver
from millpond.errors import PoolConfigError
from servers import accept_and_never_answer

oracledb = pytest.importorskip("oracledb")


class FakeAsyncOracle(FakeOracle):
    """The same, awaited where the server is asked."""

    async def ping(self) -> None:  # type: ignore[override]
        super().ping()

    async def commit(self) -> None:  # type: ignore[override]
        super().commit()

    async def rollback(self) -> None:  # type: ignore[override]
        super().rollback()

    async def close(self) -> None:  # type: ignore[override]
        self.healthy = False
        super().close()

    def cursor(self) -> Any:
        return FakeAsyncCursor(super().cursor())


class FakeAsyncCursor:
    """Its cursor, which is closed without being awaited."""

    def __init__(self, cursor: Any) -> None:
        self.cursor = cursor

    async def execute(self, statement: str) -> None:
        self.cursor.execute(statement)

    def close(self) -> None:
        self.cursor.close()


FakeAsyncOracle.__module__ = "oracledb.connection"


async def made(**options: Any) -> tuple[Any, FakeAsyncOracle]:
    """Make a fake connection as a pool does, by a callable."""

    async def connect() -> FakeAsyncOracle:
        return FakeAsyncOracle()

    return await opened(connect, **options)


def test_a_connection_is_recognised_and_the_driver_follows_the_protocol() -> None:
    driver, conn = asyncio.run(made())

    assert driver.name == "oracledb"
    assert isinstance(driver, AsyncDriver)
    assert driver.fileno(conn) == -1
    assert driver.needs_is_alive


def test_a_url_is_oracles() -> None:
    assert aio.find("oracle://u:p@h:1521/?service_name=s").name == "oracledb"
    with pytest.raises(PoolConfigError, match="the host, or a name out of tnsnames"):
        aio.find("oracle+oracledb://u:p@/x")


def test_the_status_is_what_the_driver_says() -> None:
    driver, conn = asyncio.run(made())
    expected = [
        (True, False, TransactionStatus.IDLE),
        (True, True, TransactionStatus.OPEN),
        (False, False, TransactionStatus.UNKNOWN),
    ]
    for conn.healthy, conn.transaction_in_progress, status in expected:
        assert driver.transaction_status(conn) is status
        assert driver.is_clean(conn) is (status is TransactionStatus.IDLE)
        assert driver.is_alive(conn) is conn.healthy


def test_a_release_rolls_back_only_what_is_open() -> None:
    async def body() -> None:
        driver, conn = await made()
        await driver.reset(conn)
        assert "rollback" not in conn.said

        conn.transaction_in_progress = True
        await driver.reset(conn)
        assert conn.said.count("rollback") == 1
        assert driver.is_clean(conn)

    asyncio.run(body())


def test_options_are_set_and_said() -> None:
    async def body() -> None:
        driver, conn = await made(
            statement_timeout=1.5, autocommit=True, isolation_level="serializable"
        )
        assert conn.call_timeout == 1500
        modes = [conn.autocommit]
        assert "ALTER SESSION SET ISOLATION_LEVEL = SERIALIZABLE" in conn.said

        await driver.begin(conn, read_only=True)
        modes.append(conn.autocommit)
        assert conn.said[-1] == "SET TRANSACTION READ ONLY"
        await driver.commit(conn)
        modes.append(conn.autocommit)
        assert modes == [True, False, True]

    asyncio.run(body())


def test_verbs_reach_the_connection() -> None:
    async def body() -> None:
        driver, conn = await made()
        conn.said.clear()
        await driver.ping(conn)
        await driver.cancel(conn)
        await driver.begin(conn, isolation="serializable")
        await driver.rollback(conn)
        await driver.close(conn)
        level = "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"
        assert conn.said == ["ping", "cancel", level, "rollback", "close"]

    asyncio.run(body())


def protocol_in_the_making() -> object:
    """Return the object in which oracledb keeps its transport, of a connection to be."""
    for one in gc.get_objects():
        if type(one).__name__ == "AsyncProtocol":
            return one
    pytest.fail("oracledb keeps its transport elsewhere")


def connections(port: int) -> int:
    """Count the sockets of this process that lead to a port."""
    found = psutil.Process().net_connections(kind="inet")
    return sum(1 for one in found if one.raddr and one.raddr.port == port)


def test_the_socket_is_found_and_closed_by_abort() -> None:
    async def body(host: str, port: int) -> None:
        driver: Any = aio.find(f"oracle://u:p@{host}:{port}/?service_name=s")
        connecting = asyncio.ensure_future(driver.connect())
        await asyncio.wait([connecting], timeout=0.1)
        assert connections(port) == 1
        conn = FakeAsyncOracle()
        conn._impl = protocol_in_the_making()  # type: ignore[attr-defined]

        driver.abort(conn)

        with pytest.raises(oracledb.Error) as caught:
            await connecting
        assert driver.is_transient(caught.value)
        eventually(lambda: connections(port) == 0)

    with accept_and_never_answer() as (host, port):
        asyncio.run(body(host, port))


def test_connecting_that_is_cancelled_leaves_no_socket() -> None:
    async def body(host: str, port: int) -> None:
        driver: Any = aio.find(f"oracle://u:p@{host}:{port}/?service_name=s")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(driver.connect(), 0.1)
        await asyncio.sleep(0)
        eventually(lambda: connections(port) == 0)

    with accept_and_never_answer() as (host, port):
        asyncio.run(body(host, port))
