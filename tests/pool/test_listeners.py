"""Listeners: how they come and go, what they may do, and that they harm nothing."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

import millpond
from fake_drivers import Pinging
from fakes import OperationalError
from helpers import eventually, in_thread, lines_of, pass_time, together, waiting
from millpond import _events
from observing import Diary

if TYPE_CHECKING:
    import logging

    from fakes import FakeDatabase
    from helpers import MakePool
    from millpond._core import ManualClock


@pytest.fixture
def diary() -> Diary:
    return Diary()


def test_a_listener_hears_the_kinds_that_it_asked_for(make_pool: MakePool, diary: Diary) -> None:
    pool = make_pool(_inline=True)
    pool.add_listener(diary, "acquired", "closed")

    pool.release(pool.acquire())
    pool.evict()

    assert diary.kinds == ["acquired", "closed"]


def test_a_listener_comes_and_goes_while_the_pool_is_in_use(
    make_pool: MakePool, diary: Diary
) -> None:
    pool = make_pool(_inline=True)
    first = pool.acquire()
    remove = pool.add_listener(diary, "acquired", "released")
    pool.release(first)
    second = pool.acquire()

    remove()
    remove()
    pool.release(second)
    pool.release(pool.acquire())

    assert diary.kinds == ["released", "acquired"]


def test_one_of_two_that_are_the_same_can_be_removed(make_pool: MakePool, diary: Diary) -> None:
    pool = make_pool(_inline=True)
    remove = pool.add_listener(diary, "opened")
    pool.add_listener(diary, "opened")
    remove()

    pool.acquire()

    assert diary.kinds == ["opened"]


def test_without_a_listener_to_them_acquire_and_release_run_no_python(make_pool: MakePool) -> None:
    pool = make_pool(reset="none", _inline=True)
    pool.release(pool.acquire())
    pool.add_listener(lambda _: None, "opened", "waited", "timed_out")
    pool.add_listener(lambda _: None, "acquired")()
    entered: list[str] = []

    sys.setprofile(lambda frame, event, _: entered.append(f"{event} {frame.f_code.co_name}"))
    pool.release(pool.acquire())
    sys.setprofile(None)

    assert [call for call in entered if call.startswith("call")] == []


class TestHarm:
    """What a listener does wrong is its own business."""

    @pytest.mark.parametrize("kind", sorted(_events.KINDS))
    def test_what_it_raises_is_logged(
        self,
        make_pool: MakePool,
        driver: FakeDatabase,
        clock: ManualClock,
        caplog: pytest.LogCaptureFixture,
        kind: str,
    ) -> None:
        pool = make_pool(
            max_size=1,
            leak_threshold=1.0,
            validation_interval=10.0,
            connect_timeout=None,
            name="orders",
            driver=Pinging(driver),
            _clock=clock,
        )

        def listener(_event: millpond.PoolEvent) -> None:
            message = "no"
            raise LookupError(message)

        pool.add_listener(listener, kind)

        make_everything_happen(pool, driver, clock)

        def failed() -> list[logging.LogRecord]:
            return [one for one in caplog.records if "listener <" in one.getMessage()]

        eventually(failed)
        assert "LookupError: no" in failed()[0].getMessage()
        assert vars(failed()[0])["event"] == "listener_failed"
        assert vars(failed()[0])["pool"] == "orders"
        with pool.connection():
            assert pool.stats().in_use == 1

    def test_not_even_an_exit_ends_a_worker(
        self, make_pool: MakePool, caplog: pytest.LogCaptureFixture
    ) -> None:
        pool = make_pool()

        def listener(_event: millpond.PoolEvent) -> None:
            raise SystemExit

        pool.add_listener(listener, "opened", "closed")
        pool.discard(pool.acquire())

        assert pool.acquire()
        eventually(lambda: len([r for r in caplog.records if "SystemExit" in r.getMessage()]) == 3)

    def test_an_interrupt_in_it_loses_no_connection(self, make_pool: MakePool) -> None:
        pool = make_pool(max_size=1, _inline=True)

        def listener(_event: millpond.PoolEvent) -> None:
            raise KeyboardInterrupt

        remove = pool.add_listener(listener, "acquired")
        with pytest.raises(KeyboardInterrupt):
            pool.acquire()
        remove()

        assert pool.stats().in_use == 0
        assert pool.acquire(timeout=0)

    def test_others_are_told_nevertheless(self, make_pool: MakePool, diary: Diary) -> None:
        pool = make_pool(_inline=True)
        pool.add_listener(lambda _: 1 / 0, "acquired")
        pool.add_listener(diary, "acquired")

        pool.acquire()

        assert diary.kinds == ["acquired"]

    @pytest.mark.parametrize("listener", [None, "acquired", 1])
    def test_a_listener_is_callable(self, make_pool: MakePool, listener: Any) -> None:
        with pytest.raises(millpond.PoolConfigError, match="must be a callable"):
            make_pool().add_listener(listener)

    @pytest.mark.parametrize("kind", ["aquired", "", None, ["opened"]])
    def test_a_kind_is_one_of_those_that_there_are(self, make_pool: MakePool, kind: Any) -> None:
        with pytest.raises(millpond.PoolConfigError, match="must be one of opened, closed"):
            make_pool().add_listener(print, kind)


class TestUsingThePool:
    """A listener may use the pool that it listens to."""

    def test_it_may_ask_for_statistics_and_acquire(
        self, make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
    ) -> None:
        pool = make_pool(
            max_size=2,
            leak_threshold=1.0,
            validation_interval=10.0,
            connect_timeout=None,
            driver=Pinging(driver),
            _clock=clock,
        )
        seen: set[str] = set()

        def listener(event: millpond.PoolEvent) -> None:
            assert pool.stats().name == event.pool
            with suppress(millpond.PoolError), pool.connection():
                pass
            seen.add(event.kind)

        pool.add_listener(listener)

        make_everything_happen(pool, driver, clock)

        eventually(lambda: seen == set(_events.KINDS))

    def test_it_is_not_told_of_what_it_does_itself_but_others_are(
        self, make_pool: MakePool, diary: Diary
    ) -> None:
        pool = make_pool(max_size=2, min_size=2)
        pool.wait()
        calls: list[str] = []

        def listener(event: millpond.PoolEvent) -> None:
            calls.append(event.kind)
            pool.release(pool.acquire())

        pool.add_listener(listener, "acquired")
        pool.add_listener(diary, "acquired")

        pool.release(pool.acquire())

        assert calls == ["acquired"]
        assert diary.kinds == ["acquired"] * 2

    def test_it_is_told_at_once_that_it_would_wait_for_itself(
        self, make_pool: MakePool, caplog: pytest.LogCaptureFixture
    ) -> None:
        pool = make_pool(max_size=1, acquire_timeout=60.0)
        pool.add_listener(lambda _: pool.acquire(), "acquired")

        pool.release(pool.acquire())

        assert "in a hook of pool" in caplog.text

    def test_it_may_remove_itself(self, make_pool: MakePool) -> None:
        pool = make_pool(_inline=True)
        calls: list[str] = []

        def once(event: millpond.PoolEvent) -> None:
            calls.append(event.kind)
            remove()

        remove = pool.add_listener(once, "acquired")

        pool.release(pool.acquire())
        pool.release(pool.acquire())

        assert calls == ["acquired"]

    def test_it_may_remove_another_who_is_not_told_then(
        self, make_pool: MakePool, diary: Diary
    ) -> None:
        pool = make_pool(_inline=True)
        pool.add_listener(lambda _: remove(), "acquired")
        remove = pool.add_listener(diary, "acquired")

        pool.acquire()

        assert diary.kinds == []


@pytest.mark.freethreaded
def test_listeners_that_come_and_go_under_load_miss_nothing_while_they_are_there(
    make_pool: MakePool,
) -> None:
    pool = make_pool(max_size=4)
    stays, over = Diary(), threading.Event()
    pool.add_listener(stays, "acquired", "released")

    def come_and_go() -> None:
        while not over.is_set():
            pool.add_listener(lambda _: None, "acquired", "waited")()

    guest = in_thread(come_and_go)

    def work(_number: int) -> None:
        for _ in range(200):
            with pool.connection():
                pass

    together(8, work)
    over.set()
    guest.result()

    assert stays.kinds.count("acquired") == stays.kinds.count("released") == 1600


def test_listeners_go_on_in_the_child_of_a_fork() -> None:
    printed = lines_of(
        """
        import os
        import millpond
        from fakes import FakeDatabase

        pool = millpond.Pool(FakeDatabase().connect)
        events = []
        pool.add_listener(lambda event: events.append(event.kind), "acquired", "released")
        pool.release(pool.acquire())
        del events[:]
        if pid := os.fork():
            os.waitpid(pid, 0)
        else:
            pool.release(pool.acquire())
            print(*events, flush=True)
            os._exit(0)
        """
    )

    assert printed == ["acquired released"]


def make_everything_happen(
    pool: millpond.Pool[Any], driver: FakeDatabase, clock: ManualClock
) -> None:
    """Have each kind of event come about."""
    held = [pool.acquire() for _ in range(pool.max_size)]
    waiter = waiting(pool)
    with pytest.raises(millpond.PoolTimeout):
        pool.acquire(timeout=0)
    pass_time(pool, clock, 2.0)
    pool.release(held.pop())
    held.append(waiter.result())
    for conn in held:
        pool.release(conn)
    driver.kill_all()
    pass_time(pool, clock, 11.0)
    eventually(lambda: pool.stats().closed["invalid"])
    driver.fail_next(OperationalError("connection refused"))
    conn = None
    while conn is None:
        pass_time(pool, clock, 0.5)
        conn = pool.try_acquire()
    pool.release(conn)
