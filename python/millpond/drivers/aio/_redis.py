"""Redis and Valkey, through redis-py and its `redis.asyncio.Redis`.

As in `millpond.drivers._redis`: a client with one connection of its own, and none that is made
behind the pool's back. A command whose task is cancelled makes redis-py close the connection, and
the next one would open another without a word; here such a client is not used again.

This file looks at private attributes of redis-py's connection, ``_reader`` and ``_writer``, and at
the client's ``_single_conn_lock``.
"""

from __future__ import annotations

import shlex
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import redis.asyncio as redis
from redis import exceptions

from millpond.drivers._redis_traits import NO_TRANSACTIONS, RedisTraits
from millpond.drivers._session import DEFAULTS, SessionOptions, TransactionStatus
from millpond.drivers.aio import _transports
from millpond.drivers.aio._dbapi import AsyncDbapi
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class _Single(redis.ConnectionPool):
    """What a client takes for its pool: always the same connection, and a count of who has it."""

    def __init__(self, **arguments: Any) -> None:  # noqa: ANN401
        super().__init__(**arguments)
        self.made: Any = None
        self.only: Any = None
        self.holders = 0
        self.writer: Any = None

    def make_connection(self) -> Any:  # noqa: ANN401
        """Note what is made, which may never become connected."""
        self.made = super().make_connection()  # type: ignore[no-untyped-call]
        return self.made

    async def get_connection(self, *_: Any, **__: Any) -> Any:  # noqa: ANN401
        """Give the connection, also to somebody who has it."""
        if self.only is None:
            self.only = await super().get_connection()  # type: ignore[no-untyped-call]
            self.writer = self.only._writer
        self.holders += 1
        return self.only

    async def release(self, connection: Any) -> None:  # noqa: ANN401
        """Take it back."""
        if connection is self.only:
            self.holders -= 1


