"""oracledb, against a fake.

No Oracle Database can be had here. `FakeOracle` behaves as the documentation of python-oracledb
says that a connection does; whether a real one agrees is not tested.
https://python-oracledb.readthedocs.io/en/latest/api_manual/connection.html
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import oracledb
import pytest

from millpond import drivers
from millpond.drivers import SessionOptions, TransactionStatus
from millpond.errors import PoolConfigError

PASSWORD = "hunter2"


class FakeOracle:
    """A connection of python-oracledb, as documented."""

    def __init__(self) -> None:
        self.autocommit = False
        self.call_timeout = 0
        self.module = ""
        self.healthy = True
        self.transaction_in_progress = False
        self.said: list[str] = []

    def is_healthy(self) -> bool:
        return self.healthy

    def ping(self) -> None:
        self.said.append("ping")

    def cancel(self) -> None:
        self.said.append("cancel")

    def commit(self) -> None:
        self.transaction_in_progress = False
        self.said.append("commit")

    def rollback(self) -> None:
        self.transaction_in_progress = False
        self.said.append("rollback")

    def close(self) -> None:
        self.said.append("close")

    def cursor(self) -> FakeCursor:
        return FakeCursor(self)


class FakeCursor:
    """Its cursor."""

    def __init__(self, connection: FakeOracle) -> None:
        self._connection = connection

    def execute(self, statement: str) -> None:
        self._connection.said.append(statement)
        if statement.startswith(("INSERT", "SET TRANSACTION")):
            self._connection.transaction_in_progress = not self._connection.autocommit

    def close(self) -> None:
        """Close."""


@pytest.fixture
def conn() -> FakeOracle:
    return FakeOracle()


@pytest.fixture
def through(conn: FakeOracle) -> Any:
    return drivers.refine(drivers.find(lambda: conn, driver="oracledb"), conn)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Give the arguments of each `oracledb.connect()`."""
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(oracledb, "connect", lambda **arguments: calls.append(arguments))
    return calls


def error(code: int = 0, full_code: str = "", kind: type = oracledb.DatabaseError) -> Any:
    """Return an error as the driver raises it."""
    return kind(SimpleNamespace(code=code, full_code=full_code or f"ORA-{code:05}"))


@pytest.mark.parametrize(
    ("url", "arguments"),
    [
        (
            "oracle://me:p%40ss@db:1522/?service_name=orders",
            {
                "user": "me",
                "password": "p@ss",
                "host": "db",
                "port": 1522,
                "service_name": "orders",
            },
        ),
        (
            "oracle+oracledb://me:pass@db/XE",
            {"user": "me", "password": "pass", "host": "db", "port": 1521, "sid": "XE"},
        ),
        ("oracle://me:pass@orders", {"user": "me", "password": "pass", "dsn": "orders"}),
        (
            "oracle://orders?retry_count=3&wallet_location=/srv/wallet&tcp_connect_timeout=2.5",
            {
                "dsn": "orders",
                "retry_count": 3,
                "wallet_location": "/srv/wallet",
                "tcp_connect_timeout": 2.5,
            },
        ),
    ],
)
def test_a_url_stands_for_arguments_of_connect(
    asked: list[dict[str, Any]], url: str, arguments: dict[str, Any]
) -> None:
    drivers.find(url).connect()

    assert asked == [arguments]


def test_connecting_carries_out_what_it_can(asked: list[dict[str, Any]]) -> None:
    for keepalive in (True, 30.0, 61.0, False):
        options = SessionOptions(keepalive=keepalive)
        drivers.find("oracle://orders", options=options, connect_timeout=2.0).connect()

    assert [one.get("expire_time") for one in asked] == [1, 1, 2, None]
    assert {one["tcp_connect_timeout"] for one in asked} == {2.0}


def test_connect_kwargs_win(asked: list[dict[str, Any]]) -> None:
    kwargs = {"tcp_connect_timeout": 9.0, "events": True}
    drivers.find("oracle://orders", connect_timeout=2.0, connect_kwargs=kwargs).connect()

    assert asked == [{"dsn": "orders", "tcp_connect_timeout": 9.0, "events": True}]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("oracle://", "the host, or a name out of tnsnames.ora, is missing"),
        ("oracle://db?colour=red", "'colour' is unknown to oracledb; known are config_dir, "),
        ("oracle://db?retry_count=often", "retry_count='often' is not a valid value"),
        (f"oracle://me:{PASSWORD}/@db:port/", "the port must be a number"),
        (f"oracle://me:{PASSWORD}@db?wallet_password={PASSWORD}&sdu=x", "sdu='x' is not a valid"),
    ],
)
def test_a_bad_url_is_refused_with_what_is_wrong(url: str, message: str) -> None:
    with pytest.raises(PoolConfigError) as caught:
        drivers.find(url)

    assert message in str(caught.value)
    assert PASSWORD not in str(caught.value)


def test_the_password_is_nowhere_to_be_seen() -> None:
    driver = drivers.find(f"oracle://me:{PASSWORD}@orders")

    assert repr(driver) == "<oracledb driver for oracle://me:***@orders>"
    assert PASSWORD not in repr(vars(driver))


