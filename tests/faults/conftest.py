"""What the tests of a bad day share: a server of their own, and a proxy before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import proxy
from private_postgres import PrivatePostgres, private_postgres

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="package")
def shared_server() -> Iterator[PrivatePostgres]:
    """Run one server for all tests."""
    with private_postgres() as server:
        yield server


@pytest.fixture
def server(shared_server: PrivatePostgres) -> Iterator[PrivatePostgres]:
    """Give the server, which runs when the test begins, whatever the one before did."""
    yield shared_server
    shared_server.stop()
    shared_server.start()


@pytest.fixture
def wire(server: PrivatePostgres) -> Iterator[proxy.Proxy]:
    """Give a proxy before the server."""
    with proxy.proxy(server.address) as wire:
        yield wire
