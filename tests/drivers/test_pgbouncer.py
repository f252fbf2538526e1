"""`profile="pgbouncer"`: what transaction pooling forbids is not done, or refused.

Needs PgBouncer, from Debian's packages. It has one session, which each transaction takes over from
the one before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

import bouncer
from millpond import Pool, PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from helpers import MakePool

DRIVERS = ["psycopg", "psycopg2"]

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def bouncer_url(postgres_url: str) -> Iterator[str]:
    with bouncer.pgbouncer(postgres_url) as url:
        yield url


def url_for(driver: str, url: str) -> str:
    """Return the URL of the same server through a driver."""
    return f"postgresql+{driver}://{url.partition('://')[2]}"


def value(conn: Any, query: str) -> Any:
    """Return what a query says, in a transaction of its own."""
    cursor = conn.cursor()
    cursor.execute(query)
    found = cursor.fetchone()[0]
    conn.commit()
    return found


def test_without_the_profile_prepared_statements_get_in_each_others_way(
    bouncer_url: str, make_pool: MakePool
) -> None:
    pool = make_pool(bouncer_url, max_size=2)

    with (
        pytest.raises(psycopg.Error, match="prepared statement"),
        pool.connection() as first,
        pool.connection() as second,
    ):
        for _ in range(10):
            value(first, "SELECT 77")
            value(second, "SELECT 77")


@pytest.mark.parametrize("through", DRIVERS)
def test_with_the_profile_connections_share_a_session(
    bouncer_url: str, make_pool: MakePool, through: str
) -> None:
    pool = make_pool(url_for(through, bouncer_url), max_size=2, profile="pgbouncer")

    with pool.connection() as first, pool.connection() as second:
        pids = {value(conn, "SELECT pg_backend_pid()") for conn in (first, second) * 10}

    assert len(pids) == 1


def test_with_the_profile_a_callable_is_told_not_to_prepare(
    bouncer_url: str, make_pool: MakePool
) -> None:
    pool = make_pool(lambda: psycopg.connect(bouncer_url), max_size=2, profile="pgbouncer")

    with pool.connection() as first, pool.connection() as second:
        for _ in range(10):
            assert value(first, "SELECT 77") == value(second, "SELECT 77") == 77
        assert first.prepare_threshold is None


@pytest.mark.parametrize("through", DRIVERS)
def test_what_a_begin_can_say_holds_for_one_connection_only(
    bouncer_url: str, make_pool: MakePool, through: str
) -> None:
    url = url_for(through, bouncer_url)
    strict = make_pool(url, profile="pgbouncer", isolation_level="serializable", read_only=True)
    plain = make_pool(url, profile="pgbouncer")

    with strict.connection() as first, plain.connection() as second:
        assert value(first, "SHOW transaction_isolation") == "serializable"
        assert value(first, "SHOW transaction_read_only") == "on"
        assert value(second, "SHOW transaction_isolation") == "read committed"
        assert value(second, "SHOW transaction_read_only") == "off"


@pytest.mark.parametrize("through", DRIVERS)
def test_the_application_name_and_keepalive_are_no_matter_of_the_session(
    bouncer_url: str, make_pool: MakePool, through: str
) -> None:
    pool = make_pool(
        url_for(through, bouncer_url), profile="pgbouncer", application_name="orders", keepalive=60
    )

    with pool.connection() as conn:
        assert value(conn, "SHOW application_name") == "orders"


@pytest.mark.parametrize("through", DRIVERS)
def test_transactions_and_validation_work(
    bouncer_url: str, make_pool: MakePool, through: str
) -> None:
    pool = make_pool(
        url_for(through, bouncer_url), profile="pgbouncer", autocommit=True, validation_interval=0
    )

    for _ in range(3):
        with pool.transaction(isolation="repeatable read", read_only=True) as conn:
            cursor = conn.cursor()
            cursor.execute("SHOW transaction_isolation")
            assert cursor.fetchone() == ("repeatable read",)


@pytest.mark.parametrize("through", DRIVERS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"statement_timeout": 2.0}, "statement_timeout=2.0: not possible with the driver "),
        ({"session": "SET a = 1"}, "session=<1 statements>: not possible with the driver "),
        ({"reset": "session"}, "reset='session': not possible with the driver "),
        (
            {"autocommit": True, "read_only": True},
            "read_only=True: not possible with the driver {}: in autocommit mode there is no BEGIN",
        ),
    ],
)
def test_what_a_session_would_have_to_keep_is_refused(
    bouncer_url: str, through: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(PoolConfigError) as caught:
        Pool(url_for(through, bouncer_url), profile="pgbouncer", **options)

    assert str(caught.value).startswith(message.format(through))
