"""MySQL through its three drivers: what they have to do alike. Needs a MySQL or MariaDB server.

What all drivers of all databases have to do is in contract/.
"""

from __future__ import annotations

import random
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

import millpond
from helpers import eventually, in_thread
from millpond import drivers
from millpond.drivers import SessionOptions, TransactionStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = {"mysqlclient": "MySQLdb", "mysqlconnector": "mysql.connector", "pymysql": "pymysql"}


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    """Give the name of a driver that is installed."""
    driver: str = request.param
    pytest.importorskip(NAMES[driver], exc_type=ImportError)
    return driver


@pytest.fixture
def url(name: str, mysql_url: str) -> str:
    pure = "?use_pure=true" if name == "mysqlconnector" else ""
    return f"mysql+{name}://{mysql_url.partition('://')[2]}{pure}"


@pytest.fixture
def driver(url: str) -> Any:
    return drivers.find(url)


@contextmanager
def opened(driver: Any, **options: Any) -> Iterator[Any]:
    """Open a connection as a pool does."""
    conn = driver.connect()
    try:
        drivers.refine(driver, conn)
        driver.prepare(conn, SessionOptions(**options))
        yield conn
    finally:
        driver.close(conn)


@pytest.fixture
def conn(driver: Any) -> Iterator[Any]:
    with opened(driver) as conn:
        yield conn


@pytest.fixture
def table(driver: Any) -> Iterator[str]:
    """Give a table with one row, a 1. To ask for it before `conn`, which may hold a lock on it."""
    with opened(driver, autocommit=True, session=("SET lock_wait_timeout = 9",)) as conn:
        driver.execute(conn, "CREATE OR REPLACE TABLE family (n INTEGER) ENGINE = InnoDB")
        driver.execute(conn, "INSERT INTO family VALUES (1)")
        yield "family"
        driver.execute(conn, "DROP TABLE family")


def value(driver: Any, conn: Any, query: str) -> Any:
    """Return the first column of the first row."""
    return driver.row(conn, query)[0]


def query(conn: Any, statement: str) -> list[Any]:
    """Run a query as a user would."""
    cursor = conn.cursor()
    cursor.execute(statement)
    rows = list(cursor.fetchall())
    cursor.close()
    return rows


def test_a_select_is_a_transaction_that_ends_with_the_release(
    driver: Any, table: str, conn: Any
) -> None:
    # Otherwise the next borrower would read what the table was like before.
    count = f"SELECT COUNT(*) FROM {table}"
    assert query(conn, count)[0][0] == 1
    with opened(driver, autocommit=True) as other:
        driver.execute(other, f"INSERT INTO {table} VALUES (2)")
    assert query(conn, count)[0][0] == 1

    driver.reset(conn)

    assert query(conn, count)[0][0] == 2


@pytest.mark.parametrize(
    ("level", "seen"), [("read committed", 2), ("repeatable read", 1), ("read uncommitted", 2)]
)
def test_begin_has_the_isolation_level_for_one_transaction(
    driver: Any, table: str, conn: Any, level: str, seen: int
) -> None:
    count = f"SELECT COUNT(*) FROM {table}"
    driver.begin(conn, isolation=level)
    query(conn, count)
    with opened(driver, autocommit=True) as other:
        driver.execute(other, f"INSERT INTO {table} VALUES (2)")

    assert query(conn, count)[0][0] == seen
    driver.rollback(conn)
    assert "REPEATABLE" in value(driver, conn, "SELECT @@SESSION.tx_isolation")


def test_a_call_that_was_not_read_to_its_end_is_finished(driver: Any, conn: Any) -> None:
    driver.execute(conn, "CREATE OR REPLACE PROCEDURE family_two() BEGIN SELECT 1; DO 2; END")
    for _ in range(3):
        cursor = conn.cursor()
        cursor.execute("CALL family_two()")
        assert list(cursor.fetchall()) == [(1,)]

        driver.reset(conn)

        assert query(conn, "SELECT 77") == [(77,)]


def test_a_call_with_rows_left_is_not_read_and_poisons_nobody(driver: Any, conn: Any) -> None:
    driver.execute(conn, "CREATE OR REPLACE PROCEDURE family_rows() BEGIN SELECT 1; SELECT 2; END")
    cursor = conn.cursor()
    cursor.execute("CALL family_rows()")

    with pytest.raises(driver.driver_errors):
        driver.reset(conn)


def test_a_statement_timeout_is_the_servers_own(driver: Any) -> None:
    with opened(driver, statement_timeout=3.5) as conn:
        assert value(driver, conn, "SELECT @@SESSION.max_statement_time") == 3.5


