"""The pools that are compared, each cut down to the same four verbs.

A peer is imported when it is opened and not before: whoever has none of them can still run
millpond. All get the same number of connections and the same patience. Whatever a pool does by
itself when a connection comes back is left as it is.
"""

import importlib
import warnings
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from operator import methodcaller
from typing import Any, NamedTuple

import millpond
from millpond.cli._database import Database

__all__ = ["MILLPOND", "PEERS", "AsyncHandle", "Handle", "Peer"]


class AsyncHandle(NamedTuple):
    """An open pool for asyncio, by the same verbs, awaited.

    Attributes:
        pool: The pool itself.
        acquire: Takes a connection, waiting for one if need be.
        release: Gives it back.
        connection: The same as an asynchronous context manager.
        close: Closes the pool.
        query: Runs ``SELECT 1`` on a connection, the way of its driver.
        patient: As that of `Handle`.
    """

    pool: Any
    acquire: Callable[[], Awaitable[Any]]
    release: Callable[[Any], Awaitable[object]]
    connection: Callable[[], Any]
    close: Callable[[], Awaitable[object]]
    query: Callable[[Any], Awaitable[object]]
    patient: Callable[[], Awaitable[Any]] | None = None


class Handle(NamedTuple):
    """An open pool.

    Attributes:
        pool: The pool itself.
        acquire: Takes a connection, waiting for one if need be.
        release: Gives it back.
        connection: The same as a context manager.
        close: Closes the pool.
        patient: Takes a connection that may have to be opened first, where the pool's own timeout
            is an option that is measured; ``acquire`` by default.
    """

    pool: Any
    acquire: Callable[[], Any]
    release: Callable[[Any], object]
    connection: Callable[[], Any]
    close: Callable[[], object]
    patient: Callable[[], Any] | None = None


@dataclass(frozen=True)
class Peer:
    """A pool that can be put to work.

    Attributes:
        key: What ``--peers`` calls it.
        title: What the table calls it.
        distribution: What pip calls it.
        open: Makes a pool: ``open(database, size, timeout, **options)``. ``timeout`` is how many
            seconds an acquire waits; the options are the pool's own. Returns a `Handle`, or is a
            coroutine function that returns an `AsyncHandle`.
        only: The one kind of database it can talk to, or ``None`` for any.
        needs: Further distributions, without which it counts as not installed.
    """

    key: str
    title: str
    distribution: str
    open: Callable[..., Any]
    only: str | None = None
    needs: tuple[str, ...] = ()

    @property
    def is_millpond(self) -> bool:
        """Whether it is millpond, with whatever driver."""
        return self.distribution == "millpond"

    @property
    def label(self) -> str:
        """Name it with its version; one with another driver has the title's word for that."""
        return self.title if self.needs and self.is_millpond else f"{self.title} {self.version}"

    @property
    def version(self) -> str | None:
        """The installed version, or ``None`` if it is not installed."""
        try:
            for each in self.needs:
                metadata.version(each)
            if self.is_millpond:
                return millpond.__version__
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
    patient = partial(pool.acquire, timeout=timeout)
    return Handle(pool, pool.acquire, pool.release, pool.connection, pool.close, patient)


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
