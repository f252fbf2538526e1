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

import math
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from millpond.drivers import _mysql_errors as errors
from millpond.drivers._base import redact
from millpond.drivers._dbapi import Dbapi
from millpond.drivers._mysql_url import arguments_of
from millpond.drivers._session import DEFAULTS, SessionOptions, TransactionStatus
from millpond.drivers._sockets import is_readable, set_keepalive

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from collections.abc import Set as AbstractSet
    from typing import Self

# Seconds to connect for a KILL, and to wait for its answer. Together less than the pool waits.
CANCEL_TIMEOUT: Final = 2
# Seconds in which another server's address may be tried, when a name stands for several.
_CANCEL_PATIENCE: Final = 1.0

_WHERE: Final = "SELECT CONCAT(@@hostname, ':', @@port, ':', @@server_id)"
_FRESH: Final = (
    "SELECT DATABASE(), @@autocommit, @@character_set_client, @@collation_connection, "
    "@@GLOBAL.read_only"
)


# The options that are arguments of every driver, or that only some drivers have.
_CARRIED: Final = frozenset({"application_name", "autocommit", "socket_timeout"})


class _Identity(NamedTuple):
    """Who a connection is, noted when it is new: during a statement it can't be asked."""

    number: int
    server: str


class Fresh(NamedTuple):
    """What a session was like when it was new, as far as the server's reset changes it."""

    database: str | None
    autocommit: bool
    charset: str
    collation: str


