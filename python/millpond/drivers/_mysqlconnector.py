"""MySQL and MariaDB, through MySQL Connector/Python. What the drivers share is in `_mysql`.

It comes in two kinds. The C extension, which it takes where it can be loaded, does not let anybody
see its socket: a connection that has died is found by asking the server, and ``keepalive`` is not
possible. ``?use_pure=true`` has both, and rows that take longer.

The pure kind gives one query the rows of another in two cases. It keeps on reading where an
exception has stopped it, a timeout or Ctrl-C in the midst of an answer: connections that a pool
opens are closed by that. And while a CALL has results left, a new cursor asks the server whether it
is there, and takes the end of the CALL for its answer: here that is an error.

Its private attributes are all read in this file; where a version does not have them, the socket is
not polled (`fileno` is -1). Timeouts are whole seconds.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Final

import mysql.connector
from mysql.connector.constants import DEFAULT_CONFIGURATION

from millpond.drivers._mysql import MySQL
from millpond.drivers._mysql_errors import OUT_OF_SYNC
from millpond.drivers._mysql_url import flag
from millpond.drivers._session import DEFAULTS, SessionOptions, TransactionStatus
from millpond.drivers._sockets import whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from millpond.drivers._dbapi import Dbapi
    from millpond.drivers._mysql_traits import Fresh

try:
    # The C extension lets some of its own errors out.
    from _mysql_connector import MySQLInterfaceError as _Raw  # type: ignore[import-not-found]
except ImportError:
    _ERRORS: tuple[type[BaseException], ...] = (mysql.connector.Error,)
else:
    _ERRORS = (mysql.connector.Error, _Raw)

# The driver's own timeouts, which bear the number of the server's max_execution_time.
_TIMEOUTS: Final = tuple(
    getattr(mysql.connector.errors, name)
    for name in ("ReadTimeoutError", "WriteTimeoutError")
    if hasattr(mysql.connector.errors, name)
)
_NO_SOCKET: Final = "the C extension does not let anybody see its socket; add ?use_pure=true"


def _words(text: str) -> list[str]:
    return text.split(",")


class MySQLConnector(MySQL):
    """The adapter of MySQL Connector/Python."""

    name = "mysqlconnector"
    operational_error = mysql.connector.OperationalError
    driver_errors = _ERRORS
    attributes = ("can_consume_results", "get_warnings", "raise_on_warnings", "use_unicode")
    converters = {  # noqa: RUF012  a ClassVar in the base class
        "allow_local_infile": flag,
        "auth_plugin": str,
        "autocommit": flag,
        "buffered": flag,
        "charset": str,
        "collation": str,
        "compress": flag,
        "connection_timeout": int,
        "consume_results": flag,
        "force_ipv6": flag,
        "init_command": str,
        "option_files": str,
        "raise_on_warnings": flag,
        "read_timeout": int,
        "sql_mode": str,
        "ssl_ca": str,
        "ssl_cert": str,
        "ssl_cipher": str,
        "ssl_disabled": flag,
        "ssl_key": str,
        "ssl_verify_cert": flag,
        "ssl_verify_identity": flag,
        "time_zone": str,
        "tls_ciphersuites": _words,
        "tls_versions": _words,
        "unix_socket": str,
        "use_pure": flag,
        "use_unicode": flag,
        "write_timeout": int,
    }
    arguments = frozenset(DEFAULT_CONFIGURATION) - {"dsn"} | {"option_files", "option_groups"}

    def __init__(self, connect: Callable[[], Any], *, target: str | None = None) -> None:
        """Store the callable; the connections that it opens are guarded."""

        def connect_and_guard() -> Any:  # noqa: ANN401
            conn = connect()
            _guard(conn)
            return conn

        super().__init__(connect_and_guard, target=target or getattr(connect, "__qualname__", None))

    def adopt(self, conn: Any) -> Dbapi[Any]:  # noqa: ANN401
        """Look at the first connection: only the pure kind has a socket."""
        _guard(conn)
        if self.fileno(conn) < 0:
            self.supports -= {"keepalive"}
            self.why_not = {"keepalive": _NO_SOCKET}  # type: ignore[misc]
        return super().adopt(conn)

    @classmethod
    def _open(cls, arguments: Mapping[str, Any]) -> Any:  # noqa: ANN401
        return mysql.connector.connect(**arguments)

    @classmethod
    def _arguments_for(
        cls, connect_timeout: float | None, options: SessionOptions
    ) -> dict[str, Any]:
        durations = {"connection_timeout": connect_timeout}
        if "read_timeout" in DEFAULT_CONFIGURATION:  # since 9.2
            durations["read_timeout"] = durations["write_timeout"] = options.socket_timeout
        said: dict[str, Any] = {
            name: whole(value) for name, value in durations.items() if value is not None
        }
        if options.autocommit is not None:
            said["autocommit"] = options.autocommit
        if options.application_name is not None:
            said["conn_attrs"] = {"program_name": options.application_name}
        return said

    @staticmethod
    def plain_cursor(conn: Any) -> Any:  # noqa: ANN401
        """Return a cursor that reads a result at once and as tuples."""
        return conn.cursor(buffered=True, raw=False, dictionary=False)

    @staticmethod
    def thread_id(conn: Any) -> int:  # noqa: ANN401
        """Return the server's number of the connection."""
        return int(conn.connection_id)

    @staticmethod
    def server_version(conn: Any) -> str:  # noqa: ANN401
        """Return what the server said that it is."""
        told = getattr(conn, "server_info", None)  # since 9.3
        return str(conn.get_server_info() if told is None else told)

    @staticmethod
    def fileno(conn: Any) -> int:  # noqa: ANN401
        """Return the socket's, of the pure kind."""
        sock = getattr(getattr(conn, "_socket", None), "sock", None)
        return -1 if sock is None else sock.fileno()

    @staticmethod
    def reset(conn: Any) -> None:  # noqa: ANN401
        """Roll back if a transaction is open, and refuse a connection in use or dead."""
        status = MySQLConnector.transaction_status(conn)
        if status is TransactionStatus.ACTIVE:
            status = _finish(conn)
        if status is TransactionStatus.IDLE:
            return
        if status is TransactionStatus.OPEN:
            conn.rollback()
        else:
            msg = "the connection cannot be used again: it is closed"
            raise mysql.connector.OperationalError(msg)

    @staticmethod
    def transaction_status(conn: Any) -> TransactionStatus:  # noqa: ANN401
        """Read what the server said last."""
        if _is_closed(conn):
            return TransactionStatus.UNKNOWN
        if conn.unread_result or _has_more(conn):
            return TransactionStatus.ACTIVE
        return TransactionStatus.OPEN if conn.in_transaction else TransactionStatus.IDLE

    def _ping(self, conn: Any) -> None:  # noqa: ANN401
        conn.ping(reconnect=False)

    def _forget_session(self, conn: Any) -> None:  # noqa: ANN401
        # False is what it makes of an error, and of a server that is too old.
        if _is_closed(conn) or not conn.cmd_reset_connection():
            msg = "the session cannot be reset: the connection is closed, or the server too old"
            raise mysql.connector.OperationalError(msg)

    def _renew(self, conn: Any, fresh: Fresh) -> None:  # noqa: ANN401
        conn.set_charset_collation(fresh.charset, fresh.collation)
        self.set_autocommit(conn, value=fresh.autocommit)
        if fresh.database is not None:
            conn.cmd_init_db(fresh.database)

    @classmethod
    def code(cls, error: BaseException) -> int | None:
        """Return the number of an error of the server or of the client library."""
        return None if isinstance(error, _TIMEOUTS) else super().code(error)

    @classmethod
    def is_disconnect(cls, error: BaseException) -> bool:
        """Ask the error for its number, or for its words where it has none."""
        if isinstance(error, _TIMEOUTS):
            return True
        lost = isinstance(error, cls.driver_errors) and "not available" in str(error)
        return lost or super().is_disconnect(error)


