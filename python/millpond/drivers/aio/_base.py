"""What an asyncio pool needs to know about the connections of a driver.

The names and their meanings are those of `millpond.drivers.Driver`. What may have to wait for the
server is a coroutine function here; what may not is a plain one, and has to return at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from millpond.drivers._base import C

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from millpond.drivers._session import SessionOptions, TransactionStatus


@runtime_checkable
class AsyncDriver(Protocol[C]):
    """The adapter of one driver for asyncio.

    Derive yours from `millpond.drivers.aio.AsyncDbapi` to get the defaults.

    A coroutine that is cancelled raises `asyncio.CancelledError`, and leaves the connection in a
    state that `transaction_status` tells: ``ACTIVE`` where an answer may still come. That holds for
    what the borrower awaits too, also if the borrower swallows the cancellation.
    """

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
    def pings(self) -> bool:
        """Whether the pool may ping on its own account.

        False where nothing can break in between, and where nobody knows what `ping` should send.
        """

    @property
    def needs_is_alive(self) -> bool:
        """Whether the pool has to call `is_alive` before each use, as there is no `fileno`."""

    @property
    def supports(self) -> frozenset[str]:
        """What the driver can do: names of `SessionOptions`, and of features.

        The features are ``"cancel"`` and ``"reset_session"``. What is asked for and not in here is
        an error when the pool is made.
        """

    @property
    def savepoint_sql(self) -> tuple[str, str, str | None] | None:
        """How to set a savepoint, go back to it, and drop it, with ``{}`` for its name.

        ``None`` where there are none.
        """

    def connect(self) -> Awaitable[C]:
        """Open a connection, which belongs to the running event loop.

        Cancelled, it leaves nothing open.

        Raises:
            Exception: Whatever the driver raises; see `is_transient`.
        """

    async def prepare(self, conn: C, options: SessionOptions) -> object:
        """Carry out the options that connecting could not, on a new connection.

        Raises:
            Exception: The connection cannot be made as it should be, and is closed.
        """

    def is_clean(self, conn: C) -> bool:
        """Say whether there is nothing to reset, without a round trip.

        True: no transaction is open, no statement is under way or was interrupted, and no result
        waits to be read. Called at each release, so it has to be fast.
        """

    async def reset(self, conn: C) -> object:
        """End what the borrower left open, and do nothing if that is nothing.

        Raises:
            Exception: The connection cannot be used any more; the pool discards it.
        """

    async def reset_session(self, conn: C) -> object:
        """Bring the session back to what it was when it was new, with ``reset="session"``.

        Raises:
            Exception: The connection cannot be used any more; the pool discards it.
        """

    async def ping(self, conn: C) -> object:
        """Make one round trip to the server, and leave no transaction open.

        Raises:
            Exception: The connection is dead.
        """

    def fileno(self, conn: C) -> int:
        """Return the file descriptor of the socket, or -1 if there is none to be had.

        The pool polls it at each acquire, which shows a connection that the server closed. It is -1
        where the event loop may close the socket by itself: the number could be another's by then.
        """

    def is_alive(self, conn: C) -> bool | None:
        """Say without a round trip whether it is usable. ``None`` is: ask the server."""

    def transaction_status(self, conn: C) -> TransactionStatus:
        """Say how the connection stands, without a round trip."""

    async def cancel(self, conn: C) -> object:
        """Have the server end the statement that another task is awaiting on the connection.

        Raises:
            Exception: It could not be done.
        """

    async def begin(
        self, conn: C, *, isolation: str | None = None, read_only: bool | None = None
    ) -> object:
        """Begin a transaction, also where the driver is in autocommit mode.

        Raises:
            Exception: Whatever the driver raises.
        """

    async def commit(self, conn: C) -> object:
        """Commit what `begin` began.

        Raises:
            Exception: Whatever the driver raises.
        """

    async def rollback(self, conn: C) -> object:
        """Roll back what `begin` began.

        Raises:
            Exception: Whatever the driver raises.
        """

    async def execute(self, conn: C, statement: str) -> object:
        """Run a statement without a result, such as ``SAVEPOINT a``.

        Raises:
            Exception: Whatever the driver raises.
        """

    async def close(self, conn: C) -> object:
        """Close the connection, with a farewell to the server where there is one.

        Raises:
            Exception: Closing failed, which changes nothing for the pool.
        """

    def abort(self, conn: C) -> None:
        """Drop the connection at once, without a word to the server. It never raises.

        It works also when the event loop of the connection is closed, and from another thread.
        """

    def is_disconnect(self, error: BaseException) -> bool:
        """Say whether the error means that the connection is gone."""

    def is_demoted(self, conn: C, error: BaseException) -> bool:
        """Say whether the error means that the server is not, any more, the one asked for."""

    def is_cancelled(self, error: BaseException) -> bool:
        """Say whether the error is what a statement raises that was ended by `cancel`.

        `asyncio.CancelledError` is not: that one ends a task, not a statement.
        """

    def is_retryable(self, error: BaseException) -> bool:
        """Say whether the transaction may succeed when repeated: a deadlock, a conflict."""

    def is_transient(self, error: BaseException) -> bool:
        """Say whether to try again after `connect` raised this, while somebody is waiting."""