class AsyncRedis(RedisTraits, AsyncDbapi[Any]):
    """The adapter of `redis.asyncio.Redis`."""

    needs_is_alive = True
    pool_class = _Single
    tls_class = redis.SSLConnection
    unix_class = redis.UnixDomainSocketConnection

    @classmethod
    async def _open(cls, arguments: Mapping[str, Any]) -> Any:  # noqa: ANN401
        client = redis.Redis(connection_pool=_Single(**arguments), single_connection_client=True)
        try:
            with _transports.hang_ups_told():
                return await client.initialize()
        except BaseException:
            _drop(client)
            raise

    def adopt(self, conn: Any) -> AsyncDbapi[Any]:  # noqa: ANN401
        """Leave what is not a client, such as a bare connection, to others."""
        if isinstance(conn, redis.Redis):
            return super().adopt(conn)
        return AsyncDbapi(self.connect, target=self.target).adopt(conn)

    async def prepare(self, conn: Any, options: SessionOptions = DEFAULTS) -> None:  # noqa: ANN401
        """Run the commands of ``session``."""
        for command in options.session:
            await self.execute(conn, command)

    @classmethod
    def is_alive(cls, conn: Any) -> bool | None:  # noqa: ANN401
        """Look at the socket, of a client with one connection."""
        single = conn.connection_pool
        if type(single) is not _Single:
            return None
        return False if _is_lost(single) else _transports.is_alive(single.writer.transport)

    @staticmethod
    def transaction_status(conn: Any) -> TransactionStatus:  # noqa: ANN401
        """Say whether somebody is using the connection, and whether it is still the first."""
        single = conn.connection_pool
        if type(single) is not _Single or _is_lost(single):
            return TransactionStatus.UNKNOWN
        return TransactionStatus.ACTIVE if _is_held(conn) else TransactionStatus.IDLE

    @staticmethod
    def is_clean(conn: Any) -> bool:  # noqa: ANN401
        """Say whether nobody is using the connection, and whether it is still the first."""
        single = conn.connection_pool
        # The client of a callable has a pool that cares for it.
        return type(single) is not _Single or not (_is_lost(single) or _is_held(conn))

    async def reset(self, conn: Any) -> None:  # noqa: ANN401
        """Refuse a connection that is in use, or that was made anew."""
        single = conn.connection_pool
        if type(single) is not _Single:
            return
        why = None
        if _is_lost(single):
            why = "it is closed, or was closed in between"
        elif _is_held(conn):
            why = "a command, a pipeline or a subscription holds it"
        if why:
            msg = f"the connection cannot be used again: {why}"
            raise exceptions.ConnectionError(msg)

    async def ping(self, conn: Any) -> None:  # noqa: ANN401
        """Send PING, and never connect again."""
        single = conn.connection_pool
        if type(single) is not _Single:
            await conn.ping()
            return
        if _is_lost(single):
            msg = "the connection is closed"
            raise exceptions.ConnectionError(msg)
        await single.only.send_command("PING", check_health=False)
        await single.only.read_response()

    async def reset_session(self, conn: Any) -> None:  # noqa: ANN401
        """Have the server forget the session (RESET), and sign in again on the same connection."""
        await self.reset(conn)
        only = conn.connection
        if only is None:
            msg = "the session cannot be reset: the client has more than one connection"
            raise exceptions.ConnectionError(msg)
        await only.send_command("RESET", check_health=False)
        await only.read_response()
        sign_in = only.redis_connect_func
        if sign_in is None:
            await only.on_connect()
        else:
            await sign_in(only)

    async def begin(
        self,
        conn: Any,  # noqa: ANN401
        *,
        isolation: str | None = None,
        read_only: bool | None = None,
    ) -> None:
        """Refuse.

        Raises:
            PoolConfigError: Always.
        """
        del conn
        self.check_begin(isolation=isolation, read_only=read_only)
        raise PoolConfigError(NO_TRANSACTIONS)

    async def commit(self, conn: Any) -> None:  # noqa: ANN401
        """Do nothing: commands are carried out at once."""

    async def rollback(self, conn: Any) -> None:  # noqa: ANN401
        """Do what a release does: what was carried out can't be taken back."""
        await self.reset(conn)

    async def execute(self, conn: Any, statement: str) -> None:  # noqa: ANN401
        """Run a command, which is split as a shell would do it."""
        await conn.execute_command(*shlex.split(statement))

    async def close(self, conn: Any) -> None:  # noqa: ANN401
        """Close the client and its connection."""
        single = conn.connection_pool
        if type(single) is not _Single:
            await conn.aclose()
        else:
            # Redis needs no farewell.
            _drop(conn)

    def abort(self, conn: Any) -> None:  # noqa: ANN401
        """Close the socket, or all of a callable's client."""
        with suppress(Exception):
            _drop(conn)

    @classmethod
    def is_disconnect(cls, error: BaseException) -> bool:
        """Say yes to a hang-up too."""
        return _transports.is_hang_up(error) or super().is_disconnect(error)

    @classmethod
    def is_transient(cls, error: BaseException) -> bool:
        """Say yes to a hang-up too."""
        return _transports.is_hang_up(error) or super().is_transient(error)


def _is_lost(single: _Single) -> bool:
    """Say whether the connection is closed, or was closed and made anew."""
    writer = single.writer
    return writer is None or single.only._writer is not writer


def _is_held(conn: Any) -> bool:  # noqa: ANN401
    """Say whether somebody waits for an answer, will do so, or has left one behind."""
    single = conn.connection_pool
    reader = single.only._reader
    return (
        single.holders != 1
        or conn._single_conn_lock.locked()
        or reader._waiter is not None
        or bool(reader._buffer)
    )


def _drop(conn: Any) -> None:  # noqa: ANN401
    pool = conn.connection_pool
    ours = [pool.made] if type(pool) is _Single else list(_of_redis(pool))
    for one in [*ours, conn.connection]:
        if one is not None:
            _transports.drop_writer(one._writer)
            one._reader = one._writer = None
    conn.connection = None  # or else the client complains when it is deleted


def _of_redis(pool: Any) -> Iterator[Any]:  # noqa: ANN401
    """Return the connections of a pool of redis-py's own."""
    for name in ("_available_connections", "_in_use_connections"):
        yield from getattr(pool, name, ())