def test_prepare_sets_what_the_driver_keeps_and_says_the_rest(
    through: Any, conn: FakeOracle
) -> None:
    options = SessionOptions(
        socket_timeout=9.0,
        statement_timeout=1.5,
        application_name="orders",
        isolation_level="serializable",
        autocommit=True,
        session=("ALTER SESSION SET NLS_LANGUAGE = GERMAN",),
    )

    through.prepare(conn, options)

    assert (conn.call_timeout, conn.module, conn.autocommit) == (1500, "orders", True)
    assert conn.said == [
        "ALTER SESSION SET ISOLATION_LEVEL = SERIALIZABLE",
        "ALTER SESSION SET NLS_LANGUAGE = GERMAN",
    ]


@pytest.mark.parametrize("option", ["read_only", "profile"])
def test_what_oracle_does_not_have_is_refused(option: str) -> None:
    options = SessionOptions(**{option: {"read_only": True, "profile": "pgbouncer"}[option]})  # type: ignore[arg-type]
    with pytest.raises(PoolConfigError, match=f"^{option}=.*not possible with the driver oracledb"):
        drivers.find("oracle://orders", options=options)


def test_reset_says_nothing_without_a_transaction(through: Any, conn: FakeOracle) -> None:
    through.reset(conn)

    assert conn.said == []
    assert through.transaction_status(conn) is TransactionStatus.IDLE


def test_reset_rolls_an_open_transaction_back(through: Any, conn: FakeOracle) -> None:
    through.execute(conn, "INSERT INTO t VALUES (1)")
    assert through.transaction_status(conn) is TransactionStatus.OPEN

    through.reset(conn)

    assert conn.said[-1] == "rollback"


def test_the_driver_is_asked_for_its_health_before_each_use(through: Any, conn: FakeOracle) -> None:
    assert through.needs_is_alive
    assert through.is_alive(conn) is True

    conn.healthy = False

    assert through.is_alive(conn) is False


def test_ping_and_cancel_are_the_drivers_own(through: Any, conn: FakeOracle) -> None:
    through.ping(conn)
    through.cancel(conn)

    assert conn.said == ["ping", "cancel"]


@pytest.mark.parametrize(
    ("arguments", "statements"),
    [
        ({}, []),
        ({"isolation": "serializable"}, ["SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"]),
        ({"read_only": True}, ["SET TRANSACTION READ ONLY"]),
        ({"read_only": False}, ["SET TRANSACTION READ WRITE"]),
        ({"isolation": "serializable", "read_only": True}, ["SET TRANSACTION READ ONLY"]),
    ],
)
def test_begin_sets_what_the_transaction_is_to_be(
    through: Any, conn: FakeOracle, arguments: dict[str, Any], statements: list[str]
) -> None:
    through.begin(conn, **arguments)

    assert conn.said == statements


def test_a_read_only_transaction_cannot_read_what_is_committed_meanwhile(
    through: Any, conn: FakeOracle
) -> None:
    with pytest.raises(PoolConfigError, match="Oracle reads one state in such transactions"):
        through.begin(conn, isolation="read committed", read_only=True)


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_in_autocommit_mode_a_transaction_lasts_until_its_end(
    through: Any, conn: FakeOracle, end: str
) -> None:
    conn.autocommit = True

    through.begin(conn)
    through.execute(conn, "INSERT INTO t VALUES (1)")
    assert through.transaction_status(conn) is TransactionStatus.OPEN
    getattr(through, end)(conn)

    assert conn.autocommit
    assert conn.said[-1] == end


def test_without_autocommit_the_end_of_a_transaction_switches_nothing(
    through: Any, conn: FakeOracle
) -> None:
    through.begin(conn)
    through.commit(conn)

    assert not conn.autocommit


@pytest.mark.parametrize(
    ("raised", "meaning"),
    [
        (error(3113), "disconnect"),
        (error(28), "disconnect"),
        (error(full_code="DPY-4011", kind=oracledb.DatabaseError), "disconnect"),
        (error(full_code="DPY-1001", kind=oracledb.InterfaceError), "disconnect"),
        (error(full_code="DPI-1080"), "disconnect"),
        (error(1013), "cancelled"),
        (error(60), "retryable"),
        (error(8177), "retryable"),
        (error(1), None),
        (error(full_code="DPY-4024"), None),
        (oracledb.DatabaseError("ORA-03113"), None),
        (ValueError(3113), None),
    ],
)
def test_a_code_has_one_meaning_at_most(
    through: Any, raised: BaseException, meaning: str | None
) -> None:
    names = ("disconnect", "cancelled", "retryable")

    found = [name for name in names if getattr(through, f"is_{name}")(raised)]

    assert found == ([meaning] if meaning else [])


@pytest.mark.parametrize(
    ("raised", "transient"),
    [
        (error(1017), False),
        (error(28000), False),
        (error(12514), True),
        (error(full_code="DPY-6005", kind=oracledb.OperationalError), True),
        (TypeError(), False),
    ],
)
def test_a_user_who_is_refused_is_not_tried_again(
    through: Any, raised: BaseException, *, transient: bool
) -> None:
    assert through.is_transient(raised) is transient
