"""The pools for asyncio that are compared, each cut down to the same verbs as the others.

Where a database has no URL, ``Database.connect`` is a coroutine function.

On PostgreSQL millpond is there twice: over psycopg, beside psycopg_pool and SQLAlchemy, and over
asyncpg, beside asyncpg's own pool; a driver's speed is none of a pool's.
"""

import asyncio
import importlib
import warnings
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple

import millpond
from millpond.cli._database import Database
from millpond.cli.bench._peers import AsyncHandle, Peer

__all__ = ["ASYNC_MILLPOND", "ASYNC_PEERS"]


class _Loan(NamedTuple):
    """A connection of a pool that lends by a block only."""

    block: Any
    connection: Any


class _Block:
    """A block for a pool that has acquire and release only."""

    def __init__(
        self,
        acquire: Callable[[], Awaitable[Any]],
        release: Callable[[Any], Awaitable[object]],
    ) -> None:
        self._acquire, self._release = acquire, release

    async def __aenter__(self) -> Any:  # noqa: ANN401 - a connection
        self._conn = await self._acquire()
        return self._conn

    async def __aexit__(self, *exc_info: object) -> None:
        await self._release(self._conn)


async def _open_millpond(
    database: Database, size: int, patience: float, driver: str | None = None, **options: object
) -> AsyncHandle:
    make: Any = millpond.AsyncPool
    if database.url is None:
        options["driver"] = driver
    with warnings.catch_warnings():
        # As for threads: more tasks than connections are the point of the exercise.
        warnings.simplefilter("ignore", millpond.PoolConfigWarning)
        pool = make(
            _where(database, driver), max_size=size, **{"acquire_timeout": patience, **options}
        )
    query = _fetchval if driver == "asyncpg" else _execute
    patient = partial(pool.acquire, timeout=patience)
    return AsyncHandle(
        pool, pool.acquire, pool.release, pool.connection, pool.close, query, patient
    )


async def _open_psycopg_pool(
    database: Database, size: int, patience: float, **options: object
) -> AsyncHandle:
    options = {"min_size": size, "max_size": size, "timeout": patience, "open": False, **options}
    pool = importlib.import_module("psycopg_pool").AsyncConnectionPool(
        database.url or "", **options
    )
    await pool.open()

    # As in _peers: its own block commits.
    async def release(conn: Any) -> None:  # noqa: ANN401 - a psycopg connection
        await conn.commit()
        await pool.putconn(conn)

    return AsyncHandle(
        pool, pool.getconn, release, pool.connection, partial(pool.close, timeout=1.0), _execute
    )


async def _open_asyncpg(
    database: Database, size: int, patience: float, **options: object
) -> AsyncHandle:
    options = {"min_size": size, "max_size": size, **options}
    pool = await importlib.import_module("asyncpg").create_pool(database.url, **options)
    acquire = partial(pool.acquire, timeout=patience)
    return AsyncHandle(pool, acquire, pool.release, acquire, pool.close, _fetchval)


async def _open_sqlalchemy(
    database: Database, size: int, patience: float, **options: object
) -> AsyncHandle:
    in_greenlet = importlib.import_module("sqlalchemy.util").greenlet_spawn

    # Its own block shields the release in the same way.
    async def release(conn: Any) -> None:  # noqa: ANN401 - SQLAlchemy's proxy
        await asyncio.shield(asyncio.ensure_future(in_greenlet(conn.close)))

    async def query(conn: Any) -> None:  # noqa: ANN401 - the same
        await _execute(conn.driver_connection)

    queue_pool = importlib.import_module("sqlalchemy.pool").AsyncAdaptedQueuePool
    if database.url is None:
        wait = importlib.import_module("sqlalchemy.util").await_only
        adapt = importlib.import_module("sqlalchemy.connectors.asyncio").AsyncAdapt_dbapi_connection
        options = {"pool_size": size, "max_overflow": 0, "timeout": patience, **options}
        pool = queue_pool(lambda: adapt(None, wait(database.connect())), **options)
        acquire = partial(in_greenlet, pool.connect)
        close = partial(in_greenlet, pool.dispose)
        return AsyncHandle(pool, acquire, release, partial(_Block, acquire, release), close, query)
    url = importlib.import_module("sqlalchemy").make_url(database.url)
    driver = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg"}[database.kind]
    options = {"pool_size": size, "max_overflow": 0, "pool_timeout": patience, **options}
    engine = importlib.import_module("sqlalchemy.ext.asyncio").create_async_engine(
        # By default SQLite in memory gets another pool, with one connection.
        url.set(drivername=driver),
        poolclass=queue_pool,
        **options,
    )
    return AsyncHandle(
        engine, engine.raw_connection, release, engine.connect, engine.dispose, query
    )


async def _open_aiosqlitepool(
    database: Database, size: int, patience: float, **options: object
) -> AsyncHandle:
    async def open_connection() -> Any:  # noqa: ANN401 - an aiosqlite connection
        return await importlib.import_module("aiosqlite").connect(database.path)

    connect = database.connect if database.url is None else open_connection
    options = {"pool_size": size, "acquisition_timeout": int(patience), **options}
    pool = importlib.import_module("aiosqlitepool").SQLiteConnectionPool(connect, **options)

    async def acquire() -> _Loan:
        block = pool.connection()
        return _Loan(block, await block.__aenter__())

    async def release(loan: _Loan) -> None:
        await loan.block.__aexit__(None, None, None)

    async def query(loan: _Loan) -> None:
        await _execute(loan.connection)

    return AsyncHandle(pool, acquire, release, pool.connection, pool.close, query)


def _where(database: Database, driver: str | None) -> Any:  # noqa: ANN401 - see there
    """Return what `AsyncPool` takes: a URL that names the driver as well, or what connects."""
    if database.url is None:
        return database.connect
    kind, _, rest = database.url.partition("://")
    name = driver or {"sqlite": "aiosqlite"}.get(database.kind)
    return f"{kind}+{name}://{rest}" if name else database.url


async def _execute(conn: Any) -> None:  # noqa: ANN401 - of psycopg or aiosqlite
    cursor = await conn.execute("SELECT 1")
    await cursor.fetchone()
    await cursor.close()


async def _fetchval(conn: Any) -> None:  # noqa: ANN401 - of asyncpg
    await conn.fetchval("SELECT 1")


ASYNC_MILLPOND = Peer("millpond", "millpond", "millpond", _open_millpond)

ASYNC_PEERS = (
    Peer(
        "millpond_asyncpg",
        "millpond/asyncpg",
        "millpond",
        partial(_open_millpond, driver="asyncpg"),
        only="postgresql",
        needs=("asyncpg",),
    ),
    Peer("asyncpg", "asyncpg", "asyncpg", _open_asyncpg, only="postgresql"),
    Peer("psycopg_pool", "psycopg_pool", "psycopg-pool", _open_psycopg_pool, only="postgresql"),
    Peer("sqlalchemy", "SQLAlchemy", "SQLAlchemy", _open_sqlalchemy, needs=("greenlet",)),
    Peer(
        "aiosqlitepool",
        "aiosqlitepool",
        "aiosqlitepool",
        _open_aiosqlitepool,
        only="sqlite",
        needs=("aiosqlite",),
    ),
)
"""Everybody else, in the order of the table."""