class MySQL(Dbapi[Any]):
    """What the adapters of all three drivers have in common."""

    supports = frozenset(
        {
            "application_name",
            "autocommit",
            "cancel",
            "isolation_level",
            "keepalive",
            "read_only",
            "reset_session",
            "session",
            "socket_timeout",
            "statement_timeout",
        }
    )
    isolation_levels = frozenset(
        {"read uncommitted", "read committed", "repeatable read", "serializable"}
    )
    read_only_transactions = True

    # What each driver says about itself.
    driver_errors: ClassVar[tuple[type[BaseException], ...]]
    converters: ClassVar[Mapping[str, Callable[[str], object]]]
    arguments: ClassVar[AbstractSet[str]]

    def __init__(self, connect: Callable[[], Any], *, target: str | None = None) -> None:
        """Store the callable; connections that it opens are noted, to be cancelled later."""
        super().__init__(connect, target=target)
        self._beside = connect
        self._change_user: Callable[[Any], object] | None = None
        self._again: Callable[[], tuple[str, ...]] = tuple
        self._fresh_session: Fresh | None = None
        self._was_primary = False

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
            connect_kwargs: Arguments of the driver's ``connect()``, which win over those in the
                URL.
            connect_timeout: Seconds, for drivers that count in whole seconds rounded up; ``None``
                leaves it to the driver.
            options: What the session is to be like. What the URL or `connect_kwargs` say wins.

        Raises:
            PoolConfigError: The URL or an argument is not valid.
        """
        arguments = arguments_of(
            url,
            connect_kwargs or {},
            driver=cls.name,
            converters=cls.converters,
            known=cls.arguments,
        )
        for name, value in cls._arguments_for(connect_timeout, options).items():
            arguments.setdefault(name, value)
        short = {
            name: value
            for name, value in arguments.items()
            if name not in {"init_command", "sql_mode", "cursorclass"}
        }
        short |= cls._arguments_for(CANCEL_TIMEOUT, SessionOptions(socket_timeout=CANCEL_TIMEOUT))

        # Not a partial: its repr would show the password.
        def connect() -> Any:  # noqa: ANN401
            return cls._open(arguments)

        made = cls(connect, target=redact(url))
        made._beside = lambda: cls._open(short)
        made._again = lambda: _statements_again(arguments)
        made._change_user = lambda conn: conn.change_user(
            arguments.get("user", ""), arguments.get("password", ""), arguments.get("database", "")
        )
        made.carried = _CARRIED & options.given().keys()
        return made

    @classmethod
    def _open(cls, arguments: Mapping[str, Any]) -> Any:  # noqa: ANN401
        """Connect; each of the three drivers says how."""
        raise NotImplementedError

    @classmethod
    def _arguments_for(
        cls, connect_timeout: float | None, options: SessionOptions
    ) -> dict[str, Any]:
        """Return the driver's arguments for what only connecting can carry out."""
        raise NotImplementedError

    def adopt(self, conn: Any) -> Dbapi[Any]:  # noqa: ANN401
        """Look at a new session, so that another can be brought back to the same."""
        if identity_of(conn) is None:
            self._note(conn)
        told = self._ask(conn, _FRESH)
        if told is not None:
            database, autocommit, charset, collation, read_only = told
            self._was_primary = str(read_only).upper() in {"0", "OFF"}
            self._fresh_session = Fresh(database, bool(autocommit), charset, collation)
        return super().adopt(conn)

    def _note(self, conn: Any) -> None:  # noqa: ANN401
        told = self._ask(conn, _WHERE)
        conn.millpond_identity = _Identity(self.thread_id(conn), told[0] if told else "")

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
        """Return a cursor that reads a result at once and as tuples."""
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
            self.execute(conn, self._time_limit(conn, options.statement_timeout))
        super().prepare(conn, options.without({"keepalive", "statement_timeout"}))

    def _time_limit(self, conn: Any, seconds: float) -> str:  # noqa: ANN401
        # 0 would be no limit.
        if "mariadb" in self.server_version(conn).lower():
            return f"SET SESSION max_statement_time = {max(seconds, 1e-6):.6f}"
        return f"SET SESSION max_execution_time = {max(1, math.ceil(seconds * 1000))}"

    def statements(self, options: SessionOptions) -> list[str]:
        """Return the statement for the isolation level and for ``read_only``."""
        said = []
        if options.isolation_level is not None:
            said.append(f"ISOLATION LEVEL {options.isolation_level.upper()}")
        if options.read_only is not None:
            said.append("READ ONLY" if options.read_only else "READ WRITE")
        return [f"SET SESSION TRANSACTION {', '.join(said)}"] if said else []

    def begin(
        self,
        conn: Any,  # noqa: ANN401
        *,
        isolation: str | None = None,
        read_only: bool | None = None,
    ) -> None:
        """Begin a transaction."""
        self.check_begin(isolation=isolation, read_only=read_only)
        if isolation is not None:
            # For the next transaction only.
            self.execute(conn, f"SET TRANSACTION ISOLATION LEVEL {isolation.upper()}")
        mode = {None: "", True: " READ ONLY", False: " READ WRITE"}[read_only]
        self.execute(conn, f"START TRANSACTION{mode}")

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
        identity = identity_of(conn) or _Identity(self.thread_id(conn), "")
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
                if not server or self._ask(other, _WHERE) == (server,):
                    return other
            except BaseException:
                self.close(other)
                raise
            self.close(other)
            if time.monotonic() - began > _CANCEL_PATIENCE:
                msg = f"KILL QUERY: connecting again leads to another server than {server}"
                raise self._failure(msg)

    def _failure(self, message: str) -> Exception:
        kind = self.operational_error or RuntimeError
        return kind(message)

    @classmethod
    def code(cls, error: BaseException) -> int | None:
        """Return the number of an error, if it is the driver's own and has one."""
        if not isinstance(error, cls.driver_errors):
            return None
        number = getattr(error, "errno", None) or next(iter(error.args), None)
        return number if isinstance(number, int) else None

    @classmethod
    def is_disconnect(cls, error: BaseException) -> bool:
        """Ask the error for its number."""
        code = cls.code(error)
        return isinstance(error, ConnectionError) or (code is not None and errors.is_gone(code))

    def is_demoted(self, conn: Any, error: BaseException) -> bool:  # noqa: ANN401
        """Say yes to a write that the server refuses, if it took writes when the pool began."""
        del conn
        code = self.code(error)
        return self._was_primary and code is not None and errors.is_read_only(code, str(error))

    @classmethod
    def is_cancelled(cls, error: BaseException) -> bool:
        """Say whether the statement was ended by KILL QUERY, or by the server's time limit."""
        return errors.is_cancelled(cls.code(error) or 0)

    @classmethod
    def is_retryable(cls, error: BaseException) -> bool:
        """Say whether it is a deadlock, a lock wait timeout or another conflict."""
        return errors.is_retryable(cls.code(error) or 0)

    @classmethod
    def is_transient(cls, error: BaseException) -> bool:
        """Say no if the server knows us and will not have us, and otherwise what is usual."""
        return not errors.is_refused(cls.code(error) or 0) and Dbapi.is_transient(error)


def identity_of(conn: Any) -> _Identity | None:  # noqa: ANN401
    """Return what was noted about a connection."""
    found: _Identity | None = getattr(conn, "millpond_identity", None)
    return found


def _statements_again(arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what drivers do on connecting, and the server's reset undoes."""
    mode = arguments.get("sql_mode")
    said = [] if not mode else ["SET SESSION sql_mode = '{}'".format(str(mode).replace("'", "''"))]
    command = arguments.get("init_command")
    return (*said, *([str(command)] if command else []))
