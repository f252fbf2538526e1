"""Leaks: whoever forgets a connection is named, and what was dropped comes back."""

from __future__ import annotations

import gc
import logging
import sys
from typing import TYPE_CHECKING

import pytest

from helpers import eventually, in_thread, pass_time

if TYPE_CHECKING:
    from fakes import FakeDatabase
    from helpers import MakePool
    from millpond._core import ManualClock


def reports(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Give what the pool has logged as warnings."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name.split(".")[0] == "millpond" and record.levelno >= logging.WARNING
    ]


def test_a_connection_that_is_held_too_long_is_reported_once_with_the_line_that_took_it(
    make_pool: MakePool, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Scenario 34."""
    pool = make_pool(leak_threshold=1.0, name="orders", _clock=clock, _inline=True)
    line = sys._getframe().f_lineno + 1
    pool.acquire()

    pass_time(pool, clock, 0.9)
    assert reports(caplog) == []
    for _ in range(5):
        pass_time(pool, clock, 1.0)

    (report,) = reports(caplog)
    assert "orders" in report
    assert f"test_leak.py:{line}" in report or f'test_leak.py", line {line}' in report


def test_a_block_that_holds_too_long_is_reported_with_its_line(
    make_pool: MakePool, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Scenario 34."""
    pool = make_pool(leak_threshold=1.0, _clock=clock, _inline=True)
    line = sys._getframe().f_lineno + 1
    with pool.connection():
        pass_time(pool, clock, 2.0)

    assert any(
        f"test_leak.py:{line}" in report.replace('", line ', ":") for report in reports(caplog)
    )


def test_a_connection_that_is_returned_in_time_is_not_reported(
    make_pool: MakePool, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make_pool(leak_threshold=1.0, _clock=clock, _inline=True)

    for _ in range(10):
        with pool.connection():
            pass_time(pool, clock, 0.9)
    pass_time(pool, clock, 10)

    assert reports(caplog) == []


def test_a_reported_connection_can_be_reported_again_in_its_next_lease(
    make_pool: MakePool, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make_pool(max_size=1, leak_threshold=1.0, _clock=clock, _inline=True)

    for _ in range(2):
        held = pool.acquire()
        pass_time(pool, clock, 1.5)
        pool.release(held)

    assert len([report for report in reports(caplog) if "test_leak.py" in report]) == 2


def test_a_leak_of_a_connection_that_was_idle_for_a_while_is_reported_in_time(
    make_pool: MakePool, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make_pool(max_size=1, leak_threshold=1.0, _clock=clock, _inline=True)
    pool.release(pool.acquire())
    for _ in range(20):
        pass_time(pool, clock, 1.0)

    pool.acquire()
    for _ in range(3):
        pass_time(pool, clock, 1.0)

    assert len(reports(caplog)) == 1


def test_without_a_threshold_nothing_is_reported(
    make_pool: MakePool, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make_pool(_clock=clock, _inline=True)
    pool.acquire()

    pass_time(pool, clock, 86400)

    assert reports(caplog) == []


def test_a_lease_that_is_dropped_gives_its_slot_back_with_a_warning(make_pool: MakePool) -> None:
    """Scenario 35."""
    pool = make_pool(max_size=1, name="orders")
    lease = pool.connection()
    lease.__enter__()

    dropped = [lease]
    del lease
    with pytest.warns(ResourceWarning, match="orders"):
        dropped.clear()
    eventually(lambda: pool.stats().in_use == 0)

    assert pool.acquire(timeout=10) is not None


def test_a_dropped_lease_in_a_cycle_serves_the_waiter(make_pool: MakePool) -> None:
    """Scenario 35: the finalizer runs inside the collector, and must not deadlock."""
    pool = make_pool(max_size=1)
    lease = pool.connection()
    lease.__enter__()
    cycle: list[object] = [lease]
    cycle.append(cycle)
    waiter = in_thread(pool.acquire)
    eventually(lambda: pool.stats().waiting == 1)

    del lease, cycle
    with pytest.warns(ResourceWarning):
        gc.collect()

    assert waiter.result() is not None


def test_a_lease_that_was_used_up_is_dropped_in_silence(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = make_pool(max_size=1)
    lease = pool.connection()
    with lease:
        pass

    del lease
    gc.collect()

    assert pool.stats().idle == 1
    assert driver.closes == 0


def test_a_lease_that_was_never_entered_is_dropped_in_silence(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)

    lease = pool.connection()
    del lease
    gc.collect()

    assert pool.stats().size == 0
