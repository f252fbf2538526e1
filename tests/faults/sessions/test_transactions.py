"""Transactions on real databases: what the server makes of them, and what a lost one costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import millpond
from helpers import in_thread

if TYPE_CHECKING:
    from faults.sessions.bench import Bench

    Pool = millpond.Pool[Any]


def run(pool: Pool, conn: Any, statement: str) -> None:
    pool._driver.execute(conn, statement)


def in_another_transaction(pool: Pool, *statements: str) -> None:
    """Run statements in a transaction of another thread."""

    def work() -> None:
        with pool.transaction() as conn:
            for statement in statements:
                run(pool, conn, statement)

    in_thread(work).result()


def numbers(bench: Bench, pool: Pool, table: str) -> list[int]:
    with pool.transaction() as conn:
        return [n for (n,) in bench.case.rows(conn, f"SELECT n FROM {table} ORDER BY id")]


@pytest.mark.parametrize(("level", "seen"), [("read committed", 7), ("repeatable read", 0)])
def test_an_isolation_level_holds_for_one_transaction(
    served: Bench, table: str, level: str, seen: int
) -> None:
    read = f"SELECT n FROM {table} WHERE id = 1"
    change = f"UPDATE {table} SET n = n + 7"
    with served.pool(max_size=2, isolation_level="read committed") as pool:
        with pool.transaction(isolation=level) as conn:
            assert served.value(conn, read) == 0
            in_another_transaction(pool, change)
            assert served.value(conn, read) == seen

        with pool.transaction() as again:
            assert again is conn
            assert served.value(again, read) == 7
            in_another_transaction(pool, change)
            assert served.value(again, read) == 14


def test_serializable_keeps_what_was_read_from_being_changed(served: Bench, table: str) -> None:
    if served.kind == "postgres":
        pytest.skip("test_conflicts.py has it: PostgreSQL lets both go on, and one of them fails")
    read = f"SELECT n FROM {table} WHERE id = 1"
    with served.pool(max_size=2) as pool, pool.transaction(isolation="serializable") as conn:
        served.value(conn, read)
        with pytest.raises(Exception, match=r"(?i)lock wait") as caught:
            in_another_transaction(pool, f"{read} FOR UPDATE NOWAIT")

        assert pool._driver.is_retryable(caught.value)


def test_a_read_only_transaction_cannot_write_and_the_next_one_can(
    bench: Bench, table: str
) -> None:
    write = f"UPDATE {table} SET n = 7"
    with bench.pool(max_size=1) as pool:
        with (
            pytest.raises(Exception, match=r"(?i)read.?only"),
            pool.transaction(read_only=True) as conn,
        ):
            run(pool, conn, write)
        with pool.transaction() as conn:
            run(pool, conn, write)

        assert numbers(bench, pool, table) == [7, 7]


def test_savepoints_within_savepoints_go_back_as_far_as_they_have_to(
    bench: Bench, table: str
) -> None:
    if not bench.case.has_savepoints:
        pytest.skip("it has no savepoints")
    add = f"UPDATE {table} SET n = n + "
    with bench.pool(max_size=1) as pool:
        with pool.transaction() as conn:
            run(pool, conn, f"{add} 1")
            with pytest.raises(KeyError), pool.transaction():
                run(pool, conn, f"{add} 10")
                with pool.transaction():
                    run(pool, conn, f"{add} 100")
                raise KeyError
            with pool.transaction():
                run(pool, conn, f"{add} 1000")
                with pytest.raises(Exception, match="no_such_table"), pool.transaction():
                    run(pool, conn, "SELECT * FROM no_such_table")

        assert numbers(bench, pool, table) == [1001, 1001]


def test_a_savepoint_is_refused_where_there_is_none(bench: Bench) -> None:
    with bench.pool(max_size=1) as pool, pool.transaction() as conn:
        if bench.case.has_savepoints:
            with pool.transaction():
                assert bench.value(conn, "SELECT 7") == 7
        else:
            with pytest.raises(millpond.PoolConfigError, match="savepoint"), pool.transaction():
                pytest.fail("the block must not run")


@pytest.mark.parametrize("autocommit", [None, True])
def test_a_transaction_is_one_in_autocommit_mode_too(
    bench: Bench, table: str, *, autocommit: bool | None
) -> None:
    with bench.pool(max_size=1, autocommit=autocommit) as pool:
        with pool.transaction() as conn:
            run(pool, conn, f"UPDATE {table} SET n = 7 WHERE id = 1")
            run(pool, conn, f"UPDATE {table} SET n = 7 WHERE id = 2")
        with pytest.raises(KeyError), pool.transaction() as conn:
            run(pool, conn, f"UPDATE {table} SET n = 8")
            raise KeyError

        assert numbers(bench, pool, table) == [7, 7]


def test_a_failed_statement_that_was_swallowed_is_not_said_to_be_committed(
    bench: Bench, table: str
) -> None:
    """PostgreSQL answers the COMMIT of a failed transaction with a ROLLBACK, and no error."""
    if bench.kind != "postgres":
        pytest.skip("a failed statement leaves the transaction as it was")
    with bench.pool(max_size=1) as pool:
        with pytest.raises(millpond.PoolError, match="not committed"), pool.transaction() as conn:
            run(pool, conn, f"UPDATE {table} SET n = 7")
            with pytest.raises(Exception, match="no_such_table"):
                run(pool, conn, "SELECT * FROM no_such_table")

        assert numbers(bench, pool, table) == [0, 0]
        assert pool.stats().opened == 1


def test_a_backend_that_is_killed_costs_its_transaction_and_no_other(
    served: Bench, table: str
) -> None:
    with served.pool(max_size=1) as pool:
        with pytest.raises(Exception, match=r".") as caught, pool.transaction() as conn:
            run(pool, conn, f"UPDATE {table} SET n = 7")
            served.kill(conn)
            run(pool, conn, f"UPDATE {table} SET n = 8")

        assert pool._driver.is_disconnect(caught.value)
        assert pool.stats().closed["discarded"] == 1
        assert numbers(served, pool, table) == [0, 0]
        assert pool.stats().opened == 2


def test_the_first_error_stands_when_the_backend_is_gone(served: Bench, table: str) -> None:
    with served.pool(max_size=1) as pool:
        with pytest.raises(KeyError), pool.transaction() as conn:
            run(pool, conn, f"UPDATE {table} SET n = 7")
            served.kill(conn)
            raise KeyError

        assert pool.stats().in_use == 0
        assert numbers(served, pool, table) == [0, 0]
        assert pool.stats().opened == 2


def test_a_backend_that_is_killed_before_the_commit_is_an_error(served: Bench, table: str) -> None:
    with served.pool(max_size=1) as pool:
        with pytest.raises(Exception, match=r".") as caught, pool.transaction() as conn:
            run(pool, conn, f"UPDATE {table} SET n = 7")
            served.kill(conn)

        assert pool._driver.is_disconnect(caught.value)
        assert numbers(served, pool, table) == [0, 0]


def test_a_backend_that_is_killed_within_a_savepoint_is_the_same_error(
    served: Bench, table: str
) -> None:
    with served.pool(max_size=1) as pool:
        with (
            pytest.raises(Exception, match=r".") as caught,
            pool.transaction() as conn,
            pool.transaction(),
        ):
            served.kill(conn)
            run(pool, conn, f"UPDATE {table} SET n = 8")

        assert pool._driver.is_disconnect(caught.value)
        assert pool.stats().in_use == 0
        assert numbers(served, pool, table) == [0, 0]
