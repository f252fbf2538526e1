"""Connections about which nothing is known: whatever they have is used, awaited or not."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from drivers.aio.cases import opened
from millpond.drivers import TransactionStatus, aio
from millpond.drivers.aio import AsyncDriver


class Bare:
    """A connection that has nothing."""


class Full:
    """A connection with all that PEP 249 has, awaited here and there."""

    class OperationalError(Exception):
        """As PEP 249 has it on a connection."""

    def __init__(self) -> None:
        self.autocommit = False
        self.said: list[str] = []

    async def cursor(self) -> Full:
        return self

    async def execute(self, statement: str) -> None:
        self.said.append(statement)

    def fetchall(self) -> list[tuple[int]]:
        return [(1,)]

    async def commit(self) -> None:
        self.said.append("commit")

    async def rollback(self) -> None:
        self.said.append("rollback")

    async def close(self) -> None:
        self.said.append("close")


class Terminable(Full):
    """A connection that can be dropped at once."""

    def terminate(self) -> None:
        self.said.append("terminate")


async def made(kind: type[Any], **options: Any) -> tuple[Any, Any]:
    """Make a connection as a pool does."""

    async def connect() -> Any:
        return kind()

    return await opened(connect, **options)


def test_the_driver_follows_the_protocol() -> None:
    driver, conn = asyncio.run(made(Full))

    assert isinstance(driver, AsyncDriver)
    assert driver.name == "dbapi"
    assert driver.operational_error is Full.OperationalError
    assert not driver.pings
    assert driver.transaction_status(conn) is TransactionStatus.UNKNOWN
    assert driver.is_alive(conn) is None


def test_each_release_rolls_back_as_nobody_knows_better() -> None:
    async def body() -> None:
        driver, conn = await made(Full)
        assert driver.needs_reset
        assert not driver.is_clean(conn)
        await driver.reset(conn)
        assert conn.said == ["rollback"]

    asyncio.run(body())


def test_a_connection_without_a_rollback_needs_no_reset() -> None:
    async def body() -> None:
        driver, conn = await made(Bare)
        assert not driver.needs_reset
        await driver.reset(conn)
        await driver.ping(conn)
        await driver.close(conn)
        driver.abort(conn)

    asyncio.run(body())


def test_verbs_reach_the_connection() -> None:
    async def body() -> None:
        driver, conn = await made(Full, session=("SET a = 1",))
        assert conn.said == ["SET a = 1", "close", "commit"]
        conn.said.clear()
        await driver.begin(conn)
        await driver.execute(conn, "SELECT 2")
        await driver.commit(conn)
        await driver.rollback(conn)
        await driver.ping(conn)
        assert conn.said == [
            *("SELECT 2", "close", "commit", "rollback"),
            *("SELECT 1", "close", "rollback"),
        ]

    asyncio.run(body())


@pytest.mark.parametrize("verb", ["cancel", "reset_session"])
def test_what_nobody_knows_how_to_do_is_refused(verb: str) -> None:
    async def body() -> None:
        driver, conn = await made(Full)
        with pytest.raises(NotImplementedError, match="dbapi"):
            await getattr(driver, verb)(conn)

    asyncio.run(body())


def test_abort_takes_the_way_out_that_need_not_be_awaited() -> None:
    driver, conn = asyncio.run(made(Terminable))
    driver.abort(conn)
    assert conn.said == ["terminate"]

    driver, conn = asyncio.run(made(Full))
    driver.abort(conn)
    gc.collect()  # a coroutine that nobody awaited would complain
    assert conn.said == []


def test_any_awaitable_will_do_to_connect() -> None:
    class Connecting:
        """An object that is awaited for a connection."""

        def __await__(self) -> Any:
            yield from asyncio.sleep(0).__await__()
            return Full()

    async def body() -> None:
        driver: Any = aio.find(Connecting)
        assert isinstance(await driver.connect(), Full)

    asyncio.run(body())


def test_a_driver_of_others_is_found_by_its_entry_point(tmp_path: Any, monkeypatch: Any) -> None:
    (tmp_path / "aiodb.py").write_text(
        "from millpond.drivers.aio import AsyncDbapi\n"
        "class Connection: pass\n"
        "async def connect(): return Connection()\n"
        "class AioDB(AsyncDbapi):\n"
        "    name = 'aiodb'\n"
        "    @classmethod\n"
        "    def from_url(cls, url, **options):\n"
        "        return cls(connect, target=url)\n"
    )
    metadata = tmp_path / "aiodb-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: aiodb\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[millpond.async_drivers]\naiodb = aiodb:AioDB\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("millpond.drivers.aio._known.KNOWN._found", None)

    async def body() -> None:
        driver: Any = aio.find("mysql+aiodb://h/x")
        assert driver.name == "aiodb"
        conn = await driver.connect()
        import aiodb  # type: ignore[import-not-found]  # noqa: PLC0415

        unknown: Any = aio.find(aiodb.connect)
        assert aio.refine(unknown, conn).name == "aiodb"

    asyncio.run(body())
