"""asyncpg: what is not the same as with other drivers."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bouncer
import millpond
from drivers.aio.cases import opened
from millpond.drivers import SessionOptions, TransactionStatus, aio
from millpond.errors import PoolConfigError, for_driver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

asyncpg = pytest.importorskip("asyncpg")

PASSWORD = "hunter2"


@asynccontextmanager
async def session(url: str, **options: Any) -> AsyncIterator[tuple[Any, Any]]:
    """Open a connection of asyncpg as a pool does."""
    driver, conn = await opened(f"postgresql+asyncpg://{url.partition('://')[2]}", **options)
    try:
        yield driver, conn
    finally:
        await driver.close(conn)


def message_of(url: str, **arguments: Any) -> str:
    """Return what is said about arguments that are not valid."""
    with pytest.raises(PoolConfigError) as caught:
        aio.find(url, **arguments)
    return str(caught.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("u:p@h:port/db", "the port must be a number"),
        ("u:p@h,i:port/db", "the port must be a number"),
        ("u:p?w@h/db", "behind the ? an @ must be percent-encoded"),
        ("u:p@h/db?colour", "must be name=value&name=value"),
        ("u:p@::1/db", "an IPv6 address must stand in brackets"),
    ],
)
def test_a_bad_url_is_refused_with_what_is_wrong(url: str, message: str) -> None:
    assert message in message_of(f"postgresql+asyncpg://{url}")


def test_an_argument_that_asyncpg_does_not_know_is_refused() -> None:
    url = "postgresql+asyncpg://h/db"
    assert "connect_kwargs: 'colour' is unknown to asyncpg" in message_of(
        url, connect_kwargs={"colour": 1}
    )


@given(st.lists(st.sampled_from([*":/?#@%&=[]+ é", "1", PASSWORD])))
def test_a_password_shows_in_no_message_and_no_repr(pieces: list[str]) -> None:
    url = f"postgresql+asyncpg://user:{''.join(pieces)}{PASSWORD}@host/db"
    try:
        found = aio.find(url)
    except PoolConfigError as error:
        shown = f"{error!r} {error.__cause__!r}"
    else:
        shown = f"{found!r} {vars(found)!r}"

    assert PASSWORD not in shown


def test_what_the_url_and_the_arguments_say_wins(postgres_url: str) -> None:
    async def body() -> None:
        url = f"{postgres_url}{'&' if '?' in postgres_url else '?'}application_name=of-the-url"
        kwargs = {"server_settings": {"statement_timeout": "7777"}}
        options = {"application_name": "of-the-pool", "statement_timeout": 1.0}
        async with session(url, kwargs=kwargs, **options) as (_, conn):
            assert await conn.fetchval("SHOW application_name") == "of-the-url"
            assert await conn.fetchval("SHOW statement_timeout") == "7777ms"

    asyncio.run(body())


def test_the_arguments_win_over_the_url(postgres_url: str) -> None:
    async def body() -> None:
        url = f"{postgres_url}{'&' if '?' in postgres_url else '?'}application_name=of-the-url"
        kwargs = {"server_settings": {"application_name": "of-the-arguments"}}
        options = {"application_name": "of-the-pool", "statement_timeout": 7.0}
        async with session(url, kwargs=kwargs, **options) as (_, conn):
            assert await conn.fetchval("SHOW application_name") == "of-the-arguments"
            assert await conn.fetchval("SHOW statement_timeout") == "7s"

    asyncio.run(body())


def test_settings_that_are_no_dict_are_refused() -> None:
    url = "postgresql+asyncpg://h/db"
    assert "connect_kwargs: server_settings=<list>: must be a dict of strings" in message_of(
        url, connect_kwargs={"server_settings": ["a", "b"]}
    )


@pytest.mark.parametrize(
    ("parameter", "transient"),
    [
        ("target_session_attrs=standby", True),  # as in a failover, until one of the hosts is it
        ("target_session_attrs=nonsense", False),
        ("sslmode=nonsense", False),
    ],
)
def test_what_connecting_again_can_change_is_worth_another_attempt(
    postgres_url: str, parameter: str, *, transient: bool
) -> None:
    async def body() -> None:
        plain = f"postgresql+asyncpg://{postgres_url.partition('://')[2]}"
        driver = aio.find(f"{plain}{'&' if '?' in plain else '?'}{parameter}")
        with pytest.raises(Exception, match=r"target|sslmode") as caught:
            await driver.connect()
        assert driver.is_transient(caught.value) is transient

    asyncio.run(body())


def test_a_reset_leads_back_to_the_options(postgres_url: str) -> None:
    async def body() -> None:
        async with session(postgres_url, statement_timeout=7.0) as (driver, conn):
            await conn.execute("SET statement_timeout = 1000")
            await driver.reset_session(conn)
            assert await conn.fetchval("SHOW statement_timeout") == "7s"

    asyncio.run(body())


def test_a_transaction_of_the_borrowers_within_is_a_savepoint(postgres_url: str) -> None:
    async def body() -> None:
        async with session(postgres_url) as (driver, conn):
            await conn.execute("CREATE TEMPORARY TABLE t (n INTEGER)")
            await driver.begin(conn)
            await conn.execute("INSERT INTO t VALUES (1)")
            with pytest.raises(ZeroDivisionError):
                async with conn.transaction():
                    await conn.execute("INSERT INTO t VALUES (2)")
                    raise ZeroDivisionError
            await driver.commit(conn)

            assert await conn.fetch("SELECT n FROM t") == [(1,)]
            assert driver.is_clean(conn)

    asyncio.run(body())


def test_a_block_that_went_on_after_an_error_is_told_that_nothing_was_committed(
    postgres_url: str,
) -> None:
    async def body() -> None:
        url = f"postgresql+asyncpg://{postgres_url.partition('://')[2]}"
        async with millpond.AsyncPool(url, max_size=1) as pool:
            with pytest.raises(millpond.PoolError, match="rolled back and not committed"):
                async with pool.transaction() as conn:
                    with pytest.raises(asyncpg.DivisionByZeroError):
                        await conn.execute("SELECT 1 / 0")
            async with pool.transaction() as conn:
                assert await conn.fetchval("SELECT 77") == 77
            assert pool.stats().opened == 1

    asyncio.run(body())


def test_a_transaction_of_the_borrowers_that_was_left_open_is_rolled_back(
    postgres_url: str,
) -> None:
    async def body() -> None:
        async with session(postgres_url) as (driver, conn):
            await conn.transaction().start()
            assert driver.transaction_status(conn) is TransactionStatus.OPEN

            await driver.reset(conn)

            assert driver.is_clean(conn)
            async with conn.transaction():  # and not a savepoint of one that is gone
                assert await conn.fetchval("SELECT 77") == 77

    asyncio.run(body())


def test_a_statement_that_was_cancelled_is_open_until_asyncpg_has_ended_it(
    postgres_url: str,
) -> None:
    async def body() -> None:
        async with session(postgres_url) as (driver, conn):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(conn.execute("SELECT pg_sleep(300)"), 0.05)
            assert driver.transaction_status(conn) is TransactionStatus.OPEN
            assert not driver.is_clean(conn)

            await driver.reset(conn)

            assert driver.is_clean(conn)
            assert await conn.fetchval("SELECT 77") == 77

    asyncio.run(body())


def test_a_notification_is_no_death(postgres_url: str) -> None:
    async def body() -> None:
        async with session(postgres_url) as (driver, conn), session(postgres_url) as (_, other):
            heard: list[str] = []
            await conn.add_listener("aio", lambda *said: heard.append(said[3]))
            await other.execute("NOTIFY aio, 'hello'")
            assert driver.is_alive(conn) is not False

            await driver.ping(conn)
            assert driver.is_alive(conn) is True
            assert heard == ["hello"]
            await driver.reset_session(conn)

    asyncio.run(body())


@pytest.mark.parametrize(
    "kind",
    [asyncpg.PostgresError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError, TimeoutError],
)
def test_a_clause_for_asyncpg_catches_the_timeout_of_the_pool(kind: type[Exception]) -> None:
    errors = for_driver(aio.find("postgresql+asyncpg://h/db").operational_error)
    timeout = errors.timeout("it took too long")

    with pytest.raises(kind, match="too long"):
        raise timeout


def test_with_the_profile_connections_share_a_session(postgres_url: str) -> None:
    async def body(url: str) -> None:
        async with (
            session(url, profile="pgbouncer", application_name="aio", keepalive=60) as (_, first),
            session(url, profile="pgbouncer", autocommit=True) as (driver, second),
        ):
            pids = set()
            for conn in (first, second) * 5:
                pids.add(await conn.fetchval("SELECT pg_backend_pid() WHERE $1 = 1", 1))
            assert len(pids) == 1
            await driver.begin(second, isolation="serializable")
            assert await second.fetchval("SHOW transaction_isolation") == "serializable"
            await driver.rollback(second)

    with bouncer.pgbouncer(postgres_url) as url:
        asyncio.run(body(url))


@pytest.mark.parametrize(
    ("options", "needs", "message"),
    [
        ({"statement_timeout": 2.0}, {}, "statement_timeout=2.0: not possible with the driver"),
        ({"read_only": True}, {}, "read_only=True: not possible with the driver asyncpg: in auto"),
        ({}, {"reset_session": "reset='session'"}, "reset='session': not possible with the driver"),
    ],
)
def test_what_a_session_would_have_to_keep_is_refused(
    options: dict[str, Any], needs: dict[str, str], message: str
) -> None:
    asked = SessionOptions(profile="pgbouncer", **options)

    assert message_of("postgresql+asyncpg://h/db", options=asked, needs=needs).startswith(message)
