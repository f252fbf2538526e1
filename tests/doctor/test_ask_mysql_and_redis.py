"""What MySQL, MariaDB and Redis tell of themselves."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pymysql
import pytest
import redis

from databases import mysql_arguments
from doctor.roles import account, run
from helpers import eventually
from millpond.doctor.ask import ask

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def root(mysql_url: str) -> Iterator[Any]:
    """Give a connection of the administrator."""
    with closing(pymysql.connect(**mysql_arguments(mysql_url), autocommit=True)) as conn:
        yield conn


@pytest.mark.parametrize("driver", ["", "+pymysql", "+mysqldb", "+mysqlconnector", "+aiomysql"])
def test_mysqls_limits_are_those_that_it_shows(mysql_url: str, root: Any, driver: str) -> None:
    shown = run(root, "SELECT @@max_connections, @@wait_timeout, @@version")

    facts = ask(mysql_url.replace("://", f"{driver}://", 1))

    assert [(facts.max_connections, facts.idle_timeout, facts.version)] == shown
    assert facts.kind == ("mariadb" if "MariaDB" in facts.version else "mysql")
    assert facts.called("idle_timeout") == "wait_timeout"
    assert facts.is_local
    assert facts.sessions >= 1
    assert facts.peak is not None
    assert facts.peak >= 2
    assert facts.aborted is not None


def test_the_limit_of_an_account_is_seen_by_that_account(mysql_url: str) -> None:
    with account(mysql_url, "WITH MAX_USER_CONNECTIONS 3") as url:
        facts = ask(url)

    assert [(limit.name, limit.value) for limit in facts.limits] == [("account", 3)]


def test_an_account_without_rights_still_learns_what_concerns_it(mysql_url: str) -> None:
    with account(mysql_url) as url:
        facts = ask(url)

    assert facts.max_connections
    assert facts.limits == ()
    assert facts.idlers == ()


def test_a_transaction_that_waits_for_its_client_is_named(mysql_url: str, root: Any) -> None:
    table = f"doctor_{os.getpid()}"
    run(root, f"CREATE TABLE {table} (id INT) ENGINE=InnoDB")
    try:
        with closing(pymysql.connect(**mysql_arguments(mysql_url))) as conn:
            run(conn, f"INSERT INTO {table} VALUES (1)")
            [(own,)] = run(conn, "SELECT CONNECTION_ID()")

            def is_named() -> bool:
                # InnoDB tells its transactions from a copy, as long as somebody has asked for
                # them within the last tenth of a second.
                run(root, "SELECT SLEEP(0.11)")
                return own in [idler.session for idler in ask(mysql_url).idlers]

            eventually(is_named)
            conn.rollback()
    finally:
        run(root, f"DROP TABLE {table}")


def test_redis_tells_its_limits(redis_url: str) -> None:
    with closing(redis.Redis.from_url(redis_url)) as client:
        before = client.config_get("*")

        facts = ask(redis_url)

        assert facts.kind == "redis"
        assert str(facts.max_connections) == before["maxclients"]
        assert f"{facts.idle_timeout or 0:g}" == before["timeout"]
        assert f"{facts.keepalive or 0:g}" == before["tcp-keepalive"]
        assert facts.sessions >= 1


def test_redis_without_config_still_tells_how_many_clients_it_takes(redis_url: str) -> None:
    user = f"doctor-{os.getpid()}"
    with closing(redis.Redis.from_url(redis_url)) as client:
        client.acl_setuser(
            user, enabled=True, nopass=True, categories=["+@all"], commands=["-config"]
        )
        try:
            facts = ask(redis_url.replace("://", f"://{user}:none@", 1))
        finally:
            client.acl_deluser(user)

    assert facts.sessions >= 1
    assert facts.max_connections
    assert facts.idle_timeout is None
