"""PyMySQL: what is read from its private attributes, and what happens without them."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from drivers.mysql_observer import is_at_work
from helpers import eventually, in_thread, interrupt
from millpond import drivers
from millpond.drivers import SessionOptions, TransactionStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

pymysql: Any = pytest.importorskip("pymysql")
cursors: Any = pytest.importorskip("pymysql.cursors")


@pytest.fixture
def url(mysql_url: str) -> str:
    return f"mysql+pymysql://{mysql_url.partition('://')[2]}"


@pytest.fixture
def driver(url: str) -> Any:
    return drivers.find(url)


@pytest.fixture
def conn(driver: Any) -> Iterator[Any]:
    conn = driver.connect()
    yield conn
    driver.close(conn)


def sent_by(conn: Any) -> list[bytes]:
    """Return a list of what is sent from now on."""
    sent: list[bytes] = []
    write = conn._write_bytes

    def note(data: bytes) -> None:
        sent.append(data[4:])
        write(data)

    conn._write_bytes = note
    return sent


def test_reset_says_nothing_to_the_server_without_a_transaction(driver: Any, conn: Any) -> None:
    conn.commit()
    sent = sent_by(conn)

    driver.reset(conn)
    assert sent == []

    conn.begin()
    driver.reset(conn)
    assert sent == [b"\x03BEGIN", b"\x03ROLLBACK"]


def test_in_autocommit_mode_a_query_needs_no_rollback(url: str) -> None:
    driver: Any = drivers.find(url, options=SessionOptions(autocommit=True))
    conn = driver.connect()
    with conn.cursor() as cursor:
        cursor.execute("SELECT 1")
    sent = sent_by(conn)

    driver.reset(conn)

    assert sent == []
    driver.close(conn)


def test_a_transaction_costs_nothing_to_begin_unless_it_is_special(driver: Any, conn: Any) -> None:
    conn.commit()
    sent = sent_by(conn)

    driver.begin(conn)
    driver.begin(conn, isolation="serializable", read_only=True)

    assert sent == [
        b"\x03SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        b"\x03START TRANSACTION READ ONLY",
    ]


def test_without_its_private_attributes_the_driver_asks_the_server(driver: Any) -> None:
    class Later:
        """A connection of a later PyMySQL, of which only what is public is known."""

        open = True

        def __init__(self) -> None:
            self.calls: list[str] = []

        def rollback(self) -> None:
            self.calls.append("rollback")

        def ping(self, *, reconnect: bool) -> None:
            self.calls.append(f"ping, reconnect={reconnect}")

    later = Later()

    assert driver.fileno(later) == -1
    assert driver.is_alive(later) is None
    assert driver.transaction_status(later) is TransactionStatus.UNKNOWN
    driver.reset(later)
    driver.ping(later)
    assert later.calls == ["rollback", "ping, reconnect=False"]


def test_rows_of_a_server_side_cursor_are_not_read_at_a_release(driver: Any, conn: Any) -> None:
    cursor = conn.cursor(cursors.SSCursor)
    cursor.execute("SELECT a.seq FROM seq_1_to_1000 AS a, seq_1_to_1000 AS b")
    cursor.fetchone()
    assert driver.transaction_status(conn) is TransactionStatus.ACTIVE

    with pytest.raises(pymysql.OperationalError, match="rows that were not read"):
        driver.reset(conn)

    driver.close(conn)
    assert not conn.open


def test_a_query_that_was_interrupted_ends_the_connection(driver: Any, conn: Any) -> None:
    began = in_thread(interrupt, after=lambda: is_at_work(driver, conn))
    with pytest.raises(KeyboardInterrupt), conn.cursor() as cursor:
        cursor.execute("SELECT SLEEP(20)")
    began.result()

    with pytest.raises(pymysql.InterfaceError, match="it is closed"):
        driver.reset(conn)


def test_without_tls_arguments_the_certificates_are_read_once(
    driver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.close(driver.connect())
    made: list[object] = []
    monkeypatch.setattr(ssl, "create_default_context", lambda **options: made.append(options))

    driver.close(driver.connect())

    assert made == []


def test_with_tls_arguments_they_are_read_each_time(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []

    def make(**options: Any) -> Any:
        made.append(options["cafile"])
        raise ssl.SSLError

    monkeypatch.setattr(ssl, "create_default_context", make)
    driver: Any = drivers.find(f"{url}?ssl_ca=/srv/ca.pem&ssl_verify_identity=true")

    for _ in range(2):
        with pytest.raises(ssl.SSLError):
            driver.connect()

    assert made == ["/srv/ca.pem", "/srv/ca.pem"]


def test_the_words_of_a_lost_connection_are_known(driver: Any) -> None:
    for error in (
        pymysql.InterfaceError(0, ""),
        pymysql.Error("Already closed"),
        pymysql.InternalError("Packet sequence number wrong - got 0 expected 1"),
        ConnectionResetError(),
    ):
        assert driver.is_disconnect(error)
    assert not driver.is_disconnect(pymysql.InternalError("something else"))
    assert not driver.is_disconnect(socket.gaierror())


def test_the_timeouts_reach_the_driver(url: str) -> None:
    options = SessionOptions(socket_timeout=7.5)
    driver: Any = drivers.find(url, connect_timeout=2.5, options=options)
    conn = driver.connect()

    assert (conn.connect_timeout, conn._read_timeout, conn._write_timeout) == (2.5, 7.5, 7.5)
    driver.close(conn)


def test_eventually_a_killed_connection_is_dead_without_a_question(driver: Any, conn: Any) -> None:
    beside = driver.connect()
    driver.execute(beside, f"KILL {conn.thread_id()}")
    driver.close(beside)

    eventually(lambda: driver.is_alive(conn) is False)
    with pytest.raises(pymysql.OperationalError, match="an answer that nobody waits for"):
        driver.ping(conn)
