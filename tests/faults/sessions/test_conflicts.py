"""Serialization failures and deadlocks, which real servers find, and `Pool.run` gets over."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import millpond
from helpers import PATIENCE, eventually, in_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from faults.sessions.bench import Bench

    Pool = millpond.Pool[Any]


class Meeting:
    """Two threads that meet in their first attempt, and not again."""

    def __init__(self) -> None:
        self._barrier = threading.Barrier(2)
        self._met = threading.local()
        self.attempts = 0
        self._lock = threading.Lock()

    def attempt(self) -> None:
        """Count an attempt."""
        with self._lock:
            self.attempts += 1

    def meet(self) -> None:
        """Wait for the other thread."""
        if not getattr(self._met, "done", False):
            self._met.done = True
            self._barrier.wait(PATIENCE)


def both(pool: Pool, work: Callable[[Any, int], None], **options: Any) -> None:
    """Have two threads run `work` with 1 and with 2."""
    runs = [
        in_thread(lambda which=which: pool.run(lambda conn: work(conn, which), **options))
        for which in (1, 2)
    ]
    for one in runs:
        one.result(20.0)


def test_of_two_serializable_transactions_one_is_repeated(served: Bench, table: str) -> None:
    """Write skew: each sets its row to one more than the other's."""
    meeting = Meeting()
    with served.pool(max_size=2) as pool:

        def work(conn: Any, mine: int) -> None:
            meeting.attempt()
            other = served.value(conn, f"SELECT n FROM {table} WHERE id = {3 - mine}")
            meeting.meet()
            pool._driver.execute(conn, f"UPDATE {table} SET n = {other + 1} WHERE id = {mine}")

        both(pool, work, isolation="serializable")

        with pool.transaction() as conn:
            found = {n for (n,) in served.case.rows(conn, f"SELECT n FROM {table}")}
        assert found == {1, 2}
        assert meeting.attempts >= 3  # the repetition may run into the other once more
        assert pool.stats().opened == 2


def test_of_two_transactions_in_a_deadlock_one_is_repeated(served: Bench, table: str) -> None:
    meeting = Meeting()
    with served.pool(max_size=2) as pool:

        def work(conn: Any, first: int) -> None:
            meeting.attempt()
            add = f"UPDATE {table} SET n = n + 1 WHERE id = "
            pool._driver.execute(conn, f"{add} {first}")
            meeting.meet()
            pool._driver.execute(conn, f"{add} {3 - first}")

        both(pool, work)

        with pool.transaction() as conn:
            assert [n for (n,) in served.case.rows(conn, f"SELECT n FROM {table}")] == [2, 2]
        assert meeting.attempts >= 3  # the repetition may run into the other once more
        assert pool.stats().opened == 2


def test_a_deadlock_within_a_savepoint_repeats_the_whole(served: Bench, table: str) -> None:
    """MySQL forgets the whole transaction, PostgreSQL goes back to the savepoint."""
    meeting = Meeting()
    with served.pool(max_size=2) as pool:

        def work(conn: Any, first: int) -> None:
            meeting.attempt()
            add = f"UPDATE {table} SET n = n + 1 WHERE id = "
            pool._driver.execute(conn, f"{add} {first}")
            meeting.meet()
            with pool.transaction() as inner:
                pool._driver.execute(inner, f"{add} {3 - first}")

        both(pool, work)

        with pool.transaction() as conn:
            assert [n for (n,) in served.case.rows(conn, f"SELECT n FROM {table}")] == [2, 2]
        assert meeting.attempts >= 3  # the repetition may run into the other once more


def test_a_deadlock_that_is_swallowed_in_a_savepoint_commits_no_half(
    served: Bench, table: str
) -> None:
    """MySQL has rolled back what came before the savepoint too, so nothing may be committed."""
    meeting = Meeting()
    outcomes: list[bool] = []
    with served.pool(max_size=2) as pool:

        def work(first: int) -> None:
            with pool.transaction() as conn:
                add = f"UPDATE {table} SET n = n + {{}} WHERE id = {{}}"
                pool._driver.execute(conn, add.format(1, first))
                meeting.meet()
                try:
                    with pool.transaction():
                        pool._driver.execute(conn, add.format(1, 3 - first))
                except Exception as error:  # noqa: BLE001  the deadlock
                    outcomes.append(pool._driver.is_retryable(error))
                    pool._driver.execute(conn, "DO 1" if served.kind == "mysql" else "SELECT 1")

        runs = [in_thread(work, first) for first in (1, 2)]
        errors = [error for one in runs if (error := one.error(20.0)) is not None]
        with pool.transaction() as conn:
            found = [n for (n,) in served.case.rows(conn, f"SELECT n FROM {table}")]

    assert outcomes == [True]
    if served.kind == "mysql":
        assert [isinstance(error, millpond.PoolError) for error in errors] == [True]
        assert found == [1, 1]
    else:
        assert not errors
        assert sorted(found) == [1, 2]


def test_a_conflict_that_does_not_end_is_raised_at_last(served: Bench, table: str) -> None:
    """Whoever holds the row never lets go: each attempt ends with the server's own error."""
    attempts = []
    refuse = {
        "postgres": "SELECT n FROM {} FOR UPDATE NOWAIT",
        "mysql": "SELECT n FROM {} FOR UPDATE NOWAIT",
    }[served.kind]
    with served.pool(max_size=2) as pool, pool.transaction() as holder:
        pool._driver.execute(holder, f"UPDATE {table} SET n = 7")

        def work(conn: Any) -> None:
            attempts.append(conn)
            served.case.rows(conn, refuse.format(table))

        error = in_thread(pool.run, work, retries=2).error()

        assert error is not None
        expected = 3 if pool._driver.is_retryable(error) else 1
        assert len(attempts) == expected
        eventually(lambda: pool.stats().in_use == 1)
