"""What type checkers know of code that uses a pool. Nothing here runs: ``mypy`` reads it."""

import sqlite3
from collections.abc import Callable, Mapping
from typing import Any, assert_type

import millpond
from millpond import presets


def connect() -> sqlite3.Connection:
    return sqlite3.connect("app.db", check_same_thread=False)


def a_callable_says_what_the_connections_are() -> None:
    pool = millpond.Pool(connect)

    assert_type(pool, millpond.Pool[sqlite3.Connection])
    assert_type(pool.acquire(), sqlite3.Connection)
    assert_type(pool.acquire(timeout=0.5), sqlite3.Connection)
    assert_type(pool.try_acquire(), sqlite3.Connection | None)


def a_block_has_the_drivers_own_connection(pool: millpond.Pool[sqlite3.Connection]) -> None:
    lease = pool.connection(timeout=None)
    assert_type(lease, millpond.Lease[sqlite3.Connection])

    with lease as connection:
        assert_type(connection, sqlite3.Connection)
    with millpond.Pool(connect) as opened, opened.connection() as connection:
        assert_type(opened, millpond.Pool[sqlite3.Connection])
        assert_type(connection.execute("SELECT 1"), sqlite3.Cursor)


def a_url_leaves_it_open_unless_somebody_says() -> None:
    pool = millpond.Pool("sqlite:///app.db", connect_kwargs={"timeout": 2.0})
    assert_type(pool, millpond.Pool[Any])

    declared: millpond.Pool[sqlite3.Connection] = millpond.Pool("sqlite:///app.db", max_size=4)
    assert_type(declared.acquire(), sqlite3.Connection)


def a_connection_goes_back_to_a_pool_of_its_kind(pool: millpond.Pool[sqlite3.Connection]) -> None:
    pool.release(pool.acquire())
    pool.discard(pool.acquire())
    pool.detach(pool.acquire())

    pool.release("a string")  # type: ignore[arg-type]
    pool.release(connection=pool.acquire())  # type: ignore[call-arg]


def a_timeout_is_given_by_its_name(pool: millpond.Pool[sqlite3.Connection]) -> None:
    pool.acquire(0.5)  # type: ignore[call-arg]
    pool.connection(0.5)  # type: ignore[call-overload]
    millpond.Pool(connect, 4)  # type: ignore[call-arg]


def a_validation_is_a_statement_or_takes_the_connection() -> None:
    millpond.Pool(connect, validate="SELECT 1", validation_interval=0)
    millpond.Pool(connect, validate=sqlite3.Connection.rollback, max_latency=0.5)
    millpond.Pool(connect, max_connecting=None, fail_fast_after=None)

    millpond.Pool(connect, validate=True)  # type: ignore[arg-type]
    millpond.Pool(connect, max_connecting="4")  # type: ignore[arg-type]


def hooks_take_the_connection() -> None:
    def configure(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA foreign_keys = ON")

    def is_alive(connection: sqlite3.Connection) -> bool:
        return connection.in_transaction

    def wrong(connection: str) -> None: ...

    pool = millpond.Pool(connect, configure=configure, validate=is_alive, reset=configure)
    assert_type(pool, millpond.Pool[sqlite3.Connection])
    millpond.Pool[sqlite3.Connection](connect, on_close=wrong)  # type: ignore[arg-type]


def a_preset_is_passed_as_keywords() -> None:
    assert_type(
        millpond.Pool(connect, **presets.RECOMMENDED),
        millpond.Pool[sqlite3.Connection],
    )
    assert_type(presets.AGGRESSIVE["idle_timeout"], float)


def a_thread_has_the_drivers_own_connection() -> None:
    pool = millpond.ThreadLocalPool(connect, max_size=4)

    assert_type(pool, millpond.ThreadLocalPool[sqlite3.Connection])
    assert_type(pool.acquire(timeout=0.5), sqlite3.Connection)
    pool.release(pool.acquire())
    with pool as opened, opened.connection() as connection, pool.connection(timeout=1) as same:
        assert_type(connection, sqlite3.Connection)
        assert_type(same, sqlite3.Connection)
    assert_type(pool.stats(), millpond.PoolStats)
    pool.release_thread()
    pool.release("a string")  # type: ignore[arg-type]
    pool.suspend()  # type: ignore[attr-defined]


def a_thread_local_pool_takes_what_a_pool_takes() -> None:
    assert_type(millpond.ThreadLocalPool("sqlite:///app.db"), millpond.ThreadLocalPool[Any])
    assert_type(
        millpond.ThreadLocalPool(connect, **presets.RECOMMENDED),
        millpond.ThreadLocalPool[sqlite3.Connection],
    )


def statistics_are_plain_values(pool: millpond.Pool[sqlite3.Connection]) -> None:
    stats = pool.stats()

    assert_type(stats, millpond.PoolStats)
    assert_type(stats.in_use, int)
    assert_type(stats.longest_wait, float)
    assert_type(stats.closed, dict[str, int])
    assert_type(stats.wait_time.p99, float | None)
    assert_type(stats.connections, tuple[millpond.ConnectionStats, ...])
    assert_type(stats.connections[0].site, tuple[str, int, str] | None)
    assert_type(stats.to_dict(), dict[str, Any])
    assert_type(stats.window.acquire_rate, float)
    assert_type(stats.wait_time.buckets, tuple[tuple[float, int], ...])
    stats.in_use = 1  # type: ignore[misc]


def listeners_take_events(pool: millpond.Pool[sqlite3.Connection]) -> None:
    def listener(event: millpond.PoolEvent) -> None:
        assert_type(event.seconds, float | None)

    assert_type(pool.add_listener(listener, "closed"), Callable[[], None])
    pool.add_listener(lambda: None)  # type: ignore[misc, arg-type]


def a_timeout_explains_itself(error: millpond.PoolTimeout) -> None:
    assert_type(error.reason, str | None)
    assert_type(error.stats, millpond.PoolStats | None)


def a_pool_tells_and_does(pool: millpond.Pool[sqlite3.Connection]) -> None:
    assert_type((pool.min_size, pool.max_size), tuple[int, int])
    assert_type((pool.closed, pool.suspended), tuple[bool, bool])
    assert_type(pool.name, str)
    pool.resize(min_size=1, max_size=8)
    pool.evict()
    pool.suspend()
    pool.resume()
    pool.wait(timeout=None)
    pool.close(timeout=1)
    pool.max_size = 4  # type: ignore[misc]


def errors_are_what_a_stranger_would_catch(error: millpond.PoolConfigError) -> None:
    invalid: ValueError = error
    own: millpond.PoolError = millpond.PoolTimeout("no")
    assert_type(own.code, str)
    raise own from invalid


def a_wrapper_may_be_generic(pool: millpond.Pool[Any], options: Mapping[str, Any]) -> None:
    assert_type(pool.acquire(), Any)
    made: millpond.Pool[sqlite3.Connection] = millpond.Pool(connect, **options)
    assert_type(made.acquire(), sqlite3.Connection)
