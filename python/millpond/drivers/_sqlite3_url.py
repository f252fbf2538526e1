"""The URLs of SQLite, and what `sqlite3.connect()` gets of them."""

from __future__ import annotations

import re
import sqlite3
import sys
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlencode

from millpond.drivers._base import redact
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_HAS_AUTOCOMMIT: Final = sys.version_info >= (3, 12)

# Parameters of SQLite's URIs: https://www.sqlite.org/uri.html
_URI_PARAMETERS: Final = frozenset(
    {"cache", "immutable", "mode", "modeof", "nolock", "psow", "vfs"},
)


def arguments_of(url: str, connect_kwargs: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the arguments of `sqlite3.connect()`, the first one by itself.

    Args:
        url: A URL as in the head of `_sqlite3`.
        connect_kwargs: Further arguments, which win over those in the URL.

    Raises:
        PoolConfigError: The URL or an argument is not valid, or each connection would have a
            database for itself.
    """
    database, arguments = _parse(url)
    for name in connect_kwargs:
        if name not in _ARGUMENTS:
            _refuse_unknown("connect_kwargs", name, _ARGUMENTS)
    arguments |= connect_kwargs
    if arguments.setdefault("check_same_thread", False):
        _refuse(url, "check_same_thread must be false, as the pool moves connections around")
    if _is_private(database, uri=bool(arguments.get("uri"))):
        _refuse(
            url,
            "each connection would be an empty database of its own; "
            "use a file, or share one: sqlite:///file:name?mode=memory&cache=shared",
        )
    return database, arguments


def _parse(url: str) -> tuple[str, dict[str, Any]]:
    """Split a URL into the arguments of `sqlite3.connect()`."""
    rest = url.partition("://")[2]
    if rest and rest[0] not in "/?":
        _refuse(
            url,
            "a file needs three slashes (sqlite:///relative.db), "
            "or four if its path is absolute (sqlite:////srv/app.db)",
        )
    path, _, query = rest.partition("?")
    path = path[1:]
    arguments: dict[str, Any] = {}
    parameters: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in _CONVERTERS:
            arguments[name] = _convert(url, name, value)
        elif name in _URI_PARAMETERS or path.startswith("file:"):
            parameters[name] = value
        else:
            _refuse_unknown("connect", name, _CONVERTERS.keys() | _URI_PARAMETERS)
    if path.startswith("file:"):
        arguments["uri"] = True
    elif parameters:
        arguments["uri"] = True
        path = _as_uri(unquote(path))
    else:
        path = unquote(path)
    return (f"{path}?{urlencode(parameters)}" if parameters else path), arguments


def _as_uri(path: str) -> str:
    # SQLite wants a slash before the drive: file:/C:/app.db
    slash = "/" if re.match("[A-Za-z]:/", path) else ""
    return f"file:{slash}{quote(path, safe='/:')}"


def _is_private(database: str, *, uri: bool) -> bool:
    if not (uri and database.startswith("file:")):
        return database in {"", ":memory:"}
    path, _, query = database.removeprefix("file:").partition("?")
    parameters = dict(parse_qsl(query))
    in_memory = path in {"", ":memory:"} or parameters.get("mode") == "memory"
    return in_memory and parameters.get("cache") != "shared"


def _flag(text: str) -> bool:
    return {"1": True, "true": True, "0": False, "false": False}[text.lower()]


def _isolation_level(text: str) -> str | None:
    return None if text.lower() == "none" else text.upper()


def _autocommit(text: str) -> bool | int:
    legacy: int = sqlite3.LEGACY_TRANSACTION_CONTROL  # type: ignore[attr-defined, unused-ignore]
    return legacy if text.lower() == "legacy" else _flag(text)


_CONVERTERS: Final[dict[str, Callable[[str], object]]] = {
    "cached_statements": int,
    "check_same_thread": _flag,
    "detect_types": int,
    "isolation_level": _isolation_level,
    "timeout": float,
    "uri": _flag,
}
if _HAS_AUTOCOMMIT:
    _CONVERTERS["autocommit"] = _autocommit

_ARGUMENTS: Final = _CONVERTERS.keys() | {"factory"}


def _convert(url: str, name: str, value: str) -> object:
    try:
        return _CONVERTERS[name](value)
    except (KeyError, ValueError):
        msg = f"connect={redact(url)!r}: {name}={value!r} is not a valid value"
        raise PoolConfigError(msg) from None


def _refuse(url: str, why: str) -> None:
    msg = f"connect={redact(url)!r}: {why}"
    raise PoolConfigError(msg)


def _refuse_unknown(argument: str, name: str, known: object) -> None:
    names = ", ".join(sorted(known))  # type: ignore[call-overload]
    msg = f"{argument}: {name!r} is unknown to sqlite3; known are {names}"
    raise PoolConfigError(msg)
