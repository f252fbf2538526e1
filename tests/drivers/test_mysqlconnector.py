"""MySQL Connector/Python: in Python, where an exception within an answer would mix answers up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from drivers.mysql_observer import is_at_work
from helpers import eventually, in_thread, interrupt
from millpond import drivers
from millpond.drivers import SessionOptions, TransactionStatus
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

connector: Any = pytest.importorskip("mysql.connector")


@pytest.fixture
def url(mysql_url: str) -> str:
    return f"mysql+mysqlconnector://{mysql_url.partition('://')[2]}?use_pure=true"


@pytest.fixture
def driver(url: str) -> Any:
    return drivers.find(url)


@pytest.fixture
def conn(driver: Any) -> Iterator[Any]:
    conn = driver.connect()
    yield conn
    driver.close(conn)


def query(conn: Any, statement: str) -> list[Any]:
    """Run a query as a user would."""
    cursor = conn.cursor()
    cursor.execute(statement)
    rows: list[Any] = cursor.fetchall()
    cursor.close()
    return rows


def test_a_query_that_was_interrupted_ends_the_connection(driver: Any, conn: Any) -> None:
    began = in_thread(interrupt, after=lambda: is_at_work(driver, conn))
    with pytest.raises(KeyboardInterrupt):
        query(conn, "SELECT SLEEP(20)")
    began.result()

    assert driver.transaction_status(conn) is TransactionStatus.UNKNOWN
    with pytest.raises(connector.OperationalError, match="it is closed"):
        driver.reset(conn)
    with pytest.raises(connector.Error):
        query(conn, "SELECT 77")


def test_the_drivers_own_timeout_is_a_lost_connection_and_no_cancel(url: str) -> None:
    driver: Any = drivers.find(url, options=SessionOptions(socket_timeout=0.5))
    conn = driver.connect()
    with pytest.raises(connector.Error) as caught:
        query(conn, "SELECT SLEEP(20)")

    # It bears the number of the server's max_execution_time.
    assert caught.value.errno == 3024
    assert driver.is_disconnect(caught.value)
    assert not driver.is_cancelled(caught.value)
    with pytest.raises(connector.OperationalError, match="it is closed"):
        driver.reset(conn)


def test_rows_that_were_not_read_are_not_read_at_a_release(driver: Any, conn: Any) -> None:
    cursor = conn.cursor()
    cursor.execute("SELECT a.seq FROM seq_1_to_1000 AS a, seq_1_to_1000 AS b")
    cursor.fetchone()

    with pytest.raises(connector.OperationalError, match="rows that were not read"):
        driver.reset(conn)


def test_a_new_cursor_does_not_mix_the_answers_of_a_call_up(driver: Any, conn: Any) -> None:
    # The driver's own trap: it sends COM_PING, and takes the end of CALL for its answer.
    driver.execute(conn, "CREATE OR REPLACE PROCEDURE connector_one() SELECT 1")
    cursor = conn.cursor()
    cursor.execute("CALL connector_one()")
    cursor.fetchall()
    with pytest.raises(connector.OperationalError):
        conn.cursor()

    driver.reset(conn)

    assert query(conn, "SELECT 77") == [(77,)]


def test_an_answer_that_nobody_waits_for_fails_the_ping(driver: Any, conn: Any) -> None:
    conn._socket.send(b"\x0e", 0, 0)  # COM_PING
    eventually(lambda: driver.is_alive(conn) is not True)

    with pytest.raises(connector.OperationalError, match="an answer that nobody waits for"):
        driver.ping(conn)


def test_without_a_socket_to_see_nothing_is_polled(driver: Any) -> None:
    class InC:
        """A connection of the C extension."""

        unread_result = in_transaction = more_results = False

        def is_closed(self) -> bool:
            return False

    assert driver.fileno(InC()) == -1
    assert driver.is_alive(InC()) is None
    assert driver.transaction_status(InC()) is TransactionStatus.IDLE


def test_the_c_extension_refuses_keepalive_and_says_what_helps(mysql_url: str) -> None:
    pytest.importorskip("_mysql_connector", exc_type=ImportError)
    url = f"mysql+mysqlconnector://{mysql_url.partition('://')[2]}"
    options = SessionOptions(keepalive=True)
    driver: Any = drivers.find(url, options=options)
    conn = driver.connect()

    with pytest.raises(PoolConfigError, match=r"keepalive=True: .*add \?use_pure=true"):
        drivers.refine(driver, conn, options=options)

    driver.close(conn)
