"""A DB-API 2 module on the fake database, for the pools of `millpond.dbutils`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import fakes

if TYPE_CHECKING:
    from fakes import FakeConnection, FakeDatabase
    from millpond.dbutils.pooled_db import PooledDB


class FakeModule:
    """What `import driver` would give."""

    InterfaceError = fakes.InterfaceError
    InternalError = fakes.DatabaseError
    OperationalError = fakes.OperationalError

    def __init__(self, database: FakeDatabase, threadsafety: int = 1) -> None:
        self.threadsafety = threadsafety
        self._database = database

    def connect(self, *_: Any, **__: Any) -> FakeConnection:
        """Open a connection."""
        return self._database.connect()


class MakePooled(Protocol):
    """What the fixture `make_pooled` gives: `PooledDB`, on the fake database."""

    def __call__(
        self, *args: Any, kind: type[PooledDB] | None = None, threadsafety: int = 1, **options: Any
    ) -> PooledDB:
        """Make a pool that is closed, and checked for threads left behind, after the test."""


def raw(proxy: Any) -> FakeConnection:
    """Give the driver's connection of a proxy."""
    connection: FakeConnection = proxy._con._con
    return connection
