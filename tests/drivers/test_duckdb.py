"""DuckDB: its URLs, and what a database in our own process is like."""

from __future__ import annotations

import sys
from contextlib import closing
from subprocess import run
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from helpers import in_thread
from millpond import Pool, QueryTimeout, drivers
from millpond.drivers import SessionOptions
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from helpers import MakePool


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "app.db"


@pytest.fixture
def url(path: Path) -> str:
    return f"duckdb:///{path}"


@pytest.fixture
def through(url: str) -> Any:
    return drivers.find(url)


@pytest.fixture
def conn(through: Any) -> Iterator[Any]:
    with closing(through.connect()) as conn:
        conn.execute("CREATE TABLE t (n INTEGER)")
        yield conn


def message_of(url: str, **connect_kwargs: Any) -> str:
    """Return what is said about a URL that is not valid."""
    with pytest.raises(PoolConfigError) as caught:
        drivers.find(url, connect_kwargs=connect_kwargs or None)
    return str(caught.value)


def open_elsewhere(path: Path) -> bool:
    """Say whether another process can open the file."""
    script = f"import duckdb; duckdb.connect({str(path)!r}).close()"
    return run([sys.executable, "-c", script], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("url", ["duckdb://", "duckdb:///", "duckdb:///:memory:"])
def test_a_database_that_each_connection_would_have_for_itself_is_refused(url: str) -> None:
    assert "use a file, or share one: duckdb:///:memory:name" in message_of(url) or (
        "a file needs three slashes" in message_of(url)
    )


def test_a_database_in_memory_with_a_name_is_shared(make_pool: MakePool) -> None:
    pool = make_pool("duckdb:///:memory:shared", min_size=1)

    with pool.connection() as first, pool.connection() as second:
        first.execute("CREATE TABLE t AS SELECT 77 AS n")

        assert second.execute("SELECT n FROM t").fetchone() == (77,)


def test_a_bad_url_is_refused_with_what_is_wrong() -> None:
    assert "three slashes (duckdb:///relative.db)" in message_of("duckdb://app.db")
    assert message_of("duckdb:///app.db", colour="red") == (
        "connect_kwargs: 'colour' is unknown to duckdb; known are config, read_only"
    )


def test_settings_can_be_in_the_url_and_in_connect_kwargs(url: str) -> None:
    kwargs = {"config": {"threads": 3}}
    driver = drivers.find(f"{url}?threads=2&memory_limit=100MB", connect_kwargs=kwargs)
    with closing(driver.connect()) as conn:
        assert conn.execute("SELECT current_setting('threads')").fetchone() == (3,)
        assert conn.execute("SELECT current_setting('memory_limit')").fetchone() == ("95.3 MiB",)


def test_a_percent_encoded_path_is_decoded(tmp_path: Path) -> None:
    with closing(drivers.find(f"duckdb:///{tmp_path}/my%20app.db").connect()):
        assert (tmp_path / "my app.db").exists()


def test_a_closed_pool_leaves_the_file_to_others(url: str, path: Path) -> None:
    pool: Pool[Any] = Pool(url, min_size=2)
    pool.wait()
    assert not open_elsewhere(path)

    pool.close()

    assert open_elsewhere(path)


def test_a_file_that_another_process_has_is_tried_again_and_a_missing_one_is_not(
    url: str, path: Path, tmp_path: Path
) -> None:
    with closing(duckdb.connect(path)):
        script = (
            "import duckdb; from millpond import drivers\n"
            f"driver = drivers.find({url!r})\n"
            "try: driver.connect()\n"
            "except duckdb.Error as error: print(driver.is_transient(error))"
        )
        ended = run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    missing: Any = drivers.find(f"duckdb:///{tmp_path}/no/app.db")
    with pytest.raises(duckdb.IOException) as caught:
        missing.connect()

    assert ended.stdout == "True\n"
    assert not missing.is_transient(caught.value)


def test_threads_write_through_one_pool(url: str, make_pool: MakePool) -> None:
    pool = make_pool(url, max_size=4)
    with pool.connection() as conn:
        conn.execute("CREATE TABLE t (n INTEGER)")

    def write(number: int) -> None:
        for _ in range(5):
            with pool.transaction() as conn:
                conn.execute("INSERT INTO t VALUES (?)", [number])

    for running in [in_thread(write, number) for number in range(8)]:
        running.result()

    with pool.connection() as conn:
        assert conn.execute("SELECT count(*) FROM t").fetchone() == (40,)


def test_reset_bears_that_there_was_no_transaction(through: Any, conn: Any) -> None:
    through.reset(conn)
    through.rollback(conn)

    assert conn.execute("SELECT count(*) FROM t").fetchone() == (0,)


def test_reset_refuses_a_connection_that_was_closed(through: Any, conn: Any) -> None:
    conn.close()

    with pytest.raises(duckdb.ConnectionException, match="closed"):
        through.reset(conn)


def test_an_aborted_transaction_is_rolled_back(through: Any, conn: Any) -> None:
    conn.begin()
    conn.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(duckdb.Error):
        conn.execute("SELECT error('aborted')").fetchall()

    through.reset(conn)

    assert conn.execute("SELECT count(*) FROM t").fetchone() == (0,)


def test_read_only_is_a_matter_of_connecting(url: str, path: Path) -> None:
    duckdb.connect(path).close()
    options = SessionOptions(read_only=True)
    with (
        closing(drivers.find(url, options=options).connect()) as conn,
        pytest.raises(duckdb.InvalidInputException, match="read-only"),
    ):
        conn.execute("CREATE TABLE t (n INTEGER)")

    with pytest.raises(PoolConfigError, match=r"^read_only=True: only with a URL"):
        drivers.find(lambda: duckdb.connect(path), driver="duckdb", options=options)


def test_a_connection_of_a_callable_gets_the_driver_of_duckdb(path: Path) -> None:
    driver = drivers.find(lambda: duckdb.connect(path))
    with closing(driver.connect()) as conn:
        assert drivers.refine(driver, conn).name == "duckdb"


def test_a_query_timeout_interrupts(url: str, make_pool: MakePool) -> None:
    pool = make_pool(url)

    with (
        pytest.raises(QueryTimeout, match=r"query_timeout=0\.1"),
        pool.connection() as conn,
        pool.query_timeout(conn, 0.1),
    ):
        conn.execute("SELECT count(*) FROM range(100000000000)").fetchall()

    with pool.connection() as conn:
        assert conn.execute("SELECT 77").fetchone() == (77,)
