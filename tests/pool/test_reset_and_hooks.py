"""Reset and hooks: each at its moment, in its thread, and no slot lost when one fails."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

import millpond
from fakes import FakeConnection, OperationalError
from helpers import eventually, in_thread

if TYPE_CHECKING:
    from fakes import FakeDatabase
    from helpers import MakePool

EXITS = [OperationalError, TypeError, KeyboardInterrupt, SystemExit, GeneratorExit]


def test_an_open_transaction_is_rolled_back_on_return(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    """Scenario 29."""
    pool = make_pool(max_size=1)
    with pool.connection() as connection:
        connection.execute()

    with pool.connection() as again:
        assert again is connection
        assert not again.in_transaction

    assert driver.rollbacks == 2


def test_reset_none_leaves_the_connection_as_it_is(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = make_pool(max_size=1, reset="none")

    with pool.connection() as connection:
        connection.execute()

    assert connection.in_transaction
    assert driver.rollbacks == 0


def test_a_reset_of_ones_own_takes_the_place_of_the_rollback(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    seen: list[tuple[FakeConnection, str]] = []
    pool = make_pool(reset=lambda conn: seen.append((conn, threading.current_thread().name)))

    connection = pool.acquire()
    pool.release(connection)

    assert seen == [(connection, threading.current_thread().name)]
    assert driver.rollbacks == 0


def test_a_connection_whose_reset_fails_is_replaced_and_nobody_is_told(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = make_pool(max_size=1)
    driver.fail_next(OperationalError("gone"), at="rollback")

    with pool.connection() as broken:
        broken.execute()
    with pool.connection() as fresh:
        fresh.execute()

    assert fresh is not broken
    assert broken.closed


def test_the_blocks_own_error_is_not_hidden_by_a_reset_that_fails(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = make_pool(max_size=1)
    driver.fail_next(OperationalError("gone"), at="rollback")

    with pytest.raises(ZeroDivisionError), pool.connection():
        raise ZeroDivisionError

    assert pool.acquire() is driver.connections[1]


@pytest.mark.parametrize("way", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_exit_during_reset_goes_on_but_takes_no_slot_along(
    make_pool: MakePool, driver: FakeDatabase, way: type[BaseException]
) -> None:
    """Scenario 45."""
    pool = make_pool(max_size=1)
    connection = pool.acquire()
    driver.fail_next(way("out of the way"), at="rollback")

    with pytest.raises(way):
        pool.release(connection)

    assert pool.stats().in_use == 0
    assert pool.acquire(timeout=10) is not connection


def test_configure_runs_once_for_each_connection_in_a_worker(make_pool: MakePool) -> None:
    seen: list[tuple[int, str]] = []

    def configure(connection: FakeConnection) -> None:
        seen.append((connection.number, threading.current_thread().name))

    pool = make_pool(max_size=2, configure=configure)
    held = [pool.acquire(), pool.acquire()]
    for connection in held:
        pool.release(connection)
    pool.release(pool.acquire())

    assert sorted(number for number, _ in seen) == [1, 2]
    assert all(name.startswith(f"millpond-{pool.name}-worker-") for _, name in seen)


@pytest.mark.parametrize("error", EXITS)
def test_a_connection_that_cannot_be_configured_is_closed_and_its_place_used_again(
    make_pool: MakePool, driver: FakeDatabase, error: type[BaseException]
) -> None:
    """Scenario 45."""
    mistakes = [error("no such setting")]

    def configure(_connection: FakeConnection) -> None:
        if mistakes:
            raise mistakes.pop()

    pool = make_pool(max_size=1, configure=configure)
    first = in_thread(pool.acquire, timeout=10)

    if error is OperationalError:  # a passing failure, which is tried again
        assert first.result() is driver.connections[1]
    else:
        assert isinstance(first.error(), error)
        assert pool.acquire(timeout=10) is driver.connections[1]
    assert driver.connections[0].closed


def test_on_acquire_and_on_release_run_in_the_callers_thread(make_pool: MakePool) -> None:
    seen: list[tuple[str, FakeConnection, str]] = []

    def note(event: str) -> Any:
        return lambda conn: seen.append((event, conn, threading.current_thread().name))

    pool = make_pool(max_size=1, on_acquire=note("acquire"), on_release=note("release"))
    me = threading.current_thread().name
    with pool.connection() as connection:
        assert seen == [("acquire", connection, me)]
    pool.release(pool.acquire())

    assert seen == [("acquire", connection, me), ("release", connection, me)] * 2


def test_on_release_runs_before_the_reset(make_pool: MakePool) -> None:
    states: list[bool] = []
    pool = make_pool(on_release=lambda conn: states.append(conn.in_transaction))

    with pool.connection() as connection:
        connection.execute()

    assert states == [True]


def test_on_acquire_runs_for_a_caller_that_had_to_wait_too(make_pool: MakePool) -> None:
    seen: list[str] = []
    pool = make_pool(max_size=1, on_acquire=lambda _: seen.append(threading.current_thread().name))

    pool.acquire()

    assert seen == [threading.current_thread().name]


@pytest.mark.parametrize("way", ["acquire", "try_acquire", "connection"])
@pytest.mark.parametrize("error", EXITS)
def test_an_error_in_on_acquire_is_raised_and_takes_no_slot_along(
    make_pool: MakePool, way: str, error: type[BaseException]
) -> None:
    """Scenario 45."""
    mistakes: list[BaseException] = []

    def on_acquire(_connection: FakeConnection) -> None:
        if mistakes:
            raise mistakes.pop()

    pool = make_pool(max_size=1, on_acquire=on_acquire)
    pool.release(pool.acquire())
    mistakes.append(error("not today"))

    with pytest.raises(error, match="not today"):
        pool.connection().__enter__() if way == "connection" else getattr(pool, way)()

    assert pool.stats().in_use == 0
    assert pool.acquire(timeout=10) is not None


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_exit_from_on_release_goes_on_but_takes_no_slot_along(
    make_pool: MakePool, error: type[BaseException]
) -> None:
    """Scenario 45."""
    mistakes = [error("not today")]

    def on_release(_connection: FakeConnection) -> None:
        if mistakes:
            raise mistakes.pop()

    pool = make_pool(max_size=1, on_release=on_release)
    connection = pool.acquire()

    with pytest.raises(error, match="not today"):
        pool.release(connection)

    assert pool.stats().in_use == 0
    assert pool.acquire(timeout=10) is not connection


def test_an_error_in_on_release_costs_the_connection_and_is_logged(
    make_pool: MakePool, caplog: pytest.LogCaptureFixture
) -> None:
    """Scenario 45: the caller has done its work, and has nothing to do with it."""

    def on_release(_connection: FakeConnection) -> None:
        message = "not today"
        raise ValueError(message)

    pool = make_pool(max_size=1, on_release=on_release)
    connection = pool.acquire()

    pool.release(connection)

    assert pool.acquire(timeout=10) is not connection
    assert "on_release" in caplog.text
    assert "not today" in caplog.text


def test_on_close_sees_the_connection_before_it_is_closed(make_pool: MakePool) -> None:
    seen: list[tuple[FakeConnection, bool, str]] = []

    def on_close(connection: FakeConnection) -> None:
        seen.append((connection, connection.closed, threading.current_thread().name))

    pool = make_pool(on_close=on_close)
    connection = pool.acquire()
    pool.discard(connection)
    eventually(lambda: connection.closed)

    assert [(conn, closed) for conn, closed, _ in seen] == [(connection, False)]
    assert seen[0][2].startswith(f"millpond-{pool.name}-worker-")


@pytest.mark.parametrize("error", EXITS)
def test_an_error_in_on_close_does_not_keep_the_connection_open(
    make_pool: MakePool, driver: FakeDatabase, error: type[BaseException]
) -> None:
    """Scenario 45."""

    def on_close(_connection: FakeConnection) -> None:
        message = "not today"
        raise error(message)

    pool = make_pool(max_size=1, on_close=on_close)
    connection = pool.acquire()
    pool.discard(connection)

    assert pool.acquire(timeout=10) is not connection
    assert connection.closed
    assert driver.live == 1


def test_a_hook_may_look_at_the_pool(make_pool: MakePool) -> None:
    sizes: list[int] = []

    def look(_connection: FakeConnection) -> None:
        sizes.append(pool.stats().size)
        repr(pool)

    pool = make_pool(max_size=1, configure=look, on_acquire=look, on_release=look, on_close=look)
    pool.release(pool.acquire())
    pool.close()

    assert len(sizes) == 4
    assert max(sizes) == 1


def test_a_hook_that_would_have_to_wait_for_its_own_pool_is_told_so(make_pool: MakePool) -> None:
    """Scenario 43: what it waits for may be what it holds up."""
    asked = iter([True, False])
    pool: millpond.Pool[Any] = make_pool(
        max_size=1, on_acquire=lambda _: next(asked) and pool.acquire(timeout=30)
    )

    with pytest.raises(millpond.PoolError, match="hook") as caught:
        pool.acquire()

    assert not isinstance(caught.value, millpond.PoolTimeout)
    assert pool.acquire() is not None


def test_a_hook_may_use_another_connection_that_is_idle(make_pool: MakePool) -> None:
    pool = make_pool(min_size=2, max_size=2, on_acquire=lambda _connection: borrow_another())
    pool.wait(timeout=10)
    depth = 0

    def borrow_another() -> None:
        nonlocal depth
        depth += 1
        if depth == 1:
            pool.release(pool.acquire())

    connection = pool.acquire()

    assert depth == 2
    assert (pool.stats().in_use, pool.stats().idle) == (1, 1)
    pool.release(connection)
