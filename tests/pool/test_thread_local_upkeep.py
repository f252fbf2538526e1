"""What time, hooks and failures do to the connection of a thread in a `ThreadLocalPool`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fakes import OperationalError
from helpers import eventually, in_thread, remains
from threadlocal import Resident, pass_time, used, waits

if TYPE_CHECKING:
    from fakes import FakeDatabase
    from millpond._core import ManualClock
    from threadlocal import MakeThreads

pytestmark = pytest.mark.freethreaded


def test_a_connection_whose_thread_does_not_use_it_is_closed(
    make_threads: MakeThreads, driver: FakeDatabase, clock: ManualClock
) -> None:
    pool = make_threads(max_size=1, idle_timeout=60, _clock=clock, _inline=True)
    first = used(pool)

    pass_time(pool, clock, 59)
    assert used(pool) is first
    pass_time(pool, clock, 59)
    assert not first.closed
    pass_time(pool, clock, 2)

    assert first.closed
    assert pool.stats().closed["idle"] == 1
    assert used(pool) is not first
    assert driver.live == 1


def test_its_place_is_then_free_for_another_thread(
    make_threads: MakeThreads, clock: ManualClock
) -> None:
    pool = make_threads(max_size=1, idle_timeout=60, _clock=clock)
    used(pool)
    waiter = waits(pool)

    pass_time(pool, clock, 61)

    waiter.result()


def test_an_old_connection_is_replaced_between_two_blocks(
    make_threads: MakeThreads, clock: ManualClock
) -> None:
    pool = make_threads(max_lifetime=60, idle_timeout=None, _clock=clock, _inline=True)
    first = used(pool)

    pass_time(pool, clock, 61)

    assert first.closed
    assert used(pool) is not first


def test_one_in_use_is_replaced_after_the_outermost_block(
    make_threads: MakeThreads, clock: ManualClock
) -> None:
    pool = make_threads(max_lifetime=60, idle_timeout=None, _clock=clock, _inline=True)

    with pool.connection() as first:
        pass_time(pool, clock, 61)
        assert used(pool) is first

    assert first.closed
    assert pool.stats().closed["lifetime"] == 1


def test_a_connection_is_closed_after_max_uses_outermost_blocks(make_threads: MakeThreads) -> None:
    pool = make_threads(max_uses=2, _inline=True)

    with pool.connection() as first:
        used(pool)
        used(pool)
    assert not first.closed
    used(pool)

    assert first.closed
    assert pool.stats().closed["uses"] == 1


def test_a_connection_is_validated_while_its_thread_does_not_use_it(
    make_threads: MakeThreads, driver: FakeDatabase, clock: ManualClock
) -> None:
    pool = make_threads(
        validate=lambda connection: connection.ping(), _clock=clock, _inline=True, idle_timeout=None
    )
    first = used(pool)

    pass_time(pool, clock, 31)

    assert driver.pings == 1
    assert used(pool) is first


def test_a_dead_one_is_replaced_before_its_thread_needs_it(
    make_threads: MakeThreads, driver: FakeDatabase, clock: ManualClock
) -> None:
    pool = make_threads(
        validate=lambda connection: connection.ping(), _clock=clock, _inline=True, idle_timeout=None
    )
    first = used(pool)
    driver.kill_all()

    pass_time(pool, clock, 31)

    assert first.closed
    second = used(pool)
    second.execute()
    assert pool.stats().checks_failed == 1


def test_one_without_a_recent_sign_of_life_is_validated_at_its_next_use(
    make_threads: MakeThreads, driver: FakeDatabase, clock: ManualClock
) -> None:
    pool = make_threads(
        validate=lambda connection: connection.ping(), _clock=clock, _inline=True, idle_timeout=None
    )
    first = used(pool)

    clock.advance(31)

    assert used(pool) is first
    assert driver.pings == 1


def test_a_thread_waits_for_the_validation_of_its_own_connection(
    make_threads: MakeThreads, driver: FakeDatabase, clock: ManualClock
) -> None:
    pool = make_threads(validate=lambda connection: connection.ping(), _clock=clock)
    resident = Resident(pool)
    first = resident.uses()
    gate = driver.hang("ping")
    pass_time(pool, clock, 31)
    eventually(lambda: gate.arrived)
    running = in_thread(resident.uses)
    assert remains(lambda: not running.done, 0.02)

    gate.release()

    # Not only when its time is up, which is after 5 s.
    assert running.result(2.0) is first


def test_a_validation_that_hangs_costs_the_connection_and_not_the_thread(
    make_threads: MakeThreads, driver: FakeDatabase, clock: ManualClock
) -> None:
    pool = make_threads(validate=lambda connection: connection.ping(), _clock=clock)
    resident = Resident(pool)
    first = resident.uses()
    gate = driver.hang("ping", times=1)
    pass_time(pool, clock, 31)
    eventually(lambda: gate.arrived)
    running = in_thread(resident.uses)

    pass_time(pool, clock, 6)

    assert running.result() is not first


def test_a_connection_that_cannot_be_reset_is_replaced(
    make_threads: MakeThreads, driver: FakeDatabase
) -> None:
    pool = make_threads()
    first = used(pool)

    with pool.connection():
        driver.kill_all()

    second = used(pool)
    assert second is not first
    assert pool.stats().closed["reset"] == 1


def test_a_block_that_does_not_end_is_reported_with_its_line(
    make_threads: MakeThreads, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make_threads(leak_threshold=10, _clock=clock, _inline=True)
    pass_time(pool, clock, 1)

    for _ in range(2):  # the first block of the thread, and one that finds its connection
        with pool.connection(), pool.connection():
            pass_time(pool, clock, 11)

    reports = [
        record.getMessage() for record in caplog.records if "has been held" in record.message
    ]
    assert len(reports) == 2
    assert all(__file__ in report for report in reports)
    assert pool.stats().leaks == 2


def test_a_connection_that_rests_is_no_leak(make_threads: MakeThreads, clock: ManualClock) -> None:
    pool = make_threads(leak_threshold=10, _clock=clock, _inline=True)
    used(pool)

    pass_time(pool, clock, 100)

    assert pool.stats().leaks == 0


# Hooks.


def test_hooks_run_for_each_outermost_block(
    make_threads: MakeThreads, driver: FakeDatabase
) -> None:
    seen: list[str] = []
    pool = make_threads(
        on_acquire=lambda _: seen.append("acquire"),
        on_release=lambda _: seen.append(f"release before {driver.rollbacks}"),
    )

    for _ in range(2):
        with pool.connection():
            used(pool)

    assert seen == ["acquire", "release before 0", "acquire", "release before 1"]


def test_a_hook_that_uses_the_pool_is_inside_of_the_block(
    make_threads: MakeThreads, driver: FakeDatabase
) -> None:
    inside: list[Any] = []

    def use(_: object) -> None:
        inside.append(used(pool))

    pool = make_threads(on_acquire=use, on_release=use, reset=use)

    for _ in range(2):
        used(pool)

    assert inside == [driver.connections[0]] * 6
    assert pool.stats().in_use == 0


@pytest.mark.parametrize("uses", [0, 1])
def test_what_on_acquire_raises_goes_to_the_caller(make_threads: MakeThreads, uses: int) -> None:
    faults: list[Exception] = []

    def on_acquire(_: object) -> None:
        if faults:
            raise faults.pop()

    pool = make_threads(on_acquire=on_acquire)
    before = [used(pool) for _ in range(uses)]
    faults.append(OperationalError("no"))

    with pytest.raises(OperationalError, match="no"), pool.connection():
        pass

    assert pool.stats().in_use == 0
    assert used(pool) not in before


def test_a_failing_on_release_closes_the_connection(
    make_threads: MakeThreads, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make_threads(on_release=lambda _: 1 / 0)

    first = used(pool)

    assert "on_release failed" in caplog.text
    assert used(pool) is not first


def test_an_interrupt_in_the_reset_leaves_no_block_open(make_threads: MakeThreads) -> None:
    def reset(_: object) -> None:
        raise faults.pop() if faults else ValueError

    faults: list[BaseException] = [KeyboardInterrupt()]
    pool = make_threads(reset=reset)

    with pytest.raises(KeyboardInterrupt), pool.connection() as first:
        pass

    assert pool.stats().in_use == 0
    assert used(pool) is not first
