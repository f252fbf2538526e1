"""PostgreSQL, through psycopg 3.

The pool's ``connect_timeout`` becomes libpq's, which counts in whole seconds, takes 1 for 2, and
holds for each host when there are several. It takes the place of ``PGCONNECT_TIMEOUT``, but not of
a ``connect_timeout`` in the URL or in ``connect_kwargs``. Whatever libpq does, the pool gives a
connection attempt up after its own, exact ``connect_timeout``.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo, TransactionStatus

from millpond.drivers._base import redact
from millpond.drivers._dbapi import Dbapi
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    Connection = psycopg.Connection[Any]

# What `psycopg.connect()` takes for itself; all else goes to libpq.
_ARGUMENTS: Final = frozenset(
    {"autocommit", "context", "cursor_factory", "prepare_threshold", "row_factory"}
)
# libpq takes 1 for 2 (connectDBComplete in its fe-connect.c).
_SHORTEST_TIMEOUT: Final = 2


class Psycopg(Dbapi["Connection"]):
    """The adapter of `psycopg`."""

    name = "psycopg"
    operational_error = psycopg.OperationalError

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        connect_kwargs: Mapping[str, Any] | None = None,
        connect_timeout: float | None = None,
    ) -> Psycopg:
        """Return the adapter of the database that a URL names.

        Args:
            url: A URL that libpq understands; ``postgresql+psycopg:`` is ``postgresql:``.
            connect_kwargs: Arguments of `psycopg.connect()`, which win over those in the URL.
            connect_timeout: Seconds, which are rounded up; ``None`` leaves it to libpq.

        Raises:
            PoolConfigError: The URL or an argument is not valid.
        """
        conninfo = "postgresql://" + url.partition("://")[2]
        arguments = dict(connect_kwargs or {})
        _check_arguments(arguments)
        in_url = _parse(conninfo)
        if connect_timeout is not None and "connect_timeout" not in in_url:
            whole = max(_SHORTEST_TIMEOUT, math.ceil(connect_timeout))
            arguments.setdefault("connect_timeout", whole)

        # Not a partial: its repr would show the password.
        def connect() -> Connection:
            return psycopg.connect(conninfo, **arguments)

        return cls(connect, target=redact(url))

    def adopt(self, conn: Connection) -> Dbapi[Connection]:  # noqa: ARG002
        """Return itself: there is nothing to learn from the connection."""
        return self

    @staticmethod
    def reset(conn: Connection) -> None:
        """Roll back if a transaction is open, and refuse a connection that is in use or broken."""
        # libpq knows without asking the server. IDLE is 0, and by far the most frequent.
        if conn.pgconn.transaction_status:
            _roll_back(conn)

    @classmethod
    def ping(cls, conn: Connection) -> None:
        """Send an empty query, outside of any transaction."""
        # Within a transaction it cannot open one, and autocommit could not be changed.
        if conn.autocommit or conn.pgconn.transaction_status:
            conn.execute("", prepare=False)
            return
        conn.autocommit = True
        try:
            conn.execute("", prepare=False)
        finally:
            # On a connection that has just died this fails too, and would hide the first error.
            with suppress(psycopg.Error):
                conn.autocommit = False


def _roll_back(conn: Connection) -> None:
    status = conn.pgconn.transaction_status
    if status in {TransactionStatus.INTRANS, TransactionStatus.INERROR}:
        conn.rollback()
        status = conn.pgconn.transaction_status
    if status != TransactionStatus.IDLE:
        name = TransactionStatus(status).name
        msg = f"the connection cannot be used again: its transaction status is {name}"
        raise psycopg.OperationalError(msg)


def _check_arguments(arguments: Mapping[str, Any]) -> None:
    known = _ARGUMENTS | {option.keyword.decode() for option in Conninfo.get_defaults()}
    unknown = sorted(arguments.keys() - known)
    if unknown:
        names = ", ".join(map(repr, unknown))
        msg = f"connect_kwargs: {names} is unknown to psycopg and to libpq"
        raise PoolConfigError(msg)


def _parse(conninfo: str) -> Mapping[str, Any]:
    """Let libpq take the URL apart, and say what is wrong without saying the password."""
    try:
        parts = conninfo_to_dict(conninfo)
    except psycopg.ProgrammingError:
        raise PoolConfigError(_explain(conninfo)) from None
    # An unencoded "/" in a password ends the host for libpq, and the port is half of the password.
    ports = str(parts.get("port") or "").split(",")
    if not all(port == "" or port.isdecimal() for port in ports):
        msg = f"connect={redact(conninfo)!r}: the port must be a number; {_ENCODE}"
        raise PoolConfigError(msg)
    return parts


_ENCODE: Final = "if that is part of a password, percent-encode its special characters"


def _explain(conninfo: str) -> str:
    # libpq quotes what it did not understand. Asked about the redacted URL, it cannot quote the
    # password; and if nothing is wrong with that one, the password was it.
    shown = redact(conninfo)
    try:
        conninfo_to_dict(shown)
    except psycopg.ProgrammingError as error:
        why = str(error).strip()
    else:
        why = "special characters in the password must be percent-encoded"
    return f"connect={shown!r}: {why}"
