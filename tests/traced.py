"""A DB-API 2 driver that writes down every call, and fails where it is told to.

`TracedDriver` is the module, so `steady_db.connect(driver)` takes it as it is. `driver.trace` has
one line for each call: who, what, and with what.
"""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Any


class Error(Exception):
    """PEP 249's root."""


class InterfaceError(Error):
    """The connection is closed."""


class DatabaseError(Error):
    """The server said no."""


class OperationalError(DatabaseError):
    """The connection is lost."""


class InternalError(DatabaseError):
    """The connection is in no state to go on."""


class ProgrammingError(DatabaseError):
    """The statement is wrong."""


class TracedDriver:
    """The module of a driver. Calls fail as `fail` told them to, the next one first."""

    Error = Error
    InterfaceError = InterfaceError
    DatabaseError = DatabaseError
    OperationalError = OperationalError
    InternalError = InternalError
    ProgrammingError = ProgrammingError

    def __init__(self, threadsafety: int | None = 1) -> None:
        self.threadsafety = threadsafety
        self.trace: list[str] = []
        self.connections: list[Connection] = []
        self._failures: dict[str, deque[BaseException | None]] = defaultdict(deque)

    def fail(self, call: str, *errors: BaseException | None) -> None:
        """Make the next calls of that name raise; ``None`` lets one pass."""
        self._failures[call].extend(errors)

    def connect(self, *args: Any, **kwargs: Any) -> Connection:
        """Open a connection."""
        self.note("driver", "connect", *args, **kwargs)
        connection = Connection(self, len(self.connections) + 1)
        self.connections.append(connection)
        return connection

    def note(self, who: str, call: str, *args: Any, **kwargs: Any) -> None:
        """Write a call down, and fail if it is its turn."""
        words = [repr(value) for value in args] + [f"{key}={kwargs[key]!r}" for key in kwargs]
        self.trace.append(f"{who}.{call}({', '.join(words)})")
        failures = self._failures[call]
        error = failures.popleft() if failures else None
        try:
            if error is not None:
                raise error
        finally:
            del error  # a cycle with its traceback would keep the callers' cursors

    def take(self) -> list[str]:
        """Return the calls since the last time."""
        taken, self.trace = self.trace, []
        return taken

    def calls(self, call: str) -> int:
        """Count the calls of one name."""
        return sum(f".{call}(" in line for line in self.trace)


class Connection:
    """A connection: ``c1``, ``c2``, …, in the order in which they were opened."""

    def __init__(self, driver: TracedDriver, number: int) -> None:
        self._driver = driver
        self.name = f"c{number}"
        self.cursors = 0

    def note(self, call: str, *args: Any, **kwargs: Any) -> None:
        """Write a call down."""
        self._driver.note(self.name, call, *args, **kwargs)

    def cursor(self, *args: Any, **kwargs: Any) -> Cursor:
        """Open a cursor."""
        self.note("cursor", *args, **kwargs)
        self.cursors += 1
        return Cursor(self._driver, f"{self.name}.k{self.cursors}")

    def commit(self) -> None:
        """Commit."""
        self.note("commit")

    def rollback(self) -> None:
        """Roll back."""
        self.note("rollback")

    def close(self) -> None:
        """Close."""
        self.note("close")


class PingableConnection(Connection):
    """One that can be asked whether it is alive."""

    def ping(self, reconnect: bool = True) -> None:  # noqa: FBT001, FBT002  PyMySQL's
        """Answer."""
        self.note("ping", reconnect)


class Cursor:
    """A cursor: ``c1.k1``, ``c1.k2``, …."""

    arraysize = 1
    description = (("number", None, None, None, None, None, None),)

    def __init__(self, driver: TracedDriver, name: str) -> None:
        self._driver = driver
        self.name = name

    def note(self, call: str, *args: Any, **kwargs: Any) -> None:
        """Write a call down."""
        self._driver.note(self.name, call, *args, **kwargs)

    def execute(self, *args: Any, **kwargs: Any) -> str:
        """Execute a statement."""
        self.note("execute", *args, **kwargs)
        return f"{self.name} executed"

    def executemany(self, *args: Any, **kwargs: Any) -> str:
        """Execute a statement several times."""
        self.note("executemany", *args, **kwargs)
        return f"{self.name} executed many"

    def executescript(self, *args: Any, **kwargs: Any) -> str:
        """Execute what PEP 249 does not know."""
        self.note("executescript", *args, **kwargs)
        return f"{self.name} executed a script"

    def callproc(self, *args: Any, **kwargs: Any) -> str:
        """Call a procedure."""
        self.note("callproc", *args, **kwargs)
        return f"{self.name} called"

    def fetchone(self) -> tuple[int]:
        """Return a row."""
        self.note("fetchone")
        return (1,)

    def setinputsizes(self, *args: Any) -> None:
        """Take sizes."""
        self.note("setinputsizes", *args)

    def setoutputsize(self, *args: Any) -> None:
        """Take a size."""
        self.note("setoutputsize", *args)

    def close(self) -> None:
        """Close."""
        self.note("close")
