"""What the benches of asyncio share: stubs that every pool takes for its own kind of connection.

Committing, rolling back and closing suspend once, as a driver does that has to ask a server;
otherwise a stub does nothing.
"""

import asyncio
import importlib
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any, Self

from millpond.cli._database import Database
from millpond.cli.bench._async_peers import ASYNC_MILLPOND, ASYNC_PEERS
from millpond.cli.bench._peers import AsyncHandle, Peer
from millpond.cli.bench._tasks import open_warm

__all__ = [
    "ASYNC_MILLPOND",
    "AS_PSYCOPG",
    "CONTENDERS",
    "PSYCOPG_POOL",
    "AsyncContender",
    "AsyncStub",
    "QuietStub",
]

_BY_KEY = {peer.key: peer for peer in ASYNC_PEERS}

PSYCOPG_POOL = _BY_KEY["psycopg_pool"]


class AsyncStub:
    """A connection that does nothing, and cannot tell whether there is anything to undo."""

    async def rollback(self) -> None:
        """Suspend once."""
        await asyncio.sleep(0)

    async def commit(self) -> None:
        """Suspend once."""
        await asyncio.sleep(0)

    async def close(self) -> None:
        """Suspend once."""
        await asyncio.sleep(0)

    async def execute(self, _statement: str) -> None:
        """Suspend once: what aiosqlitepool asks each time."""
        await asyncio.sleep(0)


class QuietStub(AsyncStub):
    """The same without suspending: then it is the pool alone that is measured."""

    async def rollback(self) -> None:
        """Do nothing."""

    async def commit(self) -> None:
        """Do nothing."""

    async def execute(self, _statement: str) -> None:
        """Do nothing."""


def _for_psycopg(stub: type[AsyncStub]) -> type[Any]:
    """Add what is looked at to see that no transaction is open; it never is."""

    class StubPsycopg(stub):  # type: ignore[misc,valid-type]
        closed = False
        autocommit = True
        cursor_factory = deferrable = isolation_level = prepare_threshold = read_only = None
        row_factory = server_cursor_factory = None
        pgconn = SimpleNamespace(transaction_status=0, pipeline_status=0, socket=-1)

        def __init__(self) -> None:
            # millpond polls it at each acquire, which is part of what it costs.
            self._socket, self._other = socket.socketpair()

        def fileno(self) -> int:
            return self._socket.fileno()

        async def close(self) -> None:
            self._socket.close()
            self._other.close()

        @classmethod
        async def connect(cls, _conninfo: str = "", **_options: object) -> Self:
            return cls()

        async def __aenter__(self) -> Self:
            return self

        async def __aexit__(self, *exc_info: object) -> None:
            await self.commit()

    return StubPsycopg


def _for_asyncpg(stub: type[AsyncStub]) -> dict[str, Any]:
    """Make one that asyncpg's pool takes for a subclass of its own; to reset it is a rollback."""
    connection: Any = importlib.import_module("asyncpg").Connection

    class StubAsyncpg(connection):  # type: ignore[misc]
        def __init__(self) -> None:
            self._protocol: Any = SimpleNamespace(queries_count=0, _is_cancelling=lambda: False)
            self._proxy = self._pool_holder = self._source_traceback = None
            self._pool_release_ctr = 0
            self._stub, self._closed = stub(), False

        def __del__(self) -> None:
            pass

        def _on_release(self, stacklevel: int = 1) -> None:  # noqa: ARG002
            self._pool_release_ctr += 1

        def is_closed(self) -> bool:
            return self._closed

        async def reset(self, *, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109
            await self._stub.rollback()

        async def close(self, *, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109
            self.terminate()

        def terminate(self) -> None:
            self._closed = True
            holder: Any = self._pool_holder
            if holder is not None and holder() is not None:
                self._pool_holder = None
                holder()._release_on_close()  # noqa: SLF001 - as asyncpg.Connection does

    async def connect(*_args: object, **_options: object) -> StubAsyncpg:
        return StubAsyncpg()

    return {"connect": connect, "connection_class": StubAsyncpg}


@dataclass(frozen=True)
class AsyncContender:
    """A pool with the options that it is measured with, by its own names."""

    peer: Peer
    options: Mapping[str, object] = field(default_factory=dict)
    note: str = ""

    def __str__(self) -> str:
        return f"{self.peer.title} {self.note}".strip()

    @asynccontextmanager
    async def opened(
        self, size: int, stub: type[AsyncStub] = AsyncStub, patience: float = 30.0
    ) -> AsyncIterator[AsyncHandle]:
        """Open the pool with ``size`` stubs for the length of a block."""
        options = dict(self.options)
        if self.peer is PSYCOPG_POOL:
            options["connection_class"] = _for_psycopg(stub)
        if self.peer.key == "asyncpg":
            options |= _for_asyncpg(stub)

        told = self.options.get("driver") == "psycopg"
        connect = _for_psycopg(stub).connect if told else partial(_connect, stub)
        database = Database(connect, "stub", "stub connections")
        handle = await open_warm(partial(self.peer.open, database, size, patience, **options), size)
        try:
            yield handle
        finally:
            await handle.close()


async def _connect(stub: type[AsyncStub]) -> AsyncStub:
    return stub()


AS_PSYCOPG = AsyncContender(ASYNC_MILLPOND, {"driver": "psycopg"}, "as psycopg")
"""millpond with what psycopg_pool is given: stubs that can tell that there is nothing to undo."""

CONTENDERS = tuple(
    AsyncContender(peer)
    for peer in (ASYNC_MILLPOND, *ASYNC_PEERS)
    # A stub has no driver.
    if peer.key != "millpond_asyncpg"
)
"""millpond and every peer with their defaults, installed or not."""
