"""URLs of MySQL and MariaDB, as arguments of a driver.

``mysql://user:password@host:port/database?name=value``, with what stands behind the ``?`` named as
the driver names it: ``charset``, ``unix_socket``, ``ssl_ca`` and so on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from millpond.drivers._base import redact
from millpond.drivers._url import refuse, refuse_unknown, split
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from collections.abc import Set as AbstractSet

    Converters = Mapping[str, Callable[[str], object]]

_FLAGS: Final = {"1": True, "true": True, "0": False, "false": False}
ENCODE: Final = "behind the ? an @ must be percent-encoded, as must a ? in a password"


def flag(text: str) -> bool:
    """Return what ``1``, ``true``, ``0`` or ``false`` says."""
    return _FLAGS[text.lower()]


def arguments_of(
    url: str,
    connect_kwargs: Mapping[str, Any],
    *,
    driver: str,
    converters: Converters,
    known: AbstractSet[str],
) -> dict[str, Any]:
    """Return the arguments of a driver that a URL and `connect_kwargs` stand for.

    Args:
        url: The URL.
        connect_kwargs: Arguments of the driver, which win over those in the URL.
        driver: The driver's name, for messages.
        converters: What may stand behind the ``?``, and how to read each.
        known: The names that `connect_kwargs` may use.

    Raises:
        PoolConfigError: The URL or an argument is not valid. The message has no password in it.
    """
    for name in connect_kwargs:
        if name not in known:
            refuse_unknown("connect_kwargs", name, driver, known)
    # It may be a password with a ? in it: what follows would be shown as the name of a parameter.
    address, _, query = url.partition("://")[2].partition("?")
    if "@" in query:
        refuse(url, ENCODE)
    parts = split(url)
    if parts.name and "/" in parts.name and "%2f" not in address.lower():
        refuse(url, "the path must be the name of one database")
    named = {
        "user": parts.user,
        "password": parts.password,
        "host": parts.host,
        "port": parts.port,
        "database": parts.name,
    }
    arguments: dict[str, Any] = {k: value for k, value in named.items() if value is not None}
    for name, text in parts.query.items():
        if name not in converters:
            refuse_unknown("connect", name, driver, converters)
        arguments[name] = _convert(url, name, text, converters[name])
    return {**arguments, **connect_kwargs}


def _convert(url: str, name: str, text: str, converter: Callable[[str], object]) -> object:
    try:
        return converter(text)
    except (KeyError, ValueError):
        msg = f"connect={redact(url)!r}: {name}={text!r} is not a valid value"
        raise PoolConfigError(msg) from None
