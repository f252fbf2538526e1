"""What it costs to give the next borrower a clean session, counted on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

import millpond

if TYPE_CHECKING:
    from collections.abc import Callable

    from private_postgres import PrivatePostgres
    from proxy import Proxy

    Connection = psycopg.Connection[Any]

pytestmark = pytest.mark.server


def change_nothing(_: Connection) -> None:
    """Borrow, and give back."""


def change_attributes(conn: Connection) -> None:
    """Change what psycopg keeps on this side of the wire, and sends with the next BEGIN."""
    conn.autocommit = True
    conn.read_only = True
    conn.isolation_level = psycopg.IsolationLevel.SERIALIZABLE


def change_session(conn: Connection) -> None:
    """Change what only the server knows."""
    conn.execute("SET search_path = nowhere")
    conn.commit()


def leave_open(conn: Connection) -> None:
    """Leave a transaction behind."""
    conn.execute("CREATE TABLE must_not_be (number int)")


def leave_failed(conn: Connection) -> None:
    """Leave one behind in which nothing works any more."""
    with pytest.raises(psycopg.errors.UndefinedTable):
        conn.execute("SELECT * FROM no_such_table")


@pytest.mark.parametrize(
    ("reset", "change", "cost"),
    [
        ("rollback", change_nothing, 0),
        ("rollback", change_attributes, 0),
        ("rollback", change_session, 0),
        ("rollback", leave_open, 1),
        ("rollback", leave_failed, 1),
        ("none", leave_open, 0),
        # Nobody but the server knows whether a session was changed, so it is told each time.
        ("session", change_nothing, 1),
        ("session", change_attributes, 1),
        ("session", change_session, 1),
        ("session", leave_open, 2),
        ("session", leave_failed, 2),
    ],
)
def test_a_return_costs_the_round_trips_that_its_session_needs(
    server: PrivatePostgres,
    wire: Proxy,
    reset: str,
    change: Callable[[Connection], None],
    cost: int,
) -> None:
    """Scenarios 29 and 30; the acquire that follows costs none."""
    with millpond.Pool(wire.url(server.url), max_size=1, reset=reset) as pool:
        conn = pool.acquire()
        change(conn)
        before = wire.asked

        pool.release(conn)
        with pool.connection() as again:
            assert again is conn
            assert wire.asked - before == cost


@pytest.mark.parametrize("change", [change_attributes, change_session, leave_open, leave_failed])
def test_after_a_reset_of_the_session_the_next_borrower_finds_it_as_new(
    server: PrivatePostgres, wire: Proxy, change: Callable[[Connection], None]
) -> None:
    """Scenario 30."""
    with millpond.Pool(wire.url(server.url), max_size=1, reset="session") as pool:
        with pool.connection() as conn:
            change(conn)

        with pool.connection() as again:
            assert again is conn
            assert (again.autocommit, again.read_only, again.isolation_level) == (False, None, None)
            assert again.execute("SHOW search_path").fetchone() == ('"$user", public',)
            assert again.execute("SELECT to_regclass('must_not_be')").fetchone() == (None,)
            assert again.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS


def test_a_reset_that_fails_costs_its_connection_and_no_error(
    server: PrivatePostgres, wire: Proxy
) -> None:
    """The server is gone before the rollback: whoever asks next gets a new connection."""
    with millpond.Pool(wire.url(server.url), max_size=1) as pool:
        with pool.connection() as conn:
            leave_open(conn)
            wire.cut()

        with pool.connection() as other:
            assert other is not conn
            assert other.execute("SELECT 77").fetchone() == (77,)
        stats = pool.stats()
        assert (stats.opened, stats.closed["reset"], stats.gave_up) == (2, 1, 0)


def test_a_statement_that_is_cancelled_while_its_rows_arrive_leaves_nothing_behind(
    server: PrivatePostgres, wire: Proxy
) -> None:
    """The answer is half read when the server is told to stop."""
    rows = "SELECT pg_sleep(0.001), repeat('x', 500) FROM generate_series(1, 100000)"
    with millpond.Pool(wire.url(server.url), max_size=1) as pool:
        for _ in range(3):
            with pytest.raises(millpond.QueryTimeout), pool.connection(query_timeout=0.2) as conn:
                for _row in conn.cursor().stream(rows):
                    pass

            with pool.connection() as other:
                assert other.execute("SELECT 77").fetchone() == (77,)
        stats = pool.stats()
        assert (stats.gave_up, stats.waiting) == (0, 0)
        assert stats.opened <= 1 + 3