def _is_closed(conn: Any) -> bool:  # noqa: ANN401
    if hasattr(conn, "is_closed"):  # the C extension; asks nobody
        return bool(conn.is_closed())
    sock = getattr(conn, "_socket", DEFAULTS)
    return sock is not DEFAULTS and MySQLConnector.fileno(conn) < 0


def _has_more(conn: Any) -> bool:  # noqa: ANN401
    return bool(getattr(conn, "_have_next_result", False) or getattr(conn, "more_results", False))


def _finish(conn: Any) -> TransactionStatus:  # noqa: ANN401
    """Read the end of a call that nobody has read. Rows may be many, and are not read.

    Raises:
        OperationalError: There are rows.
    """
    while _has_more(conn) and not conn.unread_result:
        # Not by a cursor of our own: making one sends COM_PING, and would take the end for its
        # answer.
        if MySQLConnector.fileno(conn) < 0:
            conn.next_result()
        else:
            conn._handle_result(conn._socket.recv())  # noqa: SLF001
    if conn.unread_result or _has_more(conn):
        msg = "the connection cannot be used again: it has rows that were not read"
        raise mysql.connector.OperationalError(msg)
    return MySQLConnector.transaction_status(conn)


def _guard(conn: Any) -> None:  # noqa: ANN401
    """See to it that a connection of the pure kind takes no answer for another.

    It is closed when it is stopped within an answer, as the rest would come nevertheless; and it
    sends nothing as long as there are answers to come.
    """
    channel = getattr(conn, "_socket", None)
    if channel is None or hasattr(channel, "millpond_guard"):
        return
    channel.millpond_guard = True
    send = _closing_on_error(channel, channel.send)
    whose = weakref.ref(conn)

    def send_in_turn(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        if getattr(whose(), "_have_next_result", False):
            msg = "there are results left to read, by nextset()"
            raise mysql.connector.OperationalError(errno=OUT_OF_SYNC, msg=msg)
        return send(*args, **kwargs)

    channel.send = send_in_turn
    channel.recv = _closing_on_error(channel, channel.recv)


def _closing_on_error(channel: Any, method: Callable[..., Any]) -> Callable[..., Any]:  # noqa: ANN401
    def guarded(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        try:
            return method(*args, **kwargs)
        except BaseException:
            channel.close_connection()
            raise

    return guarded
