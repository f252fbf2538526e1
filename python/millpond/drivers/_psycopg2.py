"""PostgreSQL, through psycopg2.

What both drivers of PostgreSQL share, and how URLs, timeouts and options work, is in `_libpq`.
"""

from __future__ import annotations

import os
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import psycopg2
import psycopg2.extensions

from millpond.drivers._libpq import INERROR, INTRANS, STATUS
from millpond.drivers._libpq_session import LibpqSession
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from millpond.drivers._session import SessionOptions, TransactionStatus

    Connection = psycopg2.extensions.connection

# What `psycopg2.connect()` takes for itself; all else goes to libpq.
_ARGUMENTS: Final = frozenset({"connection_factory", "cursor_factory"})
# The whole message: its length, and the number that stands for the question.
_SSL_REQUEST: Final = struct.pack("!ii", 8, 80877103)
# Seconds for each step.
_CANCEL_TIMEOUT: Final = 2.0
_ASYNC: Final = frozenset({"async", "async_"})


class Psycopg2(LibpqSession["Connection"]):
    """The adapter of `psycopg2`."""

    name = "psycopg2"
    operational_error = psycopg2.OperationalError
    attributes = ("autocommit", "cursor_factory", "deferrable", "isolation_level", "readonly")

    @classmethod
    def _open(cls, conninfo: str, arguments: Mapping[str, Any]) -> Connection:
        conn: Connection = psycopg2.connect(conninfo, **arguments)
        return conn

    @classmethod
    def _check_arguments(cls, arguments: Mapping[str, Any]) -> None:
        for name in sorted(arguments.keys() & _ASYNC):
            msg = f"connect_kwargs: {name!r} makes connections that a pool of threads cannot use"
            raise PoolConfigError(msg)
        # libpq's messages quote the values, which may be passwords: it is asked about names only.
        for name in sorted(arguments.keys() - _ARGUMENTS):
            try:
                psycopg2.extensions.make_dsn(**{name: "1"})
            except psycopg2.ProgrammingError:
                msg = f"connect_kwargs: {name!r} is unknown to psycopg2 and to libpq"
                raise PoolConfigError(msg) from None

    @classmethod
    def _parse(cls, conninfo: str) -> Mapping[str, Any]:
        try:
            return psycopg2.extensions.parse_dsn(conninfo)
        except psycopg2.ProgrammingError as error:
            raise ValueError(str(error)) from None

    def _prepare_for_bouncer(self, conn: Connection, options: SessionOptions) -> None:
        if options.isolation_level is not None:
            conn.isolation_level = options.isolation_level.upper()
        if options.read_only is not None:
            conn.readonly = options.read_only

    @staticmethod
    def reset(conn: Connection) -> None:
        """Roll back if a transaction is open, and refuse a connection that is in use or broken."""
        # libpq knows without asking the server. IDLE is 0, and by far the most frequent.
        if conn.get_transaction_status():
            _clean(conn)

    @staticmethod
    def transaction_status(conn: Connection) -> TransactionStatus:
        """Ask libpq."""
        return STATUS[conn.get_transaction_status()]

    def ping(self, conn: Connection) -> None:
        """Run ``SELECT 1``, outside of any transaction."""
        # Within a transaction it cannot open one, and autocommit could not be changed.
        if conn.autocommit or conn.get_transaction_status():
            self.execute(conn, "SELECT 1")
            return
        conn.autocommit = True
        try:
            self.execute(conn, "SELECT 1")
        finally:
            # On a connection that has just died this fails too, and would hide the first error.
            with suppress(psycopg2.Error):
                conn.autocommit = False

    @staticmethod
    def execute(conn: Connection, statement: str) -> None:
        """Run a statement by a plain cursor."""
        # Not the connection's own factory: a borrower may have changed it.
        with conn.cursor(cursor_factory=psycopg2.extensions.cursor) as cursor:
            cursor.execute(statement)

    # In autocommit mode psycopg2's own two do nothing at all, whatever was begun by `begin`.

    @classmethod
    def commit(cls, conn: Connection) -> None:
        """Commit, in autocommit mode too."""
        if conn.autocommit:
            cls.execute(conn, "COMMIT")
        else:
            conn.commit()

    @classmethod
    def rollback(cls, conn: Connection) -> None:
        """Roll back, in autocommit mode too."""
        if conn.autocommit:
            cls.execute(conn, "ROLLBACK")
        else:
            conn.rollback()

    @classmethod
    def cancel(cls, conn: Connection) -> None:
        """Ask the server to end the running statement, if it answers at all.

        Raises:
            OSError: It does not.
        """
        # psycopg2 holds the GIL until the server has heard of it. With one that is out of reach the
        # whole process would stand still, so it has to say something to somebody else first.
        _knock(conn)
        conn.cancel()


def _knock(conn: Connection) -> None:
    """Ask the server, on a socket of our own, whether it speaks TLS, and wait for any answer."""
    with socket.socket(fileno=os.dup(conn.fileno())) as ours:
        family, address = ours.family, ours.getpeername()
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(_CANCEL_TIMEOUT)
        probe.connect(address)
        probe.sendall(_SSL_REQUEST)
        if not probe.recv(1):
            msg = "the server hung up"
            raise ConnectionError(msg)


def _clean(conn: Connection) -> None:
    status = conn.get_transaction_status()
    if status in {INTRANS, INERROR}:
        Psycopg2.rollback(conn)
        status = conn.get_transaction_status()
    if status:
        name = STATUS[status].name
        msg = f"the connection cannot be used again: its transaction status is {name}"
        raise psycopg2.OperationalError(msg)
