"""psycopg: its URLs, and what a release leaves behind. Needs a PostgreSQL server."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from millpond import drivers
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    Connection = psycopg.Connection[Any]


@pytest.fixture
def driver(postgres_url: str) -> Any:
    return drivers.find(postgres_url)


@pytest.fixture
def conn(driver: Any) -> Iterator[Connection]:
    conn = driver.connect()
    yield conn
    conn.close()


def status_of(conn: Connection) -> TransactionStatus:
    """Return the status of the connection's transaction."""
    return conn.info.transaction_status


def message_of(url: str, **connect_kwargs: Any) -> str:
    """Return what is said about a URL that is not valid."""
    with pytest.raises(PoolConfigError) as caught:
        drivers.find(url, connect_kwargs=connect_kwargs or None)
    return str(caught.value)


def connect_timeout_of(url: str, seconds: float | None, **connect_kwargs: Any) -> str | None:
    """Return the timeout that libpq was given, or None."""
    driver = drivers.find(url, connect_timeout=seconds, connect_kwargs=connect_kwargs or None)
    with driver.connect() as conn:
        parameters: dict[str, str] = conn.info.get_parameters()
    return parameters.get("connect_timeout")


def kill(conn: Connection, postgres_url: str) -> None:
    """End the server process of a connection, which does not notice."""
    with psycopg.connect(postgres_url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [conn.info.backend_pid])


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg", "PostgreSQL"])
def test_a_url_connects_under_each_of_its_schemes(postgres_url: str, scheme: str) -> None:
    rest = postgres_url.partition("://")[2]
    with drivers.find(f"{scheme}://{rest}").connect() as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)


def test_connect_kwargs_reach_the_driver(postgres_url: str) -> None:
    kwargs = {"autocommit": True, "application_name": "millpond", "row_factory": None}
    with drivers.find(postgres_url, connect_kwargs=kwargs).connect() as conn:
        assert conn.autocommit
        assert conn.info.get_parameters()["application_name"] == "millpond"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.1, "2"), (1.0, "2"), (2.0, "2"), (2.1, "3"), (5.0, "5"), (None, None)],
)
def test_connect_timeout_is_libpqs_in_whole_seconds(
    postgres_url: str, seconds: float | None, expected: str | None
) -> None:
    assert connect_timeout_of(postgres_url, seconds) == expected


def test_a_connect_timeout_in_the_url_wins(postgres_url: str) -> None:
    separator = "&" if "?" in postgres_url else "?"

    assert connect_timeout_of(f"{postgres_url}{separator}connect_timeout=9", 5.0) == "9"


def test_a_connect_timeout_in_connect_kwargs_wins(postgres_url: str) -> None:
    assert connect_timeout_of(postgres_url, 5.0, connect_timeout=9) == "9"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://h/db?colour=red", """invalid URI query parameter: "colour\""""),
        ("postgresql://h/d%zzb", """invalid percent-encoded token: "d%zzb\""""),
        ("postgresql://u:hunter2@h/db?colour=red", """invalid URI query parameter: "colour\""""),
        ("postgresql://u:%zz@h/db", "special characters in the password must be percent-encoded"),
        ("postgresql://u:hunter2/@h/db", "the port must be a number; if that is part of a pass"),
        ("postgresql://h:http/db", "the port must be a number"),
    ],
)
def test_a_bad_url_is_refused_with_what_is_wrong(url: str, message: str) -> None:
    assert message in message_of(url)
    assert "hunter2" not in message_of(url)


def test_several_hosts_and_default_ports_are_fine() -> None:
    assert drivers.find("postgresql://one,two:5433/db").name == "psycopg"
    assert drivers.find("postgresql://").name == "psycopg"


def test_bad_connect_kwargs_are_refused_before_the_first_connection() -> None:
    message = message_of("postgresql://h/db", colour="hunter2", autocommit=True)

    assert message == "connect_kwargs: 'colour' is unknown to psycopg and to libpq"


