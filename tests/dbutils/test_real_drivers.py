"""PooledDB with sqlite3, psycopg, psycopg2, PyMySQL and mysqlclient, on real servers.

Each test runs on DBUtils as well: what it says has always been so.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

from databases import mysql_arguments
from helpers import eventually, together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Database:
    """A driver, and how to use what it connects to.

    Attributes:
        driver: The module.
        arguments: What `driver.connect()` needs.
        setting: The SQL that sets something for the session, the one that asks for it, the answer.
        session: The SQL that asks for the number of the session, if there is a server.
        kill: Ends a session from outside, by its number, if there is a server.
    """

    driver: Any
    arguments: dict[str, Any]
    setting: tuple[str, str, object]
    session: str = ""
    kill: Callable[[int], None] | None = None


# mysqlclient's ping() says so, to DBUtils as well; as an error it would mean a dead connection.
pytestmark = pytest.mark.filterwarnings("ignore:The reconnect parameter of ping:DeprecationWarning")

POSTGRES = [pytest.param(name, marks=pytest.mark.server) for name in ("psycopg", "psycopg2")]
MYSQL = [pytest.param(name, marks=pytest.mark.server) for name in ("pymysql", "MySQLdb")]
on_all = pytest.mark.parametrize("name", ["sqlite3", *POSTGRES, *MYSQL])
on_servers = pytest.mark.parametrize("name", [*POSTGRES, *MYSQL])
on_postgres = pytest.mark.parametrize("name", POSTGRES)
on_mysql = pytest.mark.parametrize("name", MYSQL)


@pytest.fixture
def database(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    if name == "MySQLdb":  # it has to be compiled, against libmariadb
        driver: Any = pytest.importorskip(name, reason="mysqlclient is not installed")
    else:
        driver = import_module(name)
    if name == "sqlite3":
        path = tmp_path / "database"
        setting = ("PRAGMA cache_size = 77", "PRAGMA cache_size", 77)
        return Database(driver, {"database": path, "check_same_thread": False}, setting)
    if name.startswith("psycopg"):
        return on_postgresql(driver, request.getfixturevalue("postgres_url"))
    return on_mariadb(driver, request.getfixturevalue("mysql_url"))


def on_postgresql(driver: Any, url: str) -> Database:
    def kill(number: int) -> None:
        other = driver.connect(url)
        try:
            other.cursor().execute(f"SELECT pg_terminate_backend({number}, 5000)")
        finally:
            other.close()

    setting = ("SET SESSION application_name = 'set'", "SHOW application_name", "set")
    argument = "conninfo" if driver.__name__ == "psycopg" else "dsn"
    return Database(driver, {argument: url}, setting, "SELECT pg_backend_pid()", kill)


def on_mariadb(driver: Any, url: str) -> Database:
    arguments = mysql_arguments(url)

    def kill(number: int) -> None:
        other = driver.connect(**arguments, autocommit=True)
        cursor = other.cursor()
        try:
            cursor.execute(f"KILL {number}")
            eventually(lambda: not is_there(cursor, number))
        finally:
            other.close()

    def is_there(cursor: Any, number: int) -> bool:
        cursor.execute(f"SELECT COUNT(*) FROM information_schema.processlist WHERE id = {number}")
        return bool(cursor.fetchone()[0])

    setting = ("SET SESSION wait_timeout = 777", "SELECT @@wait_timeout", 777)
    return Database(driver, arguments, setting, "SELECT CONNECTION_ID()", kill)


@pytest.fixture(params=["dbutils", "millpond.dbutils"])
def make(request: pytest.FixtureRequest, database: Database) -> Iterator[Callable[..., Any]]:
    """Give a factory of pools on that database."""
    made = import_module(f"{request.param}.pooled_db").PooledDB
    pools: list[Any] = []

    def make_pool(*args: Any, **options: Any) -> Any:
        pools.append(made(database.driver, *args, **options, **database.arguments))
        return pools[-1]

    yield make_pool
    for pool in pools:
        pool.close()


def ask(connection: Any, sql: str) -> Any:
    """Give the first value that a statement returns."""
    cursor = connection.cursor()
    cursor.execute(sql)
    value = cursor.fetchone()[0]
    cursor.close()
    return value


def kill(database: Database, number: int) -> None:
    """End a session, of which its connection knows nothing."""
    assert database.kill is not None
    database.kill(number)


@contextmanager
def table_of(connection: Any) -> Iterator[str]:
    """Make a table that only this session sees; it goes with it."""
    cursor = connection.cursor()
    cursor.execute("CREATE TEMPORARY TABLE millpond_numbers (number INTEGER)")
    connection.commit()
    yield "millpond_numbers"


@on_all
def test_a_connection_is_lent_used_returned_and_lent_again(make: Callable[..., Any]) -> None:
    pool = make(0, 2, 0, 2)
    with pool.connection() as connection:
        raw = connection.dbapi_connection
        assert ask(connection, "SELECT 1 + 1") == 2

    assert pool._connections == 0
    with pool.connection() as again:
        assert again.dbapi_connection is raw
        assert ask(again, "SELECT 2 + 2") == 4
    assert [con._con for con in pool._idle_cache] == [raw]


@on_all
def test_what_was_not_committed_is_gone_when_the_connection_comes_back(
    make: Callable[..., Any],
) -> None:
    pool = make(0, 1, 0, 1)
    with pool.connection() as connection, table_of(connection) as table:
        cursor = connection.cursor()
        cursor.execute(f"INSERT INTO {table} VALUES (1)")
        connection.commit()
        cursor.execute(f"INSERT INTO {table} VALUES (2)")

    with pool.connection() as connection:
        assert ask(connection, f"SELECT COUNT(*) FROM {table}") == 1


@on_all
def test_begin_commit_and_rollback_are_transactions(make: Callable[..., Any]) -> None:
    pool = make(0, 1, 0, 1, reset=False)
    with pool.connection() as connection, table_of(connection) as table:
        for end in ("commit", "rollback"):
            connection.begin()
            connection.cursor().execute(f"INSERT INTO {table} VALUES (1)")
            getattr(connection, end)()
        assert ask(connection, f"SELECT COUNT(*) FROM {table}") == 1
        connection.begin()
        connection.cursor().execute(f"INSERT INTO {table} VALUES (1)")

    with pool.connection() as connection:
        assert ask(connection, f"SELECT COUNT(*) FROM {table}") == 1


@on_all
def test_the_session_is_prepared_on_every_new_connection(
    make: Callable[..., Any], database: Database
) -> None:
    command, question, answer = database.setting
    pool = make(1, 1, 0, 1, setsession=[command], maxusage=2, reset=False)

    for _ in range(3):
        with pool.connection() as connection:
            assert ask(connection, question) in {answer, str(answer)}


@on_all
def test_a_connection_is_replaced_after_maxusage_statements(make: Callable[..., Any]) -> None:
    pool = make(0, 1, 0, 1, maxusage=2)
    raw = []
    for _ in range(5):
        with pool.connection() as connection:
            ask(connection, "SELECT 1")
            raw.append(connection.dbapi_connection)

    assert raw[0] is raw[1] is not raw[2] is raw[3] is not raw[4]


@on_servers
def test_a_statement_on_a_killed_session_is_repeated_on_another(
    make: Callable[..., Any], database: Database
) -> None:
    pool = make(0, 1, 0, 1, ping=0)
    with pool.connection() as connection:
        first = ask(connection, database.session)
        connection.commit()
        kill(database, first)

        assert ask(connection, database.session) != first


@on_servers
def test_in_a_transaction_the_error_is_raised_and_the_next_one_works(
    make: Callable[..., Any], database: Database
) -> None:
    pool = make(0, 1, 0, 1, ping=7)
    with pool.connection() as connection:
        connection.begin()
        cursor = connection.cursor()
        cursor.execute(database.session)
        (first,) = cursor.fetchone()
        kill(database, first)

        with pytest.raises((database.driver.OperationalError, database.driver.InterfaceError)):
            cursor.execute(database.session)

        assert connection._transaction is False
        connection.begin()
        cursor.execute(database.session)
        assert cursor.fetchone() != (first,)


@on_servers
@pytest.mark.parametrize("bits", [1, 2, 4, 7])
def test_a_ping_finds_the_dead_session_before_it_is_used(
    make: Callable[..., Any], database: Database, bits: int
) -> None:
    pool = make(0, 1, 0, 1, ping=(bits, "SELECT 1"))
    with pool.connection() as connection:
        first = ask(connection, database.session)
        raw = connection.dbapi_connection
    kill(database, first)

    with pool.connection() as connection:
        assert (connection.dbapi_connection is raw) == (bits in {2, 4})  # not yet
        cursor = connection.cursor()
        assert (connection.dbapi_connection is raw) == (bits == 4)
        cursor.execute(database.session)
        assert connection.dbapi_connection is not raw
        assert cursor.fetchone() != (first,)


@on_mysql
def test_the_drivers_own_ping_finds_the_dead_session_at_checkout(
    make: Callable[..., Any], database: Database
) -> None:
    pool = make(0, 1, 0, 1)
    with pool.connection() as connection:
        first = ask(connection, database.session)
        raw = connection.dbapi_connection
    kill(database, first)

    with pool.connection() as connection:
        assert connection.dbapi_connection is not raw


@on_postgres
def test_one_connection_is_shared_by_many(make: Callable[..., Any], database: Database) -> None:
    pool = make(0, 0, 1)
    one, other = pool.connection(), pool.connection()

    assert ask(one, database.session) == ask(other, database.session)
    assert (pool._connections, pool._shared_cache[0].shared) == (1, 2)
    one.close()
    other.close()
    assert (pool._connections, len(pool._shared_cache), len(pool._idle_cache)) == (0, 0, 1)


@on_all
def test_eight_threads_take_turns_on_three_connections(make: Callable[..., Any]) -> None:
    pool = make(0, 3, 0, 3, blocking=True)
    in_use: set[int] = set()

    def use(_: int) -> None:
        for _ in range(10):
            with pool.connection(shareable=False) as connection:
                number = id(connection.dbapi_connection)
                assert number not in in_use
                in_use.add(number)
                assert ask(connection, "SELECT 1") == 1
                in_use.remove(number)

    together(8, use)

    assert pool._connections == 0
    assert 1 <= len(pool._idle_cache) <= 3
