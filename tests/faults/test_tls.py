"""TLS that ends, in every way in which it can end: no such connection is ever lent."""

from __future__ import annotations

import select
import struct
import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

import millpond
from databases import mysql_arguments, mysql_from_path
from helpers import eventually
from load import Load
from millpond import drivers
from private_postgres import PrivatePostgres, private_postgres_with_tls
from tls import Goodbye, TlsFront, certificate, tls_front

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.server

SOON = 1.0


def message(kind: bytes, body: bytes) -> bytes:
    """Write what PostgreSQL would say."""
    return kind + struct.pack("!i", 4 + len(body)) + body


NOTICE = message(b"N", b"SNOTICE\0VNOTICE\0C00000\0Mby the way\0\0")
# 57P01: an administrator ends the session.
FATAL = message(b"E", b"SFATAL\0VFATAL\0C57P01\0Mterminating connection\0\0")


@pytest.fixture
def front(server: PrivatePostgres, tmp_path: Path) -> Iterator[TlsFront]:
    """Give the server with TLS."""
    with tls_front(server.address, tmp_path) as front:
        yield front


def url_of(front: TlsFront, driver: str = "psycopg") -> str:
    """Give the URL that leads through TLS, or nowhere."""
    host, port = front.address
    options = "sslmode=require&gssencmode=disable"
    return f"postgresql+{driver}://postgres@{host}:{port}/postgres?{options}"


def ask(conn: Any) -> Any:
    """Ask for a value, with either driver."""
    with conn.cursor() as cursor:
        cursor.execute("SELECT 77")
        return cursor.fetchone()[0]


def fill_and_watch(pool: millpond.Pool[Any], count: int) -> list[int]:
    """Open `count` connections, leave them idle, and return their sockets."""
    held = [pool.acquire(timeout=30) for _ in range(count)]
    sockets = [conn.fileno() for conn in held]
    for conn in held:
        pool.release(conn)
    return sockets


def arrives(sockets: list[int]) -> None:
    """Wait until there is something to be seen at all of them: a segment takes its time."""
    eventually(lambda: len(select.select(sockets, [], [], 0)[0]) == len(sockets))


def lost(pool: millpond.Pool[Any]) -> int:
    """Count those that a look found dead, and those that a ping did."""
    closed = pool.stats().closed
    return closed["dead"] + closed["invalid"]


@pytest.mark.parametrize("words", [b"", FATAL], ids=["silently", "with_last_words"])
@pytest.mark.parametrize("how", Goodbye, ids=lambda how: how.name.lower())
@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_a_connection_whose_tls_has_ended_is_never_lent(
    front: TlsFront, driver: str, how: Goodbye, words: bytes
) -> None:
    """No error is seen, and one connection is opened: for who asks first."""
    with millpond.Pool(url_of(front, driver), max_size=4) as pool:
        sockets = fill_and_watch(pool, 4)
        front.end(how, words)
        arrives(sockets)
        began = time.perf_counter()

        with pool.connection() as conn:
            assert ask(conn) == 77

        assert time.perf_counter() - began < SOON
        eventually(lambda: lost(pool) == 4)
        assert pool.stats().opened == 5
        assert pool.stats().gave_up == 0


@pytest.mark.parametrize(
    ("how", "alive"),
    [
        (Goodbye.ORDERLY, False),
        (Goodbye.CUT, False),
        (Goodbye.RESET, False),
        # A record that waits to be read, of which only OpenSSL knows what it says.
        (Goodbye.UNFINISHED, None),
    ],
)
def test_the_socket_tells_of_every_end_but_of_a_close_notify_alone(
    front: TlsFront, *, how: Goodbye, alive: bool | None
) -> None:
    driver: Any = drivers.find(url_of(front))
    conn = driver.connect()
    try:
        assert driver.is_alive(conn) is True

        front.end(how)

        eventually(lambda: driver.is_alive(conn) is alive)
        with pytest.raises(psycopg.OperationalError) as caught:
            driver.ping(conn)
        assert driver.is_disconnect(caught.value)
    finally:
        driver.close(conn)


# Not RST, which takes back what was not read yet: the answer would be lost as well.
@pytest.mark.parametrize(
    "how", [Goodbye.ORDERLY, Goodbye.UNFINISHED, Goodbye.CUT], ids=lambda how: how.name.lower()
)
def test_an_end_in_the_same_segment_as_an_answer_costs_nobody_an_error(
    front: TlsFront, how: Goodbye
) -> None:
    """The borrower reads its answer, and never the record behind it."""
    with millpond.Pool(url_of(front), max_size=2, connect_kwargs={"autocommit": True}) as pool:
        with pool.connection() as first:
            front.end_after_answer(how)
            assert ask(first) == 77
            arrives([first.fileno()])

        with pool.connection() as second:
            assert second is not first
            assert ask(second) == 77
        assert (lost(pool), pool.stats().opened) == (1, 2)


