"""`HealthMonitor`: asked, and whom it calls back."""

from __future__ import annotations

import inspect
import json
import logging
import threading
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest

import millpond
from helpers import in_thread, pass_time, pass_time_until
from millpond.health import Alert, Thresholds
from observing import Told, break_down, time_out

if TYPE_CHECKING:
    from fakes import FakeDatabase
    from helpers import MakePool
    from millpond._core import ManualClock


def metrics(status: millpond.health.HealthStatus) -> list[str]:
    """Name the alerts."""
    return [alert.metric for alert in status.alerts]


def test_a_pool_in_use_by_everybody_is_critical(make_pool: MakePool, clock: ManualClock) -> None:
    pool = make_pool(name="orders", max_size=2, _clock=clock, _inline=True)
    monitor = millpond.HealthMonitor(pool)
    assert monitor.status().healthy
    held = [pool.acquire(), pool.acquire()]
    for _ in range(40):
        pass_time(pool, clock, 2.0)
        pool.stats()

    status = monitor.status()

    assert not status.healthy
    (alert,) = status.alerts
    assert alert == Alert(
        "critical",
        "pool 'orders': 100% of max_size=2 in use lately, more than 95%",
        "utilization",
        1.0,
        0.95,
    )
    for connection in held:
        pool.release(connection)


