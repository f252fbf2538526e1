"""MySQL and MariaDB, through mysqlclient (``MySQLdb``). What the drivers share is in `_mysql`.

mysqlclient does not tell whether a transaction is open, so each release rolls back, at the price of
a round trip. Nor can it name itself to the server. Its timeouts are whole seconds.

It has no call for COM_RESET_CONNECTION: ``reset="session"`` signs in again on the same connection,
which does the same and needs the password, so it works with a URL only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import MySQLdb  # type: ignore[import-not-found, import-untyped, unused-ignore]
import MySQLdb.cursors  # type: ignore[import-not-found, import-untyped, unused-ignore]

from millpond.drivers._mysql import MySQL
from millpond.drivers._mysql_errors import OUT_OF_SYNC
from millpond.drivers._mysql_url import flag
from millpond.drivers._sockets import whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from millpond.drivers._mysql_traits import Fresh
    from millpond.drivers._session import SessionOptions

_TLS: Final = ("ca", "capath", "cert", "cipher", "key")


class MySQLClient(MySQL):
    """The adapter of mysqlclient."""

    name = "mysqlclient"
    operational_error = MySQLdb.OperationalError
    driver_errors = (MySQLdb.Error,)
    supports = MySQL.supports - {"application_name", "reset_session"}
    why_not = {  # noqa: RUF012  a ClassVar in the base class
        "application_name": "mysqlclient cannot send it; use PyMySQL or MySQL Connector/Python",
        "reset_session": "mysqlclient needs the password for it, so only with a URL",
    }
    attributes = ("cursorclass", "encoders")
    converters = {  # noqa: RUF012  a ClassVar in the base class
        "auth_plugin": str,
        "autocommit": flag,
        "binary_prefix": flag,
        "charset": str,
        "client_flag": int,
        "collation": str,
        "compress": flag,
        "connect_timeout": int,
        "init_command": str,
        "local_infile": flag,
        "local_infile_dir": str,
        "multi_statements": flag,
        "read_default_file": str,
        "read_default_group": str,
        "read_timeout": int,
        "server_public_key_path": str,
        "sql_mode": str,
        "ssl_mode": str,
        "unix_socket": str,
        "use_unicode": flag,
        "write_timeout": int,
        # MySQLdb's `ssl` is a dict.
        **{f"ssl_{name}": str for name in _TLS},
    }
    arguments = frozenset(converters) - {f"ssl_{name}" for name in _TLS} | {
        "conv",
        "cursorclass",
        "database",
        "db",
        "executemany_fallback",
        "host",
        "named_pipe",
        "passwd",
        "password",
        "port",
        "ssl",
        "user",
    }

    @classmethod
    def from_url(cls, url: str, **arguments: Any) -> MySQLClient:  # noqa: ANN401
        """Return the adapter of the database that a URL names; see `MySQL.from_url`."""
        made = super().from_url(url, **arguments)
        made.supports = MySQLClient.supports | {"reset_session"}
        return made

    @classmethod
    def _open(cls, arguments: Mapping[str, Any]) -> Any:  # noqa: ANN401
        known = dict(arguments)
        tls = {name: known.pop(f"ssl_{name}") for name in _TLS if f"ssl_{name}" in known}
        if tls:
            known.setdefault("ssl", tls)
        return MySQLdb.connect(**known)

    @classmethod
    def _arguments_for(
        cls, connect_timeout: float | None, options: SessionOptions
    ) -> dict[str, Any]:
        durations = {
            "connect_timeout": connect_timeout,
            "read_timeout": options.socket_timeout,
            "write_timeout": options.socket_timeout,
        }
        said: dict[str, Any] = {
            name: whole(value) for name, value in durations.items() if value is not None
        }
        if options.autocommit is not None:
            said["autocommit"] = options.autocommit
        return said

    @staticmethod
    def plain_cursor(conn: Any) -> Any:  # noqa: ANN401
        """Return a cursor of the plainest class."""
        return conn.cursor(MySQLdb.cursors.Cursor)

    @staticmethod
    def set_autocommit(conn: Any, *, value: bool) -> None:  # noqa: ANN401
        """Set it, which costs a round trip only if it is a change."""
        conn.autocommit(value)

    @staticmethod
    def fileno(conn: Any) -> int:  # noqa: ANN401
        """Return the socket's."""
        try:
            return int(conn.fileno())
        except (AttributeError, MySQLdb.Error):  # closed, or built without it
            return -1

    @staticmethod
    def reset(conn: Any) -> None:  # noqa: ANN401
        """Roll back, and refuse a connection with rows that were not read."""
        _refuse_closed(conn)
        try:
            conn.rollback()
        except MySQLdb.ProgrammingError as error:
            # The client library says so by itself, without asking the server.
            if error.args[:1] != (OUT_OF_SYNC,) or not _finished(conn):
                raise
            conn.rollback()

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

    @staticmethod
    def close(conn: Any) -> None:  # noqa: ANN401
        """Close the connection, unless it is closed: mysqlclient would complain."""
        if conn.open:
            conn.close()

    def _forget_session(self, conn: Any) -> None:  # noqa: ANN401
        _refuse_closed(conn)
        if self._change_user is None:
            raise NotImplementedError(self.name)
        self._change_user(conn)

    def _renew(self, conn: Any, fresh: Fresh) -> None:  # noqa: ANN401
        conn.set_character_set(fresh.charset, fresh.collation)
        self.set_autocommit(conn, value=fresh.autocommit)


def _refuse_closed(conn: Any) -> None:  # noqa: ANN401
    if not conn.open:
        msg = "the connection cannot be used again: it is closed"
        raise MySQLdb.OperationalError(2006, msg)


def _finished(conn: Any) -> bool:  # noqa: ANN401
    """Read the end of a call that nobody has read. Rows may be many, and are not read."""
    while conn.more_results():
        conn.next_result()
        if conn.field_count():
            return False
        conn.discard_result()
    return True
