"""A driver for asyncio made of one that blocks: each call is made in a thread of its own."""

from __future__ import annotations

import copy
import dataclasses
from typing import TYPE_CHECKING, Any, Final

from async_threads import in_worker
from millpond import drivers
from millpond.drivers import Dbapi, SessionOptions
from millpond.drivers.aio import AsyncDbapi

if TYPE_CHECKING:
    from collections.abc import Callable

    from millpond.drivers import Driver, TransactionStatus

SUPPORTED: Final = frozenset(
    {"cancel", "reset_session", *(field.name for field in dataclasses.fields(SessionOptions))}
)


class Blocking(AsyncDbapi[Any]):
    """What a driver that blocks does, awaited. The names are those of `millpond.drivers`.

    Args:
        inner: The driver that blocks.
        workers: The name of its threads, without a number.
    """

    def __init__(self, inner: Driver[Any], workers: str) -> None:
        super().__init__(inner.connect)
        self.inner: Any = inner
        self.workers = workers
        self.connect = self._connect
        self._adopted = False
        self._learn()

    def _learn(self) -> None:
        inner = self.inner
        self.name = inner.name
        self.operational_error = inner.operational_error
        self.needs_reset = inner.needs_reset
        self.needs_is_alive = inner.needs_is_alive
        # As long as nothing is known of it, nothing is said to be impossible.
        self.supports = SUPPORTED if self._is_unknown() else inner.supports
        self.savepoint_sql = inner.savepoint_sql
        self.carried = inner.carried

    @property
    def pings(self) -> bool:
        """Whether it may ping; what nothing is known of, until its first connection tells."""
        return bool(self.inner.pings) or self._is_unknown()

    def _is_unknown(self) -> bool:
        return type(self.inner) is Dbapi and not self._adopted

    async def _connect(self) -> Any:
        inner = self.inner
        return await in_worker(self.workers, inner.connect, undo=inner.close)

    def adopt(self, conn: Any) -> Blocking:
        """Return the driver to use now that the first connection can be looked at."""
        known = copy.copy(self)
        known.inner = drivers.refine(self.inner, conn)
        known._adopted = True
        known._learn()
        return known

    async def _do(self, verb: str, *args: Any, **options: Any) -> Any:
        function: Callable[..., Any] = getattr(self.inner, verb)
        return await in_worker(self.workers, lambda: function(*args, **options))

    async def prepare(self, conn: Any, options: Any = None) -> Any:
        return await self._do("prepare", conn, options)

    async def reset(self, conn: Any) -> Any:
        return await self._do("reset", conn)

    async def reset_session(self, conn: Any) -> Any:
        return await self._do("reset_session", conn)

    async def ping(self, conn: Any) -> Any:
        return await self._do("ping", conn)

    async def cancel(self, conn: Any) -> Any:
        return await self._do("cancel", conn)

    async def begin(self, conn: Any, **terms: Any) -> Any:
        return await self._do("begin", conn, **terms)

    async def commit(self, conn: Any) -> Any:
        return await self._do("commit", conn)

    async def rollback(self, conn: Any) -> Any:
        return await self._do("rollback", conn)

    async def execute(self, conn: Any, statement: str) -> Any:
        return await self._do("execute", conn, statement)

    async def close(self, conn: Any) -> Any:
        return await self._do("close", conn)

    def abort(self, conn: Any) -> None:
        """Drop what nobody has closed; the close of the fake database says what it does itself."""
        if not getattr(conn, "closed", True):
            self.inner.close(conn)

    def is_clean(self, conn: Any) -> bool:  # type: ignore[override]
        """Say yes where there is nothing to reset: the drivers that block are not asked."""
        del conn
        return not self.needs_reset

    def fileno(self, conn: Any) -> int:  # type: ignore[override]
        return int(self.inner.fileno(conn))

    def is_alive(self, conn: Any) -> bool | None:  # type: ignore[override]
        alive: bool | None = self.inner.is_alive(conn)
        return alive

    def transaction_status(self, conn: Any) -> TransactionStatus:  # type: ignore[override]
        status: TransactionStatus = self.inner.transaction_status(conn)
        return status

    def is_disconnect(self, error: BaseException) -> bool:  # type: ignore[override]
        return bool(self.inner.is_disconnect(error))

    def is_demoted(self, conn: Any, error: BaseException) -> bool:
        return bool(self.inner.is_demoted(conn, error))

    def is_cancelled(self, error: BaseException) -> bool:  # type: ignore[override]
        return bool(self.inner.is_cancelled(error))

    def is_retryable(self, error: BaseException) -> bool:  # type: ignore[override]
        return bool(self.inner.is_retryable(error))

    def is_transient(self, error: BaseException) -> bool:  # type: ignore[override]
        return bool(self.inner.is_transient(error))
