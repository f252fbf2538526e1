"""Databases that live in our own process."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from databases import odbc_driver
from drivers.contract.cases import Case, Session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class _Embedded(Case):
    has_server = False

    def find_url(self, request: pytest.FixtureRequest) -> str:
        folder: Path = request.getfixturevalue("tmp_path")
        self.path = folder / "contract.db"
        return f"{self.name.removesuffix('3')}:///{self.path}"


class Sqlite3(_Embedded):
    """SQLite."""

    name = package = "sqlite3"
    endless = (
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 10000000000) "
        "SELECT max(n) FROM c"
    )
    many = (
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 1000000) "
        "SELECT n FROM c"
    )
    set_variable = "PRAGMA cache_size = 77"
    variable = "PRAGMA cache_size"

    def connect(self) -> Any:
        return sqlite3.connect(self.path, check_same_thread=False, timeout=0.0)

    def conflict(self) -> BaseException:
        with self.open(by_callable=True) as first, self.open(by_callable=True) as second:
            first.driver.begin(first.conn, read_only=False)
            with pytest.raises(sqlite3.OperationalError, match="locked") as caught:
                second.driver.begin(second.conn, read_only=False)
        return caught.value

    def prove_isolation_level(self, session: Session) -> None:
        session.run("CREATE TABLE hidden (n INTEGER)")
        session.driver.commit(session.conn)
        session.driver.begin(session.conn)
        session.run("INSERT INTO hidden VALUES (1)")
        with self.open(isolation_level=self.level) as other:
            assert other.value("SELECT count(*) FROM hidden") == 0


class Duckdb(_Embedded):
    """DuckDB."""

    name = package = "duckdb"
    knows_status = False
    has_savepoints = False
    implicit = False
    level = "snapshot"
    endless = "SELECT count(*) FROM range(100000000000)"
    many = "SELECT * FROM range(100000000)"
    set_variable = "SET VARIABLE contract = 77"
    variable = "SELECT getvariable('contract')"

    def values(self) -> dict[str, Any]:
        return {**super().values(), "autocommit": True}

    def connect(self) -> Any:
        import duckdb  # noqa: PLC0415  it may not be installed

        return duckdb.connect(self.path)

    def rows(self, conn: Any, query: str) -> Any:
        return conn.execute(query).fetchall()  # its cursors are other connections

    @contextmanager
    def open(self, *, by_callable: bool = False, **options: Any) -> Iterator[Session]:
        # All connections of a process have to agree about read_only, and it takes a file to read.
        if options.get("read_only"):
            self.connect().close()
        with super().open(by_callable=by_callable, **options) as session:
            yield session

    def conflict(self) -> BaseException:
        import duckdb  # noqa: PLC0415

        with self.open() as first, self.open() as second:
            first.run("CREATE TABLE shared AS SELECT 1 AS n")
            first.driver.begin(first.conn)
            second.driver.begin(second.conn)
            first.run("UPDATE shared SET n = 2")
            with pytest.raises(duckdb.TransactionException, match="Conflict") as caught:
                second.run("UPDATE shared SET n = 3")
        return caught.value

    def prove_isolation_level(self, session: Session) -> None:
        session.run("CREATE TABLE seen (n INTEGER)")
        session.driver.begin(session.conn, isolation=self.level)
        assert session.value("SELECT count(*) FROM seen") == 0
        with self.open() as other:
            other.run("INSERT INTO seen VALUES (1)")
        assert session.value("SELECT count(*) FROM seen") == 0


class PyodbcSqlite(_Embedded):
    """SQLite, through ODBC, whose driver has one SQLSTATE for all errors."""

    name = package = "pyodbc"
    knows_status = False
    knows_conflicts = False
    set_variable = Sqlite3.set_variable
    variable = Sqlite3.variable
    endless = Sqlite3.endless
    many = Sqlite3.many

    def find_url(self, request: pytest.FixtureRequest) -> str:
        super().find_url(request)
        self.text = f"DRIVER={odbc_driver('SQLite3')};DATABASE={self.path};Timeout=1;"
        return f"odbc:///?odbc_connect={quote(self.text)}"

    def connect(self) -> Any:
        import pyodbc  # noqa: PLC0415

        return pyodbc.connect(self.text)

    def conflict(self) -> BaseException:
        import pyodbc  # noqa: PLC0415

        with self.open(autocommit=True) as first, self.open(autocommit=True) as second:
            first.run("BEGIN IMMEDIATE")
            with pytest.raises(pyodbc.Error, match="locked") as caught:
                second.run("BEGIN IMMEDIATE")
        error: BaseException = caught.value
        return error
