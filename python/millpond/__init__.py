"""millpond: a connection pool for any Python database driver, fast, fair and safe.

See `Pool`, and the README for a first look.
"""

import logging

from millpond import presets
from millpond._core import Lease
from millpond._pool import Pool
from millpond._stats import ConnectionStats, PoolStats, TimeStats
from millpond._thread_local import ThreadLocalPool
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

__all__ = [
    "ConnectionStats",
    "Lease",
    "Pool",
    "PoolClosed",
    "PoolConfigError",
    "PoolConfigWarning",
    "PoolError",
    "PoolExhausted",
    "PoolStats",
    "PoolTimeout",
    "QueryTimeout",
    "ThreadLocalPool",
    "TimeStats",
    "__version__",
    "presets",
]

# Quiet unless the application configures logging: what a pool tells is told under "millpond.pool".
logging.getLogger("millpond").addHandler(logging.NullHandler())
