"""A driver that writes down every call, and fails when and how the script says.

Nothing in it depends on time, on addresses or on chance: two pools that make the same calls in the
same order leave the same record.
"""

from __future__ import annotations

import sys
from collections import defaultdict, deque
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Event = tuple[Any, ...]

# The name under which connections and creators find their module, as far as they do.
MODULE: Final = "differential_fake_module"
NOWHERE: Final = "differential_no_such_module"

Creator = Literal[
    "module",  # import driver; PooledDB(driver)
    "its function",  # PooledDB(driver.connect)
    "function",  # of the application; the connections know their module
    "function with dbapi",
    "function with threadsafety",
    "function of nowhere",  # and the connections know nothing, either
    "object with dbapi",
    "object",  # with a connect and nothing else
    "nothing",
]
Ping = Literal["no ping", "with flag", "without flag", "needs arguments"]


class Error(Exception):
    """What all errors of the driver are."""


class InterfaceError(Error):
    """The connection is closed."""


class OperationalError(Error):
    """The server is gone, or the statement failed."""


class InternalError(Error):
    """Something is wrong."""


class ProgrammingError(Error):
    """The statement is wrong."""


class SpokenError(OperationalError):
    """It cannot be made without its argument."""

    def __init__(self, message: str) -> None:
        super().__init__(message)


class Interrupted(BaseException):
    """What comes in the middle of a call, like KeyboardInterrupt."""


ERRORS: Final[dict[str, type[BaseException]]] = {
    "interface": InterfaceError,
    "operational": OperationalError,
    "internal": InternalError,
    "programming": ProgrammingError,
    "spoken": SpokenError,
    "value": ValueError,
    "attribute": AttributeError,
    "type": TypeError,
    "interrupted": Interrupted,
}
# What a call can return instead of what it returns otherwise.
VALUES: Final[dict[str, object]] = {"false": False, "zero": 0, "none": None, "text": "alive"}


def fail(kind: type[BaseException], message: str) -> NoReturn:
    raise kind(message)


@dataclass(frozen=True)
class Kind:
    """Which of the many kinds of drivers this is."""

    creator: Creator = "module"
    threadsafety: int | None = 2
    ping: Ping = "with flag"
    begins: bool = False  # connections have begin()
    cancels: bool = False  # connections have cancel()
    iterates: bool = True  # cursors are iterable
    counts: bool = False  # cursors have a length, and so may be falsy


class FakeDriver:
    """The module of a driver, whatever its creator looks like.

    Attributes:
        events: The calls so far: what was called, on which connection, with what.
        creator: What a pool is given.
    """

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.events: list[Event] = []
        self.connections: list[FakeConnection] = []
        self.cursors = 0
        self.calls = 0
        self.actions: dict[str, Callable[[], None]] = {}
        self._faults: defaultdict[str, deque[str]] = defaultdict(deque)
        self.module = ModuleType(MODULE)
        self.connection_class = self._make_connection_class()
        self.creator = self._make_creator()

    def schedule(self, what: str, faults: tuple[str, ...]) -> None:
        """Say how the next calls of `what` end; "" is a call that succeeds."""
        self._faults[what].extend(faults)

    def call(self, what: str, number: int, *details: Any, default: object = None) -> object:
        """Write down a call; return, raise, or do what is scheduled for it."""
        self.calls += 1
        self.events.append((what, number, *details))
        fault = self._faults[what].popleft() if self._faults[what] else ""
        if fault in self.actions:
            self.actions[fault]()
        elif fault in ERRORS:
            if fault == "interrupted":  # a finalizer may swallow it
                self.events.append(("interrupted", number))
            fail(ERRORS[fault], f"{what} {self.calls}")
        return VALUES.get(fault, default)

    def connect(self, *args: Any, **kwargs: Any) -> FakeConnection:
        """Open a connection: what creators come down to."""
        self.call("connect", len(self.connections), args, tuple(sorted(kwargs.items())))
        connection: FakeConnection = self.connection_class(self, len(self.connections))
        self.connections.append(connection)
        return connection

    def pinger(self, connection: FakeConnection) -> object:
        """Tell whether a connection is alive, as an application would."""
        if connection.dead:
            fail(OperationalError, f"{connection.number} is dead")
        return self.call("pinger", connection.number, default=True)

    def __enter__(self) -> Self:
        """Let the module be found."""
        sys.modules[MODULE] = self.module
        return self

    def __exit__(self, *_: object) -> None:
        """Forget the module."""
        del sys.modules[MODULE]

    def _make_connection_class(self) -> Any:
        base: type[FakeConnection] = FakeConnection
        members: dict[str, object] = {"__module__": MODULE}
        if self.kind.creator in {"function of nowhere", "function with threadsafety"}:
            members["__module__"] = NOWHERE
        if self.kind.creator == "function with threadsafety":
            members |= {name.__name__: name for name in (OperationalError, InterfaceError)}
            members["InternalError"] = InternalError
        members |= PINGS[self.kind.ping]
        if self.kind.begins:
            members["begin"] = lambda self, *args: self.do("begin", *args)
        if self.kind.cancels:
            members["cancel"] = lambda self: self.do("cancel")
        return type("Connection", (base,), members)

    def _make_creator(self) -> Any:
        def connect(*args: Any, **kwargs: Any) -> FakeConnection:
            return self.connect(*args, **kwargs)

        function: Any = connect
        module: Any = self.module
        function.__module__ = MODULE if self.kind.creator == "its function" else NOWHERE
        module.connect = function
        module.threadsafety = self.kind.threadsafety
        for error in (Error, InterfaceError, OperationalError, InternalError, ProgrammingError):
            setattr(module, error.__name__, error)
        match self.kind.creator:
            case "module":
                return module
            case "function":
                module.connect = lambda: None  # another function of the same driver
            case "function with dbapi":
                function.dbapi = module
            case "function with threadsafety":
                function.threadsafety = self.kind.threadsafety
            case "object with dbapi":
                return WithConnect(function, module)
            case "object":
                return WithConnect(function)
            case "nothing":
                return None
            case _:
                pass
        return function


