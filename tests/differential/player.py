"""Tells a script with one implementation, and writes down what can be seen of it, step by step."""

from __future__ import annotations

import gc
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from differential import fake_driver
from differential.fake_driver import FakeConnection, FakeCursor, FakeDriver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from differential.fake_driver import Event
    from differential.implementations import Implementation
    from differential.scripts import Operation, Script

# What differs in words: where an object is, and where its class is.
HERE_OR_THERE: Final = re.compile(r" at 0x[0-9a-fA-F]+|\b(millpond\.)?dbutils\.(?=\w+\.)")
# An operation that had nothing to act on.
NOTHING: Final = ("nothing",)


class WouldWait(Exception):
    """A pool that blocks would have waited now, and nobody is there to wake it."""


@dataclass
class Step:
    """What one operation did.

    Attributes:
        operation: Which one.
        outcome: What it returned or raised.
        events: The calls which the driver saw.
        leftovers: Those it saw later, when the garbage collector got what the operation left.
        state: What can be seen afterwards.
    """

    operation: Operation
    outcome: tuple[Any, ...]
    events: list[Event]
    leftovers: list[Event] = field(default_factory=list)
    state: dict[str, Any] = field(default_factory=dict)


@contextmanager
def collections_on_demand() -> Iterator[None]:
    """Let the garbage collector run where it is called, and look at nothing older than this.

    So finalizers run where they are due, and those of an earlier story not in the middle of this.
    """
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.enable()


def play(script: Script, implementation: Implementation) -> list[Step]:
    """Tell the story."""
    with collections_on_demand(), FakeDriver(script.kind) as driver:
        return list(Player(script, implementation, driver).steps())


