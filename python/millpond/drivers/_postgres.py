"""PostgreSQL: what it understands, and what is known of its drivers, whichever brings it there."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from millpond.drivers._base import C
from millpond.drivers._traits import Traits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from millpond.drivers._session import SessionOptions

ISOLATION_LEVELS: Final = frozenset(
    {"read uncommitted", "read committed", "repeatable read", "serializable"}
)

# Forgets all that a session can hold: temporary tables, settings, prepared statements, cursors,
# advisory locks, LISTEN. Not within a transaction.
RESET_SESSION: Final = "DISCARD ALL"

# Milliseconds in 31 bits: 24 days.
_LONGEST_TIMEOUT: Final = 2**31 - 1

_CANCELLED: Final = "57014"
# A transaction that only reads was asked to write.
_READ_ONLY: Final = "25006"
# What ``target_session_attrs`` asks for a server that takes writes with.
WRITABLE: Final = frozenset({"read-write", "primary"})
# What PostgreSQL tells of itself since version 14, without being asked.
_IS_READ_ONLY: Final = ("in_hot_standby", "default_transaction_read_only")

# The server says with these that it closes the connection: shutdown by an administrator, crash,
# still starting, database dropped, idle too long (in a transaction, or not), transaction too long.
# All of class 08 is the same.
_GONE: Final = frozenset({"57P01", "57P02", "57P03", "57P04", "57P05", "25P03", "25P04"})


_BOUNCER: Final = "PgBouncer gives each transaction another session"
_FORBIDDEN: Final = {
    "session": f"{_BOUNCER}; run the statements within the transaction, or use ALTER ROLE … SET",
    "statement_timeout": f"{_BOUNCER}; use query_timeout of the pool, or ALTER ROLE … SET",
    "reset_session": f"{_BOUNCER}, and resets sessions by itself",
}


class PostgresTraits(Traits[C]):
    """What the adapters of all drivers have in common but for ODBC's, whether they block or not."""

    supports = frozenset(
        {
            "application_name",
            "autocommit",
            "cancel",
            "isolation_level",
            "keepalive",
            "profile",
            "read_only",
            "reset_session",
            "session",
            "statement_timeout",
        }
    )
    isolation_levels = ISOLATION_LEVELS
    read_only_transactions = True

    # Whether the URL asked for a server that takes writes.
    wants_writable: bool = False

    def statements(self, options: SessionOptions) -> list[str]:
        """Return a SET for each option."""
        return statements(options)

    @classmethod
    def is_cancelled(cls, error: BaseException) -> bool:
        """Ask the SQLSTATE; the server's own ``statement_timeout`` has the same."""
        return sqlstate(error) == _CANCELLED


def forbidden(options: SessionOptions, *, autocommit: bool) -> Mapping[str, str]:
    """Say what is not possible behind PgBouncer, if that is where we are, and why."""
    if options.profile is None:
        return {}
    if autocommit:
        why = "in autocommit mode there is no BEGIN that could say it to PgBouncer's server"
        return {**_FORBIDDEN, "isolation_level": why, "read_only": why}
    return _FORBIDDEN


def settings(options: SessionOptions) -> dict[str, str]:
    """Return the server's own names and values for the options that it can be told by SET."""
    told: dict[str, str] = {}
    if options.statement_timeout is not None:
        milliseconds = math.ceil(options.statement_timeout * 1000)
        told["statement_timeout"] = str(min(milliseconds, _LONGEST_TIMEOUT))
    if options.isolation_level is not None:
        told["default_transaction_isolation"] = options.isolation_level
    if options.read_only is not None:
        told["default_transaction_read_only"] = "on" if options.read_only else "off"
    return told


def statements(options: SessionOptions) -> list[str]:
    """Return the statements that carry the options out on an open connection."""
    told = settings(options)
    if options.application_name is not None:
        told["application_name"] = options.application_name.replace("'", "''")
    return [f"SET {name} = '{value}'" for name, value in told.items()]


def modes(isolation: str | None, read_only: bool | None) -> str:  # noqa: FBT001
    """Return what follows BEGIN and SET TRANSACTION, the empty string for nothing special."""
    said = [] if isolation is None else [f"ISOLATION LEVEL {isolation.upper()}"]
    if read_only is not None:
        said.append("READ ONLY" if read_only else "READ WRITE")
    return ", ".join(said)


def opening(isolation: str | None, read_only: bool | None, *, autocommit: bool) -> str:  # noqa: FBT001
    """Return the statement that begins a transaction.

    The empty string where the driver's first statement begins it, and there is nothing to say.
    """
    said = modes(isolation, read_only)
    if autocommit:
        return f"BEGIN {said}".rstrip()
    return f"SET TRANSACTION {said}" if said else ""


def is_gone(state: str) -> bool:
    """Say whether an SQLSTATE means that the connection is gone."""
    return state in _GONE or state.startswith("08")


def sqlstate(error: BaseException) -> str | None:
    """Return the SQLSTATE of an error, under the name that each driver has for it."""
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    return state if isinstance(state, str) else None


def is_demoted(error: BaseException, told: Callable[[str], str | None]) -> bool:
    """Say whether a write was refused by the server, and not only by a transaction of one's own.

    Args:
        error: The error.
        told: Gives what the server has said of itself on this connection, by name.
    """
    if sqlstate(error) != _READ_ONLY:
        return False
    values = [told(name) for name in _IS_READ_ONLY]
    return None in values or "on" in values