@pytest.mark.parametrize(
    ("version", "statements"),
    [
        ("8.4.3", ["SET SESSION max_execution_time = 1", "SET SESSION max_execution_time = 1001"]),
        (
            "5.5.5-10.11.19-MariaDB-log",
            [
                "SET SESSION max_statement_time = 0.000001",
                "SET SESSION max_statement_time = 1.000100",
            ],
        ),
    ],
)
def test_a_statement_timeout_is_in_the_words_of_the_server_and_never_without_limit(
    driver: Any, conn: Any, monkeypatch: pytest.MonkeyPatch, version: str, statements: list[str]
) -> None:
    said: list[str] = []
    monkeypatch.setattr(type(driver), "server_version", staticmethod(lambda _: version))
    monkeypatch.setattr(type(driver), "execute", lambda _, __, statement: said.append(statement))

    for seconds in (0.0000001, 1.0001):
        driver.prepare(conn, SessionOptions(statement_timeout=seconds))

    assert said == statements


def test_a_statement_is_cancelled_on_the_server(driver: Any, conn: Any) -> None:
    running = in_thread(query, conn, "SELECT SLEEP(300)")
    with opened(driver, autocommit=True) as other:
        busy = (
            "SELECT COUNT(*) FROM information_schema.PROCESSLIST "
            f"WHERE ID = {conn.millpond_identity.number} AND COMMAND = 'Query'"
        )
        eventually(lambda: value(driver, other, busy) == 1)

        driver.cancel(conn)
        error = running.error()

        assert error is not None
        assert driver.is_cancelled(error)
        assert value(driver, other, busy) == 0


def test_a_statement_is_cancelled_while_its_rows_arrive(driver: Any, conn: Any) -> None:
    rows = "SELECT a.seq, SLEEP(0.001) FROM seq_1_to_100000 AS a"
    running = in_thread(query, conn, rows)

    def cancelled() -> bool:
        driver.cancel(conn)
        return running.done

    eventually(cancelled)
    error = running.error()

    assert error is not None
    assert driver.is_cancelled(error)
    driver.reset(conn)
    assert query(conn, "SELECT 77") == [(77,)]


def test_nothing_after_cancel_is_hit_by_it(driver: Any) -> None:
    # The pool relies on it: when `cancel` has returned, the next borrower is safe.
    dice = random.Random(4)
    with opened(driver, autocommit=True) as conn, opened(driver, autocommit=True) as killer:
        driver._beside = lambda: killer
        outcomes = set()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(driver), "close", staticmethod(lambda _: None))
            for _ in range(150):
                pause = dice.uniform(0.0, 0.002)
                running = in_thread(query, conn, f"SELECT SLEEP({pause:.4f})")
                driver.cancel(conn)
                with suppress(*driver.driver_errors):
                    running.result()
                outcomes.add(running.error() is None)

                assert query(conn, "SELECT 77") == [(77,)]
        driver.close(killer)


def test_a_thread_of_another_server_is_not_killed(
    driver: Any, conn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("millpond.drivers._mysql._CANCEL_PATIENCE", 0.05)
    conn.millpond_identity = conn.millpond_identity._replace(server="elsewhere:3306:1")

    with pytest.raises(driver.operational_error, match="another server than elsewhere:3306:1"):
        driver.cancel(conn)


def test_cancelling_on_a_connection_that_is_gone_is_no_error(driver: Any, conn: Any) -> None:
    with opened(driver, autocommit=True) as other:
        driver.execute(other, f"KILL {conn.millpond_identity.number}")
        left = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE ID = "
        eventually(lambda: not value(driver, other, f"{left}{conn.millpond_identity.number}"))

        driver.cancel(conn)

        assert value(driver, other, "SELECT 77") == 77


def test_the_connection_that_cancels_is_closed(driver: Any, conn: Any) -> None:
    with opened(driver, autocommit=True) as other:
        count = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = 'root'"
        before = value(driver, other, count)
        for _ in range(5):
            driver.cancel(conn)

        eventually(lambda: value(driver, other, count) <= before)


def test_a_session_is_reset_to_what_the_url_made_of_it(url: str) -> None:
    separator = "&" if "?" in url else "?"
    found: Any = drivers.find(
        f"{url}{separator}charset=latin1&init_command=SET%20%40mine%20=%2077&sql_mode=ANSI_QUOTES"
    )
    what = (
        "SELECT @@character_set_client, @mine, @@sql_mode, DATABASE(), @@autocommit, @@wait_timeout"
    )
    with opened(found) as conn:
        before = found.row(conn, what)
        for statement in (
            "SET NAMES utf8mb4",
            "SET @mine = 1",
            "SET SESSION sql_mode = ''",
            "USE information_schema",
            "SET autocommit = 1",
            "SET SESSION wait_timeout = 1000",
        ):
            found.execute(conn, statement)

        found.reset_session(conn)

        assert found.row(conn, what) == before
        assert before[:3] == ("latin1", 77, "ANSI_QUOTES")


@pytest.mark.parametrize(
    ("code", "transient"), [(1045, False), (1049, False), (1040, True), (2003, True)]
)
def test_what_the_server_will_refuse_again_is_not_tried_again(
    driver: Any, code: int, *, transient: bool
) -> None:
    assert driver.is_transient(numbered(driver, code)) is transient


def numbered(driver: Any, code: int, text: str = "") -> Exception:
    """Make an error as the driver would."""
    kind = driver.operational_error
    if driver.name == "mysqlconnector":
        return kind(errno=code, msg=text)  # type: ignore[no-any-return]
    return kind(code, text)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        (2006, "is_disconnect"),
        (2013, "is_disconnect"),
        (1927, "is_disconnect"),
        (4031, "is_disconnect"),
        (1317, "is_cancelled"),
        (1969, "is_cancelled"),
        (3024, "is_cancelled"),
        (1205, "is_retryable"),
        (1213, "is_retryable"),
        (1020, "is_retryable"),
        (1062, None),
        (1146, None),
        (1290, None),
    ],
)
def test_a_number_has_its_meaning_and_no_other(driver: Any, code: int, meaning: str | None) -> None:
    error = numbered(driver, code)
    questions = ("is_disconnect", "is_cancelled", "is_retryable")

    assert [one for one in questions if getattr(driver, one)(error)] == [meaning] * bool(meaning)
    assert not any(getattr(driver, one)(KeyError(code)) for one in questions)


