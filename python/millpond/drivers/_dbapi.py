"""Any connection that follows PEP 249, more or less.

PEP 249 has a rollback, and no way to ask whether one is needed, so a rollback is made at each
release. Nothing else is taken for granted: a connection without `rollback` needs no reset, one
without `close` is closed by dropping it.
"""

from __future__ import annotations

import select
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Generic

from millpond.drivers._base import C
from millpond.drivers._session import DEFAULTS, SessionOptions, TransactionStatus

if TYPE_CHECKING:
    from collections.abc import Callable

_TRANSIENT = frozenset({"OperationalError", "InterfaceError"})

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
    supports: frozenset[str] = frozenset({"session"})
    savepoint_sql: tuple[str, str, str | None] = (
        "SAVEPOINT {}",
        "ROLLBACK TO SAVEPOINT {}",
        "RELEASE SAVEPOINT {}",
    )

    def __init__(self, connect: Callable[[], C], *, target: str | None = None) -> None:
        """Store the callable, which is what `connect` calls."""
        self.connect = connect
        self.target = target or getattr(connect, "__qualname__", type(connect).__name__)

    def __repr__(self) -> str:
        """Name the driver and where it connects to."""
        return f"<{self.name} driver for {self.target}>"

    def adopt(self, conn: C) -> Dbapi[C]:
        """Return the driver to use now that its first connection can be looked at.

        Raises:
            PoolConfigError: It cannot be pooled.
        """
        if type(self) is not Dbapi:  # a driver of the user's own knows what it is
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

    @classmethod
    def ping(cls, conn: Any) -> None:  # noqa: ANN401
        """Run ``SELECT 1`` and reset. Not `conn.ping()`: in some drivers it reconnects silently."""
        if not hasattr(conn, "cursor"):
            return
        cursor = conn.cursor()
        try:
            cursor.execute("SELECT 1")
            cursor.fetchall()
        finally:
            cursor.close()
        cls.reset(conn)

    @classmethod
    def prepare(cls, conn: Any, options: SessionOptions = DEFAULTS) -> None:  # noqa: ANN401
        """Run the statements of ``session``, and leave no transaction open."""
        for statement in options.session:
            cls.execute(conn, statement)
        if options.session and cls.transaction_status(conn) is not TransactionStatus.IDLE:
            conn.commit()

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

    @classmethod
    def reset_session(cls, conn: Any) -> None:  # noqa: ANN401
        """Refuse: there is no way that all drivers share.

        Raises:
            NotImplementedError: Always; ``"reset_session"`` is not in `supports`.
        """
        raise NotImplementedError(cls.name)

    @classmethod
    def cancel(cls, conn: Any) -> None:  # noqa: ANN401
        """Refuse: there is no way that all drivers share.

        Raises:
            NotImplementedError: Always; ``"cancel"`` is not in `supports`.
        """
        raise NotImplementedError(cls.name)

    @classmethod
    def begin(
        cls,
        conn: Any,  # noqa: ANN401, ARG003
        *,
        isolation: str | None = None,
        read_only: bool | None = None,
    ) -> None:
        """Do nothing, as PEP 249 begins transactions by itself, unless something special is asked.

        Raises:
            NotImplementedError: It is; the driver has to know how.
        """
        if isolation is not None or read_only is not None:
            raise NotImplementedError(cls.name)

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

    @classmethod
    def is_cancelled(cls, error: BaseException) -> bool:
        """Say no: nothing was cancelled."""
        del error
        return False

    @classmethod
    def is_retryable(cls, error: BaseException) -> bool:
        """Ask the error for its SQLSTATE: class 40 is a rollback by the server."""
        state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
        return isinstance(state, str) and state.startswith("40")

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
