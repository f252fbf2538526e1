"""Transactions, savepoints and repeated work: on SQLite, and on a driver that fails on demand."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

import millpond
from helpers import in_thread
from millpond import _transactions
from millpond.drivers import Dbapi, TransactionStatus

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    Pool = millpond.Pool[Any]


class ConflictError(Exception):
    """What a server says to one of two transactions that can't both happen."""

    sqlstate = "40001"


class Recorded:
    """A connection that notes what is done to it, and raises what it is told to."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.fails: dict[str, list[BaseException]] = {}
        self.status = TransactionStatus.IDLE

    def call(self, what: str) -> None:
        self.calls.append(what.partition(" millpond_")[0])
        for start, errors in self.fails.items():
            if what.startswith(start) and errors:
                raise errors.pop(0)


class Recording(Dbapi[Recorded]):
    """The driver of such connections."""

    name = "recording"
    needs_reset = False
    supports = frozenset({"isolation_level"})

    @classmethod
    def begin(
        cls, conn: Recorded, *, isolation: str | None = None, read_only: bool | None = None
    ) -> None:
        assert read_only is None
        conn.call(f"begin {isolation}" if isolation else "begin")

    @staticmethod
    def commit(conn: Recorded) -> None:
        conn.call("commit")

    @staticmethod
    def rollback(conn: Recorded) -> None:
        conn.call("rollback")

    @staticmethod
    def execute(conn: Recorded, statement: str) -> None:
        conn.call(statement)

    @staticmethod
    def transaction_status(conn: Recorded) -> TransactionStatus:
        return conn.status

    @classmethod
    def is_disconnect(cls, error: BaseException) -> bool:
        return isinstance(error, ConnectionError)


@contextmanager
def recording(**options: Any) -> Iterator[Pool]:
    with millpond.Pool(Recorded, driver=Recording(Recorded), max_size=1, **options) as pool:
        yield pool


@pytest.fixture
def pool() -> Iterator[Pool]:
    with recording() as pool:
        yield pool


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Pool]:
    with millpond.Pool(f"sqlite:///{tmp_path}/a.db", max_size=2) as pool:
        with pool.transaction() as conn:
            conn.execute("CREATE TABLE numbers (n)")
        yield pool


def numbers(pool: Pool) -> list[int]:
    with pool.connection() as conn:
        return [n for (n,) in conn.execute("SELECT n FROM numbers ORDER BY n")]


def insert(conn: Any, number: int) -> None:
    conn.execute("INSERT INTO numbers VALUES (?)", (number,))


def test_what_a_block_did_is_committed_when_it_ends(table: Pool) -> None:
    with table.transaction() as conn:
        insert(conn, 1)

    assert numbers(table) == [1]


def test_an_exception_rolls_back_what_the_block_did_and_goes_on(table: Pool) -> None:
    with pytest.raises(KeyError), table.transaction() as conn:
        insert(conn, 1)
        raise KeyError

    assert numbers(table) == []
    assert table.stats().in_use == 0


def test_a_block_in_a_block_is_a_savepoint_on_the_same_connection(table: Pool) -> None:
    with table.transaction() as outer:
        insert(outer, 1)
        with pytest.raises(KeyError), table.transaction() as inner:
            assert inner is outer
            insert(inner, 2)
            raise KeyError
        with table.transaction() as inner:
            insert(inner, 3)

    assert numbers(table) == [1, 3]


def test_an_exception_of_the_outer_block_takes_the_inner_ones_along(table: Pool) -> None:
    with pytest.raises(KeyError), table.transaction():
        with table.transaction() as inner:
            insert(inner, 1)
        raise KeyError

    assert numbers(table) == []


def test_a_savepoint_can_be_set_on_a_connection(table: Pool) -> None:
    with table.transaction() as conn:
        insert(conn, 1)
        with pytest.raises(KeyError), table.savepoint(conn):
            insert(conn, 2)
            raise KeyError

    assert numbers(table) == [1]


def test_another_thread_has_a_transaction_of_its_own(table: Pool) -> None:
    def other() -> Any:
        with table.transaction() as conn:
            return conn

    with table.transaction() as conn:
        assert in_thread(other).result() is not conn


def test_another_pool_has_a_transaction_of_its_own(table: Pool, pool: Pool) -> None:
    with table.transaction(), pool.transaction() as other:
        pass

    assert other.calls == ["begin", "commit"]


def test_the_calls_of_a_transaction_with_a_savepoint(pool: Pool) -> None:
    with pool.transaction(isolation="serializable") as conn, pool.transaction():
        pass

    assert conn.calls == ["begin serializable", "SAVEPOINT", "RELEASE SAVEPOINT", "commit"]


def test_a_failing_rollback_discards_the_connection_and_keeps_the_first_error(pool: Pool) -> None:
    with pytest.raises(KeyError), pool.transaction() as conn:
        conn.fails["rollback"] = [OSError("and this too")]
        raise KeyError

    assert pool.stats().closed["discarded"] == 1
    with pool.transaction() as other:
        assert other is not conn


def test_a_failing_commit_is_raised_and_rolled_back(pool: Pool) -> None:
    with pytest.raises(OSError, match="disk full"), pool.transaction() as conn:
        conn.fails["commit"] = [OSError("disk full")]

    assert conn.calls == ["begin", "commit", "rollback"]
    assert pool.stats().idle == 1


def test_a_failing_begin_gives_the_connection_back(pool: Pool) -> None:
    with pool.connection() as conn:
        conn.fails["begin"] = [OSError("no")]

    with pytest.raises(OSError, match="no"), pool.transaction():
        pytest.fail("the block must not run")

    assert pool.stats().in_use == 0


def test_a_lost_connection_is_discarded_without_a_rollback(pool: Pool) -> None:
    with pytest.raises(ConnectionError), pool.transaction() as conn:
        raise ConnectionResetError

    assert conn.calls == ["begin"]
    assert pool.stats().closed["discarded"] == 1


def test_a_transaction_that_failed_is_not_said_to_be_committed(pool: Pool) -> None:
    with pytest.raises(millpond.PoolError, match="rolled back and not"), pool.transaction() as conn:
        conn.status = TransactionStatus.FAILED

    assert conn.calls == ["begin", "rollback"]


def test_a_transaction_that_the_server_gave_up_is_not_committed(pool: Pool) -> None:
    """MySQL rolls a whole transaction back after a deadlock, savepoints included."""
    with pytest.raises(millpond.PoolError) as caught, pool.transaction() as conn:
        conn.fails["ROLLBACK TO"] = [OSError("SAVEPOINT does not exist")]
        with pytest.raises(ConflictError), pool.transaction():
            raise ConflictError

    assert isinstance(caught.value.__cause__, ConflictError)
    assert conn.calls[-1] == "rollback"


def test_a_block_that_is_left_by_the_end_of_a_generator_is_rolled_back(pool: Pool) -> None:
    def rows() -> Iterator[Recorded]:
        with pool.transaction() as conn:
            yield conn

    reading = rows()
    conn = next(reading)
    reading.close()  # type: ignore[attr-defined]

    assert conn.calls == ["begin", "rollback"]
    assert pool.stats().in_use == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"isolation": "chaos"}, "isolation='chaos': must be one of 'read uncommitted', 'read com"),
        ({"read_only": 1}, "read_only=1: must be a bool, or None"),
        ({"read_only": True}, "read_only=True: the driver recording can't do that"),
    ],
)
def test_an_argument_that_is_not_valid_is_refused(pool: Pool, arguments: Any, message: str) -> None:
    with pytest.raises(millpond.PoolConfigError) as caught, pool.transaction(**arguments):
        pytest.fail("the block must not run")

    assert str(caught.value).startswith(message)
    assert pool.stats().in_use == 0


def test_a_savepoint_has_no_isolation_of_its_own(pool: Pool) -> None:
    with (
        pool.transaction(),
        pytest.raises(millpond.PoolConfigError, match="inside of another"),
        pool.transaction(isolation="serializable"),
    ):
        pytest.fail("the block must not run")


class TestRun:
    """`pool.run()`."""

    @pytest.fixture(autouse=True)
    def pauses(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        """Take the place of time: the pauses are noted and not waited for."""
        pauses: list[float] = []
        monkeypatch.setattr("millpond._transactions.time.sleep", pauses.append)
        return pauses

    def test_it_returns_what_the_function_returns(self, table: Pool) -> None:
        table.run(lambda conn: insert(conn, 7))

        assert table.run(lambda conn: conn.execute("SELECT n FROM numbers").fetchall()) == [(7,)]

    def test_a_conflict_is_tried_again_after_a_longer_pause_each_time(
        self, pool: Pool, pauses: list[float]
    ) -> None:
        attempts = iter([ConflictError(), ConflictError(), None])

        def work(conn: Recorded) -> Recorded:
            if (error := next(attempts)) is not None:
                raise error
            return conn

        conn = pool.run(work)

        assert conn.calls == ["begin", "rollback"] * 2 + ["begin", "commit"]
        assert len(pauses) == 2
        assert 0.005 <= pauses[0] <= 0.01 <= pauses[1] <= 0.02

    def test_a_conflict_at_the_commit_is_tried_again(self, pool: Pool) -> None:
        with pool.connection() as conn:
            conn.fails["commit"] = [ConflictError()]

        pool.run(lambda conn: conn.call("work"))

        assert conn.calls == ["begin", "work", "commit", "rollback", "begin", "work", "commit"]

    def test_after_the_last_attempt_the_error_is_raised(
        self, pool: Pool, pauses: list[float]
    ) -> None:
        def work(_conn: Recorded) -> None:
            raise ConflictError

        with pytest.raises(ConflictError):
            pool.run(work, retries=2)

        assert len(pauses) == 2

    def test_another_error_is_not_tried_again(self, pool: Pool, pauses: list[float]) -> None:
        def work(_conn: Recorded) -> None:
            raise KeyError

        with pytest.raises(KeyError):
            pool.run(work)

        assert pauses == []

    def test_inside_of_a_transaction_it_is_called_once(
        self, pool: Pool, pauses: list[float]
    ) -> None:
        def work(_conn: Recorded) -> None:
            raise ConflictError

        with pytest.raises(ConflictError), pool.transaction() as conn:
            pool.run(work)

        assert conn.calls == ["begin", "SAVEPOINT", "ROLLBACK TO SAVEPOINT", "rollback"]
        assert pauses == []

    def test_pauses_stop_growing_at_a_second(self) -> None:
        assert 0.5 <= _transactions.pause_before(100) <= 1.0

    def test_a_coroutine_function_can_not_be_run(self, pool: Pool) -> None:
        async def coroutine(_conn: Recorded) -> None: ...

        work: Any = coroutine

        with pytest.raises(
            millpond.PoolConfigError, match=r"work=.*coroutine: must be a plain function"
        ):
            pool.run(work)

        with pool.connection() as conn:
            assert conn.calls == ["begin", "rollback"]

    def test_what_can_not_be_called_can_not_be_run(self, pool: Pool) -> None:
        wrong: Any = None
        with pytest.raises(millpond.PoolConfigError, match=r"^work=<NoneType>: must be a function"):
            pool.run(wrong)

        assert pool.stats().acquired == 0

    @pytest.mark.parametrize("retries", [-1, 1.5, True, None, 1001])
    def test_retries_must_be_a_number_of_attempts(self, pool: Pool, retries: Any) -> None:
        with pytest.raises(millpond.PoolConfigError, match="retries="):
            pool.run(lambda _: None, retries=retries)


@pytest.mark.freethreaded
def test_transactions_of_many_threads_keep_apart(table: Pool) -> None:
    lock = threading.Lock()  # SQLite has one writer at a time

    def work(first: int) -> None:
        for number in range(first, first + 20):
            with lock, table.transaction() as conn:
                insert(conn, number)
                with pytest.raises(sqlite3.OperationalError), table.transaction():
                    conn.execute("nonsense")

    for done in [in_thread(work, first) for first in range(0, 100, 20)]:
        done.result()

    assert numbers(table) == list(range(100))
