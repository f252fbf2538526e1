"""pyodbc: its URLs, and what depends on the database behind it.

Runs with the ODBC drivers of PostgreSQL and SQLite from Debian's packages. SQL Server cannot be
had: what it is sent is compared with its documentation, by a connection that only listens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pyodbc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from databases import odbc_driver, odbc_string
from millpond import drivers
from millpond.drivers import SessionOptions, TransactionStatus, _odbc_url
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from helpers import MakePool

PASSWORD = "hunter2"


def text_of(url: str, **further: object) -> str:
    """Return the connection string for a URL."""
    return _odbc_url.connection_string(url, further)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        (
            "mssql+pyodbc://sa:pass@db:1433/app?driver=ODBC+Driver+18+for+SQL+Server&Encrypt=yes",
            (
                "SERVER=db,1433;DATABASE=app;UID=sa;PWD=pass;"
                "driver=ODBC Driver 18 for SQL Server;Encrypt=yes;"
            ),
        ),
        (
            "odbc://me:pass@db:5432/app?driver=PostgreSQL+Unicode",
            "SERVER=db;PORT=5432;DATABASE=app;UID=me;PWD=pass;driver=PostgreSQL Unicode;",
        ),
        ("odbc://db/app?driver=X", "SERVER=db;DATABASE=app;driver=X;"),
        ("mssql://me:pass@orders", "DSN=orders;UID=me;PWD=pass;"),
        ("odbc://orders", "DSN=orders;"),
        ("odbc:///?DSN=orders&UID=me", "DSN=orders;UID=me;"),
        ("odbc:///?driver=SQLite3&Database=/srv/app.db", "driver=SQLite3;Database=/srv/app.db;"),
        ("odbc:///?odbc_connect=DSN%3Dorders%3BUID%3Dme", "DSN=orders;UID=me;"),
        ("mssql+pyodbc:///?odbc_connect=DSN%3Dorders%3B", "DSN=orders;"),
    ],
)
def test_a_url_stands_for_a_connection_string(url: str, text: str) -> None:
    assert text_of(url) == text


def test_a_keyword_from_outside_wins_whatever_its_case() -> None:
    assert text_of("odbc://orders?uid=me", UID="you") == "DSN=orders;UID=you;"
    assert text_of("odbc:///?odbc_connect=DSN%3Da", UID="you") == "DSN=a;UID=you;"


@given(st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1))
def test_a_value_cannot_break_out_of_its_place(password: str) -> None:
    text = text_of(f"odbc://me:{quote(password, safe='')}@orders")

    quoted = text.removeprefix("DSN=orders;UID=me;PWD=").removesuffix(";")
    if quoted.startswith("{"):
        assert quoted[1:-1].replace("}}", "") == password.replace("}", "")
        assert quoted[1:-1].replace("}}", "}") == password
    else:
        assert quoted == password
        assert not set("[]{}(),;?*=!@") & set(password)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("odbc://", "it must have driver=, DSN= or odbc_connect= behind the question mark"),
        ("odbc:///app", "it must have driver=, DSN= or odbc_connect="),
        ("odbc://db:1433/app", "a host with a port or a database needs driver="),
        ("odbc://db?odbc_connect=DSN%3Da", "odbc_connect is the whole connection string"),
        (f"odbc://me:{PASSWORD}/@db:port?driver=X", "the port must be a number"),
        (f"odbc://me:{PASSWORD}@db:99999?driver=X", "the port must be a number"),
    ],
)
def test_a_bad_url_is_refused_with_what_is_wrong(url: str, message: str) -> None:
    with pytest.raises(PoolConfigError) as caught:
        drivers.find(url)

    assert message in str(caught.value)
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        f"odbc:///?odbc_connect=DSN%3Dorders%3BPWD%3D{PASSWORD}",
        f"odbc:///?DSN=orders&PWD={PASSWORD}",
        f"mssql+pyodbc://me:{PASSWORD}@orders",
    ],
)
def test_the_password_is_nowhere_to_be_seen(url: str) -> None:
    driver = drivers.find(url, connect_kwargs={"PWD": PASSWORD})

    assert PASSWORD not in repr(driver)
    assert PASSWORD not in repr(vars(driver))


def test_the_pool_of_the_odbc_manager_is_off() -> None:
    drivers.find("odbc://orders")

    assert pyodbc.pooling is False


def test_a_name_that_odbc_does_not_know_is_final() -> None:
    for url in ("odbc://no_such_source", "odbc:///?driver=no_such_driver"):
        driver = drivers.find(url, connect_timeout=2.0)
        with pytest.raises(pyodbc.Error) as caught:
            driver.connect()

        assert not driver.is_transient(caught.value)


def test_a_server_that_refuses_is_tried_again(postgres_url: str) -> None:
    text = odbc_string(postgres_url) + "PORT=1;"
    driver = drivers.find(f"odbc:///?odbc_connect={quote(text)}")
    with pytest.raises(pyodbc.OperationalError) as caught:
        driver.connect()

    assert driver.is_transient(caught.value)


def test_what_the_database_cannot_do_shows_at_the_first_connection(
    tmp_path: Path, make_pool: MakePool
) -> None:
    driver = odbc_driver("SQLite3").strip("{}")
    pool = make_pool(
        f"odbc:///?driver={driver}&Database={tmp_path}/app.db", isolation_level="serializable"
    )

    with (
        pytest.raises(PoolConfigError, match=r"^isolation_level='serializable': not possible .*"),
        pool.connection(),
    ):
        pass


def test_a_pool_works_over_odbc(postgres_url: str, make_pool: MakePool) -> None:
    pool = make_pool(
        f"odbc:///?odbc_connect={quote(odbc_string(postgres_url))}",
        reset="session",
        application_name="it's ours",
        statement_timeout=2.0,
        validation_interval=0,
    )

    for _ in range(3):
        with pool.transaction(isolation="serializable", read_only=True) as conn:
            assert conn.execute("SHOW application_name").fetchval() == "it's ours"
            assert conn.execute("SHOW statement_timeout").fetchval() == "2s"
            assert conn.execute("SHOW transaction_isolation").fetchval() == "serializable"


class SqlServer:
    """A connection that answers as the documentation of SQL Server says, and listens."""

    def __init__(self) -> None:
        self.autocommit = False
        self.closed = False
        self.timeout = 0
        self.said: list[str] = []

    def getinfo(self, question: int) -> str:
        assert question == pyodbc.SQL_DBMS_NAME
        return "Microsoft SQL Server"

    def cursor(self) -> SqlServer:
        return self

    def execute(self, statement: str) -> None:
        self.said.append(f"{statement}{' (autocommit)' * self.autocommit}")

    def commit(self) -> None:
        self.said.append("commit()")

    def rollback(self) -> None:
        self.said.append("rollback()")

    def close(self) -> None:
        """Close the cursor."""


@pytest.fixture
def server() -> SqlServer:
    return SqlServer()


@pytest.fixture
def through(server: SqlServer) -> Any:
    return drivers.refine(drivers.find(lambda: server, driver="pyodbc"), server)


def test_sql_server_is_recognised(through: Any) -> None:
    assert "reset_session" in through.supports
    assert "read_only" not in through.supports
    assert through.savepoint_sql[0] == "SAVE TRANSACTION {}"
    assert "snapshot" in through.isolation_levels


def test_sql_server_resets_the_session_after_a_rollback(through: Any, server: SqlServer) -> None:
    server.timeout = 99

    through.reset_session(server)

    assert server.said == ["rollback()", "{call sys.sp_reset_connection} (autocommit)"]
    assert (server.autocommit, server.timeout) == (False, 0)


def test_sql_server_rolls_back_in_autocommit_mode_what_is_open(
    through: Any, server: SqlServer
) -> None:
    server.autocommit = True
    through.begin(server)
    through.reset(server)

    assert server.said == [
        "BEGIN TRANSACTION (autocommit)",
        "rollback()",
        "IF @@TRANCOUNT > 0 ROLLBACK (autocommit)",
    ]
    assert through.transaction_status(server) is TransactionStatus.UNKNOWN


def test_sql_server_gets_its_options(through: Any, server: SqlServer) -> None:
    options = SessionOptions(isolation_level="snapshot", statement_timeout=1.2, session=("X",))

    through.prepare(server, options)

    assert server.said == ["SET TRANSACTION ISOLATION LEVEL SNAPSHOT", "X", "commit()"]
    assert server.timeout == 2


def test_an_isolation_level_for_one_transaction_is_refused_where_it_would_stay(
    through: Any, server: SqlServer
) -> None:
    with pytest.raises(PoolConfigError, match="it holds for the whole session"):
        through.begin(server, isolation="serializable")

    assert server.said == []


def test_the_application_name_is_said_to_sql_server_when_connecting(
    monkeypatch: pytest.MonkeyPatch, server: SqlServer
) -> None:
    asked: list[str] = []

    def connect(text: str) -> SqlServer:
        asked.append(text)
        return server

    monkeypatch.setattr(pyodbc, "connect", connect)
    options = SessionOptions(application_name="orders")

    driver = drivers.find("mssql://orders", options=options)
    drivers.refine(driver, driver.connect(), options=options).prepare(server, options)

    assert asked == ["DSN=orders;APP=orders;"]
    assert server.said == []
