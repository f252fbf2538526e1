"""What a session is to be like: the options that every technology has, under one name each."""

from __future__ import annotations

import enum
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

# What begin() and the option take, in the words of SQL.
ISOLATION_LEVELS: Final = (
    "read uncommitted",
    "read committed",
    "repeatable read",
    "snapshot",
    "serializable",
)


class TransactionStatus(enum.Enum):
    """How a connection stands, as far as the driver knows without asking the server."""

    IDLE = "idle"
    OPEN = "open"
    FAILED = "failed"  # open, and good for nothing but a rollback
    ACTIVE = "active"  # a statement is running, or its result was not read
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """The options of a session. ``None`` leaves each to the driver. Durations are seconds.

    Attributes:
        socket_timeout: How long a read from or a write to the server may take.
        statement_timeout: How long the server may work on one statement.
        keepalive: Whether TCP looks after a silent connection; a number is the seconds of silence
            before the first probe.
        application_name: What the server shows in its list of sessions.
        autocommit: Whether each statement is a transaction of its own.
        isolation_level: One of `ISOLATION_LEVELS`, for all transactions of the session.
        read_only: Whether the session may only read.
        session: Statements to run on each new connection.
        profile: What stands between the pool and the server, and forbids some of what a server
            would do: ``"pgbouncer"`` for PgBouncer with transaction pooling.
    """

    socket_timeout: float | None = None
    statement_timeout: float | None = None
    keepalive: bool | float | None = None
    application_name: str | None = None
    autocommit: bool | None = None
    isolation_level: str | None = None
    read_only: bool | None = None
    session: tuple[str, ...] = ()
    profile: str | None = None

    def given(self) -> dict[str, object]:
        """Return the options that say something, by name."""
        named = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in named if value is not None and value != ()}

    def without(self, names: Iterable[str]) -> SessionOptions:
        """Return the same without some of the options."""
        cleared: dict[str, Any] = {name: getattr(DEFAULTS, name) for name in names}
        return replace(self, **cleared) if cleared else self


# Options that only connecting can carry out: with a callable, the callable has to do it.
AT_CONNECT: Final = frozenset({"socket_timeout", "keepalive", "application_name"})

DEFAULTS: Final = SessionOptions()
