"""Oracle Database, through python-oracledb.

URLs: ``oracle://user:password@host:port/?service_name=orders`` (or ``oracle+oracledb://``),
``oracle://user:password@host:port/sid``, and ``oracle://user:password@name`` for a name out of
``tnsnames.ora``. Behind the ``?`` may stand further arguments of `oracledb.connect()`.

Oracle has no statement timeout. The driver has one for each round trip (``call_timeout``), which is
what ``statement_timeout`` and ``socket_timeout`` become, the shorter of the two. ``keepalive`` is
the driver's ``expire_time``, in whole minutes. The application name is the session's module.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import oracledb

from millpond.drivers._base import C, redact
from millpond.drivers._dbapi import Dbapi
from millpond.drivers._session import DEFAULTS, SessionOptions, TransactionStatus
from millpond.drivers._traits import Traits
from millpond.drivers._url import Parts, refuse, refuse_unknown, split
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

# What may stand in a URL, beside user, password, host, port and SID.
_CONVERTERS: Final[Mapping[str, Callable[[str], object]]] = {
    "config_dir": str,
    "edition": str,
    "expire_time": int,
    "instance_name": str,
    "machine": str,
    "program": str,
    "protocol": str,
    "retry_count": int,
    "retry_delay": int,
    "sdu": int,
    "server_type": str,
    "service_name": str,
    "stmtcachesize": int,
    "tcp_connect_timeout": float,
    "wallet_location": str,
    "wallet_password": str,
}
_SECONDS_PER_MINUTE: Final = 60

# The session was killed, the server shuts down, the line is dead, idle for too long.
_GONE: Final = frozenset(
    {28, 1012, 1033, 1034, 1089, 1090, 1092, 2396, 3113, 3114, 3135, 12153, 12537, 12547, 12570}
)
_DRIVER_GONE: Final = frozenset(
    {"DPI-1010", "DPI-1080", "DPY-1001", "DPY-4011", "DPY-6005", "DPY-6006"}
)
_CANCELLED: Final = 1013
_RETRYABLE: Final = frozenset({60, 8177})  # a deadlock; can't serialize access
# Wrong user or password, account locked, password expired, no right to connect.
_REFUSED: Final = frozenset({1005, 1017, 1045, 28000, 28001})


class Oracle(Traits[C]):
    """What is the same for connections that block and for those that are awaited."""

    name = "oracledb"
    operational_error = oracledb.OperationalError
    supports = frozenset(
        {
            "application_name",
            "autocommit",
            "cancel",
            "isolation_level",
            "keepalive",
            "session",
            "socket_timeout",
            "statement_timeout",
        }
    )
    isolation_levels = frozenset({"read committed", "serializable"})
    read_only_transactions = True
    why_not = {  # noqa: RUF012  a ClassVar in the base class
        "read_only": "Oracle has read-only transactions, but no such sessions",
        "reset_session": "Oracle forgets a session only with its end",
    }
    # There is no socket to be had of the driver, but it has a look at it.
    needs_is_alive = True
    savepoint_sql = ("SAVEPOINT {}", "ROLLBACK TO SAVEPOINT {}", None)

    def __init__(self, connect: Callable[[], Any], *, target: str | None = None) -> None:
        """Store the callable."""
        super().__init__(connect, target=target)
        # Connections in autocommit mode within a transaction, by id: for as long as it lasts, the
        # mode is switched off, as Oracle has no BEGIN.
        self._switched: set[int] = set()

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        connect_kwargs: Mapping[str, Any] | None = None,
        connect_timeout: float | None = None,
        options: SessionOptions = DEFAULTS,
    ) -> Self:
        """Return the adapter of the database that a URL names.

        Args:
            url: A URL as in the head of this module.
            connect_kwargs: Arguments of `oracledb.connect()`, which win over those in the URL.
            connect_timeout: Seconds for the driver's ``tcp_connect_timeout``.
            options: What the session is to be like.

        Raises:
            PoolConfigError: The URL is not valid.
        """
        arguments = _arguments(url, split(url))
        if connect_timeout is not None:
            arguments.setdefault("tcp_connect_timeout", connect_timeout)
        if options.keepalive:
            silent = 0.0 if options.keepalive is True else options.keepalive
            minutes = math.ceil(silent / _SECONDS_PER_MINUTE)
            arguments.setdefault("expire_time", max(1, minutes))
        arguments |= connect_kwargs or {}

        # Not a partial: its repr would show the password.
        def connect() -> Any:  # noqa: ANN401  a connection, or what leads to it when awaited
            return cls._open(arguments)

        return cls(connect, target=redact(url))

    @classmethod
    def _open(cls, arguments: Mapping[str, Any]) -> Any:  # noqa: ANN401
        """Connect; each of the two says how."""
        raise NotImplementedError

    @staticmethod
    def configure(conn: Any, options: SessionOptions) -> None:  # noqa: ANN401
        """Set what the driver keeps, and sends with what comes next."""
        limits = [options.socket_timeout, options.statement_timeout]
        given = [limit for limit in limits if limit is not None]
        if given:
            conn.call_timeout = max(1, math.ceil(min(given) * 1000))
        if options.application_name is not None:
            conn.module = options.application_name

    def statements(self, options: SessionOptions) -> list[str]:
        """Return the ALTER SESSION for the isolation level."""
        if options.isolation_level is None:
            return []
        return [f"ALTER SESSION SET ISOLATION_LEVEL = {options.isolation_level.upper()}"]

    @classmethod
    def is_alive(cls, conn: Any) -> bool:  # noqa: ANN401
        """Ask the driver, which looks at the socket and at what the server announced."""
        return bool(conn.is_healthy())

    @staticmethod
    def transaction_status(conn: Any) -> TransactionStatus:  # noqa: ANN401
        """Ask the driver."""
        return TransactionStatus.OPEN if conn.transaction_in_progress else TransactionStatus.IDLE

    @classmethod
    def is_disconnect(cls, error: BaseException) -> bool:
        """Ask for the code, of Oracle or of the driver."""
        code, full_code = _codes(error)
        return code in _GONE or full_code in _DRIVER_GONE

    @classmethod
    def is_cancelled(cls, error: BaseException) -> bool:
        """Say yes to ORA-01013."""
        return _codes(error)[0] == _CANCELLED

    @classmethod
    def is_retryable(cls, error: BaseException) -> bool:
        """Say yes to a conflict and a deadlock."""
        return _codes(error)[0] in _RETRYABLE

    @staticmethod
    def is_transient(error: BaseException) -> bool:
        """Say no where the server refused the user."""
        code, _ = _codes(error)
        if code in _REFUSED:
            return False
        # Oracle's errors in connecting are DatabaseErrors as often as OperationalErrors.
        return isinstance(error, oracledb.DatabaseError) or Traits.is_transient(error)

    def opening(self, conn: Any, isolation: str | None, read_only: bool | None) -> str:  # noqa: ANN401, FBT001
        """Leave autocommit mode for a transaction, and return the statement that begins it, if any.

        Raises:
            PoolConfigError: There is no such transaction.
        """
        self.check_begin(isolation=isolation, read_only=read_only)
        mode = _mode(isolation, read_only)
        if conn.autocommit:
            conn.autocommit = False
            self._switched.add(id(conn))
        return f"SET TRANSACTION {mode}" if mode else ""

    def _switch_back(self, conn: Any) -> None:  # noqa: ANN401
        if id(conn) in self._switched:
            self._switched.discard(id(conn))
            conn.autocommit = True


class Oracledb(Oracle[oracledb.Connection], Dbapi[oracledb.Connection]):
    """The adapter of `oracledb.Connection`."""

    @classmethod
    def _open(cls, arguments: Mapping[str, Any]) -> oracledb.Connection:
        return oracledb.connect(**arguments)

    def prepare(self, conn: oracledb.Connection, options: SessionOptions = DEFAULTS) -> None:
        """Set what the driver keeps, then what the server has to know."""
        self.configure(conn, options)
        super().prepare(conn, options)

    @staticmethod
    def reset(conn: oracledb.Connection) -> None:
        """Roll back if a transaction is open."""
        if conn.transaction_in_progress:
            conn.rollback()

    def ping(self, conn: oracledb.Connection) -> None:
        """Let the driver ask the server; it never reconnects."""
        conn.ping()

    @classmethod
    def cancel(cls, conn: oracledb.Connection) -> None:
        """Send a break."""
        conn.cancel()

    def begin(
        self,
        conn: oracledb.Connection,
        *,
        isolation: str | None = None,
        read_only: bool | None = None,
    ) -> None:
        """Begin a transaction, for which the first statement is enough in Oracle."""
        opening = self.opening(conn, isolation, read_only)
        if opening:
            self.execute(conn, opening)

    def commit(self, conn: oracledb.Connection) -> None:  # type: ignore[override]
        """Commit, and go back to autocommit mode if `begin` has left it."""
        conn.commit()
        self._switch_back(conn)

    def rollback(self, conn: oracledb.Connection) -> None:  # type: ignore[override]
        """Roll back, and go back to autocommit mode if `begin` has left it."""
        conn.rollback()
        self._switch_back(conn)

    def close(self, conn: oracledb.Connection) -> None:  # type: ignore[override]
        """Close the connection."""
        self._switched.discard(id(conn))
        conn.close()


def _codes(error: BaseException) -> tuple[int, str]:
    """Return the number after ORA-, and the driver's own code; 0 and nothing if there is none."""
    found = error.args[0] if isinstance(error, oracledb.Error) and error.args else None
    return int(getattr(found, "code", 0) or 0), str(getattr(found, "full_code", ""))


