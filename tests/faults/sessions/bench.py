"""Pools of each driver in front of its database, and what the server says about their sessions."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

import millpond
from drivers.contract import embedded, mysql, postgres
from helpers import eventually
from millpond import drivers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drivers.contract.cases import Case, Session

CASES: list[type[Case]] = [
    embedded.Duckdb,
    embedded.Sqlite3,
    mysql.MySQLClient,
    mysql.MySQLConnector,
    mysql.PyMySQL,
    postgres.Psycopg,
    postgres.Psycopg2,
]


class Bench:
    """A database, pools in front of it, and somebody who looks on.

    Attributes:
        case: The driver.
        served: Whether there is a server, which has sessions.
    """

    def __init__(self, case: Case, observer: Session | None) -> None:
        self.case = case
        self.served = case.has_server
        self._observer = observer

    @contextmanager
    def pool(self, **options: Any) -> Iterator[millpond.Pool[Any]]:
        """Make a pool, after whose end the server has none of its sessions."""
        numbers = [0]

        def note(conn: Any) -> None:
            if self.served:
                numbers.append(self.number(conn))
                conn.rollback()

        with millpond.Pool(self.case.url, configure=note, **options) as pool:
            yield pool
            if self.served:
                eventually(lambda: self._sessions(numbers) == pool.stats().size)
        if self.served:
            eventually(lambda: not self._sessions(numbers))

    def _sessions(self, numbers: list[int]) -> int:
        """Count the sessions that the server still has."""
        listed = ", ".join(map(str, numbers))
        table, column = self._words("pg_stat_activity.pid", "information_schema.PROCESSLIST.ID")
        return self._ask(f"SELECT count(*) FROM {table} WHERE {column} IN ({listed})")

    def running(self, mark: str) -> int:
        """Count the statements with a mark that the server is working on."""
        if not self.served:
            return 0
        if self._is_postgres:
            return self._ask(
                "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' "
                f"AND pid <> pg_backend_pid() AND query LIKE '%{mark}%'"
            )
        return self._ask(
            "SELECT COUNT(*) FROM information_schema.PROCESSLIST "
            f"WHERE ID <> CONNECTION_ID() AND INFO LIKE '%{mark}%'"
        )

    def number(self, conn: Any) -> int:
        """Return the server's number of a connection."""
        ask = "SELECT pg_backend_pid()" if self._is_postgres else "SELECT CONNECTION_ID()"
        return int(self.case.rows(conn, ask)[0][0])

    def kill(self, conn: Any) -> None:
        """Have the server end a session, and wait until it has."""
        number = self.number(conn)
        assert self._observer is not None
        if self._is_postgres:
            self._observer.value(f"SELECT pg_terminate_backend({number})")
        else:
            self._observer.run(f"KILL {number}")
        table, column = self._words("pg_stat_activity.pid", "information_schema.PROCESSLIST.ID")
        eventually(lambda: not self._ask(f"SELECT count(*) FROM {table} WHERE {column} = {number}"))

    def value(self, conn: Any, query: str) -> Any:
        """Return the first column of the first row."""
        return self.case.rows(conn, query)[0][0]

    @property
    def supports(self) -> frozenset[str]:
        """What the driver can do."""
        found: frozenset[str] = drivers.find(self.case.url).supports
        return found

    @property
    def kind(self) -> str:
        """The kind of database."""
        kinds = {"psycopg": "postgres", "psycopg2": "postgres"}
        return kinds.get(self.case.name, "mysql") if self.served else self.case.name

    @property
    def _is_postgres(self) -> bool:
        return self.kind == "postgres"

    def _words(self, postgres_word: str, mysql_word: str) -> tuple[str, str]:
        table, _, column = (postgres_word if self._is_postgres else mysql_word).rpartition(".")
        return table, column

    def _ask(self, query: str) -> int:
        assert self._observer is not None
        return int(self._observer.value(query))


def parameter(kind: type[Case], *others: Any, id: str | None = None) -> Any:  # noqa: A002
    """Return the parameters of a test for a driver."""
    marks = [pytest.mark.server] if kind.has_server else []
    name = kind.__name__.lower()
    return pytest.param(kind, *others, id=f"{name}-{id}" if id else name, marks=marks)
