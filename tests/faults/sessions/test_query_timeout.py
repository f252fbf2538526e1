"""Query timeouts on real databases: the statement ends there, and the connection goes on here."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any

import pytest

import millpond
from helpers import eventually, in_thread

if TYPE_CHECKING:
    from faults.sessions.bench import Bench

SOON = 1.0

_numbers = itertools.count(1)


def marked(query: str) -> tuple[str, str]:
    """Return a query with a mark that the server shows in its list, and the mark."""
    mark = f"mark_{time.monotonic_ns()}_{next(_numbers)}"
    return f"{query} /* {mark} */", mark


def test_a_slow_statement_ends_on_the_server_soon_after_its_time(bench: Bench) -> None:
    query, mark = marked(bench.case.endless)
    with bench.pool(max_size=2) as pool:

        def block() -> float:
            with pool.connection(query_timeout=0.3) as conn:
                began = time.monotonic()
                try:
                    bench.case.rows(conn, query)
                finally:
                    took = time.monotonic() - began
            return took

        running = in_thread(block)
        if bench.served:
            eventually(lambda: bench.running(mark) == 1 or running.done)
        began = time.monotonic()
        error = running.error()

        assert isinstance(error, millpond.QueryTimeout)
        assert time.monotonic() - began < 0.3 + SOON
        assert bench.running(mark) == 0
        assert pool.stats().in_use == 0


def test_the_error_is_the_drivers_own_too_and_has_its_cause(bench: Bench) -> None:
    with bench.pool(max_size=1) as pool:
        with pool.connection() as conn:
            bench.value(conn, "SELECT 1")
        operational = pool._driver.operational_error
        assert operational is not None

        with (
            pytest.raises(operational, match=r"query_timeout=0\.1 s was over") as caught,
            pool.connection(query_timeout=0.1) as conn,
        ):
            bench.case.rows(conn, bench.case.endless)

    assert isinstance(caught.value, millpond.QueryTimeout)
    assert caught.value.__cause__ is not None
    assert pool._driver.is_cancelled(caught.value.__cause__)


def test_the_connection_is_validated_and_used_again(bench: Bench) -> None:
    with bench.pool(max_size=1) as pool:
        with pytest.raises(millpond.QueryTimeout), pool.connection(query_timeout=0.1) as conn:
            first = conn
            bench.case.rows(conn, bench.case.endless)

        with pool.connection() as conn:
            assert conn is first
            assert bench.value(conn, "SELECT 77") == 77
        stats = pool.stats()

    assert stats.opened == 1
    assert stats.checks == 1 or not pool._driver.pings


def test_a_transaction_whose_statement_was_cancelled_is_rolled_back(bench: Bench) -> None:
    table = f"cancelled_{time.monotonic_ns()}"
    with bench.pool(max_size=1) as pool:
        with pool.transaction() as conn:
            pool._driver.execute(conn, f"CREATE TABLE {table} (n INTEGER)")
        with (
            pytest.raises(millpond.QueryTimeout),
            pool.transaction() as conn,
            pool.query_timeout(conn, 0.1),
        ):
            pool._driver.execute(conn, f"INSERT INTO {table} VALUES (1)")
            bench.case.rows(conn, bench.case.endless)

        with pool.transaction() as conn:
            left = bench.value(conn, f"SELECT count(*) FROM {table}")
            pool._driver.execute(conn, f"DROP TABLE {table}")

    assert left == 0


def test_a_statement_that_begins_when_the_time_is_over_is_cancelled_too(bench: Bench) -> None:
    """The first cancellation finds nothing to cancel; it must not be the last."""
    with bench.pool(max_size=1) as pool, pool.connection() as conn:
        bench.value(conn, "SELECT 1")
        began = time.monotonic()
        with pytest.raises(millpond.QueryTimeout), pool.query_timeout(conn, 0.01):
            eventually(lambda: any(watch.fired for watch in pool._watches.values()))
            bench.case.rows(conn, bench.case.endless)

        assert time.monotonic() - began < 2 * SOON


def test_many_threads_time_out_at_once_and_nobody_else_is_hit(bench: Bench) -> None:
    """Each cancellation has its own connection for a target, and no other."""
    with bench.pool(max_size=8) as pool:
        # MariaDB's SLEEP()s share a mutex, on which several KILLs get stuck.
        busy = "SELECT COUNT(*) FROM seq_1_to_1000000000 WHERE seq % 7 = 8"
        endless = busy if bench.kind == "mysql" else bench.case.endless

        def slow() -> None:
            with pool.connection(query_timeout=0.2) as conn:
                bench.case.rows(conn, endless)

        def quick() -> list[Any]:
            answers: list[Any] = []
            began = time.monotonic()
            while time.monotonic() - began < 0.6:
                with pool.connection() as conn:
                    answers.append(bench.value(conn, f"SELECT {len(answers)}"))
            return answers

        slow_ones = [in_thread(slow) for _ in range(6)]
        answers = in_thread(quick).result()

        assert all(isinstance(one.error(), millpond.QueryTimeout) for one in slow_ones)
        assert answers == list(range(len(answers)))
