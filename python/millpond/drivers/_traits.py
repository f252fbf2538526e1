"""What is to be known about a driver, whether its connections block or are awaited.

Nothing in here talks to a server: it is what a driver can do, what its errors mean, and how a
connection stands as far as can be seen from here. `_dbapi` has the verbs that block, and `aio`
those that are awaited.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic

from millpond.drivers._base import C
from millpond.drivers._session import (
    AT_CONNECT,
    ISOLATION_LEVELS,
    SessionOptions,
    TransactionStatus,
)
from millpond.drivers._sockets import is_alive
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_TRANSIENT: Final = frozenset({"OperationalError", "InterfaceError"})

# The SQLSTATEs of a conflict and of a deadlock. Not all of class 40: after 40003 nobody knows
# whether the statement was carried out, and it must not be repeated.
RETRYABLE: Final = frozenset({"40001", "40P01"})

# Where `transaction_status` cannot know it, `commit` has to find out and say it.
NOT_COMMITTED: Final = (
    "the transaction was rolled back and not committed, as a statement in it had failed"
)


class Traits(Generic[C]):
    """The base class of all adapters.

    Args:
        connect: Opens a connection.
        target: Where it connects to, without a password, for messages.
    """

    name: str = "dbapi"
    operational_error: type[Exception] | None = None
    needs_reset: bool = True
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

    def __init__(self, connect: Callable[[], Any], *, target: str | None = None) -> None:
        """Store the callable."""
        self.target = target or getattr(connect, "__qualname__", type(connect).__name__)
        # The options that `connect` carries out, so that `prepare` need not.
        self.carried: frozenset[str] = frozenset()
        self._fresh: dict[str, Any] = {}

    def __repr__(self) -> str:
        """Name the driver and where it connects to."""
        return f"<{self.name} driver for {self.target}>"

    def note_attributes(self, conn: C) -> None:
        """Remember the values that a new connection's `attributes` have."""
        self._fresh = {name: getattr(conn, name) for name in self.attributes}

    def cannot(self, options: SessionOptions) -> Mapping[str, str]:
        """Say which of the options or features do not go together, and why, by name.

        Only what `supports` cannot tell: it is asked after that.
        """
        del options
        return {}

    def statements(self, options: SessionOptions) -> list[str]:
        """Return the statements that carry the options out; those of ``session`` follow."""
        del options
        return []

    @staticmethod
    def fileno(conn: Any) -> int:  # noqa: ANN401, ARG004
        """Return -1: PEP 249 knows no sockets."""
        return -1

    @classmethod
    def is_alive(cls, conn: Any) -> bool | None:  # noqa: ANN401
        """Poll the socket, if there is one."""
        return is_alive(cls.fileno(conn))

    @staticmethod
    def transaction_status(conn: Any) -> TransactionStatus:  # noqa: ANN401, ARG004
        """Return ``UNKNOWN``: PEP 249 has no question for it."""
        return TransactionStatus.UNKNOWN

    def changed_attributes(self, conn: Any) -> dict[str, Any]:  # noqa: ANN401
        """Return the `attributes` that are not what they were, with the values to give them."""
        fresh = self._fresh.items()
        return {name: value for name, value in fresh if getattr(conn, name) is not value}

    def restore_attributes(self, conn: Any) -> None:  # noqa: ANN401
        """Give the connection's `attributes` the values that the first connection had."""
        for name, value in self.changed_attributes(conn).items():
            setattr(conn, name, value)

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
        return state in RETRYABLE

    @staticmethod
    def is_transient(error: BaseException) -> bool:
        """Say yes for an `OSError` and for PEP 249's errors that are not the program's fault."""
        names = (kind.__name__ for kind in type(error).__mro__)
        return isinstance(error, OSError) or not _TRANSIENT.isdisjoint(names)


def operational_error_of(kind: type) -> type[Exception] | None:
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
