"""A server that hangs up before the driver looks, of which each event loop makes another thing.

uvloop takes the socket away from a transport that it has closed, and a `RuntimeError` is all that a
driver then gets to hear. No driver of ours knows that one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from drivers.aio.cases import (
    LOOPS,
    AioMySQL,
    AsyncCase,
    AsyncMy,
    let_the_loop_look,
    opened,
    start_in,
)
from helpers import eventually
from millpond.drivers import aio
from proxy import proxy
from servers import accept_and_hang_up_when_told

if TYPE_CHECKING:
    from collections.abc import Callable

SCHEMES = {
    "mysql+aiomysql": "aiomysql",
    "mysql+asyncmy": "asyncmy",
    "postgresql+asyncpg": "asyncpg",
    "redis": "redis",
}

by_fin_and_rst = pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])


def busy_until(hung_up: Callable[[], None], loop: Any) -> None:
    """Have whoever connects hear of it when the loop has heard that the server has hung up."""
    connect = loop.create_connection

    async def connect_and_be_late(*args: Any, **kwargs: Any) -> Any:
        transport, protocol = await connect(*args, **kwargs)
        hung_up()
        # Who asks uvloop for the socket before it is gone keeps one, so nobody may ask here.
        await let_the_loop_look()
        return transport, protocol

    loop.create_connection = connect_and_be_late


@by_fin_and_rst
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("loop", LOOPS)
def test_a_server_that_hangs_up_at_once_is_worth_another_attempt(
    loop: str, scheme: str, *, reset: bool
) -> None:
    pytest.importorskip(SCHEMES[scheme])

    async def refused(where: str, hang_up: Callable[[bool], None]) -> None:
        busy_until(lambda: hang_up(reset), asyncio.get_running_loop())
        driver = aio.find(f"{scheme}://u:p@{where}/0", connect_timeout=5.0)

        with pytest.raises(Exception, match=r".") as caught:
            await driver.connect()

        assert driver.is_transient(caught.value), repr(caught.value)
        assert not isinstance(caught.value, RuntimeError)

    with accept_and_hang_up_when_told() as ((host, port), hang_up):
        start_in(loop, refused(f"{host}:{port}", hang_up))


async def expect_a_disconnect(url: str, reset: Callable[[], None], statement: str) -> None:
    """Have a connection be reset, in the sight of the event loop, and then try to use it."""
    driver, conn = await opened(url)
    reset()
    eventually(lambda: driver.is_alive(conn) is False)
    await let_the_loop_look()

    with pytest.raises(Exception, match=r".") as caught:
        await driver.execute(conn, statement)

    assert driver.is_disconnect(caught.value), repr(caught.value)
    assert not driver.is_clean(conn)
    await driver.close(conn)


@pytest.mark.server
@pytest.mark.parametrize("kind", [AioMySQL, AsyncMy], ids=lambda kind: kind.name)
def test_a_statement_on_a_connection_that_was_reset_is_a_disconnect(
    make: Any, kind: type[AsyncCase]
) -> None:
    case = make(kind)
    parts = case.blocking.parts
    with proxy((parts.host, parts.port or 3306)) as wire:
        url = wire.url(case.url)
        case.start(expect_a_disconnect(url, lambda: wire.cut(reset=True), "SELECT 1"))


@pytest.mark.parametrize("loop", LOOPS)
def test_a_command_on_a_connection_that_was_reset_is_a_disconnect(
    redis_url: str, loop: str
) -> None:
    pytest.importorskip("redis")
    parts = urlsplit(redis_url)
    with proxy((str(parts.hostname), parts.port or 6379)) as wire:
        url = wire.url(f"redis://{parts.username or ''}:{parts.password or ''}@{parts.netloc}/0")
        start_in(loop, expect_a_disconnect(url, lambda: wire.cut(reset=True), "PING"))
