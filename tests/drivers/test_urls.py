"""How a pool finds its driver, and what it says when it cannot."""

from __future__ import annotations

import asyncio
import importlib.metadata
import sqlite3
import subprocess
import sys
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millpond import drivers
from millpond.drivers import AT_CONNECT, Dbapi, Driver, SessionOptions, redact
from millpond.drivers._known import KNOWN
from millpond.errors import PoolConfigError

PASSWORD = "hunter2"
SCHEMES = ", ".join(KNOWN.schemes())


def message_of(connect: Any, **arguments: Any) -> str:
    """Return what is said about arguments that are not valid."""
    with pytest.raises(PoolConfigError) as caught:
        drivers.find(connect, **arguments)
    return str(caught.value)


class Connection:
    """A connection of no known driver, which counts what is done with it."""

    class OperationalError(Exception):
        """PEP 249 allows the errors as attributes of the connection."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def rollback(self) -> None:
        self.calls.append("rollback")

    def close(self) -> None:
        self.calls.append("close")

    def cursor(self) -> Connection:
        return self

    def execute(self, sql: str) -> None:
        self.calls.append(sql)

    def fetchall(self) -> list[tuple[int]]:
        return [(1,)]


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("sqlite:///app.db", "sqlite3"),
        ("SQLite:///app.db", "sqlite3"),
        ("postgresql://localhost/app", "psycopg"),
        ("postgres://localhost/app", "psycopg"),
        ("postgresql+psycopg://localhost/app", "psycopg"),
        ("postgresql+psycopg2://localhost/app", "psycopg2"),
        ("duckdb:///app.db", "duckdb"),
        ("oracle://localhost/app", "oracledb"),
        ("oracle+oracledb://localhost/app", "oracledb"),
        ("odbc://app", "pyodbc"),
        ("mssql://app", "pyodbc"),
        ("mssql+pyodbc://app", "pyodbc"),
    ],
)
def test_the_scheme_of_a_url_picks_the_driver(url: str, name: str) -> None:
    assert drivers.find(url).name == name
    assert drivers.find(url, driver=name).name == name


@pytest.mark.parametrize("name", ["duckdb", "oracledb", "psycopg", "psycopg2", "pyodbc", "sqlite3"])
def test_a_driver_can_be_named_for_a_callable(name: str) -> None:
    assert drivers.find(Connection, driver=name).name == name


@pytest.mark.parametrize(
    ("connect", "arguments", "message"),
    [
        (5, {}, "connect=<int>: must be a URL or a callable without arguments"),
        (None, {}, "connect=<NoneType>: must be a URL or a callable without arguments"),
        ("app.db", {}, f"must be a URL or a callable; the known URL schemes are {SCHEMES}"),
        ("", {}, f"must be a URL or a callable; the known URL schemes are {SCHEMES}"),
        ("nosql://h/db", {}, f"the URL scheme 'nosql' is unknown; known are {SCHEMES}"),
        (
            "postgresql+asyncpg://h/db",
            {},
            "the URL scheme 'postgresql+asyncpg' is unknown: it is for AsyncPool; known are ",
        ),
        ("postgrsql://h/db", {}, "'postgrsql' is unknown (did you mean 'postgresql'?); known are "),
        ("://h/db", {}, "the URL scheme <str> is unknown"),
        ("sqlite:///a.db", {"driver": "psycopg"}, "driver='psycopg': must be 'sqlite3' or None"),
        ("sqlite:///a.db", {"driver": Dbapi(Connection)}, "driver=<Dbapi>: must be 'sqlite3'"),
        (Connection, {"driver": "nosql"}, "driver='nosql': must be 'duckdb' or "),
        (Connection, {"driver": object()}, "driver=<object>: must be a name, None, or have all"),
        (Connection, {"connect_kwargs": {}}, "connect_kwargs: only with a URL"),
    ],
)
def test_bad_arguments_are_refused_with_what_is_allowed(
    connect: Any, arguments: dict[str, Any], message: str
) -> None:
    assert message in message_of(connect, **arguments)


@pytest.mark.parametrize(
    "connect",
    [
        f"nosql://user:{PASSWORD}@host/db",
        f"user:{PASSWORD}@host/db",
        f"user:{PASSWORD}@://host/db",
        f"host=localhost password={PASSWORD}",
        f"sqlite://user:{PASSWORD}@host/app.db",
        f"sqlite:///app.db?password={PASSWORD}",
        f"postgresql://user:{PASSWORD}%zz@host/db",
        f"postgresql://user:{PASSWORD}/@host/db",
        f"postgresql://user:{PASSWORD}@host/db?unknown=1",
        f"postgresql://user:{PASSWORD}@[::1/db",
        f"postgresql://host/db?unknown=1&password={PASSWORD}",
        f"postgresql://host/db?sslpassword={PASSWORD}&unknown=1",
        f"postgresql+psycopg2://user:{PASSWORD}%zz@host/db",
        f"duckdb://user:{PASSWORD}@host/app.db",
        f"oracle://user:{PASSWORD}@host/db?unknown=1",
        f"oracle://user:{PASSWORD}",
        f"postgresql://user:{PASSWORD}",
        f"postgresql+psycopg2://user:{PASSWORD}/db",
        f"odbc://user:{PASSWORD}",
        f"odbc://user:{PASSWORD}@host:1/db",
        f"odbc://host?odbc_connect=PWD%3D{PASSWORD}",
    ],
)
def test_a_message_never_shows_the_password(connect: str) -> None:
    assert PASSWORD not in message_of(connect)
    assert PASSWORD not in message_of(Connection, driver=connect)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://user:hunter2@host/db", "postgresql://user:***@host/db"),
        ("postgresql://:hunter2@host:5432/db", "postgresql://:***@host:5432/db"),
        ("postgresql://me@corp:hunter2@host/db", "postgresql://me@corp:***@host/db"),
        ("postgresql://user@host:5432/db", "postgresql://user@host:5432/db"),
        ("postgresql://host:5432/db", "postgresql://host:5432/db"),
        ("postgresql:///db?password=hunter2", "postgresql:///db?password=***"),
        ("postgresql:///db?a=1&Password=hunter2&b=2", "postgresql:///db?a=1&Password=***&b=2"),
        ("postgresql:///db?sslpassword=hunter2#x", "postgresql:///db?sslpassword=***"),
        ("sqlite:////srv/app.db?mode=ro", "sqlite:////srv/app.db?mode=ro"),
        ("odbc:///?odbc_connect=PWD%3Dhunter2", "odbc:///?odbc_connect=***"),
        ("odbc://host?driver=x&PWD=hunter2", "odbc://host?driver=x&PWD=***"),
        ("no url", "no url"),
    ],
)
def test_redact_hides_the_password_and_nothing_else(url: str, shown: str) -> None:
    assert redact(url) == shown


@given(st.text())
def test_redact_hides_a_password_that_is_not_encoded(password: str) -> None:
    assert redact(f"postgresql://user:{password}@host/db") == "postgresql://user:***@host/db"


@given(
    st.sampled_from(["oracle", "odbc", "mssql", "postgresql+psycopg2", "duckdb", "nosql"]),
    st.text(min_size=1),
    st.sampled_from(["host", "host:port", "host:1/db", "host/db?unknown=1", ":99999", ""]),
)
def test_no_password_gets_into_a_message_or_a_repr(scheme: str, password: str, rest: str) -> None:
    secret = f"<{password}>"  # something that no message says by chance
    try:
        shown = repr(drivers.find(f"{scheme}://user:{secret}@{rest}"))
    except PoolConfigError as error:
        shown = str(error)

    assert secret not in shown
    assert repr(secret)[1:-1] not in shown


@pytest.mark.parametrize("url", ["postgresql://user:hunter2@host/db", "sqlite:///app.db"])
def test_the_repr_of_a_driver_says_where_it_connects_to(url: str) -> None:
    driver = drivers.find(url)

    assert repr(driver) == f"<{driver.name} driver for {redact(url)}>"
    assert PASSWORD not in repr(vars(driver))


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("duckdb", "duckdb:///app.db"),
        ("oracledb", f"oracle://user:{PASSWORD}@host/db"),
        ("psycopg", f"postgresql://user:{PASSWORD}@host/db"),
        ("psycopg2", f"postgresql+psycopg2://user:{PASSWORD}@host/db"),
        ("pyodbc", f"mssql://user:{PASSWORD}@host"),
    ],
)
def test_a_driver_that_is_not_installed_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, name: str, url: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"millpond.drivers._{name}", raising=False)

    message = message_of(url)

    assert message.startswith(f"the driver {name} cannot be imported")
    assert message.endswith(f"pip install 'millpond[{name}]'")
    assert PASSWORD not in message


def test_every_driver_has_an_extra_of_its_name() -> None:
    extras = importlib.metadata.metadata("millpond").get_all("Provides-Extra") or []
    known = {known.extra or name for name, known in KNOWN.known.items()}

    assert known <= set(extras)


def test_a_driver_is_imported_only_when_it_is_chosen() -> None:
    script = (
        "import sys\n"
        "from millpond import drivers\n"
        "assert not {'sqlite3', 'psycopg', 'duckdb', 'pyodbc'} & sys.modules.keys()\n"
        "drivers.find('sqlite:///app.db')\n"
        "assert 'sqlite3' in sys.modules and 'psycopg' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("made", [Dbapi(Connection), drivers.find("sqlite:///a.db")])
def test_the_adapters_follow_the_protocol(made: object) -> None:
    assert isinstance(made, Driver)


def test_a_driver_of_ones_own_is_used_with_the_callable() -> None:
    class Own(Dbapi[Connection]):
        name = "own"
        needs_reset = False
        operational_error = Connection.OperationalError

    conn = Connection()
    driver = drivers.find(lambda: conn, driver=Own(Connection))

    assert driver.connect() is conn
    assert (driver.name, driver.needs_reset, driver.reset_method) == ("own", False, None)
    assert driver.operational_error is Connection.OperationalError
    assert drivers.refine(driver, conn) is driver


@pytest.mark.parametrize("name", sorted(AT_CONNECT))
def test_a_callable_sees_by_itself_to_what_only_connecting_can_do(name: str) -> None:
    options = SessionOptions(**{name: 5})  # type: ignore[arg-type]

    message = message_of(Connection, options=options)

    assert message == f"{name}=5: only with a URL; a callable has to see to it by itself"


def test_what_a_callable_cannot_have_shows_at_its_first_connection() -> None:
    options = SessionOptions(read_only=True)
    driver = drivers.find(Connection, options=options)

    with pytest.raises(
        PoolConfigError, match=r"^read_only=True: not possible with the driver dbapi"
    ):
        drivers.refine(driver, driver.connect(), options=options)


def test_a_driver_of_ones_own_says_what_it_supports() -> None:
    class Own(Dbapi[Connection]):
        name = "own"
        supports = frozenset({"read_only"})

    asked = SessionOptions(read_only=True)
    drivers.find(Connection, driver=Own(Connection), options=asked)

    message = message_of(Connection, driver=Own(Connection), needs={"cancel": "query_timeout=2.0"})
    assert message == "query_timeout=2.0: not possible with the driver own"


def test_a_callable_has_the_driver_of_pep_249_until_a_connection_is_seen() -> None:
    driver = drivers.find(Connection)

    assert (driver.name, driver.operational_error) == ("dbapi", None)
    assert (driver.needs_reset, driver.reset_method) == (True, None)


def test_a_connection_with_rollback_is_rolled_back_by_its_own_method() -> None:
    conn = Connection()
    driver = drivers.refine(drivers.find(Connection), conn)

    driver.reset(conn)

    assert (driver.needs_reset, driver.reset_method) == (True, "rollback")
    assert conn.calls == ["rollback"]


def test_a_connection_without_rollback_needs_no_reset() -> None:
    driver = drivers.refine(drivers.find(object), object())

    driver.reset(object())
    driver.close(object())
    driver.ping(object())

    assert (driver.needs_reset, driver.reset_method) == (False, None)


def test_the_ping_of_pep_249_leaves_no_transaction_open() -> None:
    conn = Connection()

    drivers.find(Connection).ping(conn)

    assert conn.calls == ["SELECT 1", "close", "rollback"]


def test_close_closes_the_connection() -> None:
    conn = Connection()

    drivers.find(Connection).close(conn)

    assert conn.calls == ["close"]


def test_the_operational_error_is_found_on_the_connection() -> None:
    driver = drivers.refine(drivers.find(Connection), Connection())

    assert driver.operational_error is Connection.OperationalError


def test_the_operational_error_is_found_in_the_package_of_the_driver() -> None:
    class Submodule:
        __module__ = "psycopg_like.connection"

    package = type(sys)("psycopg_like")
    package.__dict__["OperationalError"] = Connection.OperationalError
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "psycopg_like", package)
        driver = drivers.refine(drivers.find(Submodule), Submodule())

    assert driver.operational_error is Connection.OperationalError


def test_the_operational_error_is_unknown_when_there_is_none() -> None:
    assert drivers.refine(drivers.find(object), object()).operational_error is None


def test_a_sqlite_connection_of_a_callable_gets_the_driver_of_sqlite() -> None:
    def connect() -> sqlite3.Connection:
        return sqlite3.connect(":memory:", check_same_thread=False)

    driver = drivers.find(connect)
    conn = driver.connect()
    refined = drivers.refine(driver, conn)

    assert refined.name == "sqlite3"
    assert refined.operational_error is sqlite3.OperationalError
    assert refined.connect is connect
    conn.close()


def test_a_subclass_of_a_known_connection_gets_the_same_driver() -> None:
    class Own(sqlite3.Connection):
        pass

    conn = sqlite3.connect(":memory:", check_same_thread=False, factory=Own)

    assert drivers.refine(drivers.find(lambda: conn), conn).name == "sqlite3"
    conn.close()


def test_a_psycopg_connection_of_a_callable_gets_the_driver_of_psycopg(postgres_url: str) -> None:
    driver = drivers.find(lambda: psycopg.connect(postgres_url))
    with driver.connect() as conn:
        refined = drivers.refine(driver, conn)

    assert refined.name == "psycopg"
    assert refined.operational_error is psycopg.OperationalError


def test_a_coroutine_is_not_a_connection() -> None:
    async def connect() -> Connection:
        return await asyncio.sleep(0, Connection())

    driver = drivers.find(connect)

    with pytest.raises(PoolConfigError, match="must return a connection, not a coroutine"):
        drivers.refine(driver, driver.connect())


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (ConnectionRefusedError(), True),
        (TimeoutError(), True),
        (Connection.OperationalError(), True),
        (sqlite3.InterfaceError(), True),
        (psycopg.errors.TooManyConnections(), True),
        (sqlite3.ProgrammingError(), False),
        (TypeError(), False),
        (ImportError(), False),
        (KeyboardInterrupt(), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_may_pass_by_itself_is_tried_again(error: BaseException, *, transient: bool) -> None:
    assert drivers.find(Connection).is_transient(error) is transient
