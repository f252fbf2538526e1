"""psycopg2: what is different from psycopg. Needs a PostgreSQL server."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import psycopg2
import psycopg2.extensions
import psycopg2.extras
import pytest

from millpond import drivers
from millpond.drivers import SessionOptions, TransactionStatus
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator


def url_for(postgres_url: str) -> str:
    """Return the URL that picks psycopg2."""
    return f"postgresql+psycopg2://{postgres_url.partition('://')[2]}"


@pytest.fixture
def driver(postgres_url: str) -> Any:
    return drivers.find(url_for(postgres_url))


@pytest.fixture
def conn(driver: Any) -> Iterator[Any]:
    conn = driver.connect()
    yield conn
    conn.close()


def value(conn: Any, query: str) -> Any:
    """Return what a query says."""
    with conn.cursor(cursor_factory=psycopg2.extensions.cursor) as cursor:
        cursor.execute(query)
        return cursor.fetchone()[0]


def message_of(url: str, **connect_kwargs: Any) -> str:
    """Return what is said about a URL that is not valid."""
    with pytest.raises(PoolConfigError) as caught:
        drivers.find(url, connect_kwargs=connect_kwargs or None)
    return str(caught.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql+psycopg2://h/db?colour=red", """invalid URI query parameter: "colour\""""),
        ("postgresql+psycopg2://u:%zz@h/db", "in the password must be percent-encoded"),
        ("postgresql+psycopg2://u:hunter2/@h/db", "the port must be a number"),
        ("postgresql+psycopg2://u:hunter2@h/db?colour=red", "invalid URI query parameter"),
    ],
)
def test_a_bad_url_is_refused_with_what_is_wrong(url: str, message: str) -> None:
    assert message in message_of(url)
    assert "hunter2" not in message_of(url)


def test_connect_kwargs_are_those_of_psycopg2_and_libpq() -> None:
    url = "postgresql+psycopg2://h/db"
    drivers.find(url, connect_kwargs={"sslmode": "require", "cursor_factory": None})

    assert message_of(url, colour="hunter2") == (
        "connect_kwargs: 'colour' is unknown to psycopg2 and to libpq"
    )
    assert "that a pool of threads cannot use" in message_of(url, async_=True)


def test_reset_asks_nothing_of_a_connection_without_a_transaction(driver: Any, conn: Any) -> None:
    pid = conn.info.backend_pid
    driver.reset(conn)

    query = f"SELECT coalesce(query, '') FROM pg_stat_activity WHERE pid = {pid}"
    with driver.connect() as other:
        assert "ROLLBACK" not in value(other, query)
    other.close()


def test_reset_ends_a_transaction_that_was_begun_in_autocommit_mode(driver: Any, conn: Any) -> None:
    conn.autocommit = True
    driver.execute(conn, "BEGIN")
    assert driver.transaction_status(conn) is TransactionStatus.OPEN

    driver.reset(conn)

    assert driver.transaction_status(conn) is TransactionStatus.IDLE
    assert conn.autocommit


def test_reset_closes_a_cursor_on_the_server(driver: Any, conn: Any) -> None:
    cursor = conn.cursor(name="unread")
    cursor.execute("SELECT generate_series(1, 1000000)")
    cursor.fetchone()

    driver.reset(conn)

    assert value(conn, "SELECT count(*) FROM pg_cursors") == 0


def test_reset_refuses_a_connection_with_copy_in_progress(driver: Any, conn: Any) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(len(text))

    with pytest.raises(OSError, match=r"\d"), conn.cursor() as cursor:
        cursor.copy_expert("COPY (SELECT generate_series(1, 100000)) TO STDOUT", Full())

    with pytest.raises(psycopg2.OperationalError, match="transaction status is ACTIVE"):
        driver.reset(conn)


def test_reset_refuses_a_connection_whose_server_is_gone(driver: Any, conn: Any) -> None:
    value(conn, "SELECT 1")
    with driver.connect() as other:
        value(other, f"SELECT pg_terminate_backend({conn.info.backend_pid}, 5000)")
    other.close()

    with pytest.raises(psycopg2.Error):
        driver.reset(conn)


def test_a_new_session_has_the_attributes_of_a_new_connection(driver: Any, conn: Any) -> None:
    driver = drivers.refine(driver, conn)
    before = conn.isolation_level
    conn.set_session(isolation_level="SERIALIZABLE", readonly=True)
    conn.cursor_factory = psycopg2.extras.DictCursor
    conn.autocommit = True

    driver.reset_session(conn)

    assert (conn.autocommit, conn.isolation_level, conn.readonly) == (False, before, None)
    assert conn.cursor_factory is None
    assert value(conn, "SHOW transaction_isolation") == "read committed"


@pytest.mark.parametrize("autocommit", [False, True])
def test_ping_works_with_the_cursors_of_the_borrower(
    driver: Any, conn: Any, *, autocommit: bool
) -> None:
    conn.autocommit = autocommit
    conn.cursor_factory = psycopg2.extras.DictCursor

    driver.ping(conn)

    assert conn.autocommit is autocommit
    assert driver.transaction_status(conn) is TransactionStatus.IDLE


def test_statement_timeout_is_sent_with_the_connection_request(postgres_url: str) -> None:
    driver = drivers.find(url_for(postgres_url), options=SessionOptions(statement_timeout=2.0))
    conn = driver.connect()

    assert "-c statement_timeout=2000" in conn.dsn
    conn.close()


def test_errors_that_only_libpq_knows_are_told_by_their_words(driver: Any) -> None:
    lost = psycopg2.OperationalError("server closed the connection unexpectedly")
    closed = psycopg2.InterfaceError("connection already closed")
    other = psycopg2.InterfaceError("cursor already closed")

    assert driver.is_disconnect(lost)
    assert driver.is_disconnect(closed)
    assert not driver.is_disconnect(other)
