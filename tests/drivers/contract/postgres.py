"""PostgreSQL, through each driver that brings us there."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from databases import odbc_string
from drivers.contract.cases import Case, Session
from helpers import eventually, in_thread


class _Postgres(Case):
    endless = "SELECT pg_sleep(300)"
    many = "SELECT n FROM generate_series(1, 1000000) AS n"
    set_variable = "SET lock_timeout = 77"
    variable = "SELECT setting FROM pg_settings WHERE name = 'lock_timeout'"

    def find_url(self, request: pytest.FixtureRequest) -> str:
        self.plain_url = str(request.getfixturevalue("postgres_url"))
        return f"postgresql+{self.name}://" + self.plain_url.partition("://")[2]

    def kill(self, session: Session) -> None:
        pid = session.value("SELECT pg_backend_pid()")
        session.driver.reset(session.conn)
        with self.open(autocommit=True) as other:
            assert other.value(f"SELECT pg_terminate_backend({pid}, 5000)")

    def conflict(self) -> BaseException:
        # Who has waited for deadlock_timeout looks for a deadlock, and is the one that loses.
        with (
            self.open(session=("SET deadlock_timeout = '60s'",)) as first,
            self.open(session=("SET deadlock_timeout = '10ms'",)) as second,
            self.open(autocommit=True) as observer,
        ):
            first.value("SELECT pg_advisory_xact_lock(771)")
            second.value("SELECT pg_advisory_xact_lock(772)")
            pid = first.value("SELECT pg_backend_pid()")
            waiting = in_thread(first.value, "SELECT pg_advisory_xact_lock(772)")
            locks = f"SELECT count(*) FROM pg_locks WHERE pid = {pid} AND NOT granted"
            eventually(lambda: observer.value(locks) == 1)
            with pytest.raises(Exception, match="deadlock") as caught:
                second.value("SELECT pg_advisory_xact_lock(771)")
            second.driver.rollback(second.conn)
            waiting.result()
        return caught.value

    def isolation(self, session: Session) -> str:
        return str(session.value("SHOW transaction_isolation"))

    def prove_application_name(self, session: Session) -> None:
        assert session.value("SHOW application_name") == "contract"

    def prove_profile(self, session: Session) -> None:
        for _ in range(10):
            session.value("SELECT 77")
        assert session.value("SELECT count(*) FROM pg_prepared_statements") == 0
        settings = "SELECT count(*) FROM pg_settings WHERE source IN ('client', 'session') AND name"
        assert session.value(f"{settings} ~ 'timeout|default_transaction'") == 0


class Psycopg(_Postgres):
    """psycopg 3."""

    name = package = "psycopg"

    def connect(self) -> Any:
        import psycopg  # noqa: PLC0415  it may not be installed

        return psycopg.connect(self.plain_url)


class Psycopg2(_Postgres):
    """psycopg2."""

    name = package = "psycopg2"

    def connect(self) -> Any:
        import psycopg2  # noqa: PLC0415

        return psycopg2.connect(self.plain_url)


class Pyodbc(_Postgres):
    """ODBC."""

    name = package = "pyodbc"
    knows_status = False

    def find_url(self, request: pytest.FixtureRequest) -> str:
        super().find_url(request)
        self.text = odbc_string(self.plain_url)
        return f"odbc:///?odbc_connect={quote(self.text)}"

    def connect(self) -> Any:
        import pyodbc  # noqa: PLC0415

        return pyodbc.connect(self.text)
