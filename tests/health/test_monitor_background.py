"""`HealthMonitor` in the background: its thread, and with what that ends."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest

import millpond
from helpers import eventually, lines_of
from observing import Told, monitoring

if TYPE_CHECKING:
    from collections.abc import Callable

    from fakes import FakeDatabase
    from helpers import MakePool
    from millpond.health import Alert


def test_in_the_background_the_pool_is_evaluated_again_and_again(
    told: Told, make_monitor: Callable[..., millpond.HealthMonitor]
) -> None:
    raised, cleared = threading.Event(), threading.Event()
    times = iter(range(10**9))
    monitor = make_monitor(
        told,
        clock=lambda: float(next(times)),
        on_raise=lambda _: raised.set(),
        on_clear=lambda _: cleared.set(),
    )

    monitor.start(interval=0.001)

    (thread,) = monitoring()
    assert thread.daemon
    told.set(window={"utilization": 1.0})
    assert raised.wait(10)
    told.set(window={"utilization": 0.0})
    assert cleared.wait(10)
    monitor.stop()
    assert monitoring() == []
    monitor.stop()


def test_the_first_evaluation_in_the_background_is_at_once(
    told: Told, make_monitor: Callable[..., millpond.HealthMonitor]
) -> None:
    raised = threading.Event()
    told.set(window={"utilization": 1.0})

    make_monitor(told, on_raise=lambda _: raised.set()).start(interval=3600)

    assert raised.wait(10)


def test_an_evaluation_that_fails_is_not_the_last(
    told: Told,
    make_monitor: Callable[..., millpond.HealthMonitor],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = iter(range(10**9))
    honest = told.stats

    def stats() -> millpond.PoolStats:
        if next(calls) == 0:
            raise RuntimeError
        return honest()

    monkeypatch.setattr(told, "stats", stats)
    told.set(window={"utilization": 1.0})
    raised = threading.Event()

    make_monitor(told, on_raise=lambda _: raised.set()).start(interval=0.001)

    assert raised.wait(10)
    assert "not evaluated" in caplog.text


def test_an_exit_in_a_callback_does_not_end_the_thread(
    told: Told, make_monitor: Callable[..., millpond.HealthMonitor]
) -> None:
    cleared = threading.Event()
    times = iter(range(10**9))

    def leave(_: Alert) -> None:
        told.set(window={"utilization": 0.0})
        raise SystemExit

    told.set(window={"utilization": 1.0})
    monitor = make_monitor(
        told,
        clock=lambda: float(next(times)),
        on_raise=leave,
        on_clear=lambda _: cleared.set(),
    )

    monitor.start(interval=0.001)

    assert cleared.wait(10)


def test_where_no_thread_is_to_be_had_that_is_logged(
    told: Told,
    make_monitor: Callable[..., millpond.HealthMonitor],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: threading.Thread) -> None:
        message = "can't start new thread"
        raise RuntimeError(message)

    monkeypatch.setattr(threading.Thread, "start", refuse)

    make_monitor(told).start()

    assert "not evaluated in the background" in caplog.text


def test_started_again_it_goes_on_in_one_thread(
    told: Told, make_monitor: Callable[..., millpond.HealthMonitor]
) -> None:
    monitor = make_monitor(told)

    for _ in range(3):
        monitor.start(interval=3600)

    eventually(lambda: len(monitoring()) == 1)


def test_the_thread_ends_with_the_pool(
    make_pool: MakePool, make_monitor: Callable[..., millpond.HealthMonitor]
) -> None:
    pool = make_pool()
    make_monitor(pool).start(interval=0.001)

    pool.close()

    eventually(lambda: not monitoring())


def test_a_monitor_that_nobody_keeps_goes_on_as_long_as_its_pool(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    raised = threading.Event()

    millpond.HealthMonitor(pool, on_raise=lambda _: raised.set()).start(interval=0.001)

    gc.collect()
    pool.acquire()
    assert raised.wait(10)
    pool.close(timeout=0)
    eventually(lambda: not monitoring())


def test_the_thread_keeps_neither_the_pool_nor_the_monitor_alive(driver: FakeDatabase) -> None:
    pool = millpond.Pool(driver.connect)
    monitor = millpond.HealthMonitor(pool).start(interval=3600)
    references: list[weakref.ref[Any]] = [weakref.ref(pool), weakref.ref(monitor)]

    del pool, monitor

    # A moment may pass in which the thread is evaluating.
    eventually(lambda: gc.collect() is not None and not any(one() for one in references))
    eventually(lambda: not monitoring())


def test_a_block_evaluates_in_the_background_until_its_end(told: Told) -> None:
    with millpond.HealthMonitor(told) as monitor:
        (thread,) = monitoring()
        with monitor:
            assert monitoring() == [thread]

        assert monitoring() == []


def test_a_monitor_that_was_stopped_ends_with_whoever_has_it(told: Told) -> None:
    monitor = millpond.HealthMonitor(told).start(interval=3600)
    monitor.stop()
    reference = weakref.ref(monitor)

    del monitor

    assert gc.collect() is not None
    assert reference() is None


def test_a_callback_may_stop_the_thread_that_calls_it(
    told: Told, make_monitor: Callable[..., millpond.HealthMonitor]
) -> None:
    told.set(window={"utilization": 1.0})

    def stop(_: Alert) -> None:
        monitor.stop()

    monitor = make_monitor(told, on_raise=stop)

    monitor.start(interval=0.001)

    eventually(lambda: not monitoring())


def test_the_thread_does_not_keep_the_interpreter_up() -> None:
    script = """
        import millpond
        from fakes import FakeDatabase

        pool = millpond.Pool(FakeDatabase().connect)
        monitor = millpond.HealthMonitor(pool)
        monitor.start(interval=3600)
        print("done")
    """

    assert lines_of(script) == ["done"]


def test_the_child_of_a_fork_has_a_thread_of_its_own() -> None:
    script = """
        import os
        import threading
        import millpond
        from fakes import FakeDatabase
        from helpers import eventually

        def monitoring():
            return [one for one in threading.enumerate() if one.name == "millpond-health"]

        pool = millpond.Pool(FakeDatabase().connect, max_size=1)
        monitor = millpond.HealthMonitor(pool)
        monitor.start(interval=0.001)
        pool.acquire()
        eventually(lambda: monitor.status().alerts)
        child = os.fork()
        if not child:
            eventually(monitoring)
            print("child", monitor.status().alerts, flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        print("parent", len(monitor.status().alerts), len(monitoring()))
    """

    assert lines_of(script) == ["child ()", "parent 1 1"]


@pytest.mark.parametrize("interval", [0, None, -1, float("nan"), "5"])
def test_an_interval_that_is_no_time_is_refused(told: Told, interval: Any) -> None:
    with pytest.raises(millpond.PoolConfigError, match="interval="):
        millpond.HealthMonitor(told).start(interval)
