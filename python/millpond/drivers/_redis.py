"""Redis and Valkey, through redis-py.

What the pool lends is a `redis.Redis` with one connection of its own: commands, pipelines, WATCH,
scripts and locks all use that one, and nothing connects beside it. URLs are redis-py's:
``redis://user:password@host:port/0?name=value``, ``rediss://`` with TLS, and
``unix:///path/redis.sock?db=0``.

redis-py connects again without a word when a connection was lost, and repeats the command, which
may have been carried out already. Here a command is not repeated, unless ``connect_kwargs`` has a
``retry``; and a connection that was made anew, or that a pipeline or a subscription still holds, is
closed on its release. A subscription takes the whole connection and closes it at its end.

There are no transactions to begin and commit; ``client.pipeline(transaction=True)`` is what Redis
has. A MULTI that was sent by hand is found by ``reset="session"`` only, which needs Redis 6.2.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import redis
from redis import exceptions

from millpond.drivers._dbapi import Dbapi
from millpond.drivers._redis_traits import NO_TRANSACTIONS, RedisTraits
from millpond.drivers._session import DEFAULTS, SessionOptions, TransactionStatus
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping


class _Single(redis.ConnectionPool):
    """What a client takes for its pool: always the same connection, and a count of who has it."""

    def __init__(self, **arguments: Any) -> None:  # noqa: ANN401
        super().__init__(**arguments)
        self.only: Any = None
        self.holders = 0
        self.socket: Any = None

    def get_connection(self, *_: Any, **__: Any) -> Any:  # noqa: ANN401
        """Give the connection, also to somebody who has it."""
        if self.only is None:
            self.only = super().get_connection()
            self.socket = _socket(self.only)
        self.holders += 1
        return self.only

    def release(self, connection: Any) -> None:  # noqa: ANN401
        """Take it back."""
        if connection is self.only:
            self.holders -= 1


class Redis(RedisTraits, Dbapi[Any]):
    """The adapter of `redis.Redis`."""

    pool_class = _Single
    tls_class = redis.SSLConnection
    unix_class = redis.UnixDomainSocketConnection

    @classmethod
    def _open(cls, arguments: Mapping[str, Any]) -> Any:  # noqa: ANN401
        return redis.Redis(connection_pool=_Single(**arguments), single_connection_client=True)

    def adopt(self, conn: Any) -> Dbapi[Any]:  # noqa: ANN401
        """Leave what is not a client, such as a bare connection, to PEP 249's."""
        if isinstance(conn, redis.Redis):
            return super().adopt(conn)
        return Dbapi(self.connect, target=self.target).adopt(conn)

    def prepare(self, conn: Any, options: SessionOptions = DEFAULTS) -> None:  # noqa: ANN401
        """Run the commands of ``session``."""
        for command in options.session:
            self.execute(conn, command)

    @staticmethod
    def fileno(conn: Any) -> int:  # noqa: ANN401
        """Return the socket's, of a client with one connection."""
        sock = _socket(conn.connection)
        return -1 if sock is None else sock.fileno()

    @staticmethod
    def transaction_status(conn: Any) -> TransactionStatus:  # noqa: ANN401
        """Say whether somebody else holds the connection, and whether it is still the first."""
        single = conn.connection_pool
        if type(single) is not _Single or _socket(single.only) is not single.socket:
            return TransactionStatus.UNKNOWN
        return TransactionStatus.IDLE if single.holders == 1 else TransactionStatus.ACTIVE

    @staticmethod
    def reset(conn: Any) -> None:  # noqa: ANN401
        """Refuse a connection that a pipeline or a subscription holds, or that was made anew."""
        single = conn.connection_pool
        if type(single) is not _Single:  # the client of a callable has a pool that cares for it
            return
        if single.holders != 1 or _socket(single.only) is not single.socket:
            why = (
                "a pipeline or a subscription holds it, or the client was closed"
                if single.holders != 1
                else "it is closed, or was closed in between"
            )
            msg = f"the connection cannot be used again: {why}"
            raise exceptions.ConnectionError(msg)

    @classmethod
    def ping(cls, conn: Any) -> None:  # noqa: ANN401
        """Send PING, and never connect again."""
        only = conn.connection
        if only is None:
            conn.ping()
            return
        if _socket(only) is None:
            msg = "the connection is closed"
            raise exceptions.ConnectionError(msg)
        only.send_command("PING", check_health=False)
        only.read_response()

    def reset_session(self, conn: Any) -> None:  # noqa: ANN401
        """Have the server forget the session (RESET), and sign in again on the same connection."""
        self.reset(conn)
        only = conn.connection
        if only is None:
            msg = "the session cannot be reset: the client has more than one connection"
            raise exceptions.ConnectionError(msg)
        only.send_command("RESET", check_health=False)
        only.read_response()
        sign_in = only.redis_connect_func
        if sign_in is None:
            only.on_connect()
        else:
            sign_in(only)

    def begin(
        self,
        conn: Any,  # noqa: ANN401, ARG002
        *,
        isolation: str | None = None,
        read_only: bool | None = None,
    ) -> None:
        """Refuse.

        Raises:
            PoolConfigError: Always.
        """
        self.check_begin(isolation=isolation, read_only=read_only)
        raise PoolConfigError(NO_TRANSACTIONS)

    @classmethod
    def commit(cls, conn: Any) -> None:  # noqa: ANN401
        """Do nothing: commands are carried out at once."""

    @classmethod
    def rollback(cls, conn: Any) -> None:  # noqa: ANN401
        """Do what a release does: what was carried out can't be taken back."""
        cls.reset(conn)

    @staticmethod
    def execute(conn: Any, statement: str) -> None:  # noqa: ANN401
        """Run a command, which is split as a shell would do it."""
        conn.execute_command(*shlex.split(statement))

    @staticmethod
    def close(conn: Any) -> None:  # noqa: ANN401
        """Close the client and its connection."""
        conn.close()
        if type(conn.connection_pool) is _Single:
            conn.connection_pool.disconnect()


def _socket(connection: Any) -> Any:  # noqa: ANN401
    return getattr(connection, "_sock", None)
