"""Who is compared with whom: DBUtils itself, and millpond's drop-in for it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Implementation:
    """One implementation of DBUtils' classes, under the names of the scripts' subjects."""

    name: str
    PooledDB: Any
    PersistentDB: Any
    SteadyDB: Any  # the function connect()


def implementation(package: str) -> Implementation:
    """Load the implementation that is in `package`."""
    return Implementation(
        package,
        import_module(f"{package}.pooled_db").PooledDB,
        import_module(f"{package}.persistent_db").PersistentDB,
        import_module(f"{package}.steady_db").connect,
    )


DBUTILS = implementation("dbutils")
MILLPOND = implementation("millpond.dbutils")
