"""psycopg: its URLs, and what a release leaves behind. Needs a PostgreSQL server."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import psycopg
import psycopg.rows
import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus

from helpers import eventually
from millpond import drivers
from millpond.drivers import SessionOptions
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    Connection = psycopg.Connection[Any]


@pytest.fixture
def driver(postgres_url: str) -> Any:
    return drivers.find(postgres_url)


@pytest.fixture
def conn(driver: Any) -> Iterator[Connection]:
    conn = driver.connect()
    yield conn
    conn.close()


def status_of(conn: Connection) -> TransactionStatus:
    """Return the status of the connection's transaction."""
    return conn.info.transaction_status


def message_of(url: str, **connect_kwargs: Any) -> str:
    """Return what is said about a URL that is not valid."""
    with pytest.raises(PoolConfigError) as caught:
        drivers.find(url, connect_kwargs=connect_kwargs or None)
    return str(caught.value)


def connect_timeout_of(url: str, seconds: float | None, **connect_kwargs: Any) -> str | None:
    """Return the timeout that libpq was given, or None."""
    driver = drivers.find(url, connect_timeout=seconds, connect_kwargs=connect_kwargs or None)
    with driver.connect() as conn:
        parameters: dict[str, str] = conn.info.get_parameters()
    return parameters.get("connect_timeout")


def kill(conn: Connection, postgres_url: str) -> None:
    """End the server process of a connection, which does not notice."""
    with psycopg.connect(postgres_url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [conn.info.backend_pid])


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg", "PostgreSQL"])
def test_a_url_connects_under_each_of_its_schemes(postgres_url: str, scheme: str) -> None:
    rest = postgres_url.partition("://")[2]
    with drivers.find(f"{scheme}://{rest}").connect() as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)


def test_connect_kwargs_reach_the_driver(postgres_url: str) -> None:
    kwargs = {"autocommit": True, "application_name": "millpond", "row_factory": None}
    with drivers.find(postgres_url, connect_kwargs=kwargs).connect() as conn:
        assert conn.autocommit
        assert conn.info.get_parameters()["application_name"] == "millpond"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.1, "2"), (1.0, "2"), (2.0, "2"), (2.1, "3"), (5.0, "5"), (None, None)],
)
def test_connect_timeout_is_libpqs_in_whole_seconds(
    postgres_url: str, seconds: float | None, expected: str | None
) -> None:
    assert connect_timeout_of(postgres_url, seconds) == expected


def test_a_connect_timeout_in_the_url_wins(postgres_url: str) -> None:
    separator = "&" if "?" in postgres_url else "?"

    assert connect_timeout_of(f"{postgres_url}{separator}connect_timeout=9", 5.0) == "9"


def test_a_connect_timeout_in_connect_kwargs_wins(postgres_url: str) -> None:
    assert connect_timeout_of(postgres_url, 5.0, connect_timeout=9) == "9"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://h/db?colour=red", """invalid URI query parameter: "colour\""""),
        ("postgresql://h/d%zzb", """invalid percent-encoded token: "d%zzb\""""),
        ("postgresql://u:hunter2@h/db?colour=red", """invalid URI query parameter: "colour\""""),
        ("postgresql://u:%zz@h/db", "special characters in the password must be percent-encoded"),
        ("postgresql://u:hunter2/@h/db", "the port must be a number; if that is part of a pass"),
        ("postgresql://h:http/db", "the port must be a number"),
    ],
)
def test_a_bad_url_is_refused_with_what_is_wrong(url: str, message: str) -> None:
    assert message in message_of(url)
    assert "hunter2" not in message_of(url)


def test_several_hosts_and_default_ports_are_fine() -> None:
    assert drivers.find("postgresql://one,two:5433/db").name == "psycopg"
    assert drivers.find("postgresql://").name == "psycopg"


def test_bad_connect_kwargs_are_refused_before_the_first_connection() -> None:
    message = message_of("postgresql://h/db", colour="hunter2", autocommit=True)

    assert message == "connect_kwargs: 'colour' is unknown to psycopg and to libpq"


