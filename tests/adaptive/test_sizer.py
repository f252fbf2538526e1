"""A sizer as an object: its thread, its history, what it logs and what it refuses."""

from __future__ import annotations

import gc
import logging
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest

import millpond
from helpers import eventually, lines_of, together
from millpond import AdaptiveSizer, PoolConfigError
from stub_pool import TARGET, StubPool, sizer_of, watch

if TYPE_CHECKING:
    from millpond import PoolStats

SOON = 0.001


def sizer_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.endswith("-sizer")]


class Counting(StubPool):
    """Counts how often it was looked at."""

    looks = 0

    def stats(self) -> PoolStats:
        self.looks += 1
        return super().stats()


def test_a_change_is_logged_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    pool = StubPool(10)

    with caplog.at_level(logging.INFO, "millpond.pool"):
        watch(sizer_of(pool), pool, 12, in_use=1.0, wait=0.6 * TARGET)

    (record,) = caplog.records
    assert record.getMessage() == (
        "pool 'stub': max_size 10 -> 15: acquires wait 0.06 s on average, over 0.05 s"
    )
    assert (record.name, record.levelno) == ("millpond.pool", logging.INFO)
    assert vars(record)["pool"] == "stub"
    assert vars(record)["event"] == "resized"


def test_the_history_is_bounded() -> None:
    pool = StubPool(10)
    sizer = sizer_of(pool, cool_down=1.0, window=1.0)
    for number in range(150):
        pool.resize(max_size=100 if number % 2 else 1)
        watch(sizer, pool, 1, in_use=0.5)

    assert len(pool.sizes) == 301
    assert len(sizer.history) == 100
    assert sizer.history[-1].time == 150.0


def test_a_step_returns_what_was_decided_also_if_it_is_nothing() -> None:
    pool = StubPool(10)
    sizer = sizer_of(pool)
    pool.pass_second(in_use=0.5)

    decision = sizer.step()

    assert (decision.before, decision.after, decision.utilization) == (10, 10, 0.5)
    assert decision.wait is None
    assert sizer.history == ()


def test_the_thread_does_steps_until_it_is_stopped() -> None:
    pool = Counting(10)
    sizer = sizer_of(pool)

    with sizer.start(SOON):
        assert sizer_threads() == ["millpond-stub-sizer"]
        eventually(lambda: pool.looks > 3)
        assert "running" in repr(sizer)

    looks = pool.looks
    assert sizer_threads() == []
    assert pool.looks == looks
    assert "not running" in repr(sizer)


def test_a_block_starts_the_thread() -> None:
    with sizer_of(StubPool()):
        assert sizer_threads() == ["millpond-stub-sizer"]

    assert sizer_threads() == []


def test_starting_again_only_changes_the_interval() -> None:
    pool = Counting(10)
    sizer = sizer_of(pool).start(1000.0)

    sizer.start(SOON)

    assert len(sizer_threads()) == 1
    eventually(lambda: pool.looks > 1)
    sizer.stop()
    sizer.stop()


@pytest.mark.freethreaded
def test_of_many_who_start_it_at_the_same_time_one_thread_is_left(fast_switching: None) -> None:
    del fast_switching
    pool = Counting(10)
    sizer = sizer_of(pool)

    for _ in range(20):
        together(8, lambda _: sizer.start(1000.0))
        assert len(sizer_threads()) == 1

    sizer.stop()
    assert sizer_threads() == []


def test_the_thread_does_not_keep_the_process_from_ending() -> None:
    (thread,) = lines_of("""
        import threading
        from stub_pool import StubPool, sizer_of

        sizer = sizer_of(StubPool()).start()
        print([one.daemon for one in threading.enumerate() if one.name.endswith("-sizer")])
    """)

    assert thread == "[True]"


def test_the_thread_ends_when_the_pool_is_closed() -> None:
    pool = StubPool()
    sizer = sizer_of(pool).start(SOON)

    pool.closed = True

    eventually(lambda: sizer_threads() == [])
    assert "not running" in repr(sizer)
    sizer.stop()


def test_a_pool_that_is_closed_during_a_step_is_no_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Closing(StubPool):
        def resize(self, *, max_size: int) -> None:
            super().resize(max_size=max_size)
            self.closed = True
            message = "closed"
            raise millpond.PoolClosed(message)

    pool = Closing(1)  # less than the sizer's least

    with sizer_of(pool).start(SOON):
        eventually(lambda: sizer_threads() == [])

    assert pool.sizes == [1, 2]
    assert caplog.messages == []


