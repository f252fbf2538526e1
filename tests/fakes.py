"""A database that counts everything, and fails, hangs or dies on demand.

`FakeDatabase` is server and driver in one, `FakeConnection` looks like a PEP 249 connection.
Nothing here leans on the GIL: every count changes under a lock, and no lock is held at a gate.
"""

from __future__ import annotations

import socket
import threading
from collections import Counter, deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

Point = Literal["connect", "ping", "rollback", "commit", "execute", "close"]

# Longer than any test may take: a gate that nobody releases must not outlive the run.
GATE_LIMIT = 60.0


class Error(Exception):
    """PEP 249's root."""


class InterfaceError(Error):
    """The connection is used in a way that it forbids, for example after `close()`."""


class DatabaseError(Error):
    """The server said no."""


class OperationalError(DatabaseError):
    """The server is out of reach, or went away."""


class ProgrammingError(DatabaseError):
    """The statement is wrong; trying again won't help."""


class TwoOwnersError(AssertionError):
    """A connection was in two hands at once: the one thing a pool must never do."""


class Gate:
    """Holds whoever comes by until somebody releases it.

    Args:
        times: How many to hold; everybody, by default.
    """

    def __init__(self, times: int | None = None) -> None:
        self._released = threading.Event()
        self._lock = threading.Lock()
        self._left = times
        self._arrived = 0

    @property
    def arrived(self) -> int:
        """How many came to this gate and were held."""
        with self._lock:
            return self._arrived

    def release(self) -> None:
        """Let everybody go, now and from now on."""
        self._released.set()

    def hold(self) -> None:
        """Wait here until the gate is released."""
        with self._lock:
            if self._left == 0:
                return
            if self._left is not None:
                self._left -= 1
            self._arrived += 1
        if not self._released.wait(GATE_LIMIT):
            message = f"nobody released the gate within {GATE_LIMIT:.0f} s"
            raise AssertionError(message)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.release()


