"""Databases that live in our own process."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from drivers.contract.cases import Case, Session

if TYPE_CHECKING:
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
