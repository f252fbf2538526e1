"""millpond: a connection pool for any Python database driver, fast, fair and safe.

See `Pool`, and the README for a first look.
"""

import importlib
import logging
import typing

from millpond import presets, sizing
from millpond._adaptive import AdaptiveSizer
from millpond._core import AsyncLease, Lease
from millpond._events import PoolEvent
from millpond._lifecycle import pools
from millpond._monitored import monitored
from millpond._pool import Pool
from millpond._stats import ConnectionStats, PoolStats, WindowStats
from millpond._thread_local import ThreadLocalPool
from millpond._times import TimeStats
from millpond._version import __version__
from millpond.errors import (
    PoolClosed,
    PoolConfigError,
    PoolConfigWarning,
    PoolError,
    PoolExhausted,
    PoolTimeout,
    QueryTimeout,
)
from millpond.health import HealthMonitor

__all__ = [
    "AdaptiveSizer",
    "AsyncLease",
    "AsyncPool",
    "ConnectionStats",
    "HealthMonitor",
    "Lease",
    "Pool",
    "PoolClosed",
    "PoolConfigError",
    "PoolConfigWarning",
    "PoolError",
    "PoolEvent",
    "PoolExhausted",
    "PoolStats",
    "PoolTimeout",
    "QueryTimeout",
    "ThreadLocalPool",
    "TimeStats",
    "WindowStats",
    "__version__",
    "monitored",
    "pools",
    "presets",
    "sizing",
]

# Quiet unless the application configures logging: what a pool tells is told under "millpond.pool".
logging.getLogger("millpond").addHandler(logging.NullHandler())

if typing.TYPE_CHECKING:
    # Alone, or a type checker would take any name for one that exists.
    from millpond._aio import AsyncPool
else:

    def __getattr__(name: str) -> object:
        """Import what not everybody needs when it is asked for: asyncio, and what is for HTTP."""
        if name == "AsyncPool":
            from millpond._aio import AsyncPool  # noqa: PLC0415

            return AsyncPool
        if name in {"exporters", "web"}:
            return importlib.import_module(f"millpond.{name}")
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
