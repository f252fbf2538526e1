"""After a restart: nobody is given a dead connection, and one death tells of the others."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from fake_drivers import Asked, Demotable, Pinging, WithSockets
from fakes import FakeConnection, OperationalError
from helpers import eventually, together, waiting, waiting_in_order

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    import millpond
    from fakes import FakeDatabase
    from helpers import MakePool
    from millpond._core import ManualClock
    from millpond.drivers import Dbapi

pytestmark = pytest.mark.skipif(not hasattr(sys, "platlibdir"), reason="needs poll()")


def fill(pool: millpond.Pool[Any], count: int) -> list[FakeConnection]:
    """Open `count` connections, and leave them idle."""
    held = [pool.acquire() for _ in range(count)]
    for connection in held:
        pool.release(connection)
    return held


def pool_with_sockets(
    make_pool: MakePool, driver: FakeDatabase, **options: Any
) -> millpond.Pool[Any]:
    return make_pool(driver.connect, driver=WithSockets(driver), **options)


def test_a_connection_whose_server_hung_up_is_never_lent(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = pool_with_sockets(make_pool, driver, max_size=2)
    [dead] = fill(pool, 1)
    dead.kill()

    alive = pool.acquire()

    assert alive is not dead
    eventually(lambda: dead.closed)
    assert pool.stats().closed["dead"] == 1
    assert driver.pings == 0


def test_a_block_and_a_try_get_no_dead_connection_either(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = pool_with_sockets(make_pool, driver, max_size=1)
    [dead] = fill(pool, 1)
    dead.kill()

    assert pool.try_acquire() is None
    eventually(lambda: dead.closed)
    with pool.connection() as alive:
        assert not alive.killed
    driver.kill_all()
    with pool.connection() as alive:
        assert not alive.killed


def test_a_try_takes_the_living_one_beside_the_dead(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = pool_with_sockets(make_pool, driver, max_size=3)
    first, second, third = fill(pool, 3)
    first.kill()
    third.kill()

    assert pool.try_acquire() is second
    eventually(lambda: first.closed and third.closed)


@pytest.mark.parametrize("size", [1, 8, 128])
def test_when_all_idle_connections_are_dead_the_next_caller_gets_a_new_one(
    make_pool: MakePool, driver: FakeDatabase, size: int
) -> None:
    """Scenario 21."""
    pool = pool_with_sockets(make_pool, driver, max_size=size)
    fill(pool, size)
    driver.kill_all()

    alive = pool.acquire(timeout=10)

    alive.execute()
    eventually(lambda: driver.closes == size)
    assert pool.stats().closed["dead"] == size
    assert driver.connects == size + 1
    assert driver.pings == 0


def test_one_death_has_all_others_looked_at(make_pool: MakePool, driver: FakeDatabase) -> None:
    pool = pool_with_sockets(make_pool, driver, max_size=4)
    held = fill(pool, 4)
    for connection in held[1:]:
        connection.kill()

    assert pool.acquire() is held[0]
    pool.discard(held[0])

    eventually(lambda: driver.closes == 4)
    assert pool.stats().closed["dead"] == 3


def test_a_dead_connection_that_comes_back_is_not_handed_to_who_waits(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = pool_with_sockets(make_pool, driver, max_size=1, reset="none")
    held = pool.acquire()
    waiter = waiting(pool)
    held.kill()

    pool.release(held)

    assert waiter.result() is driver.connections[1]
    assert pool.stats().closed["dead"] == 1


def test_who_waited_longest_is_served_first_though_its_connection_was_dead(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = pool_with_sockets(make_pool, driver, max_size=1, reset="none")
    held = pool.acquire()
    first, second = waiting_in_order(pool, 2)
    held.kill()

    pool.release(held)

    first.result()
    assert not second.done
    pool.release(first.result())
    second.result()


def test_something_to_read_has_the_connection_asked_and_kept(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = pool_with_sockets(make_pool, driver, max_size=1)
    [talkative] = fill(pool, 1)
    talkative.say(b"by the way")

    assert pool.acquire() is talkative
    assert driver.pings == 1


def test_a_connection_that_always_has_something_to_say_can_be_had(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = pool_with_sockets(make_pool, driver, max_size=1, validate=lambda _: True)
    [talkative] = fill(pool, 1)
    talkative.say(b"nobody reads this")

    for _ in range(3):
        assert pool.acquire(timeout=10) is talkative
        pool.release(talkative)


def test_others_are_served_while_the_talkative_one_is_asked(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    gate = driver.hang("ping")
    pool = pool_with_sockets(make_pool, driver, max_size=2)
    talkative, quiet = fill(pool, 2)
    talkative.say(b"by the way")

    assert pool.acquire() is quiet
    gate.release()


def test_a_socket_that_somebody_closed_is_a_dead_one(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = pool_with_sockets(make_pool, driver, max_size=1)
    [closed] = fill(pool, 1)
    closed.close_socket()

    assert pool.acquire() is not closed


@pytest.mark.parametrize("kind", [Pinging, WithSockets])
def test_an_error_that_ends_the_connection_ends_its_lease_too(
    make_pool: MakePool, driver: FakeDatabase, kind: Callable[[FakeDatabase], Dbapi[Any]]
) -> None:
    pool = make_pool(driver.connect, driver=kind(driver), max_size=2, reset="none")
    fill(pool, 2)

    with pytest.raises(OperationalError), pool.connection() as connection:
        driver.kill_all()
        connection.execute()

    eventually(lambda: connection.closed)
    assert driver.rollbacks == 0
    with pool.connection() as alive:
        alive.execute()


def test_an_error_of_another_kind_ends_nothing(make_pool: MakePool, driver: FakeDatabase) -> None:
    pool = pool_with_sockets(make_pool, driver, max_size=1)

    with pytest.raises(ZeroDivisionError), pool.connection() as connection:
        connection.execute()
        raise ZeroDivisionError

    assert pool.acquire() is connection
    assert driver.rollbacks == 1


def test_a_driver_that_fails_to_judge_an_error_does_not_hide_it(
    make_pool: MakePool, driver: FakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)

    class Clumsy(Pinging):
        @classmethod
        def is_disconnect(cls, error: BaseException) -> bool:
            raise TypeError(error)

    pool = make_pool(driver.connect, driver=Clumsy(driver), max_size=1)

    with pytest.raises(ZeroDivisionError), pool.connection() as connection:
        raise ZeroDivisionError

    assert [type(one.exc_value) for one in unraisable] == [TypeError]
    assert pool.acquire() is connection


def test_without_sockets_one_death_has_all_others_asked_at_once(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    """Scenario 21: at most one validation timeout is paid, not seven."""
    pool = make_pool(driver.connect, driver=Pinging(driver), max_size=8)
    held = fill(pool, 8)
    driver.kill_all()
    gate = driver.hang("ping")

    with pytest.raises(OperationalError), pool.connection() as connection:
        connection.execute()

    eventually(lambda: gate.arrived == 7)
    gate.release()
    eventually(lambda: all(connection.closed for connection in held))
    assert pool.stats().closed["invalid"] == 7


def test_without_sockets_those_in_use_are_asked_when_they_come_back(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = make_pool(driver.connect, driver=Pinging(driver), max_size=2, reset="none")
    first, second = pool.acquire(), pool.acquire()
    driver.kill_all()
    pool.discard(first)

    pool.release(second)

    assert pool.acquire() not in {first, second}
    assert driver.pings == 1


def test_a_plain_callable_is_never_asked_for_what_it_may_not_know(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    pool = make_pool(max_size=2, _clock=clock, _inline=True)
    fill(pool, 2)
    discarded = pool.acquire()

    pool.discard(discarded)
    clock.advance(31)

    assert pool.acquire() in {*driver.connections} - {discarded}
    assert (driver.pings, driver.executes) == (0, 0)


def test_a_driver_that_knows_by_itself_is_asked_before_each_use(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = make_pool(driver.connect, driver=Asked(driver), max_size=1)
    [dead] = fill(pool, 1)
    assert pool.acquire() is dead
    pool.release(dead)
    dead.kill()

    assert pool.acquire() is driver.connections[1]
    assert pool.stats().closed["dead"] == 1


def test_who_waited_keeps_its_turn_when_its_driver_says_that_the_connection_is_dead(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = make_pool(driver.connect, driver=Asked(driver), max_size=1, reset="none")
    held = pool.acquire()
    first, second = waiting_in_order(pool, 2)
    held.kill()

    # Not before it is back in the queue: a thread can be kept from that for long.
    with driver.hang("connect"):
        pool.release(held)
        eventually(lambda: pool.stats().closed["dead"] == 1 and pool.stats().waiting == 2)

    assert first.result() is driver.connections[1]
    assert not second.done
    pool.release(first.result())
    assert second.result() is driver.connections[1]


def test_a_ticket_keeps_its_turn_as_well(make_pool: MakePool, driver: FakeDatabase) -> None:
    pool = make_pool(driver.connect, driver=Asked(driver), max_size=1, reset="none")
    held = pool.acquire()
    news: list[None] = []
    ticket = pool._register_waiter(lambda: news.append(None))
    later = waiting(pool)
    held.kill()

    with driver.hang("connect"):
        pool.release(held)
        eventually(lambda: len(news) == 1)
        assert ticket.claim() is None
    eventually(lambda: len(news) == 2)

    assert ticket.claim() is driver.connections[1]
    assert not later.done
    pool.release(driver.connections[1])
    later.result()


def test_a_demoted_primary_is_left_by_all_connections(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = make_pool(driver.connect, driver=Demotable(driver), max_size=3)
    before = fill(pool, 3)
    held = pool.acquire()

    refused = OperationalError("cannot execute INSERT in a read-only transaction")
    with pytest.raises(OperationalError), pool.connection():
        raise refused
    pool.release(held)

    eventually(lambda: all(connection.closed for connection in before))
    assert pool.acquire() not in before


def test_many_errors_of_one_demotion_replace_the_connections_once(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = make_pool(driver.connect, driver=Demotable(driver), max_size=4)
    refused = OperationalError("cannot execute INSERT in a read-only transaction")
    first, second = pool.connection(), pool.connection()
    first.__enter__()
    second.__enter__()
    first.__exit__(type(refused), refused, None)
    new = pool.acquire()

    second.__exit__(type(refused), refused, None)
    pool.release(new)

    assert pool.acquire() is new


def test_connections_that_die_under_load_cost_only_those_who_had_them(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = pool_with_sockets(make_pool, driver, max_size=4)
    errors: list[BaseException] = []

    def work(number: int) -> None:
        for turn in range(200):
            if number == 0 and turn % 20 == 0:
                # None of them is in anybody's hands: an idle pool has only idle connections.
                pool.suspend()
                eventually(lambda: pool.stats().in_use == 0)
                driver.kill_all()
                pool.resume()
                continue
            try:
                with pool.connection(timeout=30) as connection:
                    connection.execute()
            except OperationalError as error:
                errors.append(error)

    together(4, work)

    assert errors == []
    assert pool.stats().closed["dead"] >= 10


def test_an_acquire_without_a_socket_costs_no_look(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = make_pool(max_size=1)
    [killed] = fill(pool, 1)
    killed.kill()

    assert pool.acquire() is killed
    assert not driver.sockets
