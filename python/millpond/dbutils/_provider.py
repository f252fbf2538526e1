"""What can be learnt about a driver from whatever was passed as the creator of connections.

The creator is a DB-API 2 module, or a function that connects, or an object that leads to either.
Some of them tell everything, some nothing; then a connection is asked, once there is one.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

FAILURES: Final = ("OperationalError", "InterfaceError", "InternalError")


def connector_of(creator: Any) -> tuple[Any, Any]:
    """Return the callable that connects, and the driver's module or ``None``."""
    try:
        connect = creator.connect
    except AttributeError:
        return creator, _module_behind(creator)
    try:
        return connect, creator.dbapi if creator.dbapi.connect else None
    except AttributeError:
        return connect, creator


def _module_behind(connect: Any) -> Any:
    """Return the module that the function names, or the one whose ``connect`` it is."""
    try:
        return connect.dbapi
    except AttributeError:
        module = sys.modules.get(getattr(connect, "__module__", None))  # type: ignore[arg-type]
        return module if leads_to(module, connect) else None


def leads_to(dbapi: Any, connect: Any) -> bool:
    """Say whether connections made by `connect` are certainly those of the module."""
    try:
        return bool(dbapi.connect == connect)
    except AttributeError:
        return False


def module_of(con: Any) -> Any:
    """Return the module of a connection, by its class or by its errors, or ``None``."""
    for source in (con, getattr(con, "OperationalError", None)):
        for module in _packages(getattr(source, "__module__", None)):
            if callable(getattr(module, "connect", None)):
                return module
    return None


def _packages(name: str | None) -> Iterator[ModuleType]:
    """Yield the imported modules of a dotted name, the innermost first."""
    while name:
        module = sys.modules.get(name)
        if module is not None:
            yield module
        name = name.rpartition(".")[0]


def threadsafety_of(*sources: Any) -> Any:
    """Return the first level of thread safety that is stated, or ``None``."""
    for source in sources:
        try:
            return source.threadsafety
        except AttributeError:
            continue
    return None


def threadsafety_assumed_of(creator: Any) -> Any:
    """Return the level of thread safety to count on before there is a connection.

    A driver that states none has none. A function may be anything, and is trusted with level 1.
    """
    sources: tuple[Any, ...] = (creator, getattr(creator, "dbapi", None))
    for source in sources:
        with suppress(AttributeError):
            return source.threadsafety
    return 0 if callable(getattr(creator, "connect", None)) else 1


def failures_of(*sources: Any) -> tuple[type[Exception], ...]:
    """Return the errors of the first source that has them all.

    Raises:
        AttributeError: None has.
    """
    *others, last = sources
    for source in others:
        with suppress(AttributeError):
            return _failures_of(source)
    # An error that is kept in a variable would be a cycle with this frame, and keep the connection.
    try:
        return _failures_of(last)
    except AttributeError as error:
        message = "Could not determine failure exceptions (please set failures or creator.dbapi)."
        raise AttributeError(message) from error


def _failures_of(source: Any) -> tuple[type[Exception], ...]:
    return tuple(getattr(source, name) for name in FAILURES)