class WithConnect:
    """An object of the application that connects, and may know the module."""

    def __init__(self, connect: object, dbapi: object = None) -> None:
        self.connect = connect
        if dbapi is not None:
            self.dbapi = dbapi

    def __repr__(self) -> str:
        """Look the same wherever it is."""
        return "<an object with connect>"


class FakeConnection:
    """A raw connection."""

    def __init__(self, driver: FakeDriver, number: int) -> None:
        self.driver = driver
        self.number = number
        self.dead = False
        self.closed = False

    def do(self, what: str, *details: Any, default: object = None) -> object:
        """Write down a call on this connection, which works if the connection does."""
        result = self.driver.call(what, self.number, *details, default=default)
        if self.closed:
            fail(InterfaceError, f"{self.number} is closed")
        if self.dead:
            fail(OperationalError, f"{self.number} is dead")
        return result

    def cursor(self, *args: Any, **kwargs: Any) -> FakeCursor:
        self.do("cursor", args, tuple(sorted(kwargs.items())))
        kind = self.driver.kind
        made = CURSORS[kind.iterates, kind.counts]
        return made(self)

    def commit(self) -> None:
        self.do("commit")

    def rollback(self) -> None:
        self.do("rollback")

    def close(self) -> None:
        self.driver.call("close", self.number)
        self.closed = True


class FakeCursor:
    """A raw cursor."""

    def __init__(self, connection: FakeConnection) -> None:
        self.connection = connection
        self.number = connection.driver.cursors
        connection.driver.cursors += 1
        self.description = ("description", self.number)
        self.closed = False

    def do(self, what: str, *details: Any, default: object = None) -> object:
        if self.closed:
            fail(InterfaceError, f"cursor {self.number} is closed")
        return self.connection.do(what, self.number, *details, default=default)

    def execute(self, *args: Any, **kwargs: Any) -> object:
        return self.do("execute", args, tuple(sorted(kwargs.items())), default="executed")

    def executemany(self, *args: Any) -> object:
        return self.do("executemany", args, default=self)

    def execute_fast(self, *args: Any) -> object:
        return self.do("execute_fast", args)

    def callproc(self, *args: Any) -> object:
        return self.do("callproc", args, default=args)

    def fetchone(self) -> object:
        return self.do("fetchone")

    def setinputsizes(self, sizes: object) -> None:
        self.do("setinputsizes", sizes)

    def setoutputsize(self, *size: object) -> None:
        self.do("setoutputsize", size)

    def close(self) -> None:
        self.connection.driver.call("cursor.close", self.connection.number, self.number)
        self.closed = True


class IterableCursor(FakeCursor):
    def __iter__(self) -> Iterator[object]:
        return iter([self.do("fetchone", default="a row")])


class CountingCursor(FakeCursor):
    def __len__(self) -> int:
        return 0 if self.closed else self.number % 2


class IterableCountingCursor(IterableCursor, CountingCursor):
    pass


CURSORS: Final = {
    (False, False): FakeCursor,
    (True, False): IterableCursor,
    (False, True): CountingCursor,
    (True, True): IterableCountingCursor,
}


def _ping_with_flag(self: FakeConnection, reconnect: bool = True) -> object:  # noqa: FBT001, FBT002
    return self.do("ping", reconnect)


def _ping_without_flag(self: FakeConnection) -> object:
    return self.do("ping")


def _ping_with_arguments(self: FakeConnection, host: str, port: int) -> object:
    return self.do("ping", host, port)


PINGS: Final[dict[Ping, dict[str, object]]] = {
    "no ping": {},
    "with flag": {"ping": _ping_with_flag},
    "without flag": {"ping": _ping_without_flag},
    "needs arguments": {"ping": _ping_with_arguments},
}