class Player:
    """One telling of one script."""

    def __init__(self, script: Script, implementation: Implementation, driver: FakeDriver) -> None:
        self.script = script
        self.implementation = implementation
        self.driver = driver
        self.pool: Any = None
        self.connections: list[Any] = []
        self.cursors: list[Any] = []
        driver.actions = {
            "borrow": self.borrow,
            "close the pool": self.close_pool,
            "look": self.look,
        }

    def steps(self) -> Iterator[Step]:
        """Make the pool, do what the script says, and let everything go."""
        yield self.step(("make",), self.make)
        for operation in self.script.operations:
            yield self.step(operation, partial(self.perform, operation))
        while self.cursors:
            yield self.step(("let go of a cursor",), lambda: self.drop(self.cursors, 0))
        while self.connections:
            yield self.step(("let go of a connection",), lambda: self.drop(self.connections, 0))
        yield self.step(("let go of the pool",), self.drop_pool)

    def step(self, operation: Operation, act: Callable[[], object]) -> Step:
        events = self.driver.events = []
        raised = False
        try:
            outcome: tuple[Any, ...] = ("returned", self.plain(act()))
        except (Exception, fake_driver.Interrupted) as error:  # noqa: BLE001  both may raise anything
            raised = True
            outcome = ("raised", *self.plain_error(error))
        # DBUtils' tracebacks may be in a cycle with what the call had, and that has finalizers.
        leftovers = self.driver.events = []
        if raised and self.implementation.name != "millpond.dbutils":
            gc.collect()
        return Step(operation, outcome, events, leftovers, self.state())

    # Operations

    def make(self) -> object:
        options = {name: self.stand_in(value) for name, value in self.script.options.items()}
        options |= self.script.connect
        made = getattr(self.implementation, self.script.subject)
        if self.script.subject == "SteadyDB":
            self.connections.append(made(self.driver.creator, **options))
            return None
        if self.script.subject == "PooledDB":
            made = self.hooked(made) if self.script.hooked else made
            made = would_wait(made) if self.script.options.get("blocking") else made
        self.pool = made(self.driver.creator, **options)
        return None

    def stand_in(self, value: Any) -> Any:
        match value:
            case tuple() | list():
                return type(value)(self.stand_in(one) for one in value)
            case "<pinger>":
                return self.driver.pinger
            case "<fatal>":
                return lambda error: self.judge(error, fatal=True)
            case "<harmless>":
                return lambda error: self.judge(error, fatal=False)
            case str() if value.startswith("<"):
                return getattr(fake_driver, value[1:-1])
        return value

    def judge(self, error: BaseException, *, fatal: bool) -> bool:
        self.driver.events.append(("isfatal", *self.plain_error(error)))
        return fatal

    def perform(self, operation: Operation) -> object:
        name, *details = operation
        if name == "fail":
            self.driver.schedule(*details)
            return None
        if name in ON_POOL and self.pool is not None:
            return ON_POOL[name](self, *details)
        if name in DROPS and (ones := getattr(self, DROPS[name])):
            self.drop(ones, *details)
            return None
        if name in ON_CONNECTION and self.connections:
            return ON_CONNECTION[name](self, self.pick(self.connections, details[0]), *details[1:])
        if name in ON_CURSOR and self.cursors:
            return ON_CURSOR[name](self.pick(self.cursors, details[0]), *details[1:])
        return NOTHING

    def keep(self, connection: Any) -> object:
        self.connections.append(connection)
        return connection

    def keep_cursor(self, cursor: Any) -> object:
        self.cursors.append(cursor)
        return cursor

    def pick(self, ones: list[Any], number: int) -> Any:
        return ones[-1 - number % len(ones)]

    def drop(self, ones: list[Any], number: int) -> None:
        del ones[-1 - number % len(ones)]

    def close_pool(self) -> None:
        if self.pool is not None:
            self.driver.events.append(("pool closed",))
            self.pool.close()

    def drop_pool(self) -> None:
        self.pool = None

    def cursor_of(self, connection: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
        return self.keep_cursor(connection.cursor(*args, **kwargs))

    def kill(self, connection: Any) -> None:
        del connection
        for one in self.driver.connections:
            one.dead = True

    def borrow(self) -> None:
        """Use the pool from within a call of the driver that the pool itself makes."""
        if self.pool is not None:
            self.driver.events.append(("borrow", self.pool._connections))
            self.pool.dedicated_connection().close()

    def look(self) -> None:
        """Write down what the driver can see of the pool while it is called."""
        if self.pool is not None:
            seen = self.pool._connections, len(self.pool._idle_cache)
            self.driver.events.append(("seen", *seen))

    # What is visible

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = {}
        everything: list[Any] = []
        if self.script.subject == "PooledDB" and self.pool is not None:
            state["pool"] = {name: self.plain(getattr(self.pool, name, "absent")) for name in POOL}
            shared = getattr(self.pool, "_shared_cache", None)
            state["idle"] = [self.steady(con, everything) for con in self.pool._idle_cache]
            if shared is not None:
                state["shared"] = [(one.shared, self.steady(one.con, everything)) for one in shared]
        state["connections"] = [self.connection_state(con, everything) for con in self.connections]
        state["cursors"] = [self.cursor_state(cursor, everything) for cursor in self.cursors]
        return state

    def connection_state(self, connection: Any, everything: list[Any]) -> Any:
        if type(connection).__name__ == "SteadyDBConnection":
            return self.steady(connection, everything)
        con = connection._con
        own = {name: self.plain(value) for name, value in sorted(vars(connection).items())}
        for name in ("_con", "_pool", "_shared_con"):  # some of them are fields of the object
            own.pop(name, None)
        pooled = connection._pool is self.pool
        return type(connection).__name__, pooled, own, con and self.steady(con, everything)

    def steady(self, con: Any, everything: list[Any]) -> Any:
        known = next((n for n, one in enumerate(everything) if one is con), None)
        if known is not None:
            return "same", known
        everything.append(con)
        return {name: self.plain(getattr(con, name, "absent")) for name in STEADY}

    def cursor_state(self, cursor: Any, everything: list[Any]) -> Any:
        values = {name: self.plain(getattr(cursor, name, "absent")) for name in CURSOR}
        return values | {"_con": self.steady(cursor._con, everything)}

    def plain(self, value: Any) -> Any:  # noqa: PLR0911  a table
        """Give a value which says the same for each implementation."""
        match value:
            case FakeConnection():
                return f"raw {value.number}"
            case FakeCursor():
                return f"raw cursor {value.number}"
            case None | bool() | int() | float() | str() | bytes():
                return HERE_OR_THERE.sub("", value) if isinstance(value, str) else value
            case tuple() | list():
                return type(value)(self.plain(one) for one in value)
            case dict():
                return {key: self.plain(one) for key, one in value.items()}
            case type():
                return value.__name__
            case ModuleType():
                return value.__name__
        return "callable" if callable(value) else type(value).__name__

    def plain_error(self, error: BaseException) -> tuple[Any, ...]:
        return [kind.__name__ for kind in type(error).__mro__], self.plain(error.args)

    def hooked(self, base: Any) -> Any:
        """Make a subclass that overrides whatever the pool calls on itself."""
        note = self.driver.call

        class Hooked(base):  # type: ignore[misc]
            def steady_connection(self) -> Any:
                note("hook steady_connection", 0)
                return super().steady_connection()

            def dedicated_connection(self) -> Any:
                note("hook dedicated_connection", 0)
                return super().dedicated_connection()

            def connection(self, shareable: bool = True) -> Any:  # noqa: FBT001, FBT002
                note("hook connection", shareable)
                return super().connection(shareable)

            def cache(self, con: Any) -> None:
                note("hook cache", con._con.number)
                super().cache(con)

            def unshare(self, con: Any) -> None:
                note("hook unshare", con.shared)
                super().unshare(con)

        return Hooked


def would_wait(base: Any) -> Any:
    """Make a subclass whose blocking pools raise where they would wait."""

    class Waits(base):  # type: ignore[misc]
        def _wait_lock(self) -> None:
            if self._blocking:
                raise WouldWait
            super()._wait_lock()  # it does not: it raises

    return Waits


POOL: Final = (
    "_connections", "_maxconnections", "_maxcached", "_maxshared", "_blocking", "_reset",
    "_ping", "_maxusage", "_setsession", "_failures", "_isfatal", "_args", "_kwargs",
)  # fmt: skip
STEADY: Final = (
    "_con", "_usage", "_transaction", "_closed", "_maxusage", "_ping", "_threadsafety",
    "_failures", "_failure", "_setsession_sql", "_closeable", "_args", "_kwargs", "_dbapi",
    "_pinger", "_isfatal",
)  # fmt: skip
CURSOR: Final = (
    "_cursor", "_closed", "_args", "_kwargs", "_inputsizes", "_outputsizes", "_no_failover",
)  # fmt: skip


def _with(connection: Any) -> object:
    with connection as entered:
        return entered is connection


def _with_error(connection: Any) -> None:
    with connection:
        raise KeyError(connection)


def _close_twice(connection: Any) -> None:
    connection.close()
    connection.close()


def _without_failover(cursor: Any, args: tuple[Any, ...]) -> object:
    with cursor.no_failover() as same:
        assert same is cursor
        return cursor.execute(*args)


def _set_kwargs(connection: Any) -> None:
    connection._kwargs["database"] = "another"


def _set(one: Any, name: str, value: Any) -> object:
    setattr(one, name, value)
    return getattr(one, name)


DROPS: Final = {"drop": "connections", "drop cursor": "cursors"}
ON_POOL: Final[dict[str, Callable[..., object]]] = {
    "connection": lambda player, shareable: player.keep(player.pool.connection(shareable)),
    "dedicated": lambda player: player.keep(player.pool.dedicated_connection()),
    "steady": lambda player: player.keep(player.pool.steady_connection()),
    "chain": lambda player: player.keep_cursor(player.pool.connection().cursor()),
    "close the pool": Player.close_pool,
    "set of pool": lambda player, name, value: _set(player.pool, name, value),
}
ON_CONNECTION: Final[dict[str, Callable[..., object]]] = {
    "cursor": Player.cursor_of,
    "close": lambda _, con: con.close(),
    "closed twice": lambda _, con: _close_twice(con),
    "begin": lambda _, con, args: con.begin(*args),
    "commit": lambda _, con: con.commit(),
    "rollback": lambda _, con: con.rollback(),
    "cancel": lambda _, con: con.cancel(),
    "with": lambda _, con: _with(con),
    "with error": lambda _, con: _with_error(con),
    "ping": lambda _, con, args: con.ping(*args),
    "ping_check": lambda _, con, bits, reconnect: con._ping_check(bits, reconnect),
    "reset": lambda _, con, force: con._reset(force),
    "get": lambda _, con, name: getattr(con, name),
    "has": lambda _, con, name: hasattr(con, name),
    "set": lambda _, con, name, value: _set(con, name, value),
    "kill": Player.kill,
    "set kwargs": lambda _, con: _set_kwargs(con),
}
ON_CURSOR: Final[dict[str, Callable[..., object]]] = {
    "execute": lambda cursor, name, args: getattr(cursor, name)(*args),
    "execute without failover": _without_failover,
    "fetch": lambda cursor: cursor.fetchone(),
    "iterate": list,
    "next": next,
    "with cursor": _with,
    "close cursor": lambda cursor: cursor.close(),
    "sizes": lambda cursor, sizes: cursor.setinputsizes(sizes),
    "output size": lambda cursor, size: cursor.setoutputsize(*size),
    "get of cursor": getattr,
    "has of cursor": hasattr,
    "set of cursor": _set,
}
