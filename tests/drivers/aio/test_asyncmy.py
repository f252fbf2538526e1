"""What only asyncmy does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

pytest.importorskip("asyncmy")

from millpond.drivers import aio
from servers import accept_and_close


class Gone:
    """A transport of uvloop's whose peer has hung up: it has no socket any more."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default if name == "socket" else self._transport.get_extra_info(name, default)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def test_a_server_that_hangs_up_before_asyncmy_looks_at_the_socket_is_lost() -> None:
    async def refused(url: str) -> None:
        loop: Any = asyncio.get_running_loop()
        connect = loop.create_connection

        async def connect_too_late(*args: Any, **kwargs: Any) -> Any:
            transport, protocol = await connect(*args, **kwargs)
            return Gone(transport), protocol

        loop.create_connection = connect_too_late
        driver = aio.find(url, connect_timeout=5.0)

        with pytest.raises(Exception, match=r"Lost connection.*hung up") as caught:
            await driver.connect()

        assert driver.operational_error is not None
        assert isinstance(caught.value, driver.operational_error)
        assert driver.is_transient(caught.value)
        assert driver.is_disconnect(caught.value)

    with accept_and_close() as (host, port):
        asyncio.run(refused(f"mysql+asyncmy://u:p@{host}:{port}/db"))