def _mode(isolation: str | None, read_only: bool | None) -> str:  # noqa: FBT001
    """Return what follows SET TRANSACTION; Oracle takes one thing only."""
    if read_only and isolation == "read committed":
        msg = (
            f"isolation={isolation!r}, read_only=True: Oracle reads one state in such transactions"
        )
        raise PoolConfigError(msg)
    if read_only:
        return "READ ONLY"
    if isolation is not None:
        return f"ISOLATION LEVEL {isolation.upper()}"
    return "READ WRITE" if read_only is False else ""


def _arguments(url: str, parts: Parts) -> dict[str, Any]:
    if not parts.host:
        refuse(url, "the host, or a name out of tnsnames.ora, is missing")
    arguments: dict[str, Any] = {"user": parts.user, "password": parts.password}
    for name, value in parts.query.items():
        if name not in _CONVERTERS:
            refuse_unknown("connect", name, "oracledb", _CONVERTERS)
        try:
            arguments[name] = _CONVERTERS[name](value)
        except ValueError:
            refuse(url, f"{name}={value!r} is not a valid value")
    if parts.name or parts.port or "service_name" in arguments:
        arguments |= {"host": parts.host, "port": parts.port or 1521}
        if parts.name:
            arguments["sid"] = parts.name
    else:
        arguments["dsn"] = parts.host
    return {name: value for name, value in arguments.items() if value is not None}
