"""The drivers that keep the contract. A test that asks for `case` runs with each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from drivers.contract import embedded, mysql, postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drivers.contract.cases import Case, Session

CASES: list[type[Case]] = [
    embedded.Duckdb,
    embedded.Sqlite3,
    embedded.PyodbcSqlite,
    mysql.MySQLClient,
    mysql.MySQLConnector,
    mysql.MySQLConnectorInC,
    mysql.PyMySQL,
    postgres.Psycopg,
    postgres.Psycopg2,
    postgres.Pyodbc,
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test with all drivers, or with those behind which there is a server."""
    if "case" in metafunc.fixturenames:
        wanted = [
            kind for kind in CASES if kind.has_server or "served" not in metafunc.fixturenames
        ]
        metafunc.parametrize("case", [_parameter(kind) for kind in wanted], indirect=True)


def _parameter(kind: type[Case]) -> Any:
    marks = [pytest.mark.server] if kind.has_server else []
    return pytest.param(kind, id=kind.__name__.lower(), marks=marks)


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Case:
    """Give a driver with its database."""
    kind: type[Case] = request.param
    return kind(request)


@pytest.fixture
def served(case: Case) -> Case:
    """Give a driver with its server; without one, the test is not for it."""
    return case


@pytest.fixture
def session(case: Case) -> Iterator[Session]:
    """Give a session as the pool would make it without options."""
    with case.open() as opened:
        yield opened
