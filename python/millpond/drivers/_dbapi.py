"""Any connection that follows PEP 249, more or less.

PEP 249 has a rollback, and no way to ask whether one is needed, so a rollback is made at each
release. Nothing else is taken for granted: a connection without `rollback` needs no reset, one
without `close` is closed by dropping it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from millpond.drivers._base import C
from millpond.drivers._session import DEFAULTS, SessionOptions, TransactionStatus
from millpond.drivers._traits import Traits, operational_error_of

if TYPE_CHECKING:
    from collections.abc import Callable


class Dbapi(Traits[C]):
    """The adapter of a driver about which nothing is known, and the base of all that block."""

    reset_method: str | None = None

    def __init__(self, connect: Callable[[], C], *, target: str | None = None) -> None:
        """Store the callable, which is what `connect` calls."""
        super().__init__(connect, target=target)
        self.connect = connect

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
            self.note_attributes(conn)
            return self
        known = Dbapi(self.connect, target=self.target)
        known.operational_error = operational_error_of(type(conn))
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

    @staticmethod
    def set_autocommit(conn: Any, *, value: bool) -> None:  # noqa: ANN401
        """Set the attribute that most drivers have."""
        conn.autocommit = value

    def reset_session(self, conn: Any) -> None:  # noqa: ANN401
        """Refuse: there is no way that all drivers share.

        Raises:
            NotImplementedError: Always; ``"reset_session"`` is not in `supports`.
        """
        del conn
        raise NotImplementedError(self.name)

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

    @staticmethod
    def close(conn: Any) -> None:  # noqa: ANN401
        """Close the connection, if it knows how."""
        if hasattr(conn, "close"):
            conn.close()
