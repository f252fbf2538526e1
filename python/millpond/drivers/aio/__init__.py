"""The drivers for asyncio: how to find the one that an `AsyncPool` needs.

As in `millpond.drivers`, of which this is the twin: a driver's file is imported when a pool asks
for it, and imports the driver itself. `_known` says how to add one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast, overload

from millpond.drivers._finding import Finder
from millpond.drivers._options import NOTHING
from millpond.drivers._session import DEFAULTS, SessionOptions
from millpond.drivers.aio._base import AsyncDriver
from millpond.drivers.aio._dbapi import AsyncDbapi, awaiting
from millpond.drivers.aio._known import KNOWN

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from millpond.drivers._base import C

__all__ = ["AsyncDbapi", "AsyncDriver", "find", "refine"]

_BLOCKING: Final = ("mysqlclient", "mysqlconnector", "mysqldb", "psycopg2", "pymysql", "pyodbc")

_FINDER: Final = Finder(
    KNOWN,
    generic=AsyncDbapi,
    protocol=AsyncDriver,
    takes="a coroutine function",
    bound=awaiting,
    twin=("Pool", frozenset({"duckdb", "odbc", *_BLOCKING})),
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
) -> AsyncDriver[Any]: ...
@overload
def find(
    connect: Callable[[], Awaitable[C]],
    *,
    driver: str | AsyncDriver[C] | None = None,
    connect_kwargs: None = None,
    connect_timeout: float | None = None,
    options: SessionOptions = DEFAULTS,
    needs: Mapping[str, str] = NOTHING,
) -> AsyncDriver[C]: ...
@overload
def find(
    connect: str | Callable[[], Awaitable[C]],
    *,
    driver: str | AsyncDriver[C] | None = None,
    connect_kwargs: Mapping[str, Any] | None = None,
    connect_timeout: float | None = None,
    options: SessionOptions = DEFAULTS,
    needs: Mapping[str, str] = NOTHING,
) -> AsyncDriver[C]: ...
def find(
    connect: str | Callable[[], Awaitable[C]],
    *,
    driver: str | AsyncDriver[C] | None = None,
    connect_kwargs: Mapping[str, Any] | None = None,
    connect_timeout: float | None = None,
    options: SessionOptions = DEFAULTS,
    needs: Mapping[str, str] = NOTHING,
) -> AsyncDriver[C]:
    """Return the driver of a pool, ready to connect. No event loop need be running.

    Args:
        connect: A URL, whose scheme picks the driver, or a coroutine function without arguments (or
            anything else that returns an awaitable for a connection).
        driver: With a coroutine function, the name of the driver whose connections it returns, or
            an own `AsyncDriver`. Without it the driver is found by the first connection, in
            `refine()`.
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
            is asked for. A callable that connects without being awaited is found out when
            `connect` of the driver is awaited for the first time.
    """
    found = _FINDER.find(
        connect,
        driver=driver,
        connect_kwargs=connect_kwargs,
        connect_timeout=connect_timeout,
        options=options,
        needs=needs,
    )
    return cast("AsyncDriver[C]", found)


def refine(
    driver: AsyncDriver[C],
    conn: C,
    *,
    options: SessionOptions = DEFAULTS,
    needs: Mapping[str, str] = NOTHING,
) -> AsyncDriver[C]:
    """Return the driver to use for a connection, now that it can be looked at.

    Call it with the first connection of a pool, before its `prepare`, and not again. The driver's
    ``operational_error`` may be known only from here on. It asks the server nothing.

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
    return cast("AsyncDriver[C]", _FINDER.refine(driver, conn, options=options, needs=needs))