@pytest.mark.skipif(sys.platform != "linux", reason="libpq traces on Linux only")
def test_reset_says_nothing_to_the_server_without_a_transaction(
    driver: Any, conn: Connection, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    with trace.open("w") as file:
        conn.pgconn.trace(file.fileno())
        driver.reset(conn)
        silence = trace.read_text()
        driver.ping(conn)
        conn.pgconn.untrace()

    assert silence == ""
    assert "Query" in trace.read_text()


def test_reset_rolls_an_open_transaction_back(driver: Any, conn: Connection) -> None:
    conn.execute("CREATE TEMPORARY TABLE t (n int)")
    assert status_of(conn) == TransactionStatus.INTRANS

    driver.reset(conn)

    assert status_of(conn) == TransactionStatus.IDLE
    assert conn.execute("SELECT to_regclass('pg_temp.t')").fetchone() == (None,)


def test_reset_rolls_a_failed_transaction_back(driver: Any, conn: Connection) -> None:
    with pytest.raises(psycopg.errors.UndefinedTable):
        conn.execute("SELECT * FROM no_such_table")
    assert status_of(conn) == TransactionStatus.INERROR

    driver.reset(conn)

    assert status_of(conn) == TransactionStatus.IDLE


def test_reset_ends_a_transaction_that_was_begun_by_hand(driver: Any, conn: Connection) -> None:
    conn.autocommit = True
    conn.execute("BEGIN")

    driver.reset(conn)

    assert status_of(conn) == TransactionStatus.IDLE
    assert conn.autocommit


def test_reset_refuses_a_connection_with_a_query_under_way(driver: Any, conn: Connection) -> None:
    conn.pgconn.send_query(b"SELECT pg_sleep(60)")
    assert status_of(conn) == TransactionStatus.ACTIVE

    with pytest.raises(psycopg.OperationalError, match="transaction status is ACTIVE"):
        driver.reset(conn)


def test_reset_refuses_a_connection_within_a_transaction_block(
    driver: Any, conn: Connection
) -> None:
    with conn.transaction(), pytest.raises(psycopg.ProgrammingError):
        driver.reset(conn)


def test_reset_refuses_a_closed_connection(driver: Any, conn: Connection) -> None:
    driver.close(conn)

    with pytest.raises(psycopg.OperationalError, match="transaction status is UNKNOWN"):
        driver.reset(conn)


def test_reset_refuses_a_connection_that_died_in_a_transaction(
    driver: Any, conn: Connection, postgres_url: str
) -> None:
    conn.execute("SELECT 1")
    kill(conn, postgres_url)

    with pytest.raises(psycopg.OperationalError):
        driver.reset(conn)


@pytest.mark.parametrize("autocommit", [False, True])
def test_ping_leaves_the_connection_idle(
    driver: Any, conn: Connection, *, autocommit: bool
) -> None:
    conn.autocommit = autocommit

    for _ in range(10):
        driver.ping(conn)

    assert status_of(conn) == TransactionStatus.IDLE
    assert conn.autocommit is autocommit
    assert conn.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)


def test_ping_does_not_touch_an_open_transaction(driver: Any, conn: Connection) -> None:
    conn.execute("SELECT 1")

    driver.ping(conn)

    assert status_of(conn) == TransactionStatus.INTRANS


@pytest.mark.parametrize("autocommit", [False, True])
def test_ping_fails_on_a_connection_that_died(
    driver: Any, conn: Connection, postgres_url: str, *, autocommit: bool
) -> None:
    conn.autocommit = autocommit
    kill(conn, postgres_url)

    with pytest.raises(psycopg.OperationalError):
        driver.ping(conn)


def test_a_refused_connection_is_tried_again() -> None:
    driver = drivers.find("postgresql://127.0.0.1:1/db")
    with pytest.raises(psycopg.OperationalError) as caught:
        driver.connect()

    assert driver.is_transient(caught.value)


def test_reset_refuses_a_connection_in_pipeline_mode(driver: Any, conn: Connection) -> None:
    block = conn.pipeline()
    block.__enter__()
    assert status_of(conn) == TransactionStatus.IDLE

    with pytest.raises(psycopg.OperationalError, match="it is in pipeline mode"):
        driver.reset(conn)


