"""Listeners: who is told what happens, and that they harm nothing."""

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

if TYPE_CHECKING:
    import logging

    from fakes import FakeDatabase
    from helpers import MakePool
    from millpond._core import ManualClock
    from threadlocal import MakeThreads


class Diary:
    """A listener that writes everything down."""

    def __init__(self) -> None:
        self.events: list[millpond.PoolEvent] = []

    def __call__(self, event: millpond.PoolEvent) -> None:
        self.events.append(event)

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    def only(self, kind: str) -> millpond.PoolEvent:
        """Give the one event of a kind, once it is there."""
        eventually(lambda: kind in self.kinds)
        (event,) = [event for event in self.events if event.kind == kind]
        return event


@pytest.fixture
def diary() -> Diary:
    return Diary()


def test_the_life_of_a_connection_is_told(
    make_pool: MakePool, diary: Diary, clock: ManualClock
) -> None:
    pool = make_pool(max_size=1, name="orders", _clock=clock, _inline=True)
    pool.add_listener(diary)

    conn = pool.acquire()
    clock.advance(1.5)
    pool.release(conn)
    pool.evict()

    assert diary.kinds == ["opened", "waited", "acquired", "released", "closed"]
    assert {(event.pool, event.slot) for event in diary.events} == {("orders", 0)}
    assert diary.only("released").seconds == 1.5
    assert diary.only("released").reason is None
    assert diary.only("closed").reason == "evicted"
    times = [event.time for event in diary.events]
    assert times == sorted(times)


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


def test_a_caller_that_had_to_queue_is_told_of_with_its_wait(
    make_pool: MakePool, diary: Diary
) -> None:
    pool = make_pool(max_size=1)
    held = pool.acquire()
    pool.add_listener(diary, "waited")
    waiter = waiting(pool)

    pool.release(held)
    waiter.result()

    event = diary.only("waited")
    assert event.seconds is not None
    assert 0 < event.seconds < 10


def test_who_does_not_have_to_queue_has_not_waited(make_pool: MakePool, diary: Diary) -> None:
    pool = make_pool(_inline=True)
    pool.release(pool.acquire())
    pool.add_listener(diary, "waited")

    pool.release(pool.acquire())
    pool.release(pool.acquire(timeout=1))

    assert diary.events == []


def test_a_timeout_is_told_with_its_error(make_pool: MakePool, diary: Diary) -> None:
    pool = make_pool(max_size=1)
    pool.acquire()
    pool.add_listener(diary, "timed_out")

    with pytest.raises(millpond.PoolTimeout) as caught:
        pool.acquire(timeout=0.01)

    event = diary.only("timed_out")
    assert event.error is caught.value
    assert event.slot is None
    assert event.seconds is not None
    assert event.seconds >= 0.01


@pytest.mark.parametrize(
    ("end", "reason"), [("discard", "discarded"), ("detach", "detached"), ("release", None)]
)
def test_the_end_of_a_use_is_told_whichever_it_is(
    make_pool: MakePool, diary: Diary, end: str, reason: str | None
) -> None:
    pool = make_pool(_inline=True)
    pool.add_listener(diary, "acquired", "released")

    getattr(pool, end)(pool.acquire())

    assert diary.kinds == ["acquired", "released"]
    assert diary.only("released").reason == reason
    assert diary.only("released").seconds is not None


def test_blocks_are_acquires_and_releases(make_pool: MakePool, diary: Diary) -> None:
    pool = make_pool(_inline=True)
    pool.add_listener(diary, "acquired", "released")

    with pool.connection():
        assert diary.kinds == ["acquired"]
    with pytest.raises(LookupError), pool.connection():
        raise LookupError

    assert diary.kinds == ["acquired", "released"] * 2


def test_a_leak_is_told_with_its_line(
    make_pool: MakePool, diary: Diary, clock: ManualClock
) -> None:
    pool = make_pool(leak_threshold=1.0, _clock=clock, _inline=True)
    pool.add_listener(diary, "leaked")
    held = pool.acquire()

    pass_time(pool, clock, 2.0)

    event = diary.only("leaked")
    assert event.seconds == 2.0
    assert event.reason is not None
    assert __file__ in event.reason
    pool.release(held)


def test_a_failed_validation_is_told(
    make_pool: MakePool, diary: Diary, driver: FakeDatabase, clock: ManualClock
) -> None:
    pool = make_pool(validation_interval=10.0, driver=Pinging(driver), _clock=clock)
    pool.add_listener(diary, "validation_failed")
    pool.release(pool.acquire())
    driver.kill_all()

    pass_time(pool, clock, 11.0)

    event = diary.only("validation_failed")
    assert isinstance(event.error, OperationalError)
    assert event.reason == "OperationalError: server closed the connection unexpectedly"


def test_an_outage_and_its_end_are_told_once(
    make_pool: MakePool, diary: Diary, driver: FakeDatabase, clock: ManualClock
) -> None:
    pool = make_pool(min_size=3, connect_timeout=None, _clock=clock)
    pool.wait()
    pool.add_listener(diary, "open_failed", "recovered")
    driver.down()
    pool.evict()
    eventually(lambda: "open_failed" in diary.kinds)
    assert pool.stats().last_error == "OperationalError: connection refused"

    driver.up()
    while pool.stats().size < 3:
        pass_time(pool, clock, 0.5)

    assert pool.stats().last_error is None
    assert isinstance(diary.only("recovered").error, OperationalError)
    assert diary.kinds[-1] == "recovered"
    pool.evict()
    eventually(lambda: pool.stats().opened == 9)
    assert diary.kinds.count("recovered") == 1


def test_a_connect_that_takes_too_long_is_told(
    make_pool: MakePool, diary: Diary, driver: FakeDatabase, clock: ManualClock
) -> None:
    pool = make_pool(connect_timeout=2.0, _clock=clock)
    pool.add_listener(diary, "open_failed")
    driver.hang("connect")
    assert pool.try_acquire() is None

    pass_time(pool, clock, 2.5)

    event = diary.only("open_failed")
    assert isinstance(event.error, TimeoutError)
    assert event.seconds == 2.0


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
            return [one for one in caplog.records if "listener" in one.getMessage()]

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


def test_a_thread_local_pool_tells_of_outermost_blocks(
    make_threads: MakeThreads, diary: Diary
) -> None:
    pool = make_threads(name="mine")
    pool.add_listener(diary, "opened", "acquired", "released", "waited")

    with pool.connection(), pool.connection():
        pass
    with pool.connection():
        pass

    eventually(lambda: "opened" in diary.kinds)
    told = [kind for kind in diary.kinds if kind != "opened"]
    assert told == ["waited", "acquired", "released", "acquired", "released"]
    assert {event.pool for event in diary.events} == {"mine"}


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
