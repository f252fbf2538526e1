"""The database a workload runs on, and the only file that sees its password.

Everybody else prints ``Database.title`` and passes what a driver said through ``Database.scrub``.
"""

import importlib
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from millpond import drivers
from millpond.errors import PoolConfigError

__all__ = ["ALLOWED", "Database", "database_from_url", "redact", "temporary_sqlite"]

ALLOWED = "sqlite:///path/to/file.db, sqlite:// (in memory) or postgresql://user@host/database"

_DELIMITERS = re.compile(r"[@:/?#\[\]]")


@dataclass(frozen=True)
class Database:
    """Where a workload runs.

    Attributes:
        connect: Opens one raw connection; what the peers are given.
        kind: ``"sqlite"``, ``"postgresql"``, or another word for a stand-in.
        title: A name to print, without a password.
        url: What millpond and psycopg_pool are given, or ``None``: then millpond gets ``connect``.
        path: The file of an SQLite database.
    """

    connect: Callable[[], Any]
    kind: str
    title: str
    url: str | None = field(default=None, repr=False)
    path: str | None = None

    def check(self) -> None:
        """Open a connection, run ``SELECT 1`` and close it; raises what the driver raises."""
        with closing(self.connect()) as conn:
            select_one(conn)

    def scrub(self, text: str) -> str:
        """Return ``text`` on one line and without this database's password, quoted or not."""
        text = " ".join(text.split())
        if self.url is None:
            return text
        text = text.replace(self.url, redact(self.url))
        for secret in sorted(_secrets(self.url), key=len, reverse=True):
            text = text.replace(secret, "***")
        return text


def select_one(conn: Any) -> None:  # noqa: ANN401 - any PEP 249 connection
    """Run ``SELECT 1`` the PEP 249 way, which every driver and every wrapper knows."""
    cursor = conn.cursor()
    cursor.execute("SELECT 1")
    cursor.fetchone()
    cursor.close()


def redact(url: str) -> str:
    """Return ``url`` with ``***`` in place of its password, also where it is no URL at all."""
    url = drivers.redact(url)
    if "://" not in url and "@" in url:
        return "***@" + url.rpartition("@")[2]
    return url


def temporary_sqlite(folder: Path) -> Database:
    """Return a new SQLite database in ``folder``, with the file already made."""
    file = folder / "bench.db"
    with closing(sqlite3.connect(file)) as conn:
        conn.execute("CREATE TABLE pond (id INTEGER PRIMARY KEY)")
    return _sqlite(f"sqlite:///{file.as_posix()}", str(file), "SQLite (a temporary file)")


def database_from_url(url: str) -> Database:
    """Return the database that ``url`` names.

    Raises:
        PoolConfigError: The URL is of another kind, names an SQLite file that is not there, or
            needs a driver that is not. The message holds the URL without its password, and what to
            do.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "sqlite":
        return _sqlite_from(url, rest)
    if separator and scheme in {"postgresql", "postgres"}:
        return _postgresql(f"postgresql://{rest}")
    message = f"{redact(url)!r} is not supported; allowed: {ALLOWED}"
    raise PoolConfigError(message)


def _sqlite_from(url: str, rest: str) -> Database:
    path = rest.removeprefix("/")
    if path in {"", ":memory:"}:
        # No URL: a pool refuses one that would give each connection a database of its own, which is
        # no matter here.
        return replace(_sqlite(url, ":memory:", "SQLite (in memory)"), url=None)
    # sqlite3 would make an empty file of a typing error.
    if not Path(path).is_file():
        message = (
            f"{url!r}: there is no file {path!r}; allowed: an existing file, or no --db at all"
        )
        raise PoolConfigError(message)
    return _sqlite(url, path, url)


def _sqlite(url: str, path: str, title: str) -> Database:
    connect = partial(sqlite3.connect, path, check_same_thread=False)
    return Database(connect, "sqlite", title, url, path)


def _postgresql(url: str) -> Database:
    try:
        psycopg = importlib.import_module("psycopg")
    except ImportError as error:
        # Also when it is there and finds no libpq.
        message = f"{redact(url)!r} needs psycopg: pip install 'psycopg[binary]'"
        raise PoolConfigError(message) from error
    connect = partial(psycopg.connect, url, connect_timeout=5)
    return Database(connect, "postgresql", redact(url), url)


def _secrets(url: str) -> set[str]:
    """Return what `redact` hides, in all forms in which a driver may quote it."""
    hidden = "(.*)".join(re.escape(part) for part in redact(url).split("***"))
    match = re.fullmatch(hidden, url, re.DOTALL)
    found = () if match is None else match.groups()
    # Where a password has a delimiter in it, a driver takes parts of it for the host or the path.
    parts = [part for secret in found for part in (secret, *_DELIMITERS.split(secret))]
    return {form for part in parts for form in (part, unquote(part)) if form}