@pytest.mark.parametrize("how", Goodbye, ids=lambda how: how.name.lower())
def test_an_end_under_load_costs_only_statements_that_had_begun(
    front: TlsFront, how: Goodbye
) -> None:
    with millpond.Pool(url_of(front), max_size=8) as pool:
        load = Load(pool, 16)
        eventually(lambda: len(load.answers) > 100)
        front.end(how)
        took = load.first_answer(time.monotonic())
        load.end()

        assert took < SOON
        assert len(load.errors) <= 8
        assert all(isinstance(error, psycopg.OperationalError) for _, error in load.errors)
        assert pool.stats().opened <= 8 + 8


def test_what_waits_within_tls_is_asked_about_and_nothing_is_replaced(front: TlsFront) -> None:
    with millpond.Pool(url_of(front), max_size=2) as pool:
        sockets = fill_and_watch(pool, 2)
        for _ in range(3):
            front.say(NOTICE)
            arrives(sockets)

            with pool.connection() as first, pool.connection() as second:
                assert (ask(first), ask(second)) == (77, 77)

        stats = pool.stats()
        assert stats.checks >= 3
        assert (stats.opened, stats.checks_failed) == (2, 0)


def test_rows_that_nobody_read_out_of_tls_reach_nobody_else(front: TlsFront) -> None:
    """A record holds 16 KiB: what OpenSSL has read already, no look at the socket shows."""
    with millpond.Pool(url_of(front), max_size=1) as pool:
        for _ in range(5):
            with pool.connection() as conn:
                rows = conn.cursor().stream("SELECT repeat('x', 100) FROM generate_series(1, 9999)")
                next(rows)
            with pool.connection() as other:
                assert other is not conn
                assert ask(other) == 77

        assert pool.stats().gave_up == 0


@pytest.fixture(scope="module")
def secure() -> Iterator[PrivatePostgres]:
    """Give a server that speaks TLS by itself."""
    with private_postgres_with_tls() as server:
        yield server


@pytest.mark.parametrize("size", [8, 32])
def test_sessions_over_tls_that_the_server_terminates_are_never_lent(
    secure: PrivatePostgres, size: int
) -> None:
    name = "millpond-tls"
    url = f"{secure.url}?sslmode=require&application_name={name}"
    with millpond.Pool(url, max_size=size) as pool:
        sockets = fill_and_watch(pool, size)
        assert secure.terminate(name) == size
        arrives(sockets)
        began = time.perf_counter()

        with pool.connection() as conn:
            assert conn.pgconn.ssl_in_use
            assert ask(conn) == 77

        assert time.perf_counter() - began < SOON
        eventually(lambda: lost(pool) == size)
        assert pool.stats().opened == size + 1


def test_a_restart_of_a_server_with_tls_costs_only_statements_that_had_begun(
    secure: PrivatePostgres,
) -> None:
    with millpond.Pool(f"{secure.url}?sslmode=require", max_size=8) as pool:
        load = Load(pool, 16)
        eventually(lambda: len(load.answers) > 100)
        secure.stop()
        eventually(lambda: pool.stats().open_failed > 0)
        secure.start()
        took = load.first_answer(time.monotonic() - 0.2)
        load.end()

        assert took < SOON + 0.5
        assert len(load.errors) <= 8
        assert all(isinstance(error, psycopg.OperationalError) for _, error in load.errors)


@pytest.fixture(scope="module")
def secure_mysql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the URL of a MariaDB or MySQL that speaks TLS by itself."""
    shown = certificate(tmp_path_factory.mktemp("tls"))
    with mysql_from_path(f"--ssl-cert={shown.chain}", f"--ssl-key={shown.key}") as url:
        yield url


def test_connections_of_pymysql_over_tls_that_were_killed_are_never_lent(secure_mysql: str) -> None:
    import pymysql  # noqa: PLC0415  the server would have been skipped without it

    def connect() -> Any:
        unverified = {"check_hostname": False, "verify_mode": "none"}
        return pymysql.connect(**mysql_arguments(secure_mysql), ssl=unverified)

    with millpond.Pool(connect, max_size=4) as pool:
        fileno = drivers.find(secure_mysql.replace("mysql:", "mysql+pymysql:")).fileno
        held = [pool.acquire() for _ in range(4)]
        for conn in held:
            with conn.cursor() as cursor:
                cursor.execute("SHOW STATUS LIKE 'Ssl_cipher'")
                assert cursor.fetchone()[1]
        sockets = [fileno(conn) for conn in held]
        for conn in held:
            pool.release(conn)
        killer = connect()
        with killer.cursor() as cursor:
            for conn in held:
                cursor.execute(f"KILL {conn.thread_id()}")
        killer.close()
        arrives(sockets)
        began = time.perf_counter()

        with pool.connection() as conn:
            assert ask(conn) == 77

        assert time.perf_counter() - began < SOON
        eventually(lambda: lost(pool) == 4)
        assert pool.stats().opened == 5
