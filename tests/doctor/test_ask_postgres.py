"""What PostgreSQL, and PgBouncer before it, tell of themselves."""

from __future__ import annotations

import psycopg
import pytest

from bouncer import pgbouncer
from doctor.roles import ROLE, role
from helpers import eventually
from millpond.doctor.ask import ServerUnreachable, ask
from millpond.errors import PoolConfigError
from private_postgres import private_postgres


def test_its_limits_are_those_that_the_server_shows(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as conn:
        shown = {
            name: conn.execute(f"SHOW {name}".encode()).fetchone()
            for name in ("max_connections", "superuser_reserved_connections", "server_version")
        }

    facts = ask(postgres_url)

    assert facts.kind == "postgresql"
    assert shown == {
        "max_connections": (str(facts.max_connections),),
        "superuser_reserved_connections": (str(facts.reserved),),
        "server_version": (facts.version,),
    }
    assert facts.is_local
    assert facts.is_administrator
    assert facts.bouncer is None
    assert facts.limits == ()


@pytest.mark.parametrize(
    "scheme", ["postgres", "postgresql+psycopg2", "postgresql+asyncpg", "postgresql+nobody"]
)
def test_an_application_may_use_another_driver(postgres_url: str, scheme: str) -> None:
    facts = ask(postgres_url.replace("postgresql", scheme, 1))

    assert facts.max_connections == ask(postgres_url).max_connections


def test_settings_of_a_role_are_seen_by_that_role(postgres_url: str) -> None:
    settings = (
        "CONNECTION LIMIT 7",
        "SET statement_timeout = '90s'",
        "SET idle_in_transaction_session_timeout = 1500",
    )
    with role(postgres_url, *settings) as url:
        facts = ask(url)
        assert ask(postgres_url).limits == ()  # it is not ours

    assert [(limit.name, limit.value) for limit in facts.limits] == [(f"role {ROLE}", 7)]
    assert facts.limits[0].how == f"ALTER ROLE {ROLE} CONNECTION LIMIT"
    assert facts.statement_timeout == 90.0
    assert facts.transaction_timeout == 1.5
    assert not facts.is_administrator


def test_a_session_that_forgot_its_transaction_is_named(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, application_name="forgetful") as conn:
        conn.execute("SELECT 'the last thing'")

        facts = ask(postgres_url)

        mine = [idler for idler in facts.idlers if idler.session == conn.info.backend_pid]
        assert [(idler.application, idler.query) for idler in mine] == [
            ("forgetful", "SELECT 'the last thing'")
        ]
        assert 0.0 <= mine[0].seconds < 60.0
        assert facts.states["idle in transaction"] >= 1
        assert facts.applications["forgetful"] == 1
        assert facts.sessions >= 1


def test_who_asks_is_not_counted() -> None:
    with private_postgres() as server:
        # Whoever looked whether it is up may still be leaving.
        eventually(lambda: ask(server.url).sessions == 0)
        facts = ask(server.url)

    assert (facts.sessions, facts.states, facts.applications) == (0, {}, {})
    assert facts.free == facts.capacity


def test_asking_leaves_no_session_behind(postgres_url: str) -> None:
    ask(postgres_url)

    with psycopg.connect(postgres_url, autocommit=True) as conn:
        count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'millpond doctor'"
        eventually(lambda: conn.execute(count).fetchone() == (0,))


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg2"])
def test_pgbouncer_shows_itself_and_tells_its_mode(postgres_url: str, scheme: str) -> None:
    with pgbouncer(postgres_url) as url:
        bouncer = ask(url.replace("postgresql", scheme, 1)).bouncer

    assert bouncer is not None
    assert bouncer.product.startswith("PgBouncer 1.")
    assert bouncer.mode == "transaction"
    assert bouncer.shares_sessions
    assert (bouncer.max_clients, bouncer.pool_size) == (100, 1)
    assert bouncer.wait_timeout == 120.0
    assert bouncer.client_idle_timeout is None


def test_a_pooler_that_tells_nothing_is_found_out_by_two_connections(postgres_url: str) -> None:
    with pgbouncer(postgres_url, "admin_users = nobody", "auth_type = trust") as url:
        bouncer = ask(url).bouncer

    assert bouncer is not None
    assert bouncer.product == "a connection pooler"
    assert bouncer.mode == "transaction"


def test_session_pooling_is_not_taken_for_transaction_pooling(postgres_url: str) -> None:
    silent = ("admin_users = nobody", "auth_type = trust", "pool_mode = session")
    with pgbouncer(postgres_url, *silent) as url:
        bouncer = ask(url).bouncer

    assert bouncer is not None
    assert bouncer.mode is None
    assert not bouncer.shares_sessions


def test_a_server_that_is_down_is_named_without_the_password() -> None:
    with pytest.raises(ServerUnreachable, match="cannot be asked") as caught:
        ask("postgresql://app:secret@127.0.0.1:1/shop")

    assert "secret" not in str(caught.value)
    assert "app:***@127.0.0.1:1/shop" in str(caught.value)


@pytest.mark.parametrize("url", ["sqlite:///app.db", "host=db password=secret", "", "oracle://a/b"])
def test_what_is_no_server_that_can_be_asked_is_refused(url: str) -> None:
    with pytest.raises(PoolConfigError, match="PostgreSQL, MySQL, MariaDB or Redis") as caught:
        ask(url)

    assert "secret" not in str(caught.value)
