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
import socket
from typing import TYPE_CHECKING, Any, Final

import redis
from redis import exceptions
from redis.connection import parse_url

from millpond.drivers._base import redact
from millpond.drivers._dbapi import Dbapi
from millpond.drivers._session import DEFAULTS, SessionOptions, TransactionStatus
from millpond.drivers._url import refuse, split
from millpond.errors import PoolConfigError, PoolError

if TYPE_CHECKING:
    from collections.abc import Mapping

_REFUSED: Final = (exceptions.AuthenticationError, exceptions.AuthorizationError)
_LOST: Final = (exceptions.ConnectionError, exceptions.TimeoutError, ConnectionError)

_NO_TRANSACTIONS: Final = "redis has no transactions of this kind: use client.pipeline()"


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


class Redis(Dbapi[Any]):
    """The adapter of redis-py."""

    name = "redis"
    operational_error = exceptions.ConnectionError
    supports = frozenset(
        {"application_name", "keepalive", "reset_session", "session", "socket_timeout"}
    )
    why_not = {  # noqa: RUF012  a ClassVar in the base class
        "autocommit": "each command is carried out at once",
        "cancel": "a command can't be stopped; use socket_timeout",
        "isolation_level": _NO_TRANSACTIONS,
        "read_only": "give the user of the connection read-only rights",
        "statement_timeout": "the server has no limit for a command; use socket_timeout",
    }

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        connect_kwargs: Mapping[str, Any] | None = None,
        connect_timeout: float | None = None,
        options: SessionOptions = DEFAULTS,
    ) -> Redis:
        """Return the adapter of the server that a URL names.

        Args:
            url: A URL as in the head of this module.
            connect_kwargs: Arguments of redis-py's connection, which win over those in the URL.
            connect_timeout: Seconds; ``None`` leaves it to redis-py.
            options: What the connection is to be like. What the URL or `connect_kwargs` say wins.

        Raises:
            PoolConfigError: The URL or an argument is not valid.
        """
        arguments = {**_in_url(url), **(connect_kwargs or {})}
        for name, value in _arguments_for(connect_timeout, options).items():
            arguments.setdefault(name, value)
        _try_out(arguments)

        # Not a partial: its repr would show the password.
        def connect() -> Any:  # noqa: ANN401
            return redis.Redis(connection_pool=_Single(**arguments), single_connection_client=True)

        made = cls(connect, target=redact(url))
        if "path" in arguments:
            made.supports -= {"keepalive"}
        return made

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
        raise PoolConfigError(_NO_TRANSACTIONS)

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

    @classmethod
    def is_disconnect(cls, error: BaseException) -> bool:
        """Say yes for an error of the connection, but not for one of the pool."""
        return isinstance(error, _LOST) and not isinstance(error, (PoolError, *_REFUSED))

    def is_demoted(self, conn: Any, error: BaseException) -> bool:  # noqa: ANN401
        """Say yes to a write that the server refuses, if it took writes when we connected."""
        # Known since RESP3 only.
        told = getattr(conn.connection, "handshake_metadata", None) or {}
        role = told.get(b"role", told.get("role", b"master"))
        return isinstance(error, exceptions.ReadOnlyError) and role in {b"master", "master"}

    @classmethod
    def is_retryable(cls, error: BaseException) -> bool:
        """Say whether a watched key was changed by somebody else."""
        return isinstance(error, exceptions.WatchError)

    @classmethod
    def is_transient(cls, error: BaseException) -> bool:
        """Say no if the server refuses us, and yes for other errors of a connection."""
        return isinstance(error, (*_LOST, OSError)) and not isinstance(error, _REFUSED)

    @staticmethod
    def close(conn: Any) -> None:  # noqa: ANN401
        """Close the client and its connection."""
        conn.close()
        if type(conn.connection_pool) is _Single:
            conn.connection_pool.disconnect()


def _socket(connection: Any) -> Any:  # noqa: ANN401
    return getattr(connection, "_sock", None)


def _in_url(url: str) -> dict[str, Any]:
    scheme, _, rest = url.partition("://")
    query = rest.partition("?")[2]
    if "@" in query:  # it may be a password with a ? in it
        refuse(url, "behind the ? an @ must be percent-encoded, as must a ? in a password")
    parts = split(url)
    try:
        # For the types of its own parameters.
        arguments: dict[str, Any] = parse_url(f"redis://?{query}")  # type: ignore[no-untyped-call]
    except ValueError as error:
        refuse(url, str(error).rstrip("."))
    named: dict[str, Any] = {"username": parts.user, "password": parts.password}
    if scheme.lower() == "unix":
        named["path"] = "/" + (parts.name or "")
        arguments["connection_class"] = redis.UnixDomainSocketConnection
    else:
        number = (parts.name or "0").strip("/")
        if not number.isdecimal():
            refuse(url, "the path must be the number of a database")
        named |= {"host": parts.host, "port": parts.port}
        arguments.setdefault("db", int(number))
        if scheme.lower() == "rediss":
            arguments["connection_class"] = redis.SSLConnection
    return {**arguments, **{name: value for name, value in named.items() if value is not None}}


def _arguments_for(connect_timeout: float | None, options: SessionOptions) -> dict[str, Any]:
    keepalive = options.keepalive
    idle = getattr(socket, "TCP_KEEPIDLE", None) or getattr(socket, "TCP_KEEPALIVE", None)
    timed = keepalive is not None and not isinstance(keepalive, bool) and idle is not None
    named = {
        "client_name": options.application_name,
        "socket_connect_timeout": connect_timeout,
        "socket_timeout": options.socket_timeout,
        "socket_keepalive": None if keepalive is None else keepalive is not False,
        "socket_keepalive_options": {idle: max(1, round(keepalive or 1))} if timed else None,
    }
    return {name: value for name, value in named.items() if value is not None}


def _try_out(arguments: Mapping[str, Any]) -> None:
    """Make a connection that is not opened, to have bad arguments refused now."""
    try:
        _Single(**arguments).make_connection()
    except (TypeError, ValueError, exceptions.RedisError) as error:
        msg = f"connect: redis-py does not take these arguments: {error}"
        raise PoolConfigError(msg) from None
