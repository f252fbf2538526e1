"""Any connection that follows PEP 249, more or less.

PEP 249 has a rollback, and no way to ask whether one is needed, so a rollback is made at each
release. Nothing else is taken for granted: a connection without `rollback` needs no reset, one
without `close` is closed by dropping it.
"""

from __future__ import annotations

import select
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic

from millpond.drivers._base import C
from millpond.drivers._session import (
    AT_CONNECT,
    DEFAULTS,
    ISOLATION_LEVELS,
    SessionOptions,
    TransactionStatus,
)
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_TRANSIENT: Final = frozenset({"OperationalError", "InterfaceError"})

# The SQLSTATEs of a conflict and of a deadlock. Not all of class 40: after 40003 nobody knows
# whether the statement was carried out, and it must not be repeated.
_RETRYABLE: Final = frozenset({"40001", "40P01"})

# A server that said farewell, in poll()'s words. POLLRDHUP is Linux's.
_HUNG_UP: Final = (
    getattr(select, "POLLHUP", 0)
    | getattr(select, "POLLERR", 0)
    | getattr(select, "POLLNVAL", 0)
    | getattr(select, "POLLRDHUP", 0)
)


class Dbapi(Generic[C]):
    """The adapter of a driver about which nothing is known, and the base class of all others.

    Args:
        connect: Opens a connection.
        target: Where it connects to, without a password, for messages.
    """

    name: str = "dbapi"
    operational_error: type[Exception] | None = None
    needs_reset: bool = True
    reset_method: str | None = None
    needs_is_alive: bool = False
    supports: frozenset[str] = frozenset({"session"})
    savepoint_sql: tuple[str, str, str | None] | None = (
        "SAVEPOINT {}",
        "ROLLBACK TO SAVEPOINT {}",
        "RELEASE SAVEPOINT {}",
    )

    # Of ISOLATION_LEVELS, those which the option and `begin` may name.
    isolation_levels: frozenset[str] = frozenset()
    # Whether `begin` can make a transaction read-only.
    read_only_transactions: bool = False
    # What cannot be made good on a connection that a callable has opened.
    only_at_connect: ClassVar[frozenset[str]] = AT_CONNECT
    # Why something is not in `supports`, and what to do instead.
    why_not: ClassVar[Mapping[str, str]] = {}
    # Attributes of a connection that a borrower may change, and that `reset_session` puts back.
    attributes: ClassVar[tuple[str, ...]] = ()

    def __init__(self, connect: Callable[[], C], *, target: str | None = None) -> None:
        """Store the callable, which is what `connect` calls."""
        self.connect = connect
        self.target = target or getattr(connect, "__qualname__", type(connect).__name__)
        # The options that `connect` carries out, so that `prepare` need not.
        self.carried: frozenset[str] = frozenset()
        self._fresh: dict[str, Any] = {}

    def __repr__(self) -> str:
        """Name the driver and where it connects to."""
        return f"<{self.name} driver for {self.target}>"

    @property
    def pings(self) -> bool:
        """Whether the driver is a known one: ``SELECT 1`` is not valid everywhere."""
        return type(self) is not Dbapi

    def adopt(self, conn: C) -> Dbapi[C]:
        """Return the driver to use now that its first connection can be looked at.

        Raises:
            PoolConfigError: It cannot be pooled.
        """
        if type(self) is not Dbapi:
            self._fresh = {name: getattr(conn, name) for name in self.attributes}
            return self
        known = Dbapi(self.connect, target=self.target)
        known.operational_error = _operational_error(type(conn))
        known.needs_reset = hasattr(conn, "rollback")
        known.reset_method = "rollback" if known.needs_reset else None
        return known

    # Static methods, so that the pool can hold a plain function: a bound method would cost a call
    # more at each release.
    @staticmethod
    def reset(conn: Any) -> None:  # noqa: ANN401
        """Roll back, if the connection knows how."""
        if hasattr(conn, "rollback"):
            conn.rollback()

    def ping(self, conn: Any) -> None:  # noqa: ANN401
        """Run ``SELECT 1`` and reset. Not `conn.ping()`: in some drivers it reconnects silently."""
        if not hasattr(conn, "cursor"):
            return
        cursor = conn.cursor()
        try:
            cursor.execute("SELECT 1")
            cursor.fetchall()
        finally:
            cursor.close()
        self.reset(conn)

    def cannot(self, options: SessionOptions) -> Mapping[str, str]:
        """Say which of the options or features do not go together, and why, by name.

        Only what `supports` cannot tell: it is asked after that.
        """
        del options
        return {}

    def prepare(self, conn: Any, options: SessionOptions = DEFAULTS) -> None:  # noqa: ANN401
        """Carry out what connecting has not, and leave no transaction open."""
        left = options.without(self.carried)
        statements = [*self.statements(left), *left.session]
        for statement in statements:
            self.execute(conn, statement)
        if statements and self.transaction_status(conn) is not TransactionStatus.IDLE:
            conn.commit()  # not `self.commit`, which takes it for granted that there is something
        # Last: not every driver lets autocommit be changed within a transaction.
        if left.autocommit is not None:
            self.set_autocommit(conn, value=left.autocommit)

    def statements(self, options: SessionOptions) -> list[str]:
        """Return the statements that carry the options out; those of ``session`` follow."""
        del options
        return []

    @staticmethod
    def set_autocommit(conn: Any, *, value: bool) -> None:  # noqa: ANN401
        """Set the attribute that most drivers have."""
        conn.autocommit = value

    @staticmethod
    def fileno(conn: Any) -> int:  # noqa: ANN401, ARG004
        """Return -1: PEP 249 knows no sockets."""
        return -1

    @classmethod
    def is_alive(cls, conn: Any) -> bool | None:  # noqa: ANN401
        """Poll the socket, if there is one.

        A hang-up is a death; something to read on an idle connection may be a farewell too, or a
        notification, so the server has to be asked.
        """
        fileno = cls.fileno(conn)
        if fileno < 0 or not _HUNG_UP:
            return None
        poll = select.poll()
        poll.register(fileno, select.POLLIN | _HUNG_UP)
        events = [event for _, event in poll.poll(0)]
        if not events:
            return True
        return False if events[0] & _HUNG_UP else None

    @staticmethod
    def transaction_status(conn: Any) -> TransactionStatus:  # noqa: ANN401, ARG004
        """Return ``UNKNOWN``: PEP 249 has no question for it."""
        return TransactionStatus.UNKNOWN

    def reset_session(self, conn: Any) -> None:  # noqa: ANN401
        """Refuse: there is no way that all drivers share.

        Raises:
            NotImplementedError: Always; ``"reset_session"`` is not in `supports`.
        """
        del conn
        raise NotImplementedError(self.name)

    def restore_attributes(self, conn: Any) -> None:  # noqa: ANN401
        """Give the connection's `attributes` the values that the first connection had."""
        for name, value in self._fresh.items():
            if getattr(conn, name) is not value:
                setattr(conn, name, value)

    @classmethod
    def cancel(cls, conn: Any) -> None:  # noqa: ANN401
        """Refuse: there is no way that all drivers share.

        Raises:
            NotImplementedError: Always; ``"cancel"`` is not in `supports`.
        """
        raise NotImplementedError(cls.name)

    def begin(
        self,
        conn: Any,  # noqa: ANN401, ARG002
        *,
        isolation: str | None = None,
        read_only: bool | None = None,
    ) -> None:
        """Do nothing, as PEP 249 begins transactions by itself, unless something special is asked.

        Raises:
            PoolConfigError: It is; the driver has to know how.
        """
        self.check_begin(isolation=isolation, read_only=read_only)

    def check_begin(self, *, isolation: str | None, read_only: bool | None) -> None:
        """Check the arguments of `begin`.

        Raises:
            PoolConfigError: The driver cannot begin such a transaction.
        """
        if isolation is not None:
            self.check_isolation("isolation", isolation)
        if read_only is not None and not self.read_only_transactions:
            msg = f"read_only={read_only!r}: {self.name} has no transactions that are read-only"
            raise PoolConfigError(msg)

    def check_isolation(self, name: str, level: str) -> None:
        """Check that it is a level, and one that the driver has.

        Raises:
            PoolConfigError: It is not.
        """
        if level in self.isolation_levels:
            return
        known = [one for one in ISOLATION_LEVELS if one in self.isolation_levels]
        allowed = " or ".join(map(repr, known)) or "left to the driver"
        msg = f"{name}={level!r}: with {self.name} it must be {allowed}"
        raise PoolConfigError(msg)

    @staticmethod
    def commit(conn: Any) -> None:  # noqa: ANN401
        """Commit."""
        conn.commit()

    @staticmethod
    def rollback(conn: Any) -> None:  # noqa: ANN401
        """Roll back."""
        conn.rollback()

    @staticmethod
    def execute(conn: Any, statement: str) -> None:  # noqa: ANN401
        """Run a statement by a cursor of its own."""
        cursor = conn.cursor()
        try:
            cursor.execute(statement)
        finally:
            cursor.close()

    @classmethod
    def is_disconnect(cls, error: BaseException) -> bool:
        """Say no: PEP 249 has no error for it."""
        del error
        return False

    def is_demoted(self, conn: Any, error: BaseException) -> bool:  # noqa: ANN401
        """Say no: only a driver with several servers to choose from could tell."""
        del conn, error
        return False

    @classmethod
    def is_cancelled(cls, error: BaseException) -> bool:
        """Say no: nothing was cancelled."""
        del error
        return False

    @classmethod
    def is_retryable(cls, error: BaseException) -> bool:
        """Ask the error for its SQLSTATE, under the names that drivers have for it."""
        state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
        return state in _RETRYABLE

    @staticmethod
    def close(conn: Any) -> None:  # noqa: ANN401
        """Close the connection, if it knows how."""
        if hasattr(conn, "close"):
            conn.close()

    @staticmethod
    def is_transient(error: BaseException) -> bool:
        """Say yes for an `OSError` and for PEP 249's errors that are not the program's fault."""
        names = (kind.__name__ for kind in type(error).__mro__)
        return isinstance(error, OSError) or not _TRANSIENT.isdisjoint(names)


def _operational_error(kind: type) -> type[Exception] | None:
    """Find a connection class's ``OperationalError``: on the class, or in its package.

    PEP 249 has it on the module, and as an optional extension on the connection.
    """
    places: list[object] = [kind]
    for base in kind.__mro__:
        path = str(base.__module__).split(".")
        prefixes = (".".join(path[:end]) for end in range(len(path), 0, -1))
        places += map(sys.modules.get, prefixes)
    for place in places:
        found = None
        with suppress(Exception):  # the attribute may be computed, and may raise anything
            found = getattr(place, "OperationalError", None)
        if isinstance(found, type) and issubclass(found, Exception):
            return found
    return None
