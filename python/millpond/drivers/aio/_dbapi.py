"""Any connection that follows PEP 249, with ``await`` before what talks to the server.

There is no standard for it, so nothing is taken for granted: methods may be missing, and each may
be awaitable or not. As in the blocking twin, a rollback is made at each release.
"""

from __future__ import annotations

import inspect
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from millpond.drivers._base import C
from millpond.drivers._session import DEFAULTS, SessionOptions, TransactionStatus
from millpond.drivers._traits import Traits, operational_error_of
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

# How a connection may be dropped without waiting for anything, the most abrupt way first.
_WAYS_OUT = ("terminate", "abort", "close")


class AsyncDbapi(Traits[C]):
    """The adapter of a driver about which nothing is known, and the base class of all others.

    Args:
        connect: Opens a connection, and returns it or an awaitable for it.
        target: Where it connects to, without a password, for messages.
    """

    def __init__(self, connect: Callable[[], Any], *, target: str | None = None) -> None:
        """Store the callable, which is what `connect` calls."""
        super().__init__(connect, target=target)
        self.connect: Callable[[], Awaitable[C]] = awaiting(connect)

    @property
    def pings(self) -> bool:
        """Whether the driver is a known one: ``SELECT 1`` is not valid everywhere."""
        return type(self) is not AsyncDbapi

    def adopt(self, conn: C) -> AsyncDbapi[C]:
        """Return the driver to use now that its first connection can be looked at.

        Raises:
            PoolConfigError: It cannot be pooled.
        """
        if type(self) is not AsyncDbapi:
            self.note_attributes(conn)
            return self
        known: AsyncDbapi[C] = AsyncDbapi(self.connect, target=self.target)
        known.operational_error = operational_error_of(type(conn))
        known.needs_reset = hasattr(conn, "rollback")
        return known

    async def prepare(self, conn: Any, options: SessionOptions = DEFAULTS) -> None:  # noqa: ANN401
        """Carry out what connecting has not, and leave no transaction open."""
        left = options.without(self.carried)
        statements = [*self.statements(left), *left.session]
        for statement in statements:
            await self.execute(conn, statement)
        if statements and self.transaction_status(conn) is not TransactionStatus.IDLE:
            await settled(conn.commit())  # not `self.commit`, which takes it that there is one
        # Last: not every driver lets autocommit be changed within a transaction.
        if left.autocommit is not None:
            await self.set_autocommit(conn, value=left.autocommit)

    async def set_autocommit(self, conn: Any, *, value: bool) -> None:  # noqa: ANN401
        """Set the attribute that most drivers have."""
        conn.autocommit = value

    @staticmethod
    def is_clean(conn: Any) -> bool:  # noqa: ANN401, ARG004
        """Say no: PEP 249 has no question for it."""
        return False

    async def reset(self, conn: Any) -> None:  # noqa: ANN401
        """Roll back, if the connection knows how."""
        if hasattr(conn, "rollback"):
            await settled(conn.rollback())

    async def reset_session(self, conn: Any) -> None:  # noqa: ANN401
        """Refuse: there is no way that all drivers share.

        Raises:
            NotImplementedError: Always; ``"reset_session"`` is not in `supports`.
        """
        del conn
        raise NotImplementedError(self.name)

    async def ping(self, conn: Any) -> None:  # noqa: ANN401
        """Run ``SELECT 1`` and reset."""
        if not hasattr(conn, "cursor"):
            return
        cursor = await settled(conn.cursor())
        try:
            await settled(cursor.execute("SELECT 1"))
            await settled(cursor.fetchall())
        finally:
            await settled(cursor.close())
        await self.reset(conn)

    async def cancel(self, conn: Any) -> None:  # noqa: ANN401
        """Refuse: there is no way that all drivers share.

        Raises:
            NotImplementedError: Always; ``"cancel"`` is not in `supports`.
        """
        del conn
        raise NotImplementedError(self.name)

    async def begin(
        self,
        conn: Any,  # noqa: ANN401
        *,
        isolation: str | None = None,
        read_only: bool | None = None,
    ) -> None:
        """Do nothing, as PEP 249 begins transactions by itself, unless something special is asked.

        Raises:
            PoolConfigError: It is; the driver has to know how.
        """
        del conn
        self.check_begin(isolation=isolation, read_only=read_only)

    async def commit(self, conn: Any) -> None:  # noqa: ANN401
        """Commit."""
        await settled(conn.commit())

    async def rollback(self, conn: Any) -> None:  # noqa: ANN401
        """Roll back."""
        await settled(conn.rollback())

    async def execute(self, conn: Any, statement: str) -> None:  # noqa: ANN401
        """Run a statement by a cursor of its own, or as the connection does it."""
        if not hasattr(conn, "cursor"):
            await settled(conn.execute(statement))
            return
        cursor = await settled(conn.cursor())
        try:
            await settled(cursor.execute(statement))
        finally:
            await settled(cursor.close())

    async def close(self, conn: Any) -> None:  # noqa: ANN401
        """Close the connection, if it knows how."""
        for name in ("ensure_closed", "aclose", "close"):
            if hasattr(conn, name):
                await settled(getattr(conn, name)())
                return

    def abort(self, conn: Any) -> None:  # noqa: ANN401
        """Drop the connection by whatever method it has that need not be awaited."""
        for name in _WAYS_OUT:
            with suppress(Exception):
                left = getattr(conn, name)()
                if not inspect.iscoroutine(left):
                    return
                left.close()  # or it would complain that nobody has awaited it


def awaiting(connect: Callable[[], Any]) -> Callable[[], Awaitable[Any]]:
    """Return the coroutine function for a callable, which may turn out to be none for asyncio."""

    async def connect_and_await() -> Any:  # noqa: ANN401
        made = connect()
        if inspect.isawaitable(made):
            return await made
        with suppress(Exception):
            made.close()
        kind = type(made).__name__
        msg = f"connect: must return an awaitable, such as a coroutine function does, not <{kind}>"
        raise PoolConfigError(msg)

    return connect_and_await


async def settled(value: Any) -> Any:  # noqa: ANN401
    """Return what a call has come to, awaited if it has to be."""
    return await value if inspect.isawaitable(value) else value
