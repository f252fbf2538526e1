"""PyGreSQL as its pools see it: `FakePg` is server and driver, `FakeDB` looks like a ``pg.DB``.

`import_pools()` gives the pools also where PyGreSQL is not installed.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
from types import ModuleType, SimpleNamespace
from typing import Any


class InternalError(Exception):
    """The connection is lost."""


class ProgrammingError(Exception):
    """The query is wrong."""


class FakePg:
    """Counts connections, and lets them fail on demand."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.opened: list[FakeDB] = []
        self.failures: list[BaseException] = []

    def connect(self, *args: Any, **kwargs: Any) -> FakeDB:
        """Stand in for the class ``pg.DB``."""
        with self._lock:
            if self.failures:
                raise self.failures.pop(0)
            connection = FakeDB(self, args, kwargs)
            self.opened.append(connection)
            return connection

    @property
    def open_connections(self) -> list[FakeDB]:
        """The connections that are open."""
        return [connection for connection in self.opened if connection.db]


class FakeDB:
    """A connection that notes what is done to it."""

    def __init__(self, server: FakePg, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.server = server
        self.arguments = (args, kwargs)
        self.db: SimpleNamespace | None = SimpleNamespace(status=1)
        self.log: list[str] = []
        self.failures: list[BaseException] = []

    def lose(self) -> None:
        """Have the server gone away."""
        assert self.db is not None
        self.db.status = 0

    def query(self, command: str, *parameters: Any) -> str:
        """Note the query; fail if the connection is lost, or was told to."""
        if self.failures:
            error = self.failures.pop(0)
            if isinstance(error, InternalError):
                self.lose()
            raise error
        if self.db is None or not self.db.status:
            raise InternalError(command)
        self.log.append(command)
        return command.removeprefix("select ") if not parameters else str(parameters)

    def begin(self, mode: str | None = None) -> str:
        """Begin a transaction; as in PyGreSQL there is no ``sql``."""
        return self.query(f"begin {mode}" if mode else "begin")

    def commit(self) -> str:
        """Commit."""
        return self.query("commit")

    end = commit

    def rollback(self, name: str | None = None) -> str:
        """Roll back."""
        return self.query(f"rollback to {name}" if name else "rollback")

    def get_tables(self) -> list[str]:
        """List the tables."""
        return [self.query("get_tables")]

    def reset(self) -> None:
        """Connect again with the same connection object."""
        if self.db is None or self.server.failures:
            raise InternalError
        self.log.append("reset")
        self.db.status = 1

    def reopen(self) -> None:
        """Connect again with a new connection object."""
        if self.server.failures:
            raise self.server.failures.pop(0)
        self.log.append("reopen")
        self.db = SimpleNamespace(status=1)

    def close(self) -> None:
        """Close; a second time is an error."""
        if self.db is None:
            message = "Connection already closed"
            raise InternalError(message)
        self.log.append("close")
        self.db = None


def import_pools() -> SimpleNamespace:
    """Import the modules which need ``pg``: PyGreSQL's, or a stand-in just for that moment."""
    stand_in = importlib.util.find_spec("pg") is None
    if stand_in:
        sys.modules["pg"] = ModuleType("pg")
        sys.modules["pg"].DB = FakeDB  # type: ignore[attr-defined]
    names = ("steady_pg", "pooled_pg", "persistent_pg", "simple_pooled_pg")
    modules = {name: importlib.import_module(f"millpond.dbutils.{name}") for name in names}
    if stand_in:
        del sys.modules["pg"]
    return SimpleNamespace(**modules)