def test_a_primary_that_became_read_only_is_noticed(driver: Any, conn: Any) -> None:
    refused = numbered(
        driver, 1290, "running with the --read-only option so it cannot execute this statement"
    )
    other_option = numbered(driver, 1290, "running with the --secure-file-priv option")

    assert driver.is_demoted(conn, refused)
    assert not driver.is_demoted(conn, other_option)
    driver._was_primary = False
    assert not driver.is_demoted(conn, refused)


def test_a_pool_replaces_connections_that_were_killed(url: str) -> None:
    with millpond.Pool(url, max_size=4) as pool:
        held = [pool.acquire() for _ in range(4)]
        numbers = [conn.millpond_identity.number for conn in held]
        for conn in held:
            pool.release(conn)
        killer: Any = drivers.find(url)
        with opened(killer, autocommit=True) as other:
            for number in numbers:
                killer.execute(other, f"KILL {number}")
            left = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE ID IN "
            eventually(lambda: not value(killer, other, f"{left}{tuple(numbers)}"))

        for _ in range(8):
            with pool.connection() as conn:
                assert query(conn, "SELECT 77") == [(77,)]


def test_a_pool_rolls_an_abandoned_transaction_back(url: str, table: str) -> None:
    with millpond.Pool(url, max_size=1) as pool:
        with suppress(KeyError), pool.connection() as conn:
            query(conn, f"SELECT * FROM {table} FOR UPDATE")
            raise KeyError
        with pool.connection() as conn:
            assert query(conn, f"SELECT COUNT(*) FROM {table}") == [(1,)]


def test_a_pool_has_transactions_and_savepoints(url: str, table: str) -> None:
    with millpond.Pool(url, max_size=1) as pool:
        with pool.transaction(isolation="serializable") as conn:
            pool_insert(conn, table, 2)
            with suppress(KeyError), pool.transaction():
                pool_insert(conn, table, 3)
                raise KeyError
        with pytest.raises(KeyError), pool.transaction() as conn:
            pool_insert(conn, table, 4)
            raise KeyError
        with pool.connection() as conn:
            assert query(conn, f"SELECT n FROM {table} ORDER BY n") == [(1,), (2,)]


def pool_insert(conn: Any, table: str, number: int) -> None:
    """Insert a row as a user would."""
    cursor = conn.cursor()
    cursor.execute(f"INSERT INTO {table} VALUES ({number})")
    cursor.close()


def test_a_query_timeout_of_the_pool_cancels_on_the_server(url: str) -> None:
    with millpond.Pool(url, max_size=1) as pool:
        with pytest.raises(millpond.QueryTimeout), pool.connection(query_timeout=0.2) as conn:
            query(conn, "SELECT SLEEP(300)")
        with pool.connection() as conn:
            assert query(conn, "SELECT 77") == [(77,)]


def test_the_callable_of_a_user_gets_its_driver(name: str, url: str) -> None:
    opener: Any = drivers.find(url)
    with millpond.Pool(opener._beside, max_size=2) as pool, pool.connection() as conn:
        assert query(conn, "SELECT 77") == [(77,)]
        assert pool._driver.name == name
        assert pool._driver.transaction_status(conn) is not TransactionStatus.FAILED


def test_a_server_that_does_not_say_who_it_is_can_be_pooled(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Such as a proxy. Then a statement is cancelled by the number alone.
    monkeypatch.setattr("millpond.drivers._mysql.WHERE", "SELECT @@no_such_variable")
    monkeypatch.setattr("millpond.drivers._mysql.FRESH", "SELECT @@no_such_variable")

    with millpond.Pool(url, max_size=1) as pool, pool.connection() as conn:
        assert conn.millpond_identity.server == ""
        pool._driver.cancel(conn)
        assert query(conn, "SELECT 77") == [(77,)]
