"""MySQL and MariaDB, through asyncmy. What the drivers share is in `_mysql`.

``socket_timeout`` is asyncmy's ``read_timeout``, for each wait for an answer. Its errors are C
structs, so that a `PoolTimeout` can be its ``OperationalError``, but not a ``TimeoutError`` too.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from asyncmy import errors
from asyncmy.connection import Connection

from millpond.drivers.aio._mysql import AsyncMySQL

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

    from millpond.drivers._session import SessionOptions


class AsyncMy(AsyncMySQL):
    """The adapter of asyncmy."""

    name = "asyncmy"
    operational_error = errors.OperationalError
    driver_errors = (errors.MySQLError,)
    attributes = ("_cursor_cls", *AsyncMySQL.attributes)
    converters = {  # noqa: RUF012  a ClassVar in the base class
        **AsyncMySQL.converters,
        "max_allowed_packet": int,
        "read_timeout": float,
    }
    arguments = frozenset(inspect.signature(Connection).parameters) - {"db", "sock"}

    @classmethod
    async def _open(cls, arguments: Mapping[str, Any]) -> Any:  # noqa: ANN401
        make: Any = Connection  # its stub has no types
        conn = make(**arguments)
        return await cls.connected(conn, conn.connect())

    @classmethod
    def _arguments_for(
        cls, connect_timeout: float | None, options: SessionOptions
    ) -> dict[str, Any]:
        named = super()._arguments_for(connect_timeout, options)
        if options.socket_timeout is not None:
            named["read_timeout"] = options.socket_timeout
        return named

    @staticmethod
    def transport(conn: Any) -> asyncio.Transport | None:  # noqa: ANN401
        """Return the connection's, which asyncmy drops as it closes."""
        found: asyncio.Transport | None = conn._transport
        return found

    @staticmethod
    def awaits_data(conn: Any) -> bool:  # noqa: ANN401
        """Ask the protocol."""
        return conn._proto._read_waiter is not None

    @staticmethod
    def has_unread_data(conn: Any) -> bool:  # noqa: ANN401
        """Ask the protocol."""
        protocol = conn._proto
        return bool(protocol.eof) or protocol.length != protocol.pos

    @classmethod
    def forget(cls, conn: Any) -> None:  # noqa: ANN401
        """Take the transport away."""
        conn._transport = None
        conn._connected = False

    async def reset_session(self, conn: Any) -> None:  # noqa: ANN401
        """Do what both do, and forget the statements that the server has forgotten."""
        await super().reset_session(conn)
        conn._stmt_cache.clear()
