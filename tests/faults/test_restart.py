"""The server went away and came back: what that costs those who did not notice."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

import millpond
from helpers import eventually, together
from load import Load, fill

if TYPE_CHECKING:
    from private_postgres import PrivatePostgres
    from proxy import Proxy

pytestmark = pytest.mark.server

NAME = "millpond-faults"
# What is measured takes milliseconds; a machine that is busy with other tests takes longer.
SOON = 1.0


def pool_at(url: str, **options: Any) -> millpond.Pool[psycopg.Connection[Any]]:
    """Make a pool whose sessions the server knows by name."""
    return millpond.Pool(url, connect_kwargs={"application_name": NAME}, **options)


def lost(pool: millpond.Pool[Any]) -> int:
    """Count the connections that were closed since the server was gone.

    What the server says before it hangs up makes a connection doubtful, and a validation finds it
    invalid; without those words, or after the end of the process, it is dead at a look.
    """
    closed = pool.stats().closed
    return closed["dead"] + closed["invalid"]


@pytest.mark.parametrize("size", [8, 32, 128])
def test_the_next_request_succeeds_when_every_idle_backend_was_terminated(
    server: PrivatePostgres, size: int
) -> None:
    """Scenario 21."""
    with pool_at(server.url, max_size=size) as pool:
        fill(pool, size)
        assert server.terminate(NAME) == size
        began = time.perf_counter()

        with pool.connection() as conn:
            conn.execute("SELECT 1")

        assert time.perf_counter() - began < SOON
        eventually(lambda: lost(pool) == size)
        assert pool.stats().opened == size + 1


def test_sixteen_threads_after_a_restart_see_no_error(server: PrivatePostgres) -> None:
    """Scenarios 21 and 22: all of them find their connections dead at once."""
    with pool_at(server.url, max_size=16, max_connecting=4) as pool:
        fill(pool, 16)
        server.stop()
        server.start()
        connecting: list[int] = []

        def request(_number: int) -> float:
            began = time.perf_counter()
            with pool.connection() as conn:
                connecting.append(pool.stats().opening)
                conn.execute("SELECT pg_sleep(0.02)")
            return time.perf_counter() - began

        times = together(16, request)

        assert max(times) < 2 * SOON
        assert max(connecting) <= 4
        stats = pool.stats()
        assert (lost(pool), stats.gave_up, stats.open_failed) == (16, 0, 0)
        assert stats.opened <= 16 + 16


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
def test_a_restart_under_load_costs_only_statements_that_had_begun(
    server: PrivatePostgres, how: signal.Signals
) -> None:
    """Scenario 16: a blip that is shorter than the callers' timeout."""
    with pool_at(server.url, max_size=8) as pool:
        load = Load(pool, 16)
        eventually(lambda: len(load.answers) > 200)
        server.stop(how)
        down = time.monotonic()
        eventually(lambda: pool.stats().open_failed > 0)
        server.start()
        up = time.monotonic()
        took = load.first_answer(up - 0.2)
        load.end()

        assert took < SOON + 0.5
        # Those who were in the middle of a statement: never more than there are connections.
        begun = [error for _, error in load.errors]
        assert len(begun) <= 8
        assert not [error for error in begun if isinstance(error, millpond.PoolError)]
        assert all(isinstance(error, psycopg.OperationalError) for error in begun)
        assert all(moment < down + SOON for moment, _ in load.errors)


def test_a_pool_begins_while_its_database_is_not_there_yet(server: PrivatePostgres) -> None:
    """Scenarios 15 and 16."""
    server.stop()
    with pool_at(server.url, min_size=2, max_size=4) as pool:
        eventually(lambda: pool.stats().open_failed > 0)
        server.start()

        with pool.connection() as conn:
            conn.execute("SELECT 1")

        pool.wait(timeout=10)
        assert pool.stats().size >= 2
        assert pool.stats().failing is None


def test_a_database_that_is_down_is_told_at_once_and_found_again(
    server: PrivatePostgres, wire: Proxy
) -> None:
    with pool_at(
        wire.url(server.url), max_size=4, acquire_timeout=0.3, fail_fast_after=0.3
    ) as pool:
        fill(pool, 1)
        wire.refuse()
        wire.cut()
        with pytest.raises(millpond.PoolTimeout):
            pool.acquire()

        def told_at_once() -> bool:
            began = time.perf_counter()
            with pytest.raises(millpond.PoolTimeout) as caught:
                pool.acquire()
            assert isinstance(caught.value.__cause__, psycopg.OperationalError)
            return time.perf_counter() - began < 0.1

        eventually(told_at_once)
        assert pool.stats().turned_away > 0
        wire.allow()

        def is_back() -> bool:
            try:
                with pool.connection() as conn:
                    conn.execute("SELECT 1")
            except millpond.PoolTimeout:
                return False
            return True

        eventually(is_back)
        assert pool.stats().failing is None
