"""What a pool does, whoever's it is and whatever its options are called.

Every function returns ``None`` where that is not certain.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from millpond.doctor._options import PoolOptions

# The drivers of SQLAlchemy that prepare statements on the server by themselves.
_PREPARING: Final = ("postgresql+psycopg://", "postgresql+asyncpg://")
# What `PoolOptions.database` calls the kinds of servers.
_DATABASES: Final = {
    "postgresql": "postgresql",
    "mysql": "mysql",
    "mariadb": "mysql",
}


class Named(NamedTuple):
    """An option's name, in the words of the pool, and its value."""

    name: str
    value: float


def is_for(pool: PoolOptions, kind: str) -> bool:
    """Say whether a pool may be one of connections to a kind of server: no, if it is another."""
    if kind == "redis" and pool.url:
        return pool.url.startswith(("redis", "unix", "..."))
    return pool.database in {"", _DATABASES.get(kind, "")}


def size_option(pool: PoolOptions) -> str:
    """Return the option that limits the pool's size, or the first of them."""
    if pool.is_sqlalchemy:
        return "pool_size"
    return "maxconnections" if pool.is_pooled_db else "max_size"


def size_words(pool: PoolOptions) -> str:
    """Return what the limit of the pool's size is called, all of it."""
    return f"{size_option(pool)}{' + max_overflow' * pool.is_sqlalchemy}"


def patience(pool: PoolOptions) -> Named | None:
    """Return how long a caller waits for a connection; infinite if for ever."""
    name = "pool_timeout" if pool.is_sqlalchemy else "acquire_timeout"
    return _first(pool, [name]) if pool.is_sqlalchemy or pool.is_millpond else None


def lifetime(pool: PoolOptions) -> Named | None:
    """Return how old a connection may become; infinite if it is never replaced."""
    name = "CONN_MAX_AGE" if pool.is_django else "max_lifetime"
    return _first(pool, [name]) if pool.is_django or pool.is_millpond else None


def longest_silence(pool: PoolOptions) -> Named | None:
    """Return for how long a connection may be silent, and still be lent without a look at it.

    The name is that of the option which ends the silence first, or of the one to set if nothing
    does (then the value is infinite).
    """
    if pool.is_millpond:
        ends = ["validation_interval", "max_lifetime"]
        # Up to min_size, connections are kept however idle they are.
        if pool.number("min_size") == 0:
            ends.append("idle_timeout")
        return _first(pool, ends)
    if pool.is_sqlalchemy:
        return _silence_of_an_engine(pool)
    if pool.kind == "dbutils.PooledDB" and pool.number("ping") == 0:
        return Named("ping", math.inf)
    if pool.is_django and pool.value("CONN_HEALTH_CHECKS") is False:
        return _first(pool, ["CONN_MAX_AGE"])
    return None


def own_statement_timeout(pool: PoolOptions) -> float | None:
    """Return the limit for a statement that the pool itself sets; infinite if it sets none."""
    # What the URL says, the server was told by whoever asked it for its timeouts.
    if not pool.is_millpond or "statement_time" in pool.url:
        return None
    if pool.value("session") not in (None, (), []) or not pool.is_none("connect_kwargs"):
        return None
    if pool.is_none("statement_timeout"):
        return math.inf
    return pool.number("statement_timeout")


def prepares(pool: PoolOptions) -> bool:
    """Say whether its driver prepares statements by itself, as far as that is certain."""
    if pool.is_millpond:
        return pool.is_none("profile") and pool.database in {"postgresql", ""}
    if not pool.is_sqlalchemy or "connect_args" in pool.options or not pool.complete:
        return False
    url = pool.url.lower()
    return url.startswith(_PREPARING) and "prepare" not in url and "cache_size" not in url


def leaves_keepalive_alone(pool: PoolOptions) -> bool:
    """Say whether TCP keepalive is as the system has it, unless the URL is unknown and says so."""
    if not pool.is_millpond or "keepal" in pool.url:
        return False
    return pool.is_none("keepalive") and pool.is_none("connect_kwargs")


def _first(pool: PoolOptions, names: Iterable[str]) -> Named | None:
    ends: list[Named] = []
    for name in names:
        value = pool.number(name)
        if value is None and not pool.is_none(name):
            return None
        ends.append(Named(name, math.inf if value is None else value))
    return min(ends, key=lambda end: end.value)


def _silence_of_an_engine(pool: PoolOptions) -> Named | None:
    pre_ping, recycle = pool.value("pool_pre_ping"), pool.number("pool_recycle")
    if pre_ping is not False or recycle is None or not pool.is_queue:
        return None
    return Named("pool_recycle", math.inf if recycle < 0 else recycle)