def test_reset_refuses_a_connection_with_copy_in_progress(driver: Any, conn: Connection) -> None:
    copy = conn.cursor().copy("COPY (SELECT generate_series(1, 1000000)) TO STDOUT")
    copy.__enter__()

    with pytest.raises(psycopg.OperationalError, match="transaction status is ACTIVE"):
        driver.reset(conn)


def test_reset_refuses_a_connection_whose_rows_are_still_coming(
    driver: Any, conn: Connection
) -> None:
    conn.autocommit = True
    rows = conn.cursor().stream("SELECT generate_series(1, 1000000)")
    next(rows)

    with pytest.raises(psycopg.OperationalError, match="transaction status is ACTIVE"):
        driver.reset(conn)


def test_reset_closes_a_cursor_on_the_server(driver: Any, conn: Connection) -> None:
    cursor = conn.cursor(name="unread")
    cursor.execute("SELECT generate_series(1, 1000000)")
    cursor.fetchone()

    driver.reset(conn)
    cursor.close()

    assert conn.execute("SELECT count(*) FROM pg_cursors").fetchone() == (0,)


def test_a_new_session_has_no_cursor_that_outlives_its_transaction(
    driver: Any, conn: Connection
) -> None:
    conn.autocommit = True
    conn.execute("DECLARE held CURSOR WITH HOLD FOR SELECT generate_series(1, 1000)")

    driver.reset_session(conn)

    assert conn.execute("SELECT count(*) FROM pg_cursors").fetchone() == (0,)


def test_a_new_session_has_the_attributes_of_a_new_connection(
    driver: Any, conn: Connection
) -> None:
    driver = drivers.refine(driver, conn)
    conn.row_factory = psycopg.rows.dict_row
    conn.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
    conn.prepare_threshold = 0
    conn.autocommit = True

    driver.reset_session(conn)

    assert not conn.autocommit
    assert conn.prepare_threshold == 5
    assert getattr(conn, "isolation_level", 0) is None
    assert conn.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("threshold", [0, 1, 2])
@pytest.mark.parametrize("autocommit", [False, True])
def test_psycopg_forgets_its_prepared_statements_with_the_session(
    driver: Any, conn: Connection, threshold: int, *, autocommit: bool
) -> None:
    conn.autocommit = autocommit
    conn.prepare_threshold = threshold
    driver = drivers.refine(driver, conn)
    for _ in range(4):
        driver.reset_session(conn)  # also when there is nothing to forget
        for number in (77, 77, 77, 78):
            assert conn.execute(f"SELECT {number}").fetchone() == (number,)


def options_of(url: str, **arguments: Any) -> str:
    """Return what the server was sent with the connection request, when nothing is overridden."""
    asked = SessionOptions(statement_timeout=2.0, isolation_level="repeatable read")
    with drivers.find(url, options=asked, connect_kwargs=arguments or None).connect() as conn:
        parameters: dict[str, str] = conn.info.get_parameters()
        assert conn.execute("SHOW default_transaction_isolation").fetchone() == ("repeatable read",)
    return parameters["options"]


def test_options_are_sent_with_the_connection_request(postgres_url: str) -> None:
    assert options_of(postgres_url) == (
        "-c statement_timeout=2000 -c default_transaction_isolation=repeatable\\ read"
    )


