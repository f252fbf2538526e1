"""The drivers: how to find the one that a pool needs.

A driver's file is imported when a pool asks for it, and imports the driver itself. To add one,
write ``_name.py`` with a class derived from `Dbapi` that has ``from_url()``, and list it here.
"""

from __future__ import annotations

import copy
import inspect
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, cast, overload

from millpond.drivers._base import C, Driver, redact
from millpond.drivers._dbapi import Dbapi
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

_DRIVERS: Final = {"psycopg": "Psycopg", "sqlite3": "Sqlite3"}
_SCHEMES: Final = {
    "postgres": "psycopg",
    "postgresql": "psycopg",
    "postgresql+psycopg": "psycopg",
    "sqlite": "sqlite3",
}


@overload
def find(
    connect: str,
    *,
    driver: str | None = None,
    connect_kwargs: Mapping[str, Any] | None = None,
    connect_timeout: float | None = None,
) -> Driver[Any]: ...
@overload
def find(
    connect: Callable[[], C],
    *,
    driver: str | Driver[C] | None = None,
    connect_kwargs: None = None,
    connect_timeout: float | None = None,
) -> Driver[C]: ...
@overload
def find(
    connect: str | Callable[[], C],
    *,
    driver: str | Driver[C] | None = None,
    connect_kwargs: Mapping[str, Any] | None = None,
    connect_timeout: float | None = None,
) -> Driver[C]: ...
def find(
    connect: str | Callable[[], C],
    *,
    driver: str | Driver[C] | None = None,
    connect_kwargs: Mapping[str, Any] | None = None,
    connect_timeout: float | None = None,
) -> Driver[C]:
    """Return the driver of a pool, ready to connect.

    Args:
        connect: A URL, whose scheme picks the driver, or a callable without arguments.
        driver: With a callable, the name of the driver whose connections it returns, or an own
            `Driver`. Without it the driver is found by the first connection, in `refine()`.
        connect_kwargs: Further arguments for the driver, only with a URL.
        connect_timeout: Seconds that the driver may take to connect, if it can tell the time.

    Returns:
        The driver. Nothing has been connected yet.

    Raises:
        PoolConfigError: An argument is not valid, or the driver is not installed.
    """
    if isinstance(connect, str):
        kind = _for_url(connect, driver)
        made = kind.from_url(
            connect, connect_kwargs=connect_kwargs, connect_timeout=connect_timeout
        )
        return cast("Driver[C]", made)
    if connect_kwargs is not None:
        msg = "connect_kwargs: only with a URL; a callable passes its arguments itself"
        raise PoolConfigError(msg)
    return cast("Driver[C]", _for_callable(connect, driver))


def refine(driver: Driver[C], conn: C) -> Driver[C]:
    """Return the driver to use for a connection, now that it can be looked at.

    Call it with the first connection of a pool, in the thread that opened it, and not again. The
    driver's ``operational_error`` may be known only from here on.

    Args:
        driver: What `find()` returned.
        conn: A connection which that driver has opened.

    Returns:
        The driver of the connection's own package if there is one, otherwise the same driver.

    Raises:
        PoolConfigError: The connection cannot be pooled. The caller has to close it.
    """
    if inspect.iscoroutine(conn):
        conn.close()
        msg = "connect: must return a connection, not a coroutine"
        raise PoolConfigError(msg)
    if not isinstance(driver, Dbapi):
        return driver
    return _recognise(driver, type(conn)).adopt(conn)


def _recognise(driver: Dbapi[C], kind: type[C]) -> Dbapi[C]:
    """Return the driver to which a class of connections, or one of its bases, belongs."""
    for base in kind.__mro__ if type(driver) is Dbapi else ():
        name = str(base.__module__).partition(".")[0]
        if name in _DRIVERS:
            return cast("Dbapi[C]", _load(name)(driver.connect, target=driver.target))
    return driver


def _for_url(url: str, driver: object) -> Any:  # noqa: ANN401  a class with from_url()
    scheme, separator, _ = url.partition("://")
    name = _SCHEMES.get(scheme.lower())
    known = ", ".join(sorted(_SCHEMES))
    if not separator:
        # It may be a DSN with a password, so it is not shown.
        msg = f"connect: must be a URL or a callable; the known URL schemes are {known}"
        raise PoolConfigError(msg)
    if name is None:
        msg = (
            f"connect: the URL scheme {_show(scheme)} is unknown; known are {known}. "
            "For other databases pass a callable that connects"
        )
        raise PoolConfigError(msg)
    if driver is not None and driver != name:
        msg = f"driver={_show(driver)}: must be {name!r} or None for a {scheme} URL"
        raise PoolConfigError(msg)
    return _load(name)


def _for_callable(connect: object, driver: object) -> Driver[Any]:
    if not callable(connect):
        msg = f"connect=<{type(connect).__name__}>: must be a URL or a callable without arguments"
        raise PoolConfigError(msg)
    if driver is None:
        return Dbapi(connect)
    if isinstance(driver, str):
        if driver not in _DRIVERS:
            known = " or ".join(map(repr, sorted(_DRIVERS)))
            msg = f"driver={_show(driver)}: must be {known}, a Driver or None"
            raise PoolConfigError(msg)
        return cast("Driver[Any]", _load(driver)(connect))
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


def _load(name: str) -> Any:  # noqa: ANN401  a class derived from Dbapi
    try:
        module = import_module(f"millpond.drivers._{name}")
    except ImportError as error:
        msg = f"the driver {name} cannot be imported ({error}): pip install 'millpond[{name}]'"
        raise PoolConfigError(msg) from error
    return getattr(module, _DRIVERS[name])
