"""The pools that are compared, each cut down to the same four verbs.

A peer is imported when it is opened and not before: whoever has none of them can still run
millpond. All get the same number of connections and the same patience. Whatever a pool does by
itself when a connection comes back is left as it is.
"""

import importlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from operator import methodcaller
from typing import Any, NamedTuple

import millpond
from millpond.cli._database import Database

__all__ = ["MILLPOND", "PEERS", "Handle", "Peer"]


class Handle(NamedTuple):
    """An open pool.

    Attributes:
        pool: The pool itself.
        acquire: Takes a connection, waiting for one if need be.
        release: Gives it back.
        connection: The same as a context manager.
        close: Closes the pool.
    """

    pool: Any
    acquire: Callable[[], Any]
    release: Callable[[Any], object]
    connection: Callable[[], Any]
    close: Callable[[], object]


@dataclass(frozen=True)
class Peer:
    """A pool that can be put to work.

    Attributes:
        key: What ``--peers`` calls it.
        title: What the table calls it.
        distribution: What pip calls it.
        open: Makes a pool: ``open(database, size, timeout, **options)``. ``timeout`` is how many
            seconds an acquire waits; the options are the pool's own.
        only: The one kind of database it can talk to, or ``None`` for any.
    """

    key: str
    title: str
    distribution: str
    open: Callable[..., Handle]
    only: str | None = None

    @property
    def version(self) -> str | None:
        """The installed version, or ``None`` if it is not installed."""
        if self is MILLPOND:
            return millpond.__version__
        try:
            return metadata.version(self.distribution)
        except metadata.PackageNotFoundError:
            return None

    def fits(self, database: Database) -> bool:
        """Whether it is installed and can talk to ``database``."""
        return self.version is not None and self.only in {None, database.kind}


def _open_millpond(database: Database, size: int, timeout: float, **options: object) -> Handle:
    options = {"max_size": size, "acquire_timeout": timeout, **options}
    make: Callable[..., millpond.Pool[Any]] = millpond.Pool
    with warnings.catch_warnings():
        # A pool with more threads than connections is the point of the exercise, and all wait long.
        warnings.simplefilter("ignore", millpond.PoolConfigWarning)
        pool = make(database.url or database.connect, **options)
    return Handle(pool, pool.acquire, pool.release, pool.connection, pool.close)


def _open_dbutils(database: Database, size: int, timeout: float, **options: object) -> Handle:
    del timeout  # blocking=True waits for ever
    options = {"maxconnections": size, "blocking": True, **options}
    pool = importlib.import_module("dbutils.pooled_db").PooledDB(database.connect, **options)
    return Handle(pool, pool.connection, methodcaller("close"), pool.connection, pool.close)


def _open_sqlalchemy(database: Database, size: int, timeout: float, **options: object) -> Handle:
    options = {"pool_size": size, "max_overflow": 0, "timeout": timeout, **options}
    pool = importlib.import_module("sqlalchemy.pool").QueuePool(database.connect, **options)
    return Handle(pool, pool.connect, methodcaller("close"), pool.connect, pool.dispose)


def _open_psycopg_pool(database: Database, size: int, timeout: float, **options: object) -> Handle:
    options = {"min_size": size, "max_size": size, "timeout": timeout, "open": True, **options}
    pool = importlib.import_module("psycopg_pool").ConnectionPool(database.url or "", **options)

    # Its own `with` block commits. A bare putconn() in a transaction would roll back as well, but
    # with a warning in the log each time.
    def release(conn: Any) -> None:  # noqa: ANN401 - a psycopg connection
        conn.commit()
        pool.putconn(conn)

    return Handle(pool, pool.getconn, release, pool.connection, partial(pool.close, timeout=1.0))


MILLPOND = Peer("millpond", "millpond", "millpond", _open_millpond)

PEERS = (
    Peer("dbutils", "DBUtils", "DBUtils", _open_dbutils),
    Peer("sqlalchemy", "SQLAlchemy", "SQLAlchemy", _open_sqlalchemy),
    Peer("psycopg_pool", "psycopg_pool", "psycopg-pool", _open_psycopg_pool, only="postgresql"),
)
"""Everybody else, in the order of the table."""
