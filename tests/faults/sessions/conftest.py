"""The drivers with which the tests in here run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from faults.sessions.bench import CASES, Bench, parameter

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for a `bench` with all drivers, or with those behind a server."""
    if "bench" in metafunc.fixturenames and "leave" not in metafunc.fixturenames:
        wanted = [
            kind for kind in CASES if kind.has_server or "served" not in metafunc.fixturenames
        ]
        metafunc.parametrize("bench", [parameter(kind) for kind in wanted], indirect=True)


@pytest.fixture
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Give a driver with its database, and an observer."""
    case = request.param(request)
    if not case.has_server:
        yield Bench(case, None)
        return
    with case.open(autocommit=True) as observer:
        yield Bench(case, observer)


@pytest.fixture
def served(bench: Bench) -> Bench:
    """Give a driver with its server; without one, the test is not for it."""
    return bench


@pytest.fixture
def table(bench: Bench) -> Iterator[str]:
    """Give a table with the rows (1, 0) and (2, 0)."""
    name = f"faults_{time.monotonic_ns()}"
    with bench.pool(max_size=1, autocommit=True) as pool:
        with pool.connection() as conn:
            run = pool._driver.execute
            run(conn, f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, n INTEGER)")
            run(conn, f"INSERT INTO {name} VALUES (1, 0), (2, 0)")
        yield name
        with pool.connection() as conn:
            run(conn, f"DROP TABLE {name}")
