"""The drivers: how to find the one that a pool needs.

A driver's file is imported when a pool asks for it, and imports the driver itself. `_registry` says
how to add one.
"""

from __future__ import annotations

import copy
import inspect
from typing import TYPE_CHECKING, Any, cast, overload

from millpond.drivers import _registry
from millpond.drivers._base import C, Driver, redact
from millpond.drivers._dbapi import Dbapi
from millpond.drivers._options import NOTHING, check_callable, check_supported
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
    if isinstance(connect, str):
        kind = _for_url(connect, driver)
        # Only where it says something: a driver of others may know nothing of options.
        asked = {} if options == DEFAULTS else {"options": options}
        made = kind.from_url(
            connect, connect_kwargs=connect_kwargs, connect_timeout=connect_timeout, **asked
        )
        check_supported(made, options, needs)
        return cast("Driver[C]", made)
    if connect_kwargs is not None:
        msg = "connect_kwargs: only with a URL; a callable passes its arguments itself"
        raise PoolConfigError(msg)
    found = cast("Driver[C]", _for_callable(connect, driver))
    check_callable(found, options)
    if not _is_unknown(found):  # otherwise `refine` will know more
        check_supported(found, options, needs)
    return found


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
    if not isinstance(driver, Dbapi):
        return driver
    refined = _recognise(driver, type(conn))
    if refined is not driver:
        check_callable(refined, options)
    refined = refined.adopt(conn)
    check_supported(refined, options, needs)
    return refined


def _recognise(driver: Dbapi[C], kind: type[C]) -> Dbapi[C]:
    """Return the driver to which a class of connections, or one of its bases, belongs."""
    name = _registry.of_connection(kind) if _is_unknown(driver) else None
    if name is None:
        return driver
    return cast("Dbapi[C]", _registry.load(name)(driver.connect, target=driver.target))


def _is_unknown(driver: object) -> bool:
    return type(driver) is Dbapi


def _for_url(url: str, driver: object) -> Any:  # noqa: ANN401  a class with from_url()
    scheme, separator, _ = url.partition("://")
    choices = _registry.of_scheme(scheme)
    if not separator:
        # It may be a DSN with a password, so it is not shown.
        msg = f"connect: must be a URL or a callable; the known URL schemes are {_known_schemes()}"
        raise PoolConfigError(msg)
    if not choices:
        msg = (
            f"connect: the URL scheme {_show(scheme)} is unknown; known are {_known_schemes()}. "
            "For other databases pass a callable that connects"
        )
        raise PoolConfigError(msg)
    if driver is not None and driver not in choices:
        allowed = " or ".join(map(repr, choices))
        msg = f"driver={_show(driver)}: must be {allowed} or None for a {scheme} URL"
        raise PoolConfigError(msg)
    return _registry.load_first(choices if driver is None else (driver,))


def _known_schemes() -> str:
    return ", ".join(_registry.schemes())


def _for_callable(connect: object, driver: object) -> Driver[Any]:
    if not callable(connect):
        msg = f"connect=<{type(connect).__name__}>: must be a URL or a callable without arguments"
        raise PoolConfigError(msg)
    if driver is None:
        return Dbapi(connect)
    if isinstance(driver, str):
        if driver not in (names := _registry.names()):
            known = " or ".join(map(repr, names))
            msg = f"driver={_show(driver)}: must be {known}, a Driver or None"
            raise PoolConfigError(msg)
        return cast("Driver[Any]", _registry.load(driver)(connect))
    if not isinstance(driver, Driver):
        msg = f"driver={_show(driver)}: must be a name, None, or have all that a Driver has"
        raise PoolConfigError(msg)
    made = copy.copy(driver)
    made.connect = connect  # type: ignore[method-assign]
    return made


def _show(value: object) -> str:
    # In the wrong place anything may turn up, a URL with a password too.
    is_word = isinstance(value, str) and value.replace("+", "").isalnum()
    return repr(value) if is_word else f"<{type(value).__name__}>"
