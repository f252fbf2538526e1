"""What does `millpond.dbutils` cost beside the DBUtils that it stands in for?

The same classes with the same arguments in the same run. Run by a free-threaded interpreter, it
prints how much two threads get done against one:

    python3.13t benches/python/bench_dbutils.py
"""

import json
import sqlite3
import sys
import threading
import time
import unittest
from collections.abc import Callable
from importlib import import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from _harness import StubConnection, interpreter, run_script, seconds_per, until_all_served
from millpond.cli.bench._crew import run_crew

if TYPE_CHECKING:
    from conftest import Show

OURS, THEIRS = "millpond.dbutils", "dbutils"
PACKAGES = (OURS, THEIRS)

DEFAULTS: dict[str, Any] = {}
BARE = {"reset": False, "ping": 0}

_SECONDS = 1.0
_BATCH = 16


class PingedConnection(StubConnection):
    """A connection that can be pinged, as MySQL's can."""

    def ping(self, reconnect: bool = True) -> None:  # noqa: FBT001, FBT002  the drivers' signature
        """Do nothing."""


def module(connect: Callable[[], object]) -> SimpleNamespace:
    """Return what DBUtils takes for a DB-API module."""
    return SimpleNamespace(
        connect=connect,
        threadsafety=1,
        OperationalError=OSError,
        InterfaceError=OSError,
        InternalError=OSError,
    )


def pool(package: str, connect: Callable[[], object] = StubConnection, **options: Any) -> Any:  # noqa: ANN401
    """Return a `PooledDB` of DBUtils or of millpond."""
    made = import_module(f"{package}.pooled_db").PooledDB(module(connect), **options)
    made.connection().close()
    return made


def cycle(
    package: str,
    options: dict[str, Any] = DEFAULTS,
    connect: Callable[[], object] = StubConnection,
) -> float:
    """Return the seconds for a connection that is taken and given back."""
    return seconds_per("pool.connection().close()", pool(package, connect, **options))


def executing(package: str) -> tuple[float, float]:
    """Return the seconds of ``cursor.execute()`` on SQLite, through the wrapper and without it."""
    conn = pool(package, lambda: sqlite3.connect(":memory:")).connection()
    statement = "pool.execute('SELECT 1')"
    raw = conn._con._con  # noqa: SLF001  the driver's own
    return seconds_per(statement, conn.cursor()), seconds_per(statement, raw.cursor())


def throughput(package: str, threads: int, size: int, seconds: float = _SECONDS) -> float:
    """Return how many times per second ``threads`` threads take and give back a connection."""
    connection = pool(package, maxconnections=size, blocking=True).connection
    counts = [0] * threads

    def loop(index: int, stop: threading.Event) -> None:
        while not stop.is_set():
            for _ in range(_BATCH):
                connection().close()
            counts[index] += _BATCH

    elapsed, _left_behind = run_crew(loop, threads, seconds)
    return sum(counts) / elapsed


def connecting(package: str, threads: int = 4, delay: float = 0.2) -> float:
    """Return the seconds until several threads at an empty pool all have a connection."""
    slow = [0.0]

    def connect() -> StubConnection:
        time.sleep(slow[0])
        return StubConnection()

    empty = pool(package, connect, maxconnections=threads, blocking=True, maxcached=1)
    empty.close()
    slow[0] = delay
    return until_all_served(threads, empty.connection, lambda conn: conn.close())


def scale_all() -> dict[str, dict[str, float]]:
    """Return the checkouts per second of one thread and of two, without the GIL, of each package.

    Raises:
        LookupError: There is no free-threaded interpreter that has millpond and DBUtils.
    """
    figures: dict[str, dict[str, float]] = run_script(interpreter(THEIRS), "bench_dbutils.py")
    return figures


def bench_cycle(show: "Show") -> None:
    """``pool.connection().close()`` with DBUtils' defaults."""
    show(cycle, OURS)


def bench_cycle_dbutils(show: "Show") -> None:
    """The same by DBUtils."""
    show(cycle, THEIRS)


def bench_execute(show: "Show") -> None:
    """A statement through the wrapper."""
    show(lambda: executing(OURS)[0])


def bench_execute_dbutils(show: "Show") -> None:
    """The same by DBUtils."""
    show(lambda: executing(THEIRS)[0])


def bench_connecting(show: "Show") -> None:
    """Four connects of 0.2 s at once."""
    show(connecting, OURS, rounds=1)


def bench_free_threaded(show: "Show") -> None:
    """The time per checkout of two threads."""
    try:
        figures = scale_all()
    except LookupError as error:
        raise unittest.SkipTest(str(error)) from None
    show(lambda: 1.0 / figures[OURS]["two"], rounds=1)


if __name__ == "__main__":
    scaled = {
        package: {"one": throughput(package, 1, 4), "two": throughput(package, 2, 4)}
        for package in PACKAGES
    }
    json.dump(scaled, sys.stdout)
