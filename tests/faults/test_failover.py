"""The server changes its role or its address, and the pool goes where it is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

import millpond
from helpers import eventually
from load import fill
from private_postgres import PrivatePostgres, private_postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.server


@pytest.fixture
def other() -> Iterator[PrivatePostgres]:
    """Give a second server."""
    with private_postgres() as server:
        yield server


def demote(server: PrivatePostgres) -> None:
    """Have a server refuse writes, in sessions that are open too."""
    with psycopg.connect(server.url, autocommit=True) as conn:
        conn.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        conn.execute("SELECT pg_reload_conf()")


def promote(server: PrivatePostgres) -> None:
    """Have it take writes again."""
    with psycopg.connect(server.url, autocommit=True) as conn:
        conn.execute("SET default_transaction_read_only = off")
        conn.execute("ALTER SYSTEM RESET default_transaction_read_only")
        conn.execute("SELECT pg_reload_conf()")


def url_of(*servers: PrivatePostgres, wanted: str) -> str:
    """Name all of them in one URL."""
    hosts = ",".join(f"{host}:{port}" for host, port in (one.address for one in servers))
    return f"postgresql://postgres@{hosts}/postgres?target_session_attrs={wanted}"


def is_refused(pool: millpond.Pool[Any], block: str) -> bool:
    """Try to write."""
    try:
        with getattr(pool, block)() as conn:
            conn.execute("CREATE TABLE refused (number int)")
            conn.execute("DROP TABLE refused")
    except psycopg.errors.ReadOnlySqlTransaction:
        return True
    return False


@pytest.mark.parametrize("block", ["connection", "transaction"])
def test_a_demoted_primary_is_left_for_the_server_that_takes_writes(
    server: PrivatePostgres, other: PrivatePostgres, block: str
) -> None:
    with millpond.Pool(url_of(server, other, wanted="read-write"), max_size=3) as pool:
        fill(pool, 3)
        demote(server)
        try:
            eventually(lambda: is_refused(pool, block))

            for _ in range(6):
                with pool.connection() as conn:
                    assert conn.info.port == other.address[1]
                    conn.execute("CREATE TABLE taken (number int)")
                    conn.rollback()
            stats = pool.stats()
            assert stats.closed["dead"] + stats.closed["discarded"] == 1
            assert stats.closed["evicted"] == 2
        finally:
            promote(server)


@pytest.mark.parametrize("wanted", ["any", "read-write"])
def test_a_transaction_of_ones_own_that_only_reads_demotes_nobody(
    server: PrivatePostgres, wanted: str
) -> None:
    with millpond.Pool(url_of(server, wanted=wanted), max_size=2) as pool:
        fill(pool, 2)

        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction), pool.connection() as conn:
            conn.execute("SET TRANSACTION READ ONLY")
            conn.execute("CREATE TABLE refused (number int)")

        stats = pool.stats()
        assert (stats.size, stats.opened, sum(stats.closed.values())) == (2, 2, 0)


def test_the_name_of_the_host_is_looked_up_for_each_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An address that was found once may be another server's, or nobody's, an hour later."""
    asked: list[str] = []

    def connect(conninfo: str, **arguments: Any) -> None:
        assert "hostaddr" not in arguments
        asked.append(conninfo)
        message = "no such host, today"
        raise psycopg.OperationalError(message)

    monkeypatch.setattr(psycopg, "connect", connect)
    pool = millpond.Pool("postgresql://user@db.example/app", max_size=1)
    with pool, pytest.raises(millpond.PoolTimeout):
        pool.acquire(timeout=0.3)

    assert len(asked) > 1
    assert all("@db.example/" in conninfo for conninfo in asked)
