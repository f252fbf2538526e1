"""The rules about servers, on servers that were made so."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from bouncer import pgbouncer
from doctor.patients import FILE, configured, findings, found
from doctor.roles import account, role
from millpond.doctor import UNKNOWN
from millpond.doctor.ask import ask
from millpond.doctor.outside._server import Bouncer, Idler, ServerFacts
from millpond.doctor.outside._server_case import ServerCase, together

if TYPE_CHECKING:
    from millpond.doctor import PoolOptions

SQLALCHEMY = "sqlalchemy.create_engine"


def case(facts: ServerFacts, *pools: PoolOptions, **said: Any) -> ServerCase:
    """Return the case of a server and some pools."""
    return together(facts, pools, **said)


def recorded(**said: Any) -> ServerFacts:
    """Return what a PostgreSQL without any peculiarity told, but for what is said."""
    told: dict[str, Any] = {
        "kind": "postgresql",
        "version": "16.4",
        "where": "postgresql://shop@db/shop",
        "max_connections": 100,
        "reserved": 3,
        "statement_timeout": 30.0,
    }
    return ServerFacts(**(told | said))


@pytest.mark.parametrize("server", ["postgres_url", "mysql_url", "redis_url"])
def test_workers_times_size_over_the_servers_limit(
    server: str, request: pytest.FixtureRequest
) -> None:
    facts = ask(request.getfixturevalue(server))
    assert facts.capacity is not None
    fits = facts.capacity // 4

    finding = found("MP301", case(facts, configured(max_size=fits + 1), workers=4))
    assert findings("MP301", case(facts, configured(max_size=fits), workers=4)) == []

    assert finding.severity == "error"
    assert f"{4 * (fits + 1)} connections (4 workers * max_size {fits + 1})" in finding.message
    assert f"= {facts.max_connections}" in finding.message
    assert (finding.file, finding.line) == (FILE, 7)
    assert finding.change is not None
    assert finding.change.after == f"pool = millpond.Pool(max_size={fits})"


@pytest.mark.parametrize(
    ("pools", "said"),
    [
        ([configured(SQLALCHEMY, pool_size=90)], "100 connections (pool_size + max_overflow 100)"),
        ([configured(max_size=50), configured(max_size=48)], "(max_size 50 + max_size 48)"),
        ([configured("dbutils.PooledDB")], "any number of connections"),
    ],
)
def test_every_kind_of_pool_has_a_size(pools: list[PoolOptions], said: str) -> None:
    finding = found("MP301", case(recorded(), *pools))

    # Two numbers, two pools, or a call without arguments: there is no single word to change.
    assert finding.change is None

    assert said in finding.message


@pytest.mark.parametrize(
    "pools",
    [
        [configured(max_size=UNKNOWN)],
        [configured(max_size=97), configured(max_size=UNKNOWN)],
        [configured(connect="redis://cache/0", max_size=500)],
        [],
    ],
)
def test_a_size_that_is_unknown_or_of_another_server_is_no_alarm(pools: list[PoolOptions]) -> None:
    assert findings("MP301", case(recorded(), *pools)) == []


def test_what_is_known_may_be_too_much_already() -> None:
    pools = [configured(max_size=98), configured(max_size=UNKNOWN)]

    finding = found("MP301", case(recorded(), *pools))

    assert "may open at least 98 connections (max_size 98)" in finding.message


def test_more_workers_than_sessions_is_said_to_be_so() -> None:
    finding = found("MP301", case(recorded(max_connections=10), configured(max_size=1), workers=8))

    assert finding.fix == "use fewer workers: there are 8, and room for 7"
    assert finding.change is None


def test_sessions_that_others_have_are_not_free(postgres_url: str) -> None:
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(psycopg.connect(postgres_url, application_name="nightly report"))
        facts = ask(postgres_url)
    assert facts.capacity is not None

    finding = found("MP302", case(facts, configured(max_size=facts.capacity)))

    assert f"{facts.free} of {facts.capacity} sessions are free" in finding.message
    assert "3 nightly report" in finding.evidence
    assert findings("MP302", case(facts, configured(max_size=1))) == []
    # To PgBouncer they are not free or taken.
    behind = replace(facts, bouncer=Bouncer(product="PgBouncer", mode="session", how="so"))
    assert findings("MP302", case(behind, configured(max_size=facts.capacity))) == []
    # Then MP301 has said it.
    assert findings("MP302", case(facts, configured(max_size=facts.capacity + 1))) == []


def test_the_limit_of_a_role_is_below_the_size(postgres_url: str) -> None:
    with role(postgres_url, "CONNECTION LIMIT 6") as url:
        facts = ask(url)

    finding = found("MP303", case(facts, configured(max_size=4), workers=2))

    assert "8 connections (2 workers * max_size 4)" in finding.message
    assert "may have 6" in finding.message
    assert "max_size = 3 (6 in all workers), or ALTER ROLE" in finding.fix
    assert finding.fix.endswith("CONNECTION LIMIT 8")
    assert findings("MP303", case(facts, configured(max_size=3), workers=2)) == []


def test_the_limit_of_an_account_is_below_the_size(mysql_url: str) -> None:
    with account(mysql_url, "WITH MAX_USER_CONNECTIONS 5") as url:
        facts = ask(url)

    assert "account may have 5" in found("MP303", case(facts, configured(max_size=6))).message
    assert findings("MP303", case(facts, configured(max_size=5))) == []


CAUTIOUS = configured(max_size=4, validation_interval=10.0)


@pytest.mark.parametrize(
    ("pool", "change"),
    [
        (configured(SQLALCHEMY, url="postgresql://db/a", pool_recycle=3600), "pool_recycle=10"),
        # Those of min_size are kept, however idle they are.
        (configured(validation_interval=None, min_size=2, idle_timeout=15.0), None),
        (configured(validation_interval=30.0, max_size=4), "validation_interval=10"),
        (configured("django", CONN_MAX_AGE=600), '"CONN_MAX_AGE": 10'),
        (configured("dbutils.PooledDB", ping=0), "ping=1"),
    ],
)
def test_the_server_closes_what_the_pool_believes_to_be_idle(
    postgres_url: str, pool: PoolOptions, change: str | None
) -> None:
    with role(postgres_url, "SET idle_session_timeout = '20s'") as url:
        facts = ask(url)

    finding = found("MP304", case(facts, pool))

    assert "idle_session_timeout = 20 s" in finding.message
    # What looks at its sockets has no error to fear.
    assert finding.severity == ("info" if pool.is_millpond else "warning")
    if change is not None:
        assert finding.change is not None
        assert change in finding.change.after


@pytest.mark.parametrize(
    "pool",
    [
        CAUTIOUS,
        configured(validation_interval=None, idle_timeout=15.0),
        configured(SQLALCHEMY, pool_pre_ping=True),
        configured(SQLALCHEMY, pool_recycle=15),
        configured(SQLALCHEMY, pool_recycle=UNKNOWN),
        configured("django", CONN_MAX_AGE=600, CONN_HEALTH_CHECKS=True),
        configured("django"),
        configured("dbutils.PooledDB"),
        configured(validation_interval=UNKNOWN, idle_timeout=None, max_lifetime=None),
    ],
)
def test_a_pool_that_is_first_has_nothing_to_fear(pool: PoolOptions) -> None:
    assert findings("MP304", case(recorded(idle_timeout=20.0), pool)) == []


def test_wait_timeout_is_the_servers_own_word(mysql_url: str) -> None:
    facts = ask(mysql_url)

    finding = found("MP304", case(facts, configured(SQLALCHEMY)))

    assert finding.message.startswith(f"wait_timeout = {facts.idle_timeout:g} s, and the pool")
    assert "for ever" in finding.message
    assert findings("MP304", case(facts, CAUTIOUS)) == []


def test_behind_pgbouncer_its_own_timeout_counts(postgres_url: str) -> None:
    with pgbouncer(postgres_url, "client_idle_timeout = 15") as url:
        facts = ask(url)

    finding = found("MP304", case(facts, configured(SQLALCHEMY)))

    assert finding.message.startswith("client_idle_timeout = 15 s")
    assert findings("MP304", case(facts, CAUTIOUS)) == []


def test_the_server_ends_a_transaction_before_its_holder_is_named(postgres_url: str) -> None:
    with role(postgres_url, "SET idle_in_transaction_session_timeout = '10s'") as url:
        facts = ask(url)

    late = found("MP305", case(facts, configured(leak_threshold=30.0)))
    never = found("MP305", case(facts, configured()))

    assert late.severity == "warning"
    assert late.change is not None
    assert late.change.after == "pool = millpond.Pool(leak_threshold=5)"
    assert never.severity == "info"
    assert findings("MP305", case(facts, configured(leak_threshold=5.0))) == []
    assert findings("MP305", case(ask(postgres_url), configured(leak_threshold=30.0))) == []


@pytest.mark.parametrize("server", ["postgres_url", "mysql_url"])
def test_nothing_ends_a_statement(server: str, request: pytest.FixtureRequest) -> None:
    facts = ask(request.getfixturevalue(server))

    finding = found("MP306", case(facts, configured()))

    assert facts.called("statement_timeout") in finding.message
    assert finding.fix.startswith("statement_timeout=25")
    assert findings("MP306", case(facts, configured(statement_timeout=30.0))) == []


@pytest.mark.parametrize(
    "pool",
    [
        configured(connect="postgresql://db/a?options=-c%20statement_timeout%3D5000"),
        configured(connect_kwargs=UNKNOWN),
        configured(session=["SET statement_timeout = '5s'"]),
        configured(SQLALCHEMY),
    ],
)
def test_a_limit_that_may_be_said_elsewhere_is_no_alarm(pool: PoolOptions) -> None:
    assert findings("MP306", case(recorded(statement_timeout=None), pool)) == []


def test_a_limit_of_the_role_is_enough(postgres_url: str) -> None:
    with role(postgres_url, "SET statement_timeout = '25s'") as url:
        facts = ask(url)

    assert findings("MP306", case(facts, configured())) == []
    assert findings("MP307", case(facts, configured(), http_timeout=30.0)) == []
    finding = found("MP307", case(facts, configured(), http_timeout=20.0))
    assert finding.message == (
        "a statement may take 25 s, and whoever asks waits 20 s for the answer"
    )
    assert finding.fix.startswith("statement_timeout=16,")


def test_a_limit_far_beyond_the_patience_of_callers() -> None:
    facts = recorded(statement_timeout=None)

    finding = found("MP307", case(facts, configured(statement_timeout=120.0)))

    assert "callers wait 5 s for a connection (acquire_timeout)" in finding.message
    assert finding.fix.startswith("statement_timeout=50,")
    assert finding.severity == "info"
    assert findings("MP307", case(facts, configured(statement_timeout=50.0))) == []
    # Who never waits, or for ever, has no patience to compare with.
    for patience in (0, None):
        slow = configured(statement_timeout=120.0, acquire_timeout=patience)
        assert findings("MP307", case(facts, slow)) == []
    assert findings("MP307", case(facts, configured())) == []


def test_pgbouncer_shares_sessions_and_the_pool_does_not_know(postgres_url: str) -> None:
    with pgbouncer(postgres_url) as url:
        facts = ask(url)

    finding = found("MP308", case(facts, configured(connect="postgresql://bouncer/shop")))

    assert finding.message.startswith("PgBouncer 1.")
    assert "pool_mode = transaction is in between, and the driver prepares" in finding.message
    assert finding.severity == "error"
    assert finding.change is not None
    assert finding.change.after == (
        "pool = millpond.Pool(connect='postgresql://bouncer/shop', profile=\"pgbouncer\")"
    )
    told = configured(connect="postgresql://bouncer/shop", profile="pgbouncer")
    assert findings("MP308", case(facts, told)) == []
    assert findings("MP308", case(ask(postgres_url), configured(connect="postgresql://db/a"))) == []


def test_the_driver_of_an_engine_may_prepare_or_not() -> None:
    facts = recorded(bouncer=Bouncer(product="a connection pooler", mode="transaction", how="so"))

    def engine(url: str, **options: Any) -> ServerCase:
        return case(facts, configured(SQLALCHEMY, url=url, **options))

    assert "prepare_threshold" in found("MP308", engine("postgresql+psycopg://b/a")).fix
    assert findings("MP308", engine("postgresql+psycopg2://b/a")) == []
    assert findings("MP308", engine("postgresql+psycopg://b/a", connect_args=UNKNOWN)) == []


def test_pgbouncer_that_follows_prepared_statements_shares_the_rest() -> None:
    bouncer = Bouncer(
        product="PgBouncer 1.24.0", mode="transaction", how="so", follows_prepared=True
    )
    facts = recorded(bouncer=bouncer)

    finding = found("MP308", case(facts, configured(connect="postgresql://b/a")))

    assert finding.severity == "info"
    assert "but nothing else of a session" in finding.message
    engine = configured(SQLALCHEMY, url="postgresql+psycopg://b/a")
    assert findings("MP308", case(facts, engine)) == []


def test_session_pooling_needs_no_profile(postgres_url: str) -> None:
    with pgbouncer(postgres_url, "pool_mode = session") as url:
        facts = ask(url)

    assert facts.bouncer is not None
    assert facts.bouncer.mode == "session"
    assert findings("MP308", case(facts, configured(connect="postgresql://bouncer/shop"))) == []


def test_pgbouncer_takes_fewer_clients_than_the_pools_have(postgres_url: str) -> None:
    with pgbouncer(postgres_url, "max_client_conn = 30") as url:
        facts = ask(url)

    finding = found("MP309", case(facts, configured(max_size=10), workers=4))

    assert "max_client_conn = 30" in finding.message
    assert finding.fix == "raise max_client_conn, or max_size = 7 (28 in all workers)"
    assert findings("MP309", case(facts, configured(max_size=7), workers=4)) == []
    # The server's own limit concerns PgBouncer only.
    assert findings("MP301", case(facts, configured(max_size=500))) == []


def test_callers_wait_in_pgbouncer_for_longer_than_in_the_pool(postgres_url: str) -> None:
    with pgbouncer(postgres_url, "default_pool_size = 5") as url:
        facts = ask(url)

    finding = found("MP310", case(facts, configured(max_size=6)))

    assert "waits 120 s there; acquire_timeout is 5 s" in finding.message
    assert findings("MP310", case(facts, configured(max_size=5))) == []
    assert findings("MP310", case(facts, configured(max_size=6, acquire_timeout=0))) == []
    assert findings("MP310", case(facts, configured("dbutils.PooledDB"))) == []


def test_the_same_patience_in_both_is_no_finding(postgres_url: str) -> None:
    settings = ("default_pool_size = 5", "query_wait_timeout = 5")
    with pgbouncer(postgres_url, *settings) as url:
        facts = ask(url)

    assert findings("MP310", case(facts, configured(max_size=6))) == []


def test_who_waits_for_ever_in_both_is_no_matter_of_their_order() -> None:
    bouncer = Bouncer(product="PgBouncer", mode="session", how="so", pool_size=5)
    facts = recorded(bouncer=bouncer)

    assert "for ever there" in found("MP310", case(facts, configured(max_size=6))).message
    assert findings("MP310", case(facts, configured(max_size=6, acquire_timeout=None))) == []


def test_sessions_that_sit_in_a_transaction() -> None:
    idlers = (Idler(4711, 300.0, "shop", "SELECT\n  1"), Idler(4712, 59.0, "shop", "UPDATE x"))

    finding = found("MP311", case(recorded(idlers=idlers)))

    assert "1 session is idle in a transaction, the longest for 300 s" in finding.message
    assert finding.evidence == "4711 shop: 300 s after SELECT 1"
    assert finding.severity == "warning"
    assert findings("MP311", case(recorded(idlers=idlers[1:]))) == []
    hours = (Idler(1, 3600.0, "", ""),)
    assert found("MP311", case(recorded(idlers=hours))).severity == "error"


def test_nobody_looks_whether_a_network_is_still_there() -> None:
    remote = recorded(is_local=False)
    url = "postgresql://db/a"

    assert "7200 s" in found("MP312", case(remote, configured(connect=url))).message
    assert findings("MP312", case(remote, configured(connect=url, keepalive=60.0))) == []
    told = configured(connect=f"{url}?keepalives_idle=60")
    assert findings("MP312", case(remote, told)) == []
    assert findings("MP312", case(recorded(), configured(connect=url))) == []


def test_a_server_that_is_nearly_full() -> None:
    full = recorded(sessions=97, states={"idle": 90, "active": 7}, applications={"shop": 80})

    finding = found("MP313", case(full))

    assert finding.severity == "error"
    assert finding.evidence == "90 idle, 7 active\n80 shop"
    assert found("MP313", case(recorded(sessions=83))).severity == "warning"
    assert findings("MP313", case(recorded(sessions=82))) == []
    assert "since the server was started" in found("MP313", case(recorded(peak=95))).message
    assert findings("MP313", case(recorded(peak=94))) == []


def test_clients_that_go_without_a_farewell() -> None:
    finding = found("MP314", case(recorded(kind="mysql", aborted=(60, 1000), idle_timeout=28800.0)))

    assert finding.message == "Aborted_clients = 60 of 1000 connections (6%)"
    assert findings("MP314", case(recorded(aborted=(50, 1000)))) == []
    assert findings("MP314", case(recorded(aborted=(19, 20)))) == []


def test_the_reserve_is_for_administrators(postgres_url: str) -> None:
    with role(postgres_url) as url:
        assert findings("MP315", case(ask(url))) == []

    finding = found("MP315", case(ask(postgres_url)))

    assert "3 sessions that are reserved" in finding.message


def test_the_server_works_for_clients_that_are_gone(postgres_url: str) -> None:
    with role(postgres_url, "SET client_connection_check_interval = '10s'") as url:
        assert findings("MP316", case(ask(url))) == []

    finding = found("MP316", case(ask(postgres_url)))

    assert finding.severity == "info"
    assert findings("MP316", case(recorded(check_interval=0.0))) == []  # it has a timeout
    assert findings("MP316", case(recorded(check_interval=None, statement_timeout=None))) == []
