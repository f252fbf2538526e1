"""The drivers of this package for asyncio.

To add one, write ``_name.py`` with a class derived from `AsyncDbapi`, and give it a line below. A
package of its own names its class in its metadata instead, as an entry point of the group
``millpond.async_drivers``; what its name stands for is said in `millpond.drivers._known`.
"""

from __future__ import annotations

from typing import Final

from millpond.drivers._known import MYSQL
from millpond.drivers._registry import Known, Registry, with_driver

KNOWN: Final = Registry(
    group="millpond.async_drivers",
    folder="millpond.drivers.aio",
    known={
        "aiomysql": Known("AioMySQL", with_driver(MYSQL, "aiomysql")),
        "aiosqlite": Known("AioSqlite", ("sqlite", "sqlite+aiosqlite")),
        "asyncmy": Known("AsyncMy", with_driver(MYSQL, "asyncmy")),
        "asyncpg": Known("Asyncpg", ("postgresql+asyncpg",)),
        "oracledb": Known("AsyncOracledb", ("oracle", "oracle+oracledb")),
        "redis": Known("AsyncRedis", ("redis", "rediss", "unix")),
        "psycopg": Known("AsyncPsycopg", ("postgresql+psycopg",)),
    },
    # The first that can be imported is taken.
    choices={
        **dict.fromkeys(("postgres", "postgresql"), ("psycopg", "asyncpg")),
        **dict.fromkeys(MYSQL, ("asyncmy", "aiomysql")),
    },
)