@pytest.mark.skipif(sys.platform != "linux", reason="libpq traces on Linux only")
def test_reset_says_nothing_to_the_server_without_a_transaction(
    driver: Any, conn: Connection, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    with trace.open("w") as file:
        conn.pgconn.trace(file.fileno())
        driver.reset(conn)
        silence = trace.read_text()
        driver.ping(conn)
        conn.pgconn.untrace()

    assert silence == ""
    assert "Query" in trace.read_text()


def test_reset_rolls_an_open_transaction_back(driver: Any, conn: Connection) -> None:
    conn.execute("CREATE TEMPORARY TABLE t (n int)")
    assert status_of(conn) == TransactionStatus.INTRANS

    driver.reset(conn)

    assert status_of(conn) == TransactionStatus.IDLE
    assert conn.execute("SELECT to_regclass('pg_temp.t')").fetchone() == (None,)


def test_reset_rolls_a_failed_transaction_back(driver: Any, conn: Connection) -> None:
    with pytest.raises(psycopg.errors.UndefinedTable):
        conn.execute("SELECT * FROM no_such_table")
    assert status_of(conn) == TransactionStatus.INERROR

    driver.reset(conn)

    assert status_of(conn) == TransactionStatus.IDLE


def test_reset_ends_a_transaction_that_was_begun_by_hand(driver: Any, conn: Connection) -> None:
    conn.autocommit = True
    conn.execute("BEGIN")

    driver.reset(conn)

    assert status_of(conn) == TransactionStatus.IDLE
    assert conn.autocommit


def test_reset_refuses_a_connection_with_a_query_under_way(driver: Any, conn: Connection) -> None:
    conn.pgconn.send_query(b"SELECT pg_sleep(60)")
    assert status_of(conn) == TransactionStatus.ACTIVE

    with pytest.raises(psycopg.OperationalError, match="transaction status is ACTIVE"):
        driver.reset(conn)


def test_reset_refuses_a_connection_within_a_transaction_block(
    driver: Any, conn: Connection
) -> None:
    with conn.transaction(), pytest.raises(psycopg.ProgrammingError):
        driver.reset(conn)


def test_reset_refuses_a_closed_connection(driver: Any, conn: Connection) -> None:
    driver.close(conn)

    with pytest.raises(psycopg.OperationalError, match="transaction status is UNKNOWN"):
        driver.reset(conn)


def test_reset_refuses_a_connection_that_died_in_a_transaction(
    driver: Any, conn: Connection, postgres_url: str
) -> None:
    conn.execute("SELECT 1")
    kill(conn, postgres_url)

    with pytest.raises(psycopg.OperationalError):
        driver.reset(conn)


@pytest.mark.parametrize("autocommit", [False, True])
def test_ping_leaves_the_connection_idle(
    driver: Any, conn: Connection, *, autocommit: bool
) -> None:
    conn.autocommit = autocommit

    for _ in range(10):
        driver.ping(conn)

    assert status_of(conn) == TransactionStatus.IDLE
    assert conn.autocommit is autocommit
    assert conn.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)


def test_ping_does_not_touch_an_open_transaction(driver: Any, conn: Connection) -> None:
    conn.execute("SELECT 1")

    driver.ping(conn)

    assert status_of(conn) == TransactionStatus.INTRANS


@pytest.mark.parametrize("autocommit", [False, True])
def test_ping_fails_on_a_connection_that_died(
    driver: Any, conn: Connection, postgres_url: str, *, autocommit: bool
) -> None:
    conn.autocommit = autocommit
    kill(conn, postgres_url)

    with pytest.raises(psycopg.OperationalError):
        driver.ping(conn)


def test_a_refused_connection_is_tried_again() -> None:
    driver = drivers.find("postgresql://127.0.0.1:1/db")
    with pytest.raises(psycopg.OperationalError) as caught:
        driver.connect()

    assert driver.is_transient(caught.value)
