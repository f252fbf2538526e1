"""mysqlclient: no transaction status, and a connection that only one thread may touch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import millpond
from millpond import drivers
from millpond.drivers import SessionOptions
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

MySQLdb: Any = pytest.importorskip("MySQLdb", exc_type=ImportError)
cursors: Any = pytest.importorskip("MySQLdb.cursors", exc_type=ImportError)


@pytest.fixture
def url(mysql_url: str) -> str:
    return f"mysql+mysqldb://{mysql_url.partition('://')[2]}"


@pytest.fixture
def driver(url: str) -> Any:
    return drivers.find(url)


@pytest.fixture
def conn(driver: Any) -> Iterator[Any]:
    conn = driver.connect()
    yield conn
    driver.close(conn)


def test_rows_of_a_server_side_cursor_are_not_read_at_a_release(driver: Any, conn: Any) -> None:
    cursor = conn.cursor(cursors.SSCursor)
    cursor.execute("SELECT a.seq FROM seq_1_to_1000 AS a, seq_1_to_1000 AS b")
    cursor.fetchone()

    with pytest.raises(MySQLdb.ProgrammingError, match="out of sync"):
        driver.reset(conn)

    # As the pool does. An open cursor that is dropped first would read all rows.
    driver.close(conn)
    with pytest.raises(MySQLdb.OperationalError):
        cursor.close()


def test_timeouts_are_rounded_up_to_whole_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    said: dict[str, Any] = {}
    monkeypatch.setattr(MySQLdb, "connect", said.update)
    options = SessionOptions(socket_timeout=0.2)
    driver: Any = drivers.find("mysql+mysqldb://h/db", connect_timeout=2.1, options=options)
    monkeypatch.setattr(type(driver), "_open", said.update)

    with pytest.raises(AttributeError):  # there is no connection
        driver.connect()

    assert (said["connect_timeout"], said["read_timeout"], said["write_timeout"]) == (3, 1, 1)


def test_tls_arguments_become_the_dict_that_mysqldb_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    said: dict[str, Any] = {}
    monkeypatch.setattr(MySQLdb, "connect", lambda **arguments: said.update(arguments))
    url = "mysql+mysqldb://h/db?ssl_ca=/srv/ca.pem&ssl_key=/srv/key.pem&ssl_mode=VERIFY_CA"
    driver: Any = drivers.find(url)

    with pytest.raises(AttributeError):  # there is no connection
        driver.connect()

    assert said["ssl"] == {"ca": "/srv/ca.pem", "key": "/srv/key.pem"}
    assert said["ssl_mode"] == "VERIFY_CA"


def test_a_name_for_the_application_is_refused(url: str) -> None:
    with pytest.raises(PoolConfigError, match=r"application_name='app': .* cannot send it"):
        drivers.find(url, options=SessionOptions(application_name="app"))


def test_a_session_of_a_callable_cannot_be_reset(url: str) -> None:
    opener: Any = drivers.find(url)
    needs = {"reset_session": "reset='session'"}
    with pytest.raises(PoolConfigError, match="needs the password for it, so only with a URL"):
        drivers.find(opener._beside, driver="mysqlclient", needs=needs)
    assert "reset_session" in opener.supports


def test_the_pool_goes_on_while_a_statement_runs_on_a_connection_of_its_own(url: str) -> None:
    # A second thread may not even ask for the number of a connection that is in use.
    with millpond.Pool(url, max_size=2) as pool, pool.connection() as first:
        cursor = first.cursor(cursors.SSCursor)
        cursor.execute("SELECT 1")
        with pool.connection() as second:
            assert second.thread_id() != first.millpond_identity.number
        assert cursor.fetchall() == ((1,),)
        cursor.close()
