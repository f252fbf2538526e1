"""What sessions are to be like, from the pool's side: options, and a reset that makes them new."""

from __future__ import annotations

import gc
import sqlite3
import weakref
from typing import TYPE_CHECKING, Any

import pytest

import millpond
from helpers import eventually
from millpond import PoolConfigError
from millpond.drivers import Dbapi

if TYPE_CHECKING:
    from pathlib import Path

    from fakes import FakeDatabase
    from helpers import MakePool


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/app.db"


def cache_size(conn: Any) -> Any:
    """Return a setting of the session."""
    return conn.execute("PRAGMA cache_size").fetchone()[0]


def test_each_connection_is_made_as_the_options_say(url: str, make_pool: MakePool) -> None:
    pool = make_pool(url, session=["PRAGMA cache_size = 77"], autocommit=True, min_size=2)

    with pool.connection() as first, pool.connection() as second:
        assert [cache_size(conn) for conn in (first, second)] == [77, 77]
        assert first.isolation_level is second.isolation_level is None


def test_configure_comes_after_the_options(url: str, make_pool: MakePool) -> None:
    seen: list[Any] = []
    pool = make_pool(
        url,
        session="PRAGMA cache_size = 77",
        configure=lambda conn: seen.append(cache_size(conn)),
    )

    with pool.connection():
        assert seen == [77]


def test_an_option_that_the_driver_does_not_have_is_an_error_at_construction(url: str) -> None:
    with pytest.raises(PoolConfigError) as caught:
        millpond.Pool(url, statement_timeout=2.0)

    assert str(caught.value) == (
        "statement_timeout=2.0: not possible with the driver sqlite3: "
        "SQLite has none; use query_timeout of the pool"
    )


def test_an_option_that_the_driver_of_a_callable_does_not_have_is_the_error_of_acquire(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = make_pool(read_only=True)

    with pytest.raises(
        PoolConfigError, match=r"^read_only=True: not possible with the driver dbapi"
    ):
        pool.acquire()

    assert driver.open_connections == []


def test_a_statement_that_fails_is_the_error_of_acquire(url: str, make_pool: MakePool) -> None:
    pool = make_pool(url, session="SELEKT 1")

    with pytest.raises(sqlite3.OperationalError, match="SELEKT") as caught:
        pool.acquire()

    assert not isinstance(caught.value, millpond.PoolTimeout)


def test_a_reset_of_the_session_makes_it_new_and_prepares_it_again(
    url: str, make_pool: MakePool
) -> None:
    pool = make_pool(
        url,
        max_size=1,
        reset="session",
        session="PRAGMA cache_size = 77",
        configure=lambda conn: conn.execute("PRAGMA busy_timeout = 7"),
    )
    with pool.connection() as conn:
        conn.execute("CREATE TEMPORARY TABLE t (n)")
        conn.execute("PRAGMA cache_size = 5")
        conn.execute("PRAGMA busy_timeout = 5")
        conn.execute("PRAGMA foreign_keys = 1")

    with pool.connection() as again:
        assert again is conn
        assert cache_size(again) == 77
        assert again.execute("PRAGMA busy_timeout").fetchone() == (7,)
        assert again.execute("PRAGMA foreign_keys").fetchone() == (0,)
        assert again.execute("SELECT count(*) FROM temp.sqlite_master").fetchone() == (0,)


def test_a_reset_of_the_session_that_fails_costs_the_connection(
    url: str, make_pool: MakePool
) -> None:
    calls: list[int] = []

    def configure(conn: Any) -> None:
        del conn
        calls.append(1)
        if len(calls) == 2:
            msg = "not this time"
            raise ValueError(msg)

    pool = make_pool(url, max_size=1, reset="session", configure=configure)
    with pool.connection() as conn:
        pass

    with pool.connection() as other:
        assert other is not conn


def test_a_reset_that_the_driver_does_not_have_is_an_error_at_construction() -> None:
    pytest.importorskip("duckdb")
    with pytest.raises(PoolConfigError, match=r"^reset='session': not possible .* duckdb: DuckDB"):
        millpond.Pool("duckdb:///app.db", reset="session")


def test_a_reset_that_the_driver_of_a_callable_does_not_have_is_the_error_of_acquire(
    make_pool: MakePool,
) -> None:
    pool = make_pool(reset="session")

    with pytest.raises(
        PoolConfigError, match=r"^reset='session': not possible with the driver dbapi"
    ):
        pool.acquire()


def test_a_pool_with_such_a_reset_is_not_kept_alive_by_it(url: str) -> None:
    pool: millpond.Pool[Any] = millpond.Pool(url, reset="session")
    with pool.connection():
        pass
    gone = weakref.ref(pool)

    gc.disable()
    try:
        del pool
        eventually(lambda: gone() is None)  # a worker may be at the end of its job
    finally:
        gc.enable()


def test_a_driver_of_ones_own_prepares_its_connections(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    prepared: list[Any] = []

    class Own(Dbapi[Any]):
        name = "own"
        supports = frozenset({"application_name", "read_only"})

        def prepare(self, conn: Any, options: Any = None) -> None:
            prepared.append((conn, options.given()))

    pool = make_pool(driver=Own(driver.connect), read_only=True)

    with pool.connection() as conn:
        assert prepared == [(conn, {"read_only": True})]
