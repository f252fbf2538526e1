"""What a pool needs to know about the connections of a driver.

The pool calls `connect`, `ping` and `close` in its worker threads, where they may block. Only
`reset` runs in the thread of the user, at each release.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable

C = TypeVar("C")

# Passwords are not always percent-encoded and may hold any of ":/?#@", so only the last @ ends one.
_USERINFO: Final = re.compile(r"(?P<user>://[^:]*:).*@", re.DOTALL)
_IN_QUERY: Final = re.compile(
    r"(?P<key>[?&][^=&]*(?:password|passwd|pwd|secret|token)=)[^&]*", re.IGNORECASE
)


def redact(url: str) -> str:
    """Return a URL in which no password can be read.

    Args:
        url: The URL, which need not be a valid one. Rather too much is hidden than too little.

    Returns:
        The URL with ``***`` in place of a password in the user part, and of query parameters such
        as ``password=`` and ``sslpassword=``.
    """
    return _IN_QUERY.sub(r"\g<key>***", _USERINFO.sub(r"\g<user>***@", url))


@runtime_checkable
class Driver(Protocol[C]):
    """The adapter of one driver. Derive yours from `millpond.drivers.Dbapi` to get the defaults."""

    @property
    def name(self) -> str:
        """The name of the driver's module, for messages."""

    @property
    def operational_error(self) -> type[Exception] | None:
        """The driver's ``OperationalError``, if known: the pool's errors become subclasses."""

    @property
    def needs_reset(self) -> bool:
        """Whether `reset` does anything. If not, the pool does not call it."""

    @property
    def reset_method(self) -> str | None:
        """The connection's own method that does the same as `reset`, and takes no argument.

        The pool calls it directly, which saves the frame of a Python function. ``None`` means that
        there is no such method, and that the pool has to call `reset`.
        """

    def connect(self) -> C:
        """Open a connection. It may block, for longer than the pool's ``connect_timeout`` too.

        Raises:
            Exception: Whatever the driver raises; see `is_transient`.
        """

    def reset(self, conn: C) -> object:
        """End what the borrower left open, and do nothing if that is nothing.

        Raises:
            Exception: The connection cannot be used any more; the pool discards it.
        """

    def ping(self, conn: C) -> object:
        """Make one round trip to the server, and leave no transaction open.

        Raises:
            Exception: The connection is dead.
        """

    def close(self, conn: C) -> object:
        """Close the connection.

        Raises:
            Exception: Closing failed, which changes nothing for the pool.
        """

    def is_transient(self, error: BaseException) -> bool:
        """Say whether to try again after `connect` raised this, while somebody is waiting."""


@dataclass(frozen=True, slots=True)
class Bound(Generic[C]):
    """A user's own driver with the callable that connects."""

    name: str
    operational_error: type[Exception] | None
    needs_reset: bool
    reset_method: str | None
    connect: Callable[[], C]
    reset: Callable[[C], object]
    ping: Callable[[C], object]
    close: Callable[[C], object]
    is_transient: Callable[[BaseException], bool]