def test_a_sizer_that_nobody_keeps_goes_on_as_long_as_its_pool() -> None:
    pool = Counting(10)

    sizer_of(pool).start(SOON)

    gc.collect()
    looks = pool.looks
    eventually(lambda: pool.looks > looks + 1)
    pool.closed = True
    eventually(lambda: sizer_threads() == [])


def test_the_thread_ends_when_nobody_has_the_pool() -> None:
    pool = millpond.Pool(object)
    sizer = AdaptiveSizer(pool, min_size=1, max_size=2, target_wait=TARGET).start(SOON)
    gone = weakref.ref(sizer)

    del pool, sizer

    def collected() -> bool:
        gc.collect()
        return gone() is None and sizer_threads() == []

    eventually(collected)


def test_a_step_that_fails_is_logged_and_not_the_last(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Counting):
        def stats(self) -> PoolStats:
            super().stats()
            message = "no statistics today"
            raise millpond.PoolError(message)

    pool = Broken()

    with sizer_of(pool).start(SOON):
        eventually(lambda: pool.looks > 2)

    assert "could not do its step" in caplog.messages[0]
    assert caplog.records[0].exc_info is not None


def test_a_size_below_the_pools_own_minimum_is_the_callers_problem_in_a_step() -> None:
    """Somebody has raised `min_size` since the sizer was made."""
    pool: millpond.Pool[Any] = millpond.Pool(object, max_size=10)
    with pool:
        now = [0.0]
        sizer = AdaptiveSizer(pool, min_size=1, max_size=9, target_wait=1.0, clock=lambda: now[0])
        pool.resize(min_size=10)

        with pytest.raises(PoolConfigError, match="min_size=10, max_size=9"):
            sizer.step()

    assert sizer.history == ()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork on Windows")
def test_it_goes_on_in_the_child_of_a_fork() -> None:
    lines = lines_of("""
        import os, threading
        from helpers import eventually
        from stub_pool import StubPool, sizer_of

        class Counting(StubPool):
            looks = 0

            def stats(self):
                self.looks += 1
                return super().stats()

        pool = Counting()
        sizer = sizer_of(pool).start(0.001)
        eventually(lambda: pool.looks)
        pid = os.fork()
        if not pid:
            pool.looks = 0
            eventually(lambda: pool.looks)
            sizer.stop()
            print("looked", flush=True)
            os._exit(0)
        os.waitpid(pid, 0)
        sizer.stop()
        print("done")
    """)

    assert lines == ["looked", "done"]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork on Windows")
def test_a_fork_in_any_moment_of_the_thread_does_not_hang_the_child() -> None:
    """The thread holds the lock of its event for a moment before each sleep and after it."""
    lines = lines_of("""
        import os, signal
        from stub_pool import StubPool, sizer_of

        sizer = sizer_of(StubPool()).start(1000.0)
        with sizer._stop._cond:
            pid = os.fork()
            if not pid:
                signal.alarm(10)
                sizer.stop()
                print("stopped", flush=True)
                os._exit(0)
            os.waitpid(pid, 0)
        sizer.stop()
        print("done")
    """)

    assert lines == ["stopped", "done"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"min_size": 0}, "min_size=0: must be an int from 1"),
        ({"max_size": 1.5}, "max_size=1.5: must be an int from 1"),
        ({"min_size": 50}, "min_size=50, max_size=40: min_size must not be above max_size"),
        ({"target_wait": 0}, "target_wait=0: must be a number above 0"),
        ({"cool_down": -1}, "cool_down=-1: must be a number above 0"),
        ({"window": None}, "window=None: must be a number above 0"),
        ({"cool_down": 61.0}, "cool_down=61.0, window=60.0: cool_down must not be above window"),
    ],
)
def test_bad_input_is_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(PoolConfigError) as raised:
        sizer_of(StubPool(), **options)

    assert said in str(raised.value)


def test_a_pool_that_keeps_more_connections_than_the_sizers_minimum_is_refused() -> None:
    pool = StubPool()
    pool.min_size = 5

    with pytest.raises(PoolConfigError, match=r"pool\.min_size=5, min_size=2"):
        sizer_of(pool)


def test_what_is_no_pool_is_refused() -> None:
    wrong: Any = None
    with pytest.raises(PoolConfigError, match="pool=<NoneType>: must be a pool"):
        AdaptiveSizer(wrong, min_size=1, max_size=2, target_wait=TARGET)


@pytest.mark.parametrize("interval", [0, -1, float("inf"), "1"])
def test_a_bad_interval_is_named(interval: Any) -> None:
    with pytest.raises(PoolConfigError, match=r"interval=.*must be a number above 0"):
        sizer_of(StubPool()).start(interval)