def test_an_outage_is_seen_and_its_end(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    pool = make_pool(name="orders", fail_fast_after=5.0, _clock=clock)
    monitor = millpond.HealthMonitor(pool, clear_after=1)
    pool.release(pool.acquire())
    assert metrics(monitor.status()) == []

    break_down(pool, driver, clock)

    status = monitor.status()
    assert metrics(status) == ["turned_away", "failure_rate", "failing", "open_failures"]
    assert not status.healthy
    assert "OperationalError: connection refused" in status.alerts[2].message

    driver.up()
    waiter = in_thread(pool.acquire, timeout=100.0)
    pass_time_until(pool, clock, lambda: waiter.done)
    pool.release(waiter.result())
    for _ in range(70):
        clock.advance(1.0)
        pool.stats()
    assert monitor.status().healthy
    assert metrics(monitor.status()) == []


def test_a_leak_is_seen(make_pool: MakePool, clock: ManualClock) -> None:
    pool = make_pool(name="orders", leak_threshold=1.0, _clock=clock, _inline=True)
    monitor = millpond.HealthMonitor(pool)
    pool.acquire()

    pass_time(pool, clock, 2.0)

    (alert,) = monitor.status().alerts
    assert (alert.metric, alert.value, alert.severity) == ("leaks", 1, "warning")


def test_a_leak_is_seen_for_as_long_as_it_lasts(make_pool: MakePool, clock: ManualClock) -> None:
    """It is reported once, and the report is old after a minute."""
    pool = make_pool(leak_threshold=1.0, _clock=clock, _inline=True)
    monitor = millpond.HealthMonitor(pool, clear_after=1)
    held = pool.acquire()
    for _ in range(300):
        pass_time(pool, clock, 1.0)
        pool.stats()
    assert pool.stats().window.leaks == 0
    assert metrics(monitor.status()) == ["leaks"]

    pool.release(held)

    assert metrics(monitor.status()) == []


def test_timeouts_are_seen(make_pool: MakePool, clock: ManualClock) -> None:
    pool = make_pool(max_size=2, _clock=clock, _inline=True)
    monitor = millpond.HealthMonitor(pool, utilization=None)
    held = [pool.acquire(), pool.acquire()]

    time_out(pool, 1)

    (alert,) = monitor.status().alerts
    assert (alert.metric, alert.severity) == ("failure_rate", "error")
    assert alert.value == pytest.approx(1 / 3)
    for connection in held:
        pool.release(connection)


def test_a_thread_local_pool_is_judged_like_any_other(driver: FakeDatabase) -> None:
    with millpond.ThreadLocalPool(driver.connect, max_size=1) as pool, pool.connection():
        assert metrics(millpond.HealthMonitor(pool).status()) == ["utilization"]


def test_callbacks_get_the_alerts_that_were_raised_and_cleared(told: Told) -> None:
    raised: list[Alert] = []
    cleared: list[Alert] = []
    monitor = millpond.HealthMonitor(
        told, clear_after=1, on_raise=raised.append, on_clear=cleared.append
    )
    told.set(window={"utilization": 1.0, "leaks": 1})
    first = monitor.status()
    monitor.status()
    assert raised == list(first.alerts)
    assert cleared == []

    told.set(window={"utilization": 0.1})
    monitor.status()

    assert cleared == [first.alerts[0]]
    assert len(raised) == 2


def test_a_callback_that_raises_is_logged_and_stops_nothing(
    told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(alert: Alert) -> None:
        message = f"no page for {alert.metric}"
        raise RuntimeError(message)

    monitor = millpond.HealthMonitor(told, on_raise=fails)
    told.set(window={"utilization": 1.0, "leaks": 1})

    assert metrics(monitor.status()) == ["utilization", "leaks"]

    failures = [record for record in caplog.records if record.exc_info]
    assert [str(record.exc_info[1]) for record in failures if record.exc_info] == [
        "no page for utilization",
        "no page for leaks",
    ]


def test_a_callback_may_ask_for_the_status_itself(told: Told) -> None:
    seen: list[list[str]] = []

    def ask(_: Alert) -> None:
        seen.append(metrics(monitor.status()))

    monitor = millpond.HealthMonitor(told, on_raise=ask)
    told.set(window={"utilization": 1.0, "leaks": 1})

    monitor.status()

    assert seen == [["utilization", "leaks"]] * 2


def test_changes_are_told_in_order_whoever_finds_them(told: Told) -> None:
    """The second evaluation leaves what it found to the first, which is still telling."""
    told_of: list[str] = []
    inside, go_on = threading.Event(), threading.Event()

    def slowly(alert: Alert) -> None:
        inside.set()
        go_on.wait(10)
        told_of.append(f"raised {alert.metric}")

    monitor = millpond.HealthMonitor(
        told,
        clear_after=1,
        on_raise=slowly,
        on_clear=lambda alert: told_of.append(f"cleared {alert.metric}"),
    )
    told.set(window={"utilization": 1.0})
    telling = in_thread(monitor.status)
    assert inside.wait(10)
    told.set(window={"utilization": 0.0})

    monitor.status()
    assert told_of == []
    go_on.set()
    telling.result()

    assert told_of == ["raised utilization", "cleared utilization"]


def test_alerts_are_logged_with_fields_for_machines(
    told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "millpond.health")
    monitor = millpond.HealthMonitor(told, clear_after=1)
    told.set(window={"utilization": 1.0})
    monitor.status()
    told.set(window={"utilization": 0.0})
    monitor.status()

    logged = [
        (record.name, record.levelname, vars(record)["event"], vars(record)["metric"])
        for record in caplog.records
    ]
    assert logged == [
        ("millpond.health", "CRITICAL", "alert_raised", "utilization"),
        ("millpond.health", "INFO", "alert_cleared", "utilization"),
    ]
    assert {vars(record)["pool"] for record in caplog.records} == {"orders"}


def test_the_status_is_plain_values(told: Told) -> None:
    told.set(window={"leaks": 1})
    status = millpond.HealthMonitor(told).status()

    plain = json.loads(json.dumps(status.to_dict()))

    assert plain["healthy"] is True
    assert plain["stats"]["name"] == "orders"
    (alert,) = plain["alerts"]
    assert alert == {
        "severity": "warning",
        "message": "pool 'orders': connections held for longer than leak_threshold: 1",
        "metric": "leaks",
        "value": 1,
        "threshold": 0,
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"utilization": -1}, "utilization=-1: must be a number, not negative, or None"),
        ({"utilization": 95}, "utilization=95: must be a share, from 0 to 1"),
        ({"failure_rate": 1.1}, "failure_rate=1.1: must be a share, from 0 to 1"),
        ({"on_raise": "page"}, "on_raise=<str>: must be a callable that takes an Alert"),
        ({"on_clear": 1}, "on_clear=<int>: must be a callable"),
        ({"clear_after": 0}, "clear_after=0: must be an int, at least 1"),
    ],
)
def test_an_argument_that_is_not_valid_is_refused(
    told: Told, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(millpond.PoolConfigError, match=message):
        millpond.HealthMonitor(told, **arguments)


def test_what_is_no_pool_is_refused() -> None:
    with pytest.raises(millpond.PoolConfigError, match="pool=<str>: must be a pool"):
        millpond.HealthMonitor("orders")  # type: ignore[arg-type]


def test_the_monitor_has_the_thresholds_and_their_defaults() -> None:
    parameters = inspect.signature(millpond.HealthMonitor).parameters

    for threshold in fields(Thresholds):
        assert parameters[threshold.name].default == threshold.default