def test_options_of_the_user_stay_and_win(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGOPTIONS", "-c lock_timeout=1")
    assert options_of(postgres_url).endswith(" -c lock_timeout=1")
    assert options_of(postgres_url, options="-c work_mem=77kB").endswith(" -c work_mem=77kB")

    asked = SessionOptions(statement_timeout=2.0, application_name="ours")
    theirs = {"options": "-c statement_timeout=7000", "application_name": "theirs"}
    with drivers.find(postgres_url, options=asked, connect_kwargs=theirs).connect() as conn:
        assert conn.execute("SHOW statement_timeout").fetchone() == ("7s",)
        assert conn.execute("SHOW application_name").fetchone() == ("theirs",)


def test_a_reset_of_the_server_leads_back_to_the_options(postgres_url: str) -> None:
    asked = SessionOptions(statement_timeout=2.0)
    with drivers.find(postgres_url, options=asked).connect() as conn:
        conn.execute("SET statement_timeout = 0")
        conn.execute("RESET ALL")

        assert conn.execute("SHOW statement_timeout").fetchone() == ("2s",)


def test_a_very_long_statement_timeout_is_the_longest_that_the_server_has(
    postgres_url: str,
) -> None:
    asked = SessionOptions(statement_timeout=10.0 * 365 * 86_400)
    with drivers.find(postgres_url, options=asked).connect() as conn:
        assert conn.execute("SHOW statement_timeout").fetchone() == ("2147483647ms",)


@pytest.mark.parametrize("keepalive", [True, False])
def test_keepalive_can_be_switched(postgres_url: str, *, keepalive: bool) -> None:
    driver = drivers.find(postgres_url, options=SessionOptions(keepalive=keepalive))
    with driver.connect() as conn:
        assert conn.info.get_parameters()["keepalives"] == str(int(keepalive))


def test_what_libpq_cannot_do_is_refused_with_what_can_be_done(postgres_url: str) -> None:
    with pytest.raises(PoolConfigError, match=r"^socket_timeout=5\.0: .*psycopg: libpq waits for"):
        drivers.find(postgres_url, options=SessionOptions(socket_timeout=5.0))


def test_the_first_host_that_answers_and_takes_writes_is_taken(postgres_url: str) -> None:
    parts = conninfo_to_dict(postgres_url)
    port = str(parts.get("port", 5432))
    # In here the host may be the folder of a Unix socket, too.
    query = urlencode(
        {
            **parts,
            "host": f"127.0.0.1,{parts['host']}",
            "port": f"1,{port}",
            "target_session_attrs": "read-write",
        }
    )

    with drivers.find(f"postgresql://?{query}").connect() as conn:
        assert str(conn.info.port) == port


@pytest.mark.parametrize(
    ("said", "transient"),
    [
        ("connection to server at h: Connection refused", True),
        ('connection to server at h failed: FATAL:  database "no" does not exist', False),
        (
            'connection to server at h failed: FATAL:  password authentication failed for "me"',
            False,
        ),
        ('connection to server at h failed: FATAL:  role "no" does not exist', False),
        ("connection to server at h failed: FATAL:  the database system is starting up", True),
        ("connection to server at h failed: FATAL:  sorry, too many clients already", True),
        (
            (
                "connection to server at a failed: Connection refused\n"
                'connection to server at b failed: FATAL:  role "me" does not exist'
            ),
            True,
        ),
    ],
)
def test_a_refusal_by_every_server_is_final(said: str, *, transient: bool) -> None:
    driver = drivers.find("postgresql://h/db")

    assert driver.is_transient(psycopg.OperationalError(said)) is transient


def test_the_servers_own_refusal_is_final(postgres_url: str) -> None:
    driver = drivers.find(postgres_url, connect_kwargs={"dbname": "no_such_database"})
    with pytest.raises(psycopg.OperationalError) as caught:
        driver.connect()

    assert not driver.is_transient(caught.value)


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        ("57P01", "disconnect"),
        ("57P02", "disconnect"),
        ("08006", "disconnect"),
        ("25P03", "disconnect"),
        ("57014", "cancelled"),
        ("40001", "retryable"),
        ("40P01", "retryable"),
        ("40003", None),
        ("23505", None),
        ("25006", None),
    ],
)
def test_an_sqlstate_has_one_meaning_at_most(code: str, meaning: str | None) -> None:
    driver: Any = drivers.find("postgresql://h/db")
    error = psycopg.errors.lookup(code)("closed")
    names = ("disconnect", "cancelled", "retryable")

    found = [name for name in names if getattr(driver, f"is_{name}")(error)]

    assert found == ([meaning] if meaning else [])


def test_a_notification_on_an_idle_connection_is_a_question_and_not_a_death(
    driver: Any, conn: Connection, postgres_url: str
) -> None:
    conn.autocommit = True
    conn.execute("LISTEN millpond")
    with psycopg.connect(postgres_url, autocommit=True) as other:
        other.execute("NOTIFY millpond")

    eventually(lambda: driver.is_alive(conn) is None)
    driver.ping(conn)

    assert driver.is_alive(conn) is True
