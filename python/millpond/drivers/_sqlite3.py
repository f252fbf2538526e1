"""SQLite, through the standard library.

URLs: ``sqlite:///relative.db``, ``sqlite:////absolute.db`` and, for all that SQLite can,
``sqlite:///file:name?mode=memory&cache=shared``. Behind the ``?`` may stand arguments of
`sqlite3.connect()` and parameters of SQLite's own URIs (``mode``, ``immutable``, ...).

A database in memory lives as long as one connection to it is open: keep ``min_size`` at 1 or more.
"""

from __future__ import annotations

import functools
import re
import sqlite3
import sys
import threading
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlencode

from millpond.drivers._base import redact
from millpond.drivers._dbapi import Dbapi
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_HAS_AUTOCOMMIT: Final = sys.version_info >= (3, 12)

# Parameters of SQLite's URIs: https://www.sqlite.org/uri.html
_URI_PARAMETERS: Final = frozenset(
    {"cache", "immutable", "mode", "modeof", "nolock", "psow", "vfs"},
)
# SQLite's ways to say that trying again will not help. It calls them operational errors too.
_PERMANENT: Final = frozenset(
    {
        sqlite3.SQLITE_AUTH,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
    }
)
_PRIMARY_CODE: Final = 0xFF


class Sqlite3(Dbapi[sqlite3.Connection]):
    """The adapter of `sqlite3`."""

    name = "sqlite3"
    operational_error = sqlite3.OperationalError
    # Before 3.12 `rollback` itself looks for an open transaction, at the price of an attribute.
    # Since 3.12 it does nothing with autocommit=True, whatever the borrower began.
    reset_method = None if _HAS_AUTOCOMMIT else "rollback"
    crosses_threads = False

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        connect_kwargs: Mapping[str, Any] | None = None,
        connect_timeout: float | None = None,  # noqa: ARG003  opening a file has no timeout
    ) -> Sqlite3:
        """Return the adapter of the database that a URL names.

        Args:
            url: A URL as in the head of this module.
            connect_kwargs: Arguments of `sqlite3.connect()`, which win over those in the URL.
            connect_timeout: Not used. SQLite's ``timeout`` is about locks.

        Raises:
            PoolConfigError: The URL or an argument is not valid, or the database is one in memory
                that each connection would have for itself.
        """
        database, arguments = _parse(url)
        for name in connect_kwargs or {}:
            if name not in _ARGUMENTS:
                _refuse_unknown("connect_kwargs", name, _ARGUMENTS)
        arguments |= connect_kwargs or {}
        if arguments.setdefault("check_same_thread", False):
            _refuse(url, "check_same_thread must be false, as the pool moves connections around")
        if _is_private(database, uri=bool(arguments.get("uri"))):
            _refuse(
                url,
                "each connection would be an empty database of its own; "
                "use a file, or share one: sqlite:///file:name?mode=memory&cache=shared",
            )
        made = cls(functools.partial(sqlite3.connect, database, **arguments), target=redact(url))
        made.crosses_threads = True
        return made

    def adopt(self, conn: sqlite3.Connection) -> Dbapi[sqlite3.Connection]:
        """Check that the connection can be used by another thread than the one that opened it."""
        if self.crosses_threads:
            return self
        refused: list[sqlite3.Error] = []

        def touch() -> None:
            try:
                conn.cursor().close()
            except sqlite3.ProgrammingError as error:
                refused.append(error)

        thread = threading.Thread(target=touch, name="millpond-sqlite3-check", daemon=True)
        thread.start()
        thread.join()
        if refused:
            msg = (
                f"connect={self.target}: must open SQLite with check_same_thread=False, "
                "as the pool moves connections between threads"
            )
            raise PoolConfigError(msg) from refused[0]
        return self

    @staticmethod
    def reset(conn: sqlite3.Connection) -> None:
        """Roll back if a transaction is open."""
        if conn.in_transaction:
            _roll_back(conn)

    @classmethod
    def ping(cls, conn: sqlite3.Connection) -> None:
        """Run ``SELECT 1``, which opens no transaction that would stay."""
        conn.execute("SELECT 1").fetchall()

    @classmethod
    def begin(
        cls,
        conn: sqlite3.Connection,
        *,
        isolation: str | None = None,
        read_only: bool | None = None,
    ) -> None:
        """Begin now: by itself the module does so at the first change, and not at a savepoint."""
        super().begin(conn, isolation=isolation, read_only=read_only)
        if not conn.in_transaction:
            conn.execute("BEGIN")

    @staticmethod
    def is_transient(error: BaseException) -> bool:
        """Say no for a file that cannot be opened, and otherwise what is usual."""
        code = getattr(error, "sqlite_errorcode", None)
        if code is not None and code & _PRIMARY_CODE in _PERMANENT:
            return False
        return Dbapi.is_transient(error)


def _roll_back(conn: sqlite3.Connection) -> None:
    conn.rollback()
    # With autocommit=True `rollback` does nothing, and a BEGIN of the borrower is still open. With
    # autocommit=False a new transaction is always open, as it should be.
    if conn.in_transaction and getattr(conn, "autocommit", None) is True:
        conn.execute("ROLLBACK")


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
