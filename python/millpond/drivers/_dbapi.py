"""Any connection that follows PEP 249, more or less.

PEP 249 has a rollback, and no way to ask whether one is needed, so a rollback is made at each
release. Nothing else is taken for granted: a connection without `rollback` needs no reset, one
without `close` is closed by dropping it.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic

from millpond.drivers._base import C

if TYPE_CHECKING:
    from collections.abc import Callable

_TRANSIENT = frozenset({"OperationalError", "InterfaceError"})


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