class FakeDatabase:
    """A server and its driver: give `database.connect` to the pool.

    Counts (`attempts`, `connects`, `pings`, `rollbacks`, `commits`, `executes`, `closes`) never go
    down. `live` is how many connections are open now, `underway` adds those which are being opened
    or closed; `peak_live` and `peak_underway` are their highest values. `violations` must stay
    empty: two owners at once, a connection closed twice.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._faults: dict[Point, deque[BaseException]] = {}
        self._gates: dict[Point, list[Gate]] = {}
        self._delays: dict[Point, float] = {}
        self._down: BaseException | None = None
        # Whether connections have a socket, at which one sees that the server hung up.
        self.sockets = False
        self.connections: list[FakeConnection] = []
        self.violations: list[str] = []
        self.live = self.peak_live = 0
        self.underway = self.peak_underway = 0

    def connect(self) -> FakeConnection:
        """Open a connection; this is the callable which a pool is given."""
        self._begin()
        try:
            self._arrive("connect")
            if self._down is not None:
                raise self._down  # noqa: TRY301  one more place where a connect can fail
            return self._opened()
        except BaseException:
            with self._lock:
                self.underway -= 1
            raise

    @property
    def attempts(self) -> int:
        """Connects that were begun."""
        return self._counts["connect"]

    @property
    def connects(self) -> int:
        """Connects that succeeded."""
        return len(self.connections)

    @property
    def pings(self) -> int:
        """Calls of `FakeConnection.ping()`."""
        return self._counts["ping"]

    @property
    def rollbacks(self) -> int:
        """Calls of `FakeConnection.rollback()`."""
        return self._counts["rollback"]

    @property
    def commits(self) -> int:
        """Calls of `FakeConnection.commit()`."""
        return self._counts["commit"]

    @property
    def executes(self) -> int:
        """Calls of `FakeConnection.execute()`."""
        return self._counts["execute"]

    @property
    def closes(self) -> int:
        """Calls of `FakeConnection.close()`."""
        return self._counts["close"]

    @property
    def open_connections(self) -> list[FakeConnection]:
        """The connections that nobody has closed, in the order in which they were opened."""
        return [connection for connection in list(self.connections) if not connection.closed]

    def fail_next(self, error: BaseException, times: int = 1, *, at: Point = "connect") -> None:
        """Make the next `times` calls at that point raise `error`."""
        with self._lock:
            self._faults.setdefault(at, deque()).extend([error] * times)

    def has_faults(self, at: Point = "connect") -> bool:
        """Whether a call at that point is still going to fail."""
        with self._lock:
            return bool(self._faults.get(at))

    def hang(self, at: Point, *, times: int | None = None) -> Gate:
        """Hold everybody (or the next `times`) at that point until the gate is released."""
        gate = Gate(times)
        with self._lock:
            self._gates.setdefault(at, []).append(gate)
        return gate

    def slow(self, at: Point, seconds: float) -> None:
        """Make each call at that point take that long."""
        self._delays[at] = seconds

    def down(self, error: BaseException | None = None) -> None:
        """Stop the server: every session dies, and a connect raises `error`."""
        self._down = OperationalError("connection refused") if error is None else error
        self.kill_all()

    def up(self) -> None:
        """Start the server again; the sessions from before stay dead."""
        self._down = None

    def kill_all(self) -> None:
        """End every session, as a restart or a failover does."""
        for connection in self.open_connections:
            connection.kill()

    def release_all(self) -> None:
        """Release every gate, so that nothing stays behind."""
        with self._lock:
            gates = [gate for gates in self._gates.values() for gate in gates]
        for gate in gates:
            gate.release()

    def close_sockets(self) -> None:
        """Close what nobody has closed."""
        for connection in self.connections:
            connection.close_socket()

    def _begin(self) -> None:
        with self._lock:
            self.underway += 1
            self.peak_underway = max(self.peak_underway, self.underway)

    def _opened(self) -> FakeConnection:
        with self._lock:
            connection = FakeConnection(self, len(self.connections) + 1)
            self.connections.append(connection)
            self.live += 1
            self.peak_live = max(self.peak_live, self.live)
        return connection

    def _arrive(self, at: Point) -> None:
        """Count the call, then hang, dawdle or fail, as somebody asked for."""
        with self._lock:
            self._counts[at] += 1
            gates = list(self._gates.get(at, ()))
            faults = self._faults.get(at)
            fault = faults.popleft() if faults else None
        for gate in gates:
            gate.hold()
        if delay := self._delays.get(at):
            threading.Event().wait(delay)
        if fault is not None:
            raise fault

    def _violated(self, message: str) -> None:
        with self._lock:
            self.violations.append(message)

    def _closed(self) -> None:
        with self._lock:
            self.live -= 1
            self.underway -= 1


class FakeConnection:
    """A connection that knows its number, its owner, and where it was opened and closed."""

    def __init__(self, database: FakeDatabase, number: int) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._owner: object = None
        self.number = number
        self.closed = False
        self.killed = False
        self.in_transaction = False
        self._ends = socket.socketpair() if database.sockets else None
        self.opened_in = threading.current_thread().name
        self.closed_in: str | None = None

    def __repr__(self) -> str:
        return f"<FakeConnection {self.number}{' closed' if self.closed else ''}>"

    def execute(self, statement: str = "SELECT 1") -> tuple[Any, ...]:
        """Run a statement, which opens a transaction."""
        self._use("execute")
        self.in_transaction = True
        return (statement,)

    def commit(self) -> None:
        """Commit the transaction, if there is one."""
        self._use("commit")
        self.in_transaction = False

    def rollback(self) -> None:
        """Roll the transaction back, if there is one."""
        self._use("rollback")
        self.in_transaction = False

    def ping(self) -> None:
        """Make sure that the server still answers."""
        self._use("ping")
        if self._ends is not None:
            self._ends[0].settimeout(0)
            with suppress(BlockingIOError):
                self._ends[0].recv(1024)

    def fileno(self) -> int:
        """Give the socket, or -1."""
        return -1 if self._ends is None else self._ends[0].fileno()

    def say(self, something: bytes) -> None:
        """Let the server say something that nobody asked for."""
        assert self._ends is not None
        self._ends[1].send(something)

    def close(self) -> None:
        """Close the connection. A second time is a violation: the socket may be another's."""
        with self._lock:
            already, self.closed = self.closed, True
        if already:
            self._database._violated(f"{self!r} was closed twice")
            return
        self.closed_in = threading.current_thread().name
        self.close_socket()
        try:
            self._database._arrive("close")
        finally:
            self._database._closed()

    def kill(self) -> None:
        """End the session on the server's side: the next use raises `OperationalError`."""
        self.killed = True
        if self._ends is not None:
            self._ends[1].close()

    def close_socket(self) -> None:
        """Close both ends."""
        for end in self._ends or ():
            end.close()

    def enter(self, owner: object) -> None:
        """Put the connection into this owner's hands, which must be the only ones."""
        with self._lock:
            other = self._owner
            if other is None:
                self._owner = owner
        if other is not None:
            message = f"{owner} was given {self!r} while {other} had it"
            self._database._violated(message)
            raise TwoOwnersError(message)
        if self.closed:
            self._database._violated(f"{owner} was given {self!r}")

    def leave(self, owner: object) -> None:
        """Take the connection out of this owner's hands."""
        with self._lock:
            other, self._owner = self._owner, None
        if other is not owner:
            message = f"{owner} gave up {self!r}, which {other} had"
            self._database._violated(message)
            raise TwoOwnersError(message)

    @contextmanager
    def held_by(self, owner: object) -> Iterator[Self]:
        """Be this owner's for the length of the block."""
        self.enter(owner)
        try:
            yield self
        finally:
            self.leave(owner)

    def _use(self, at: Point) -> None:
        if self.closed:
            message = f"connection {self.number} is closed"
            raise InterfaceError(message)
        self._database._arrive(at)
        if self.killed:
            message = "server closed the connection unexpectedly"
            raise OperationalError(message)
