"""MySQL and MariaDB, through PyMySQL. What the drivers share, and URLs, are in `_mysql`.

PyMySQL has no public word for how a connection stands, so this file reads its private attributes.
Where a version does not have them, a release always rolls back, the socket is not polled
(`fileno` is -1), and sessions can't be reset.

Without a TLS argument PyMySQL uses TLS if the server has it, checks no certificate, and yet reads
the machine's certificates for each connection: 30 ms, or 4 s for the 128 connections of a pool that
comes back after a restart. With a URL they are read once.
"""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, Final

import pymysql
import pymysql.cursors

from millpond.drivers._mysql import MySQL
from millpond.drivers._mysql_traits import RESET_CONNECTION, says_closed, status_of
from millpond.drivers._mysql_url import flag
from millpond.drivers._session import SessionOptions, TransactionStatus

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    _Base = pymysql.connections.Connection[Any]
else:
    _Base = pymysql.connections.Connection


_CAN_RESET: Final = all(
    hasattr(pymysql.connections.Connection, name)
    for name in ("_execute_command", "_read_ok_packet")
)


class _Connection(_Base):
    """PyMySQL's own, with one context for all connections that check no certificate."""

    def _create_ssl_ctx(self, sslp: Any) -> ssl.SSLContext:  # noqa: ANN401
        if not sslp:
            return _unchecked_context()
        # With options it has to be made anew: files of certificates are replaced now and then.
        made: ssl.SSLContext = super()._create_ssl_ctx(sslp)  # type: ignore[misc]
        return made


@functools.cache
def _unchecked_context() -> ssl.SSLContext:
    blank: Any = object.__new__(pymysql.connections.Connection)
    made: ssl.SSLContext = blank._create_ssl_ctx({})  # noqa: SLF001
    return made


class PyMySQL(MySQL):
    """The adapter of PyMySQL."""

    name = "pymysql"
    operational_error = pymysql.OperationalError
    driver_errors = (pymysql.Error,)
    supports = MySQL.supports if _CAN_RESET else MySQL.supports - {"reset_session"}
    attributes = ("cursorclass", "decoders", "encoders")
    converters = {  # noqa: RUF012  a ClassVar in the base class
        "autocommit": flag,
        "bind_address": str,
        "charset": str,
        "client_flag": int,
        "collation": str,
        "connect_timeout": float,
        "init_command": str,
        "local_infile": flag,
        "max_allowed_packet": int,
        "program_name": str,
        "read_default_file": str,
        "read_default_group": str,
        "read_timeout": float,
        "sql_mode": str,
        "ssl_ca": str,
        "ssl_cert": str,
        "ssl_disabled": flag,
        "ssl_key": str,
        "ssl_key_password": str,
        "ssl_verify_cert": flag,
        "ssl_verify_identity": flag,
        "unix_socket": str,
        "use_unicode": flag,
        "write_timeout": float,
    }
    arguments = frozenset(inspect.signature(pymysql.connections.Connection).parameters) - {
        "defer_connect"
    }

    @classmethod
    def _open(cls, arguments: Mapping[str, Any]) -> Any:  # noqa: ANN401
        return _Connection(**arguments)

    @classmethod
    def _arguments_for(
        cls, connect_timeout: float | None, options: SessionOptions
    ) -> dict[str, Any]:
        named = {
            "connect_timeout": connect_timeout,
            "read_timeout": options.socket_timeout,
            "write_timeout": options.socket_timeout,
            "program_name": options.application_name,
            "autocommit": options.autocommit,
        }
        return {name: value for name, value in named.items() if value is not None}

    @staticmethod
    def plain_cursor(conn: Any) -> Any:  # noqa: ANN401
        """Return a cursor of the plainest class."""
        return conn.cursor(pymysql.cursors.Cursor)

    @classmethod
    def row(cls, conn: Any, query: str) -> tuple[Any, ...]:  # noqa: ANN401
        """Return the only row of a query's result, and leave no transaction open."""
        found = super().row(conn, query)
        # It has not read from a table, which `transaction_status` can't know.
        conn._result = None  # noqa: SLF001
        return found

    @staticmethod
    def set_autocommit(conn: Any, *, value: bool) -> None:  # noqa: ANN401
        """Set it, which costs a round trip only if it is a change."""
        conn.autocommit(value)

    @staticmethod
    def fileno(conn: Any) -> int:  # noqa: ANN401
        """Return the socket's."""
        sock = getattr(conn, "_sock", None)
        return -1 if sock is None else sock.fileno()

    @staticmethod
    def reset(conn: Any) -> None:  # noqa: ANN401
        """Roll back if a transaction is or may be open, and refuse a connection in use or dead."""
        status = PyMySQL.transaction_status(conn)
        if status is TransactionStatus.IDLE:
            return
        if status is TransactionStatus.ACTIVE:
            status = _finish(conn)
        if status is TransactionStatus.UNKNOWN and not conn.open:
            msg = "the connection cannot be used again: it is closed"
            raise pymysql.InterfaceError(0, msg)
        if status is not TransactionStatus.IDLE:
            conn.rollback()

    @staticmethod
    def transaction_status(conn: Any) -> TransactionStatus:  # noqa: ANN401
        """Read what the server said last."""
        try:
            result = conn._result  # noqa: SLF001
            bits = conn.server_status
        except AttributeError:
            return TransactionStatus.UNKNOWN
        return status_of(bits, result) if conn.open else TransactionStatus.UNKNOWN

    def begin(
        self,
        conn: Any,  # noqa: ANN401
        *,
        isolation: str | None = None,
        read_only: bool | None = None,
    ) -> None:
        """Begin a transaction, by doing nothing where the next statement will do it."""
        if conn.get_autocommit() or isolation is not None or read_only is not None:
            super().begin(conn, isolation=isolation, read_only=read_only)

    def _ping(self, conn: Any) -> None:  # noqa: ANN401
        conn.ping(reconnect=False)

    def _forget_session(self, conn: Any) -> None:  # noqa: ANN401
        if not conn.open:
            msg = "the session cannot be reset: the connection is closed"
            raise pymysql.InterfaceError(0, msg)
        conn._execute_command(RESET_CONNECTION, b"")  # noqa: SLF001
        conn._read_ok_packet()  # noqa: SLF001

    @classmethod
    def is_disconnect(cls, error: BaseException) -> bool:
        """Ask the error for its number, or for its words where it has none."""
        is_ours = isinstance(error, pymysql.Error)
        return (is_ours and says_closed(error)) or super().is_disconnect(error)

    @staticmethod
    def close(conn: Any) -> None:  # noqa: ANN401
        """Close the connection, unless PyMySQL has done so already."""
        result = getattr(conn, "_result", None)
        if result is not None:
            # Its destructor would read the rest from a socket that is closed.
            result.unbuffered_active = False
        if conn.open:
            conn.close()


def _finish(conn: Any) -> TransactionStatus:  # noqa: ANN401
    """Read the end of a call that nobody has read. Rows may be many, and are not read.

    Raises:
        OperationalError: There are rows.
    """
    result = conn._result  # noqa: SLF001
    while result.has_next and not result.unbuffered_active:
        conn.next_result(unbuffered=True)
        result = conn._result  # noqa: SLF001
    if result.unbuffered_active:
        # Or else its destructor would read them all, and so would `close`.
        result.unbuffered_active = False
        msg = "the connection cannot be used again: it has rows that were not read"
        raise pymysql.OperationalError(msg)
    return PyMySQL.transaction_status(conn)
