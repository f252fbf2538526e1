"""The fixtures which every test can use; tests/README.md has the map."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import signal
import sys
import sysconfig
from typing import TYPE_CHECKING, Any

import pytest

import databases
from fakes import FakeDatabase
from helpers import eventually, threads_of
from pooled import FakeModule

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    import millpond
    from helpers import MakePool
    from millpond._core import ManualClock
    from millpond.dbutils.pooled_db import PooledDB
    from pooled import MakePooled
    from threadlocal import MakeThreads

# No test may hang the run. The stacks of all threads are printed before the process is ended: by
# pytest-timeout, and if it never gets the GIL to do so, by a C thread that does not need it.
SECONDS_PER_TEST = 60
SECONDS_OF_GRACE = 15

# The fixtures which are real servers.
SERVERS = {"postgres_url", "mysql_url", "redis_url"}

stderr = pytest.StashKey[int]()

MARKERS = {
    "slow": "takes seconds; left out by -m 'not slow'",
    "stress": "runs for MILLPOND_STRESS_SECONDS (default 3)",
    "freethreaded": "also has to run with the GIL off",
    "server": "needs a real database server",
}


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers, and keep the terminal's standard error for the watchdog."""
    config.stash[stderr] = os.dup(sys.__stderr__.fileno()) if sys.__stderr__ else os.dup(2)
    for name, meaning in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")
    # In the background of a shell SIGINT is ignored, also by the programs that tests interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure() -> None:
    """Let the interpreter take down what `frozen` has put aside."""
    gc.unfreeze()


def seconds_for(item: pytest.Item) -> float:
    """Say how long a test may take."""
    extra = how_long_to_stress() if item.get_closest_marker("stress") else 0.0
    return SECONDS_PER_TEST + extra


def how_long_to_stress() -> float:
    """Give MILLPOND_STRESS_SECONDS, 3 by default."""
    with contextlib.suppress(ValueError):
        return float(os.environ.get("MILLPOND_STRESS_SECONDS", ""))
    return 3.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test its time limit, and mark those that use a server."""
    for item in items:
        # The thread method: a signal would have to wait for a main thread that hangs in Rust.
        item.add_marker(pytest.mark.timeout(seconds_for(item), method="thread"))
        if SERVERS.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.server)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let the watchdog look after a test; the fixtures of the session are in it as well."""
    faulthandler.dump_traceback_later(
        seconds_for(item) + SECONDS_OF_GRACE, exit=True, file=item.config.stash[stderr]
    )
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


def pytest_report_header() -> str:
    """Say whether the GIL is on, as half of the bugs depend on it."""
    gil = "on" if getattr(sys, "_is_gil_enabled", lambda: True)() else "off"
    build = " (free-threaded build)" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
    return f"millpond: GIL {gil}{build}"


@pytest.fixture(scope="module", autouse=True)
def frozen() -> None:
    """Have no `gc.collect()` of the file's tests look at what was imported and collected before.

    That is so much that half of the time of all tests went into it.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def driver() -> Iterator[FakeDatabase]:
    """Give the fake database; whatever it holds back is let go after the test."""
    database = FakeDatabase()
    yield database
    database.release_all()
    database.close_sockets()
    assert database.violations == []


@pytest.fixture
def clock() -> ManualClock:
    """Give a clock that only `clock.advance(seconds)` moves: `Pool(..., _clock=clock)`."""
    from millpond._core import ManualClock  # noqa: PLC0415  servers are found without the pool

    return ManualClock()


@pytest.fixture
def make_pool(driver: FakeDatabase) -> Iterator[MakePool]:
    """Give a factory of pools; see `MakePool`."""
    import millpond  # noqa: PLC0415  servers are found without the pool

    pools: list[millpond.Pool[Any]] = []

    def make(
        connect: str | Callable[[], Any] | None = None, /, **options: Any
    ) -> millpond.Pool[Any]:
        pool = millpond.Pool(driver.connect if connect is None else connect, **options)
        pools.append(pool)
        return pool

    yield make

    driver.release_all()
    for pool in pools:
        pool.close(timeout=0)
    for pool in pools:
        eventually(lambda pool=pool: not threads_of(pool))  # type: ignore[misc]


@pytest.fixture
def make_threads(driver: FakeDatabase) -> Iterator[MakeThreads]:
    """Give a factory of thread-local pools; see `MakeThreads`."""
    import millpond  # noqa: PLC0415  servers are found without the pool

    pools: list[millpond.ThreadLocalPool[Any]] = []

    def make(**options: Any) -> millpond.ThreadLocalPool[Any]:
        pool = millpond.ThreadLocalPool(driver.connect, **options)
        pools.append(pool)
        return pool

    yield make

    driver.release_all()
    for pool in pools:
        pool.close(timeout=0)
    for pool in pools:
        eventually(lambda pool=pool: not threads_of(pool.name))  # type: ignore[misc]


@pytest.fixture
def make_pooled(driver: FakeDatabase) -> Iterator[MakePooled]:
    """Give a factory of DBUtils' pools; see `MakePooled`."""
    from millpond.dbutils.pooled_db import PooledDB  # noqa: PLC0415  as above

    pools: list[PooledDB] = []

    def make(
        *args: Any, kind: type[PooledDB] | None = None, threadsafety: int = 1, **options: Any
    ) -> PooledDB:
        pool = (kind or PooledDB)(FakeModule(driver, threadsafety), *args, **options)
        pools.append(pool)
        return pool

    yield make

    driver.release_all()
    for pool in pools:
        pool.close()
        eventually(lambda pool=pool: not threads_of(pool.stats().name))  # type: ignore[misc]


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """Give the URL of a PostgreSQL server, in which tests use temporary tables only."""
    with databases.postgres() as url:
        yield url


@pytest.fixture(scope="session")
def mysql_url() -> Iterator[str]:
    """Give the URL of a MySQL or MariaDB server, in which tests use tables of their own."""
    with databases.mysql() as url:
        yield url


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """Give the URL of a Redis server, in which tests use keys that begin with ``millpond:``."""
    with databases.redis() as url:
        yield url


@pytest.fixture
def fast_switching() -> Iterator[None]:
    """Let threads take turns as often as the interpreter can, so that races show."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def stress_seconds() -> float:
    """Say how long a stress test runs."""
    return how_long_to_stress()
