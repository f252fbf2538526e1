"""SQLite: its URLs, and what a release leaves behind."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from millpond import drivers
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from helpers import MakePool

needs_autocommit = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="sqlite3 has no autocommit before Python 3.12"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "app.db"


@pytest.fixture
def through(path: Path) -> Any:
    return drivers.find(f"sqlite:///{path}")


@pytest.fixture
def conn(through: Any) -> Iterator[sqlite3.Connection]:
    with closing(through.connect()) as conn:
        conn.execute("CREATE TABLE t (n)")
        conn.commit()
        yield conn


def connect(url: str, **connect_kwargs: Any) -> Any:
    """Open a connection that closes at the end of a `with` block."""
    return closing(drivers.find(url, connect_kwargs=connect_kwargs or None).connect())


def message_of(url: str, **connect_kwargs: Any) -> str:
    """Return what is said about a URL that is not valid."""
    with pytest.raises(PoolConfigError) as caught:
        drivers.find(url, connect_kwargs=connect_kwargs or None)
    return str(caught.value)


def file_of(conn: sqlite3.Connection) -> str:
    """Return the path of the database, '' for one in memory."""
    return str(conn.execute("PRAGMA database_list").fetchone()[2])


def release(through: Any, conn: sqlite3.Connection) -> None:
    """Reset a connection in the way that the pool would."""
    if through.reset_method:
        getattr(conn, through.reset_method)()
    else:
        through.reset(conn)


def test_three_slashes_are_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    with connect("sqlite:///app.db") as conn:
        assert file_of(conn) == str(tmp_path / "app.db")


def test_four_slashes_are_an_absolute_path(path: Path) -> None:
    with connect(f"sqlite:///{path}") as conn:
        assert file_of(conn) == str(path)


def test_a_path_is_percent_decoded(tmp_path: Path) -> None:
    with connect(f"sqlite:///{tmp_path}/my%20app%3F.db") as conn:
        assert file_of(conn) == str(tmp_path / "my app?.db")


def test_parameters_of_sqlite_turn_a_path_into_its_uri(tmp_path: Path) -> None:
    with connect(f"sqlite:///{tmp_path}/my%20app%3F.db") as conn:
        conn.execute("CREATE TABLE t (n)")

    with connect(f"sqlite:///{tmp_path}/my%20app%3F.db?mode=ro") as conn:
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            conn.execute("INSERT INTO t VALUES (1)")
        assert file_of(conn) == str(tmp_path / "my app?.db")


def test_a_uri_of_sqlite_is_passed_on(path: Path) -> None:
    with connect(f"sqlite:///{path}") as conn:
        conn.execute("CREATE TABLE t (n)")

    with (
        connect(f"sqlite:///file:{path}?mode=ro&timeout=1") as conn,
        pytest.raises(sqlite3.OperationalError, match="readonly"),
    ):
        conn.execute("INSERT INTO t VALUES (1)")


def test_arguments_of_connect_can_be_in_the_url(path: Path) -> None:
    arguments = "isolation_level=immediate&detect_types=1&cached_statements=10"
    with connect(f"sqlite:///{path}?timeout=0.5&{arguments}") as conn:
        assert conn.isolation_level == "IMMEDIATE"
        assert conn.execute("PRAGMA busy_timeout").fetchone() == (500,)


@pytest.mark.parametrize("word", ["none", "None"])
def test_an_isolation_level_of_none_is_autocommit(path: Path, word: str) -> None:
    with connect(f"sqlite:///{path}?isolation_level={word}") as conn:
        assert conn.isolation_level is None


def test_connect_kwargs_win_over_the_url(path: Path) -> None:
    with connect(f"sqlite:///{path}?timeout=1", timeout=2, isolation_level=None) as conn:
        assert conn.isolation_level is None
        assert conn.execute("PRAGMA busy_timeout").fetchone() == (2000,)


@needs_autocommit
@pytest.mark.parametrize(("word", "value"), [("true", True), ("false", False), ("legacy", -1)])
def test_autocommit_can_be_in_the_url(path: Path, word: str, value: int) -> None:
    with connect(f"sqlite:///{path}?autocommit={word}") as conn:
        assert conn.autocommit == value


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite://app.db", "a file needs three slashes (sqlite:///relative.db)"),
        ("sqlite:///a.db?timeout=soon", "timeout='soon' is not a valid value"),
        ("sqlite:///a.db?uri=maybe", "uri='maybe' is not a valid value"),
        ("sqlite:///a.db?cache_size=5", "'cache_size' is unknown to sqlite3; known are "),
        ("sqlite:///a.db?check_same_thread=true", "check_same_thread must be false"),
    ],
)
def test_a_bad_url_is_refused_with_what_is_wrong(url: str, message: str) -> None:
    assert message in message_of(url)


def test_bad_connect_kwargs_are_refused_before_the_first_connection() -> None:
    message = message_of("sqlite:///a.db", database="b.db")

    assert message.startswith("connect_kwargs: 'database' is unknown to sqlite3; known are ")
    assert "check_same_thread" in message_of("sqlite:///a.db", check_same_thread=True)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///:memory:?timeout=1",
        "sqlite:///file::memory:",
        "sqlite:///file:name?mode=memory",
        "sqlite:///name?mode=memory",
    ],
)
def test_a_database_that_each_connection_would_have_for_itself_is_refused(url: str) -> None:
    message = message_of(url)

    assert message.startswith(f"connect='{url}': each connection would be an empty database")
    assert "sqlite:///file:name?mode=memory&cache=shared" in message


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///file:shared?mode=memory&cache=shared",
        "sqlite:///shared?mode=memory&cache=shared",
        "sqlite:///:memory:?cache=shared",
    ],
)
def test_a_shared_database_in_memory_is_the_same_for_all_connections(url: str) -> None:
    with connect(url) as first, connect(url) as second:
        first.execute("CREATE TABLE t (n)")

        assert second.execute("SELECT count(*) FROM t").fetchone() == (0,)
        assert file_of(second) == ""


def test_a_connection_can_be_used_by_another_thread(conn: sqlite3.Connection) -> None:
    rows: list[Any] = []
    thread = Thread(target=lambda: rows.append(conn.execute("SELECT 1").fetchone()))
    thread.start()
    thread.join()

    assert rows == [(1,)]


def test_a_callable_whose_connections_are_bound_to_a_thread_is_refused() -> None:
    driver = drivers.find(lambda: sqlite3.connect(":memory:"))
    with (
        closing(driver.connect()) as conn,
        pytest.raises(PoolConfigError, match="must open SQLite with check_same_thread=False"),
    ):
        drivers.refine(driver, conn)


def test_reset_rolls_an_open_transaction_back(through: Any, conn: Any) -> None:
    conn.execute("INSERT INTO t VALUES (1)")
    assert conn.in_transaction

    release(through, conn)

    assert not conn.in_transaction
    assert conn.execute("SELECT count(*) FROM t").fetchone() == (0,)


def test_reset_does_the_same_by_method_and_by_function(
    through: Any, conn: sqlite3.Connection
) -> None:
    conn.execute("INSERT INTO t VALUES (1)")

    through.reset(conn)

    assert not conn.in_transaction


def test_reset_says_nothing_to_a_connection_without_a_transaction(
    through: Any, conn: sqlite3.Connection
) -> None:
    statements: list[str] = []
    conn.set_trace_callback(statements.append)

    release(through, conn)
    through.reset(conn)

    assert statements == []


def test_reset_ends_a_transaction_that_was_begun_by_hand(path: Path) -> None:
    driver = drivers.find(f"sqlite:///{path}?isolation_level=none")
    with closing(driver.connect()) as conn:
        conn.execute("BEGIN")

        release(driver, conn)

        assert not conn.in_transaction


@needs_autocommit
def test_reset_ends_a_transaction_that_autocommit_would_leave_open(path: Path) -> None:
    driver = drivers.find(f"sqlite:///{path}?autocommit=true")
    with closing(driver.connect()) as conn:
        conn.execute("BEGIN")

        release(driver, conn)

        assert not conn.in_transaction


@needs_autocommit
def test_reset_rolls_back_without_autocommit(path: Path) -> None:
    driver = drivers.find(f"sqlite:///{path}?autocommit=false")
    with closing(driver.connect()) as conn:
        conn.execute("CREATE TABLE t (n)")

        release(driver, conn)

        assert conn.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)


def test_reset_refuses_a_connection_that_was_closed(through: Any, conn: sqlite3.Connection) -> None:
    conn.close()

    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        release(through, conn)


def test_ping_reads_and_leaves_no_transaction(through: Any, conn: sqlite3.Connection) -> None:
    through.ping(conn)

    assert not conn.in_transaction


def test_ping_fails_on_a_closed_connection(through: Any, conn: sqlite3.Connection) -> None:
    through.close(conn)

    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        through.ping(conn)


def test_a_file_that_cannot_be_opened_is_not_tried_again(tmp_path: Path) -> None:
    driver = drivers.find(f"sqlite:///{tmp_path}/missing/app.db")
    with pytest.raises(sqlite3.OperationalError) as caught:
        driver.connect()

    assert not driver.is_transient(caught.value)


def test_a_locked_database_is_tried_again(path: Path) -> None:
    url = f"sqlite:///{path}?timeout=0&isolation_level=none"
    with connect(url) as first, connect(url) as second:
        first.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError) as caught:
            second.execute("BEGIN EXCLUSIVE")

    assert drivers.find(url).is_transient(caught.value)


def test_reset_refuses_a_connection_whose_rows_are_not_all_read(
    through: Any, conn: sqlite3.Connection
) -> None:
    conn.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(1000)])
    conn.commit()
    cursor = conn.execute("SELECT n FROM t")
    cursor.fetchone()

    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        through.reset(conn)
    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        cursor.fetchall()


@pytest.mark.parametrize("how", ["read", "closed", "dropped"])
def test_reset_accepts_a_connection_whose_cursors_are_done(
    through: Any, conn: sqlite3.Connection, how: str
) -> None:
    conn.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(1000)])
    conn.commit()
    cursor: Any = conn.execute("SELECT n FROM t")
    cursor.fetchone()
    done = {"read": cursor.fetchall, "closed": cursor.close, "dropped": lambda: None}[how]
    done()
    if how == "dropped":
        del done, cursor

    through.reset(conn)

    assert conn.execute("SELECT count(*) FROM t").fetchone() == (1000,)


def test_the_next_borrower_does_not_read_from_the_snapshot_of_a_forgotten_cursor(
    path: Path, make_pool: MakePool
) -> None:
    pool = make_pool(f"sqlite:///{path}", max_size=1, session="PRAGMA journal_mode = WAL")
    with pool.connection() as conn:
        conn.executescript(
            "CREATE TABLE t AS WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL "
            "SELECT n + 1 FROM c LIMIT 1000) SELECT n FROM c"
        )
        cursor = conn.execute("SELECT n FROM t")
        cursor.fetchone()
    with connect(f"sqlite:///{path}") as other:
        other.execute("DELETE FROM t")
        other.commit()

    with pool.connection() as conn:
        assert conn.execute("SELECT count(*) FROM t").fetchone() == (0,)
    del cursor  # which somebody had all the time


def test_a_new_session_restores_attributes_pragmas_and_databases(
    through: Any, conn: sqlite3.Connection, tmp_path: Path
) -> None:
    through = drivers.refine(through, conn)
    conn.execute("PRAGMA foreign_keys = 1")
    conn.execute("PRAGMA busy_timeout = 7")
    conn.execute("ATTACH ? AS 'ot\"her'", [str(tmp_path / "other.db")])
    conn.execute("CREATE TEMPORARY VIEW v AS SELECT * FROM t")
    conn.execute('CREATE TEMPORARY TABLE "w""eird" (n)')
    conn.execute("CREATE TEMPORARY TRIGGER g AFTER INSERT ON t BEGIN SELECT 1; END")
    conn.row_factory = sqlite3.Row
    conn.isolation_level = None

    through.reset_session(conn)

    assert conn.execute("PRAGMA foreign_keys").fetchone() == (0,)
    assert conn.execute("PRAGMA busy_timeout").fetchone() == (5000,)
    assert len(conn.execute("PRAGMA database_list").fetchall()) <= 2
    assert conn.execute("SELECT count(*) FROM temp.sqlite_master").fetchone() == (0,)
    assert getattr(conn, "isolation_level", None) == ""
    assert file_of(conn) == str(tmp_path / "app.db")


def test_begin_takes_the_write_lock_where_it_is_known_to_be_needed(
    through: Any, conn: sqlite3.Connection
) -> None:
    through.begin(conn, read_only=False)
    with closing(through.connect()) as other:
        other.execute("PRAGMA busy_timeout = 0")
        with pytest.raises(sqlite3.OperationalError, match="locked") as caught:
            other.execute("INSERT INTO t VALUES (1)")

    assert through.is_retryable(caught.value)


@needs_autocommit
@pytest.mark.parametrize("autocommit", [True, False])
def test_autocommit_is_set_where_the_connection_has_it(path: Path, *, autocommit: bool) -> None:
    driver: Any = drivers.find(f"sqlite:///{path}?autocommit={str(not autocommit).lower()}")
    with closing(driver.connect()) as conn:
        driver.prepare(conn, drivers.SessionOptions(autocommit=autocommit))

        assert conn.autocommit is autocommit


def test_closing_is_the_only_death(through: Any, conn: sqlite3.Connection) -> None:
    assert through.is_alive(conn)

    conn.close()

    assert not through.is_alive(conn)
