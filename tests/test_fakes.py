"""The fake database counts, fails, hangs and notices two owners: all tests stand on that."""

from __future__ import annotations

import pytest

from fakes import FakeDatabase, InterfaceError, OperationalError, TwoOwnersError
from helpers import eventually, in_thread


@pytest.fixture
def database() -> FakeDatabase:
    return FakeDatabase()


def test_two_owners_at_once_are_noticed(database: FakeDatabase) -> None:
    connection = database.connect()
    connection.enter("the first")

    with pytest.raises(TwoOwnersError, match=r"the second was given .* while the first had it"):
        connection.enter("the second")

    assert len(database.violations) == 1


def test_a_second_close_is_a_violation(database: FakeDatabase) -> None:
    connection = database.connect()
    connection.close()

    connection.close()

    assert database.closes == 1
    assert database.violations == ["<FakeConnection 1 closed> was closed twice"]


def test_a_closed_connection_cannot_be_used(database: FakeDatabase) -> None:
    connection = database.connect()
    connection.close()

    with pytest.raises(InterfaceError):
        connection.execute()


def test_a_failure_is_for_so_many_calls_and_no_more(database: FakeDatabase) -> None:
    database.fail_next(OperationalError("no"), times=2)

    for _ in range(2):
        with pytest.raises(OperationalError, match="no"):
            database.connect()
    database.connect()

    assert (database.attempts, database.connects, database.live) == (3, 1, 1)


def test_a_restart_kills_every_session_and_lets_new_ones_in(database: FakeDatabase) -> None:
    connection = database.connect()

    database.down()
    with pytest.raises(OperationalError):
        connection.ping()
    with pytest.raises(OperationalError):
        database.connect()
    database.up()

    database.connect().ping()
    with pytest.raises(OperationalError):
        connection.ping()


def test_a_gate_holds_callers_until_it_is_released(database: FakeDatabase) -> None:
    gate = database.hang("connect", times=1)
    held = in_thread(database.connect)
    eventually(lambda: gate.arrived == 1)

    database.connect()  # the second one isn't held
    assert not held.done
    assert (database.live, database.underway) == (1, 2)
    gate.release()

    assert not held.result().closed
    assert (database.live, database.peak_underway) == (2, 2)
