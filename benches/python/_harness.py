"""What all benches share: connections that cost nothing, pools under test, and stopwatches.

The pools are the ones that `millpond bench` compares (`millpond.cli.bench._peers`); here they get
stand-ins for connections, so that what is measured is the pool.
"""

import json
import os
import shutil
import subprocess
import threading
import time
import timeit
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

from millpond.cli._database import Database
from millpond.cli.bench._crew import run_crew
from millpond.cli.bench._peers import MILLPOND, PEERS, Handle, Peer
from millpond.cli.bench._workload import warm_up

__all__ = [
    "DBUTILS",
    "FIGURE_CLOCK",
    "MILLPOND",
    "PAIR",
    "PSYCOPG_POOL",
    "SQLALCHEMY",
    "WITH",
    "Contender",
    "StubConnection",
    "defaults",
    "interpreter",
    "run_script",
    "seconds_per",
    "stub_database",
    "throughput",
    "until_all_served",
]

DBUTILS, SQLALCHEMY, PSYCOPG_POOL = PEERS

PAIR = {
    "millpond": "pool.release(pool.acquire())",
    "dbutils": "pool.connection().close()",
    "sqlalchemy": "pool.connect().close()",
    "psycopg_pool": "pool.putconn(pool.getconn())",
}
"""Acquire and release, as the users of each pool write it."""

WITH = {
    "millpond": "with pool.connection(): pass",
    "dbutils": "with pool.connection(): pass",
    "sqlalchemy": "with pool.connect(): pass",
    "psycopg_pool": "with pool.connection(): pass",
}
"""The same as a block."""

_FREE_THREADED = ("python3.14t", "python3.13t")
_REPEATS = 7
_SECONDS_PER_REPEAT = 0.01
_BATCH = 16


class StubConnection:
    """A connection that does nothing, and cannot tell whether there is anything to undo."""

    # What PEP 249 puts into a module, and DBUtils looks for on the connection where there is none.
    threadsafety = 2
    OperationalError = InterfaceError = InternalError = OSError

    def rollback(self) -> None:
        """Do nothing."""

    def commit(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class StubPsycopg(StubConnection):
    """The same with what psycopg_pool looks at, and is never seen to be in a transaction."""

    closed = False
    pgconn = SimpleNamespace(transaction_status=0)

    @classmethod
    def connect(cls, _conninfo: str, *, delay: float = 0.0) -> Self:
        """Connect after ``delay`` seconds."""
        time.sleep(delay)
        return cls()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass


def _connect_stub(delay: float) -> StubConnection:
    time.sleep(delay)
    return StubConnection()


def stub_database(delay: float = 0.0) -> Database:
    """Return a database of stubs, each of which takes ``delay`` seconds to connect."""
    return Database(partial(_connect_stub, delay), "stub", "stub connections")


@dataclass(frozen=True)
class Contender:
    """A pool with the options that it is measured with.

    Attributes:
        peer: The pool.
        options: Its own constructor options; those that are not given are its defaults.
        note: What the options mean, for the label.
    """

    peer: Peer
    options: Mapping[str, object] = field(default_factory=dict)
    note: str = ""

    def __str__(self) -> str:
        return f"{self.peer.title} {self.note}".strip()

    @contextmanager
    def opened(
        self, size: int, database: Database | None = None, *, delay: float = 0.0, warm: bool = True
    ) -> Iterator[Handle]:
        """Open the pool for the length of a block.

        Args:
            size: Its connections.
            database: Where; stubs that take ``delay`` seconds to connect by default.
            delay: Seconds for a stub to connect.
            warm: Whether all connections are open before the block begins.
        """
        options = dict(self.options)
        if database is None and self.peer is PSYCOPG_POOL:
            options |= {"connection_class": StubPsycopg, "kwargs": {"delay": delay}}
        handle = self.peer.open(database or stub_database(delay), size, 30.0, **options)
        try:
            if warm:
                warm_up(handle, size)
            yield handle
        finally:
            handle.close()


def defaults() -> tuple[Contender, ...]:
    """Return millpond and every peer with their defaults, installed or not."""
    return tuple(Contender(peer) for peer in (MILLPOND, *PEERS))


def seconds_per(statement: str, pool: object) -> float:
    """Return the seconds that ``statement`` takes: the best of several runs, less the empty loop.

    The best and not the mean: whatever else the machine does can only make it slower.
    """
    timer, empty = timeit.Timer(statement, globals={"pool": pool}), timeit.Timer("pass")
    loops = max(1, int(100 * _SECONDS_PER_REPEAT / max(timer.timeit(100), 1e-6)))
    best, floor = (min(each.repeat(_REPEATS, loops)) for each in (timer, empty))
    return (best - floor) / loops


def throughput(handle: Handle, threads: int, seconds: float) -> float:
    """Return how many times per second ``threads`` threads together acquire and release."""
    acquire, release = handle.acquire, handle.release
    counts = [0] * threads

    def loop(index: int, stop: threading.Event) -> None:
        while not stop.is_set():
            for _ in range(_BATCH):
                release(acquire())
            counts[index] += _BATCH

    elapsed, _left_behind = run_crew(loop, threads, seconds)
    return sum(counts) / elapsed


def until_all_served(
    threads: int, acquire: Callable[[], Any], release: Callable[[Any], object]
) -> float:
    """Return the seconds until ``threads`` threads that ask at once all have a connection.

    Nobody gives back before the last was served.
    """
    start, served = threading.Barrier(threads + 1), threading.Barrier(threads + 1)

    def client() -> None:
        start.wait()
        conn = acquire()
        served.wait()
        release(conn)

    clients = [threading.Thread(target=client, daemon=True) for _ in range(threads)]
    for thread in clients:
        thread.start()
    start.wait()
    began = time.perf_counter()
    served.wait(timeout=60.0)
    took = time.perf_counter() - began
    for thread in clients:
        thread.join()
    return took


def run_script(python: str, script: str, *arguments: object, timeout: float = 120.0) -> Any:  # noqa: ANN401
    """Return the JSON that a script of this folder prints, run in a process of its own."""
    command = [python, str(Path(__file__).with_name(script)), *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=timeout)
    return json.loads(done.stdout)


def interpreter(package: str = "millpond") -> str:
    """Return a free-threaded interpreter that can import ``millpond`` and another package.

    Raises:
        LookupError: There is none.
    """
    candidates = (os.environ.get("MILLPOND_FREE_THREADED"), *map(shutil.which, _FREE_THREADED))
    python = next(filter(None, candidates), None)
    if python is None:
        message = f"no free-threaded Python: none of {', '.join(_FREE_THREADED)} in the PATH"
        raise LookupError(message)
    check = f"import sys, millpond, {package}; sys.exit(sys._is_gil_enabled())"
    if subprocess.run([python, "-c", check], check=False, capture_output=True).returncode:
        message = f"{python} can't import millpond and {package}, or turned its GIL on for them"
        raise LookupError(message)
    return python


class FigureClock:
    """A clock that moves by what a bench measured, so that pytest-benchmark's columns show it.

    Most figures here are not how long a call took: a worst wait, or the CPU time of doing nothing.
    """

    def __init__(self) -> None:
        """Start at zero."""
        self._now = 0.0

    def __call__(self) -> float:
        """Return the sum of all figures so far."""
        return self._now

    def move(self, figure: Callable[..., float], *args: object) -> float:
        """Measure ``figure(*args)``, in seconds, and move by it."""
        seconds = figure(*args)
        self._now += seconds
        return seconds


FIGURE_CLOCK = FigureClock()
