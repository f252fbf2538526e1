"""Waiters that do not block a thread: a callback is called, the same queue serves them."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING

import pytest

import millpond
from helpers import eventually, waiting

if TYPE_CHECKING:
    from fakes import FakeDatabase
    from helpers import MakePool


def test_a_callback_is_called_when_its_connection_is_there(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    held = pool.acquire()
    calls: list[str] = []
    ticket = pool._register_waiter(lambda: calls.append("called"))

    assert ticket.claim() is None
    pool.release(held)

    assert calls == ["called"]
    assert ticket.claim() is held
    pool.release(held)


def test_a_callback_that_can_be_served_at_once_is_called_at_once(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    idle = pool.acquire()
    pool.release(idle)
    calls: list[str] = []

    ticket = pool._register_waiter(lambda: calls.append("called"))

    assert calls == ["called"]
    assert ticket.claim() is idle


def test_callbacks_and_threads_wait_in_one_line(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    held = pool.acquire()
    calls: list[str] = []
    first = pool._register_waiter(lambda: calls.append("first"))
    second = waiting(pool)
    pool._register_waiter(lambda: calls.append("third"))

    pool.release(held)
    assert calls == ["first"]
    assert not second.served

    pool.release(first.claim())
    assert second.result() is held
    assert calls == ["first"]


def test_who_cancels_gives_its_place_to_the_next(make_pool: MakePool) -> None:
    """Scenario 10."""
    pool = make_pool(max_size=1)
    held = pool.acquire()
    ticket = pool._register_waiter(lambda: None)
    second = waiting(pool)

    ticket.cancel()
    pool.release(held)

    assert second.result() is held
    assert ticket.claim() is None


def test_who_cancels_after_the_grant_gives_the_connection_to_the_next(make_pool: MakePool) -> None:
    """Scenario 10."""
    pool = make_pool(max_size=1)
    held = pool.acquire()
    ticket = pool._register_waiter(lambda: None)
    second = waiting(pool)
    pool.release(held)

    ticket.cancel()

    assert second.result() is held


def test_a_ticket_that_is_dropped_gives_its_grant_back(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    held = pool.acquire()
    ticket = pool._register_waiter(lambda: None)
    pool.release(held)

    del ticket
    gc.collect()

    assert pool.acquire(timeout=1) is held


def test_a_callback_that_raises_loses_nothing(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the event loop that it would tell is closed."""
    pool = make_pool(max_size=1)
    held = pool.acquire()
    reported: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda event: reported.append(event.exc_value))
    error = RuntimeError("the loop is closed")

    def callback() -> None:
        raise error

    ticket = pool._register_waiter(callback)
    second = waiting(pool)
    pool.release(held)

    assert second.result() is held
    assert ticket.claim() is None
    assert reported == [error]


def test_a_close_is_told_to_callbacks(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    held = pool.acquire()
    calls: list[str] = []
    ticket = pool._register_waiter(lambda: calls.append("called"))

    pool.close(timeout=0)

    assert calls == ["called"]
    with pytest.raises(millpond.PoolClosed):
        ticket.claim()
    pool.release(held)


def test_a_callback_may_wait_for_a_connection_that_is_being_opened(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    """Scenario 11: who gives up leaves the new connection to the next."""
    pool = make_pool(max_size=1)
    gate = driver.hang("connect")
    ticket = pool._register_waiter(lambda: None)

    ticket.cancel()
    gate.release()

    eventually(lambda: pool.stats().idle == 1)
    assert pool.acquire(timeout=1) is driver.connections[0]
