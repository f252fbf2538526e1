"""The network between: cut, silent, slow."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

import millpond
from helpers import eventually, in_thread
from load import Load, fill

if TYPE_CHECKING:
    from private_postgres import PrivatePostgres
    from proxy import Proxy

pytestmark = pytest.mark.server

SOON = 1.0


@pytest.mark.parametrize("reset", [False, True])
def test_connections_that_were_cut_are_never_lent(
    server: PrivatePostgres, wire: Proxy, *, reset: bool
) -> None:
    """With FIN, as a proxy or a balancer does, and with RST, as a host that has forgotten us."""
    with millpond.Pool(wire.url(server.url), max_size=8) as pool:
        fill(pool, 8)
        wire.cut(reset=reset)
        began = time.perf_counter()

        with pool.connection() as conn:
            conn.execute("SELECT 1")

        assert time.perf_counter() - began < SOON
        assert pool.stats().opened == 9


def test_cuts_under_load_cost_only_statements_that_had_begun(
    server: PrivatePostgres, wire: Proxy
) -> None:
    with millpond.Pool(wire.url(server.url), max_size=8) as pool:
        load = Load(pool, 16)
        for _ in range(5):
            before = len(load.answers)
            eventually(lambda before=before: len(load.answers) > before + 50)  # type: ignore[misc]
            wire.cut()
        eventually(lambda: len(load.answers) > 400)
        load.end()

        assert len(load.errors) <= 5 * 8
        assert not [error for _, error in load.errors if isinstance(error, millpond.PoolError)]


def test_a_half_open_connection_is_found_by_the_ping_and_replaced(
    server: PrivatePostgres, wire: Proxy
) -> None:
    """Scenario 26, from the other side: no FIN ever comes, so no look at a socket tells."""
    with millpond.Pool(
        wire.url(server.url), max_size=4, validation_interval=0.2, validation_timeout=0.5
    ) as pool:
        fill(pool, 4)
        wire.freeze()

        eventually(lambda: pool.stats().closed["invalid"] == 4)

        wire.cut(reset=True)
        wire.thaw()
        with pool.connection() as conn:
            conn.execute("SELECT 1")


def test_who_would_get_a_half_open_connection_gets_a_new_one(
    server: PrivatePostgres, wire: Proxy
) -> None:
    """Scenario 21: not even one validation timeout is paid, as there is room for another."""
    new: list[psycopg.Connection[Any]] = []

    def connect() -> psycopg.Connection[Any]:
        # The first connections go through the wire that breaks, later ones around it.
        url = wire.url(server.url) if wire.accepted < 2 else server.url
        new.append(psycopg.connect(url))
        return new[-1]

    with millpond.Pool(connect, max_size=4, validation_interval=0, validation_timeout=5.0) as pool:
        fill(pool, 2)
        wire.freeze()
        began = time.perf_counter()

        with pool.connection() as conn:
            conn.execute("SELECT 1")

        assert time.perf_counter() - began < 2 * SOON
        assert pool.stats().gave_up == 0
        wire.cut(reset=True)
        wire.thaw()


def test_a_slow_accept_delays_those_who_need_it_and_nobody_else(
    server: PrivatePostgres, wire: Proxy
) -> None:
    """Scenario 17: whoever finds an idle connection never meets those who wait for one."""
    with millpond.Pool(wire.url(server.url), max_size=4) as pool:
        held = pool.acquire()
        wire.delay = 1.0
        slow = in_thread(pool.acquire)
        eventually(lambda: pool.stats().opening == 1)

        began = time.perf_counter()
        pool.release(held)
        served = slow.result()

        assert served is held
        assert time.perf_counter() - began < SOON
        pool.release(served)


def test_a_connect_that_never_ends_is_given_up_and_others_succeed(
    server: PrivatePostgres, wire: Proxy
) -> None:
    """Scenario 17."""
    with millpond.Pool(
        wire.url(server.url), max_size=2, connect_timeout=0.3, acquire_timeout=10
    ) as pool:
        wire.freeze()
        caller = in_thread(pool.acquire)
        eventually(lambda: pool.stats().open_failed >= 1)
        wire.cut(reset=True)
        wire.thaw()

        pool.release(caller.result())

        assert pool.stats().gave_up == 0


def test_a_pool_of_one_recovers_from_a_wire_that_froze_in_the_middle(
    server: PrivatePostgres, wire: Proxy
) -> None:
    """Scenario 18: silence is met with a timeout, whatever is under way."""
    with millpond.Pool(
        wire.url(server.url), max_size=1, connect_timeout=0.5, validation_interval=0
    ) as pool:
        fill(pool, 1)
        wire.freeze()
        with pytest.raises(millpond.PoolTimeout):
            pool.acquire(timeout=0.2)
        wire.cut(reset=True)
        wire.thaw()

        with pool.connection(timeout=10) as conn:
            conn.execute("SELECT 1")


def test_light_traffic_over_many_connections_lets_the_pool_shrink(
    server: PrivatePostgres,
) -> None:
    """Scenario 27, with a socket to look at at each acquire."""
    with millpond.Pool(server.url, max_size=12, idle_timeout=0.4) as pool:
        fill(pool, 12)
        began = time.monotonic()
        while time.monotonic() - began < 3.0 and pool.stats().size > 2:
            with pool.connection() as conn:
                conn.execute("SELECT 1")

        assert pool.stats().size <= 2
        assert pool.stats().closed["idle"] >= 10


def test_an_idle_connection_is_pinged_before_the_server_would_cut_it_off(
    server: PrivatePostgres,
) -> None:
    """Scenarios 26 and 28: the ping keeps it, and use makes the ping unnecessary."""
    with millpond.Pool(
        server.url,
        max_size=1,
        validation_interval=0.3,
        connect_kwargs={"options": "-c idle_session_timeout=1500ms"},
    ) as pool:
        fill(pool, 1)
        eventually(lambda: pool.stats().checks >= 8)

        stats = pool.stats()
        assert (stats.size, stats.opened, stats.checks_failed) == (1, 1, 0)
        assert stats.check_time.count == stats.checks
        latency = stats.connections[0].latency
        assert latency is not None
        assert 0.0 < latency < SOON
