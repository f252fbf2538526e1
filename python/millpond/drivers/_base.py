"""What a pool needs to know about the connections of a driver.

The pool calls `connect`, `ping` and `close` in its worker threads, where they may block. Only
`reset` runs in the thread of the user, at each release.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from millpond.drivers._session import SessionOptions, TransactionStatus

C = TypeVar("C")

# Passwords are not always percent-encoded and may hold any of ":/?#@", so only the last @ ends one.
_USERINFO: Final = re.compile(r"(?P<user>://[^:]*:).*@", re.DOTALL)
# A connection string of ODBC is one value, with the password somewhere in it.
_IN_QUERY: Final = re.compile(
    r"(?P<key>[?&][^=&]*(?:password|passwd|pwd|secret|token|odbc_connect)=)[^&]*", re.IGNORECASE
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

    @property
    def pings(self) -> bool:
        """Whether the pool may ping on its own account.

        False where nothing can break in between, and where nobody knows what `ping` should send.
        """

    @property
    def needs_is_alive(self) -> bool:
        """Whether the pool has to call `is_alive` before each use.

        For drivers without a socket that know all the same. It makes acquires slower.
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

    @property
    def supports(self) -> frozenset[str]:
        """What the driver can do: names of `SessionOptions`, and of features.

        The features are ``"cancel"`` and ``"reset_session"``. What is asked for and not in here is
        an error when the pool is made.
        """

    def prepare(self, conn: C, options: SessionOptions) -> object:
        """Carry out the options that connecting could not, on a new connection.

        Raises:
            Exception: The connection cannot be made as it should be, and is closed.
        """

    def fileno(self, conn: C) -> int:
        """Return the file descriptor of the socket, or -1 if there is none to be had.

        The pool polls it at each acquire, which shows a connection that the server closed. Asked
        once for each connection.
        """

    def is_alive(self, conn: C) -> bool | None:
        """Say without a round trip whether it is usable. ``None`` is: ask the server."""

    def transaction_status(self, conn: C) -> TransactionStatus:
        """Say how the connection stands, without a round trip."""

    def reset_session(self, conn: C) -> object:
        """Bring the session back to what it was when it was new, with ``reset="session"``.

        Raises:
            Exception: The connection cannot be used any more; the pool discards it.
        """

    def cancel(self, conn: C) -> object:
        """Have the server end the statement that another thread is running on the connection.

        Called in a worker thread; it may block for a round trip of its own.

        Raises:
            Exception: It could not be done.
        """

    def begin(
        self, conn: C, *, isolation: str | None = None, read_only: bool | None = None
    ) -> object:
        """Begin a transaction, also where the driver is in autocommit mode.

        Raises:
            Exception: Whatever the driver raises.
        """

    def commit(self, conn: C) -> object:
        """Commit what `begin` began.

        Raises:
            Exception: Whatever the driver raises.
        """

    def rollback(self, conn: C) -> object:
        """Roll back what `begin` began.

        Raises:
            Exception: Whatever the driver raises.
        """

    def execute(self, conn: C, statement: str) -> object:
        """Run a statement without a result, such as ``SAVEPOINT a``.

        Raises:
            Exception: Whatever the driver raises.
        """

    @property
    def savepoint_sql(self) -> tuple[str, str, str | None] | None:
        """How to set a savepoint, go back to it, and drop it, with ``{}`` for its name.

        ``None`` where there are none.
        """

    def is_disconnect(self, error: BaseException) -> bool:
        """Say whether the error means that the connection is gone."""

    def is_demoted(self, conn: C, error: BaseException) -> bool:
        """Say whether the error means that the server is not, any more, the one that was asked for.

        A primary that has become read-only, when the URL asked for one that takes writes. The pool
        then replaces all its connections.
        """

    def is_cancelled(self, error: BaseException) -> bool:
        """Say whether the error is what a statement raises that was ended by `cancel`."""

    def is_retryable(self, error: BaseException) -> bool:
        """Say whether the transaction may succeed when repeated: a deadlock, a conflict."""

    def close(self, conn: C) -> object:
        """Close the connection.

        Raises:
            Exception: Closing failed, which changes nothing for the pool.
        """

    def is_transient(self, error: BaseException) -> bool:
        """Say whether to try again after `connect` raised this, while somebody is waiting."""
