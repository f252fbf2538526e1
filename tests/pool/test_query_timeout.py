"""Query timeouts: the moment, the race with the end of the block, and what comes after."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

import millpond
from helpers import PATIENCE, eventually, in_thread, pass_time, pass_time_until
from millpond.drivers import Dbapi

if TYPE_CHECKING:
    from collections.abc import Iterator

    from millpond._core import ManualClock

    Pool = millpond.Pool[Any]


class CancelledError(Exception):
    """What the driver raises in the thread whose statement was cancelled."""


class Server:
    """A connection whose statement runs until it is cancelled."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self.cancelling = threading.Event()
        self.may_cancel = threading.Event()
        self.may_cancel.set()
        self.cancels = 0
        self.checks = 0

    def execute(self) -> None:
        assert self.cancelled.wait(PATIENCE)
        self.cancelled.clear()
        raise CancelledError


class Cancelling(Dbapi[Server]):
    """The driver of such connections."""

    name = "cancelling"
    needs_reset = False
    supports = frozenset({"cancel"})

    @classmethod
    def cancel(cls, conn: Server) -> None:
        conn.cancelling.set()
        assert conn.may_cancel.wait(PATIENCE)
        conn.cancels += 1
        conn.cancelled.set()

    @classmethod
    def is_cancelled(cls, error: BaseException) -> bool:
        return isinstance(error, CancelledError)

    @classmethod
    def ping(cls, conn: Server) -> None:
        conn.checks += 1


@contextmanager
def cancelling(clock: ManualClock) -> Iterator[Pool]:
    with millpond.Pool(Server, driver=Cancelling(Server), max_size=1, _clock=clock) as pool:
        yield pool


@pytest.fixture
def pool(clock: ManualClock) -> Iterator[Pool]:
    with cancelling(clock) as pool:
        yield pool


def run_in_block(pool: Pool, started: threading.Event, seconds: float = 2.0) -> Server:
    conn: Server
    with pool.connection(query_timeout=seconds) as conn:
        started.set()
        conn.execute()
    return conn


def test_a_statement_is_cancelled_when_the_time_is_over(pool: Pool, clock: ManualClock) -> None:
    started = threading.Event()
    running = in_thread(run_in_block, pool, started)
    assert started.wait(PATIENCE)

    pass_time(pool, clock, 1.9)
    assert not running.done
    pass_time(pool, clock, 0.2)

    error = running.error()
    assert isinstance(error, millpond.QueryTimeout)
    assert isinstance(error, TimeoutError)
    assert isinstance(error.__cause__, CancelledError)
    assert "query_timeout=2 s" in str(error)


def test_the_connection_is_validated_before_anybody_gets_it(pool: Pool, clock: ManualClock) -> None:
    started = threading.Event()
    running = in_thread(run_in_block, pool, started)
    assert started.wait(PATIENCE)
    pass_time(pool, clock, 2.1)
    assert isinstance(running.error(), millpond.QueryTimeout)

    with pool.connection() as conn:
        assert (conn.cancels, conn.checks) == (1, 1)
    assert pool.stats().opened == 1


def test_a_block_that_ends_in_time_is_not_touched(pool: Pool, clock: ManualClock) -> None:
    with pool.connection(query_timeout=2.0) as conn:
        pass

    pass_time(pool, clock, 5.0)

    assert (conn.cancels, conn.checks) == (0, 0)


def test_the_end_of_a_block_waits_for_a_cancellation_under_way(
    pool: Pool, clock: ManualClock
) -> None:
    """Otherwise it would hit the statement of the next borrower."""
    go_on = threading.Event()
    held: list[Server] = []

    def block() -> str:
        with pool.connection(query_timeout=2.0) as conn:
            held.append(conn)
            conn.may_cancel.clear()
            assert go_on.wait(PATIENCE)
        return "ended"

    running = in_thread(block)
    eventually(lambda: held)
    (watch,) = pool._watches.values()
    pass_time(pool, clock, 2.1)
    assert held[0].cancelling.wait(PATIENCE)
    go_on.set()
    eventually(lambda: watch.over)
    assert not running.done

    held[0].may_cancel.set()

    assert running.result() == "ended"
    with pool.connection() as conn:
        assert (conn.cancels, conn.checks) == (1, 1)


