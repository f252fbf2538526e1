"""MySQL and MariaDB: what the three drivers share.

URLs are ``mysql://user:password@host:port/database?name=value``, or ``mariadb://``. They take the
first driver that can be imported of mysqlclient, PyMySQL and MySQL Connector/Python; to say which,
write ``mysql+mysqldb://`` (or ``mysql+mysqlclient://``), ``mysql+pymysql://`` or
``mysql+mysqlconnector://``.

``statement_timeout`` is ``max_statement_time`` in MariaDB, and ``max_execution_time`` in MySQL,
which holds for SELECT only.

A statement is cancelled by ``KILL QUERY`` on a second, short connection, so the server has to have
room for one. When `cancel` has returned, the server has noted it: a statement that comes later is
not hit (tests/drivers/test_mysql_family.py). One that is sent between the end of the statement that
was meant and the return of `cancel` is, so nobody may get the connection before that.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from millpond.drivers import _mysql_errors as errors
from millpond.drivers._dbapi import Dbapi
from millpond.drivers._mysql_traits import FRESH, WHERE, Fresh, Identity, MySQLTraits, identity_of
from millpond.drivers._session import DEFAULTS, SessionOptions, TransactionStatus
from millpond.drivers._sockets import is_readable, set_keepalive

if TYPE_CHECKING:
    from collections.abc import Callable

# Seconds in which another server's address may be tried, when a name stands for several.
_CANCEL_PATIENCE: Final = 1.0


class MySQL(MySQLTraits, Dbapi[Any]):
    """What the adapters of all three drivers that block have in common."""

    def __init__(self, connect: Callable[[], Any], *, target: str | None = None) -> None:
        """Store the callable; connections that it opens are noted, to be cancelled later."""
        super().__init__(connect, target=target)

        def connect_and_note() -> Any:  # noqa: ANN401
            conn = connect()
            try:
                self._note(conn)
            except BaseException:
                with suppress(Exception):
                    self.close(conn)
                raise
            return conn

        self.connect = connect_and_note

    def adopt(self, conn: Any) -> Dbapi[Any]:  # noqa: ANN401
        """Look at a new session, so that another can be brought back to the same."""
        if identity_of(conn) is None:
            self._note(conn)
        told = self._ask(conn, FRESH)
        if told is not None:
            self.note_fresh(told)
        return super().adopt(conn)

    def _note(self, conn: Any) -> None:  # noqa: ANN401
        told = self._ask(conn, WHERE)
        conn.millpond_identity = Identity(self.thread_id(conn), told[0] if told else "")

    def _ask(self, conn: Any, query: str) -> tuple[Any, ...] | None:  # noqa: ANN401
        """Ask the server about itself. ``None``: it is a proxy, or another kind of server."""
        try:
            return self.row(conn, query)
        except self.driver_errors as error:
            if self.is_disconnect(error):
                raise
            return None

    @classmethod
    def row(cls, conn: Any, query: str) -> tuple[Any, ...]:  # noqa: ANN401
        """Return the only row of a query's result, and leave no transaction open."""
        cursor = cls.plain_cursor(conn)
        try:
            cursor.execute(query)
            row, *_ = cursor.fetchall()
        finally:
            cursor.close()
        # With `use_unicode=False` they are bytes.
        return tuple(one.decode() if isinstance(one, (bytes, bytearray)) else one for one in row)

    @classmethod
    def execute(cls, conn: Any, statement: str) -> None:  # noqa: ANN401
        """Run a statement by a plain cursor: a borrower may have changed the connection's own."""
        cursor = cls.plain_cursor(conn)
        try:
            cursor.execute(statement)
        finally:
            cursor.close()

    @staticmethod
    def plain_cursor(conn: Any) -> Any:  # noqa: ANN401
        """Return a cursor that reads a result at once and as tuples; each driver has its class."""
        raise NotImplementedError

    @staticmethod
    def thread_id(conn: Any) -> int:  # noqa: ANN401
        """Return the server's number of the connection."""
        return int(conn.thread_id())

    @staticmethod
    def server_version(conn: Any) -> str:  # noqa: ANN401
        """Return what the server said that it is."""
        return str(conn.get_server_info())

    def prepare(self, conn: Any, options: SessionOptions = DEFAULTS) -> None:  # noqa: ANN401
        """Carry out what connecting has not, and leave no transaction open."""
        if options.keepalive is not None:
            set_keepalive(self.fileno(conn), options.keepalive)
        if options.statement_timeout is not None:
            limit = self.time_limit(self.server_version(conn), options.statement_timeout)
            self.execute(conn, limit)
        super().prepare(conn, options.without({"keepalive", "statement_timeout"}))

    def begin(
        self,
        conn: Any,  # noqa: ANN401
        *,
        isolation: str | None = None,
        read_only: bool | None = None,
    ) -> None:
        """Begin a transaction."""
        for statement in self.opening(isolation, read_only):
            self.execute(conn, statement)

    def ping(self, conn: Any) -> None:  # noqa: ANN401
        """Send COM_PING, and never connect again.

        Raises:
            OperationalError: There is something to read already. The server says nothing unasked
                but its farewell, so it is that, or the answer to another question.
        """
        if is_readable(self.fileno(conn)):
            msg = "the connection cannot be used: there is an answer that nobody waits for"
            raise self._failure(msg)
        self._ping(conn)

    def _ping(self, conn: Any) -> None:  # noqa: ANN401
        conn.ping()

    def reset_session(self, conn: Any) -> None:  # noqa: ANN401
        """Have the server forget the session, and make it again what it was when it was new.

        That takes two to five round trips.
        """
        if self.transaction_status(conn) is TransactionStatus.ACTIVE:
            self.reset(conn)
        self._forget_session(conn)
        if self._fresh_session is not None:
            self._renew(conn, self._fresh_session)
        for statement in self._again():
            self.execute(conn, statement)
        self.restore_attributes(conn)

    def _forget_session(self, conn: Any) -> None:  # noqa: ANN401
        # Each driver has its own way, and those without are without `reset_session` in `supports`.
        raise NotImplementedError(self.name)

    def _renew(self, conn: Any, fresh: Fresh) -> None:  # noqa: ANN401
        """Bring back what the server's reset has set to its own defaults, or has left alone."""
        conn.set_character_set(fresh.charset, fresh.collation)
        self.set_autocommit(conn, value=fresh.autocommit)
        if fresh.database is not None:
            conn.select_db(fresh.database)

    def cancel(self, conn: Any) -> None:  # type: ignore[override]  # noqa: ANN401
        """End the running statement by KILL QUERY on a second connection, and wait for the answer.

        Raises:
            OperationalError: No connection could be had to the server that runs the statement.
        """
        identity = identity_of(conn) or Identity(self.thread_id(conn), "")
        other = self._same_server(identity.server)
        try:
            self.execute(other, f"KILL QUERY {identity.number}")
        except self.driver_errors as error:
            if self.code(error) != errors.NO_SUCH_THREAD:
                raise
        finally:
            with suppress(Exception):
                self.close(other)

    def _same_server(self, server: str) -> Any:  # noqa: ANN401
        # The name of the host may stand for several servers, and each has a thread with our number:
        # one of somebody else.
        began = time.monotonic()
        while True:
            other = self._beside()
            try:
                if not server or self._ask(other, WHERE) == (server,):
                    return other
            except BaseException:
                self.close(other)
                raise
            self.close(other)
            if time.monotonic() - began > _CANCEL_PATIENCE:
                msg = f"KILL QUERY: connecting again leads to another server than {server}"
                raise self._failure(msg)
