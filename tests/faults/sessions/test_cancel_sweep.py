"""Cancellations at every moment of a statement: before, during and after it, and its result.

The next statement must neither get the wrong answer, nor be cancelled.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

import pytest

import millpond

if TYPE_CHECKING:
    from collections.abc import Callable

    from faults.sessions.bench import Bench

pytestmark = pytest.mark.slow

STEPS = 80

# Long enough for a cancellation to be made within: it takes a connection of its own.
_COUNT = (
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {}) "
    "SELECT max(n) FROM c"
)
_SHORT = {
    "sqlite3": (_COUNT.format(60_000), 60_000),
    "duckdb": (_COUNT.format(150), 150),
    "postgres": ("SELECT 7 FROM pg_sleep(0.015)", 7),
    "mysql": ("SELECT 7 + SLEEP(0.015)", 7),
}
_ARRIVING = {
    "sqlite3": "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {}) "
    "SELECT n FROM c",
    "duckdb": "SELECT range + 1 FROM range({})",
    "postgres": "SELECT n FROM generate_series(1, {}) AS n",
    # More than the sockets hold, or the server would be done before a slow client has read it.
    "mysql": "SELECT seq, REPEAT('x', 4000) FROM seq_1_to_{}",
}
_ROWS = {"mysql": 1500}

Made = tuple[str, list[tuple[int, ...]]]


def short(bench: Bench) -> Made:
    """Return a query that works for some milliseconds and has a short result, and the result."""
    query, answer = _SHORT[bench.kind]
    return query, [(answer,)]


def arriving(bench: Bench) -> Made:
    """Return a query whose result takes longer to arrive than to be found, and the result."""
    rows = _ROWS.get(bench.kind, 30_000)
    return _ARRIVING[bench.kind].format(rows), [(number,) for number in range(1, rows + 1)]


class Dice:
    """Timeouts around the moment at which a statement is just not cancelled, wherever that is."""

    def __init__(self, call: Callable[[], object]) -> None:
        times = []
        for _ in range(3):
            began = time.perf_counter()
            call()
            times.append(time.perf_counter() - began)
        self._usual = self._timeout = min(times)
        self.answered = self.timed_out = 0

    def timeout(self) -> float:
        """Return the next timeout."""
        return max(1e-4, self._timeout + self._usual * random.uniform(-0.2, 0.2))

    def learn(self, *, timed_out: bool) -> None:
        """Hear what came of it."""
        step = self._usual * 0.05
        self._timeout = max(0.0, self._timeout + (step if timed_out else -step))
        self.timed_out += timed_out
        self.answered += not timed_out

    def check_coverage(self) -> None:
        """Skip what was not tested: on some machines a statement is over before it can be hit."""
        if not (self.answered and self.timed_out):
            pytest.skip(f"{self.answered} statements were answered, {self.timed_out} cancelled")


def rows_of(bench: Bench, conn: Any, query: str) -> list[Any]:
    return [tuple(row[:1]) for row in bench.case.rows(conn, query)]


@pytest.mark.parametrize("make", [short, arriving])
def test_the_next_borrower_gets_its_answer_whenever_the_last_one_was_cancelled(
    bench: Bench, make: Callable[[Bench], Made]
) -> None:
    query, expected = make(bench)
    with bench.pool(max_size=1) as pool:
        with pool.connection() as conn:
            dice = Dice(lambda: rows_of(bench, conn, query))
        for step in range(STEPS):
            try:
                with pool.connection(query_timeout=dice.timeout()) as conn:
                    found = rows_of(bench, conn, query)
            except millpond.QueryTimeout:
                dice.learn(timed_out=True)
            else:
                assert found == expected
                dice.learn(timed_out=False)
            with pool.connection() as conn:
                assert rows_of(bench, conn, f"SELECT {step}") == [(step,)]
        stats = pool.stats()

    # Those whose reset was hit are replaced; most go on.
    assert stats.opened <= 1 + STEPS // 2, stats.closed
    dice.check_coverage()


@pytest.mark.parametrize("make", [short, arriving])
def test_the_same_borrower_gets_its_answer_after_the_block(
    bench: Bench, make: Callable[[Bench], Made]
) -> None:
    query, expected = make(bench)
    with bench.pool(max_size=1) as pool, pool.connection() as conn:
        dice = Dice(lambda: rows_of(bench, conn, query))
        for step in range(STEPS):
            try:
                with pool.query_timeout(conn, dice.timeout()):
                    found = rows_of(bench, conn, query)
            except millpond.QueryTimeout:
                dice.learn(timed_out=True)
                pool._driver.reset(conn)
            else:
                assert found == expected
                dice.learn(timed_out=False)
            assert rows_of(bench, conn, f"SELECT {step}") == [(step,)]

    dice.check_coverage()
