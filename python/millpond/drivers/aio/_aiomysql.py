"""MySQL and MariaDB, through aiomysql. What the drivers share is in `_mysql`."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import aiomysql

from millpond.drivers.aio import _transports
from millpond.drivers.aio._mysql import AsyncMySQL

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping


class AioMySQL(AsyncMySQL):
    """The adapter of aiomysql."""

    name = "aiomysql"
    operational_error = aiomysql.OperationalError
    driver_errors = (aiomysql.MySQLError,)
    supports = AsyncMySQL.supports - {"socket_timeout"}
    why_not = {  # noqa: RUF012  a ClassVar in the base class
        "socket_timeout": "aiomysql has none; use asyncmy, or statement_timeout and keepalive",
    }
    attributes = ("cursorclass", *AsyncMySQL.attributes)
    arguments = (frozenset(inspect.signature(aiomysql.Connection).parameters) - {"loop", "db"}) | {
        "database"
    }

    @classmethod
    async def _open(cls, arguments: Mapping[str, Any]) -> Any:  # noqa: ANN401
        named = dict(arguments)
        if "database" in named:
            named["db"] = named.pop("database")
        conn = aiomysql.Connection(**named)
        return await cls.connected(conn, conn._connect())

    @staticmethod
    def transport(conn: Any) -> asyncio.Transport | None:  # noqa: ANN401
        """Return the writer's."""
        writer = conn._writer
        return None if writer is None else writer.transport

    @staticmethod
    def awaits_data(conn: Any) -> bool:  # noqa: ANN401
        """Ask the reader."""
        return conn._reader._waiter is not None

    @staticmethod
    def has_unread_data(conn: Any) -> bool:  # noqa: ANN401
        """Ask the reader."""
        reader = conn._reader
        return bool(reader._buffer) or reader.eof_received

    @classmethod
    def forget(cls, conn: Any) -> None:  # noqa: ANN401
        """Take reader and writer away."""
        _transports.drop_writer(conn._writer)
        conn._writer = conn._reader = None
