"""Redis and Valkey: what is known of redis-py, whether its clients block or are awaited.

URLs and what may be expected of a client are as in the head of `_redis`.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, ClassVar, Final

from redis import exceptions
from redis.connection import parse_url

from millpond.drivers._base import redact
from millpond.drivers._session import DEFAULTS, SessionOptions
from millpond.drivers._traits import Traits
from millpond.drivers._url import refuse, split
from millpond.errors import PoolConfigError, PoolError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

_REFUSED: Final = (exceptions.AuthenticationError, exceptions.AuthorizationError)
_LOST: Final = (exceptions.ConnectionError, exceptions.TimeoutError, ConnectionError)

NO_TRANSACTIONS: Final = "redis has no transactions of this kind: use client.pipeline()"


class RedisTraits(Traits[Any]):
    """What both kinds of clients have in common."""

    name = "redis"
    operational_error = exceptions.ConnectionError
    supports = frozenset(
        {"application_name", "keepalive", "reset_session", "session", "socket_timeout"}
    )
    why_not = {  # noqa: RUF012  a ClassVar in the base class
        "autocommit": "each command is carried out at once",
        "cancel": "a command can't be stopped; use socket_timeout",
        "isolation_level": NO_TRANSACTIONS,
        "read_only": "give the user of the connection read-only rights",
        "statement_timeout": "the server has no limit for a command; use socket_timeout",
    }

    # Of redis-py, or derived from it.
    pool_class: ClassVar[Any]
    tls_class: ClassVar[Any]
    unix_class: ClassVar[Any]

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        connect_kwargs: Mapping[str, Any] | None = None,
        connect_timeout: float | None = None,
        options: SessionOptions = DEFAULTS,
    ) -> Self:
        """Return the adapter of the server that a URL names.

        Args:
            url: A URL as in the head of `_redis`.
            connect_kwargs: Arguments of redis-py's connection, which win over those in the URL.
            connect_timeout: Seconds; ``None`` leaves it to redis-py.
            options: What the connection is to be like. What the URL or `connect_kwargs` say wins.

        Raises:
            PoolConfigError: The URL or an argument is not valid.
        """
        arguments = {**cls._in_url(url), **(connect_kwargs or {})}
        for name, value in _arguments_for(connect_timeout, options).items():
            arguments.setdefault(name, value)
        cls._try_out(arguments)

        # Not a partial: its repr would show the password.
        def connect() -> Any:  # noqa: ANN401  a client, or what leads to it when awaited
            return cls._open(arguments)

        made = cls(connect, target=redact(url))
        if "path" in arguments:
            made.supports -= {"keepalive"}
        return made

    @classmethod
    def _open(cls, arguments: Mapping[str, Any]) -> Any:  # noqa: ANN401
        """Connect; each of the two says how."""
        raise NotImplementedError

    @classmethod
    def _in_url(cls, url: str) -> dict[str, Any]:
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
            arguments["connection_class"] = cls.unix_class
        else:
            number = (parts.name or "0").strip("/")
            if not number.isdecimal():
                refuse(url, "the path must be the number of a database")
            named |= {"host": parts.host, "port": parts.port}
            arguments.setdefault("db", int(number))
            if scheme.lower() == "rediss":
                arguments["connection_class"] = cls.tls_class
        return {**arguments, **{name: value for name, value in named.items() if value is not None}}

    @classmethod
    def _try_out(cls, arguments: Mapping[str, Any]) -> None:
        """Make a connection that is not opened, to have bad arguments refused now."""
        try:
            cls.pool_class(**arguments).make_connection()
        except (TypeError, ValueError, exceptions.RedisError) as error:
            msg = f"connect: redis-py does not take these arguments: {error}"
            raise PoolConfigError(msg) from None

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