def test_a_cancellation_that_came_too_early_is_repeated(pool: Pool, clock: ManualClock) -> None:
    with (
        pytest.raises(millpond.QueryTimeout),
        pool.connection(query_timeout=2.0) as conn,
    ):
        pass_time(pool, clock, 2.1)
        eventually(lambda: conn.cancels == 1)
        conn.cancelled.clear()  # it was for nothing, as no statement was running
        running = in_thread(conn.execute)
        pass_time_until(pool, clock, lambda: running.done)
        raise running.error() or AssertionError

    assert conn.cancels >= 2


def test_a_connection_whose_cancellation_failed_is_not_lent_again(
    pool: Pool, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have reached the server all the same, and be carried out at any time."""
    failures = [OSError("no answer")]

    def fail_once(conn: Server) -> None:
        if failures:
            raise failures.pop()
        Cancelling.cancel(conn)

    monkeypatch.setattr(pool._driver, "cancel", fail_once)
    with pool.connection(query_timeout=2.0) as first:
        pass_time_until(pool, clock, lambda: first.cancels)

    with pool.connection() as conn:
        assert conn is not first
    assert pool.stats().closed["suspect"] == 1


def test_a_cancellation_that_does_not_end_holds_nobody_and_its_connection_is_closed(
    pool: Pool, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("millpond._query.LONGEST_CANCEL", 0.05)
    with pool.connection(query_timeout=2.0) as first:
        first.may_cancel.clear()
        pass_time(pool, clock, 2.1)
        assert first.cancelling.wait(PATIENCE)

    with pool.connection() as conn:
        assert conn is not first
    first.may_cancel.set()
    assert pool.stats().closed["suspect"] == 1


def test_another_error_of_the_block_stays_what_it_is(pool: Pool, clock: ManualClock) -> None:
    with pytest.raises(KeyError), pool.connection(query_timeout=2.0) as conn:
        pass_time(pool, clock, 2.1)
        assert conn.cancelled.wait(PATIENCE)
        raise KeyError


def test_a_part_of_a_block_can_be_limited(pool: Pool, clock: ManualClock) -> None:
    def block() -> str:
        with pool.connection() as conn:
            with pytest.raises(millpond.QueryTimeout), pool.query_timeout(conn, 1.0):
                started.set()
                conn.execute()
            return "goes on"

    started = threading.Event()
    running = in_thread(block)
    assert started.wait(PATIENCE)
    pass_time(pool, clock, 1.1)

    assert running.result() == "goes on"


def test_a_cancellation_that_fails_is_logged_and_the_block_goes_on(
    pool: Pool, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_conn: Server) -> None:
        message = "no route"
        raise OSError(message)

    pool._driver.cancel = fail  # type: ignore[assignment]
    with pool.connection(query_timeout=1.0):
        pass_time(pool, clock, 1.1)
        eventually(lambda: any(watch.failed for watch in pool._watches.values()))

    assert "cancelling a statement failed: OSError: no route" in caplog.text


@pytest.mark.parametrize("seconds", [0, -1, "2", float("nan")])
def test_the_time_must_be_seconds(pool: Pool, seconds: Any) -> None:
    with (
        pytest.raises(millpond.PoolConfigError, match="query_timeout="),
        pool.connection(query_timeout=seconds),
    ):
        pytest.fail("the block must not run")

    assert pool.stats().in_use == 0


def test_a_driver_that_cannot_cancel_is_refused() -> None:
    with (
        millpond.Pool(Server, driver=Dbapi(Server), reset="none") as pool,
        pytest.raises(millpond.PoolConfigError, match=r"query_timeout=1.0: the driver dbapi can't"),
        pool.connection(query_timeout=1.0),
    ):
        pytest.fail("the block must not run")
