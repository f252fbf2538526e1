"""The drivers: how to find the one that a pool needs.

A driver's file is imported when a pool asks for it, and imports the driver itself. `_known` says
how to add one. The drivers for asyncio are in `millpond.drivers.aio`.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final, cast, overload

from millpond.drivers._base import C, Driver, redact
from millpond.drivers._dbapi import Dbapi
from millpond.drivers._finding import Finder
from millpond.drivers._known import KNOWN
from millpond.drivers._options import NOTHING
from millpond.drivers._session import (
    AT_CONNECT,
    DEFAULTS,
    ISOLATION_LEVELS,
    SessionOptions,
    TransactionStatus,
)
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "AT_CONNECT",
    "DEFAULTS",
    "ISOLATION_LEVELS",
    "Dbapi",
    "Driver",
    "SessionOptions",
    "TransactionStatus",
    "find",
    "redact",
    "refine",
]

_FINDER: Final = Finder(
    KNOWN,
    generic=Dbapi,
    protocol=Driver,
    takes="a callable",
    bound=lambda connect: connect,
    twin=("AsyncPool", frozenset({"aiomysql", "aiosqlite", "asyncmy", "asyncpg"})),
)


@overload
def find(
    connect: str,
    *,
    driver: str | None = None,
    connect_kwargs: Mapping[str, Any] | None = None,
    connect_timeout: float | None = None,
    options: SessionOptions = DEFAULTS,
    needs: Mapping[str, str] = NOTHING,
) -> Driver[Any]: ...
@overload
def find(
    connect: Callable[[], C],
    *,
    driver: str | Driver[C] | None = None,
    connect_kwargs: None = None,
    connect_timeout: float | None = None,
    options: SessionOptions = DEFAULTS,
    needs: Mapping[str, str] = NOTHING,
) -> Driver[C]: ...
@overload
def find(
    connect: str | Callable[[], C],
    *,
    driver: str | Driver[C] | None = None,
    connect_kwargs: Mapping[str, Any] | None = None,
    connect_timeout: float | None = None,
    options: SessionOptions = DEFAULTS,
    needs: Mapping[str, str] = NOTHING,
) -> Driver[C]: ...
def find(
    connect: str | Callable[[], C],
    *,
    driver: str | Driver[C] | None = None,
    connect_kwargs: Mapping[str, Any] | None = None,
    connect_timeout: float | None = None,
    options: SessionOptions = DEFAULTS,
    needs: Mapping[str, str] = NOTHING,
) -> Driver[C]:
    """Return the driver of a pool, ready to connect.

    Args:
        connect: A URL, whose scheme picks the driver, or a callable without arguments.
        driver: With a callable, the name of the driver whose connections it returns, or an own
            `Driver`. Without it the driver is found by the first connection, in `refine()`.
        connect_kwargs: Further arguments for the driver, only with a URL.
        connect_timeout: Seconds that the driver may take to connect, if it can tell the time.
        options: What the sessions are to be like. What connecting cannot carry out is left to the
            driver's `prepare`, which takes the same options.
        needs: What the driver has to be able to do, by the name of the feature; the values are what
            the user gave to ask for it, for the message.

    Returns:
        The driver. Nothing has been connected yet.

    Raises:
        PoolConfigError: An argument is not valid, the driver is not installed, or it cannot do what
            is asked for.
    """
    found = _FINDER.find(
        connect,
        driver=driver,
        connect_kwargs=connect_kwargs,
        connect_timeout=connect_timeout,
        options=options,
        needs=needs,
    )
    return cast("Driver[C]", found)


def refine(
    driver: Driver[C],
    conn: C,
    *,
    options: SessionOptions = DEFAULTS,
    needs: Mapping[str, str] = NOTHING,
) -> Driver[C]:
    """Return the driver to use for a connection, now that it can be looked at.

    Call it with the first connection of a pool, in the thread that opened it, and not again. The
    driver's ``operational_error`` may be known only from here on.

    Args:
        driver: What `find()` returned.
        conn: A connection which that driver has opened.
        options: As in `find()`.
        needs: As in `find()`.

    Returns:
        The driver of the connection's own package if there is one, otherwise the same driver.

    Raises:
        PoolConfigError: The connection cannot be pooled, or not in the way that was asked for. The
            caller has to close it.
    """
    if inspect.iscoroutine(conn):
        conn.close()
        msg = "connect: must return a connection, not a coroutine"
        raise PoolConfigError(msg)
    return cast("Driver[C]", _FINDER.refine(driver, conn, options=options, needs=needs))
