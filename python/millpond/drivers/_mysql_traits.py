"""MySQL and MariaDB: what is known of the drivers, whether they block or are awaited.

How URLs look and how a statement is cancelled is said in `_mysql`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from millpond.drivers import _mysql_errors as errors
from millpond.drivers._base import redact
from millpond.drivers._mysql_url import arguments_of
from millpond.drivers._session import DEFAULTS, SessionOptions, TransactionStatus
from millpond.drivers._traits import Traits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from collections.abc import Set as AbstractSet
    from typing import Self

# Seconds to connect for a KILL, and to wait for its answer. Together less than the pool waits.
CANCEL_TIMEOUT: Final = 2
WHERE: Final = "SELECT CONCAT(@@hostname, ':', @@port, ':', @@server_id)"
FRESH: Final = (
    "SELECT DATABASE(), @@autocommit, @@character_set_client, @@collation_connection, "
    "@@GLOBAL.read_only"
)

# The options that are arguments of every driver, or that only some drivers have.
_CARRIED: Final = frozenset({"application_name", "autocommit", "socket_timeout"})

_SAYS_CLOSED: Final = frozenset(
    {"Already closed", "(0, 'Not connected')", "Cancelled during execution"}
)

# A command of the protocol, without arguments.
RESET_CONNECTION: Final = 0x1F

# Bits of the server's status, as of the last packet that had one.
_IN_TRANSACTION: Final = 1
_AUTOCOMMIT: Final = 2


class Identity(NamedTuple):
    """Who a connection is, noted when it is new: during a statement it can't be asked."""

    number: int
    server: str


class Fresh(NamedTuple):
    """What a session was like when it was new, as far as the server's reset changes it."""

    database: str | None
    autocommit: bool
    charset: str
    collation: str


class MySQLTraits(Traits[Any]):
    """What the adapters of all drivers have in common."""

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
        """Store the callable."""
        super().__init__(connect, target=target)
        # How to connect for a KILL.
        self._beside = connect
        self._change_user: Callable[[Any], object] | None = None
        # What has to be said again when the server has reset a session.
        self._again: Callable[[], tuple[str, ...]] = tuple
        self._fresh_session: Fresh | None = None
        self._was_primary = False

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
            url: A URL as in the head of `_mysql`.
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
        """Connect; each of the drivers says how."""
        raise NotImplementedError

    @classmethod
    def _arguments_for(
        cls, connect_timeout: float | None, options: SessionOptions
    ) -> dict[str, Any]:
        """Return the arguments for what only connecting can carry out, which each driver names."""
        raise NotImplementedError

    def note_fresh(self, told: tuple[Any, ...]) -> None:
        """Remember what the server said to `FRESH`."""
        database, autocommit, charset, collation, read_only = told
        self._was_primary = str(read_only).upper() in {"0", "OFF"}
        self._fresh_session = Fresh(database, bool(autocommit), charset, collation)

    @staticmethod
    def time_limit(version: str, seconds: float) -> str:
        """Return the statement that limits the time of others, on a server of a version."""
        # 0 would be no limit.
        if "mariadb" in version.lower():
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

    def opening(self, isolation: str | None, read_only: bool | None) -> list[str]:  # noqa: FBT001
        """Return the statements that begin a transaction.

        Raises:
            PoolConfigError: There is no such transaction.
        """
        self.check_begin(isolation=isolation, read_only=read_only)
        mode = {None: "", True: " READ ONLY", False: " READ WRITE"}[read_only]
        # For the next transaction only.
        level = (
            [] if isolation is None else [f"SET TRANSACTION ISOLATION LEVEL {isolation.upper()}"]
        )
        return [*level, f"START TRANSACTION{mode}"]

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
        return not errors.is_refused(cls.code(error) or 0) and Traits.is_transient(error)


def identity_of(conn: Any) -> Identity | None:  # noqa: ANN401
    """Return what was noted about a connection."""
    found: Identity | None = getattr(conn, "millpond_identity", None)
    return found


def says_closed(error: BaseException) -> bool:
    """Say whether an error of PyMySQL or of its descendants, which has no number, says so."""
    first = next(iter(error.args), "")
    words = str(first)
    return first == 0 or words in _SAYS_CLOSED or words.startswith("Packet sequence number wrong")


def status_of(bits: int, result: Any) -> TransactionStatus:  # noqa: ANN401
    """Say how a connection of PyMySQL or of one of its descendants stands.

    After a query that was not in autocommit mode, ``OPEN``: PyMySQL drops the status that comes
    with rows, and the query has begun a transaction if it read from a table.

    Args:
        bits: The server's status, as of the last packet of which it was kept.
        result: The last result, or ``None``.
    """
    if result is not None:
        if result.unbuffered_active or result.has_next:
            return TransactionStatus.ACTIVE
        if result.server_status is None and not bits & _AUTOCOMMIT:
            return TransactionStatus.OPEN
    return TransactionStatus.OPEN if bits & _IN_TRANSACTION else TransactionStatus.IDLE


def _statements_again(arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what drivers do on connecting, and the server's reset undoes."""
    mode = arguments.get("sql_mode")
    said = [] if not mode else ["SET SESSION sql_mode = '{}'".format(str(mode).replace("'", "''"))]
    command = arguments.get("init_command")
    return (*said, *([str(command)] if command else []))
