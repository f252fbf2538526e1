"""When an alert is raised, how bad it is, what it says, and when it is over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import millpond
from millpond._times import TimeStats
from millpond.health import Alert, Judge, Thresholds
from observing import Told

if TYPE_CHECKING:
    from collections.abc import Callable

    from helpers import MakePool


class Clock:
    """A clock that stands still until it is told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def told(make_pool: MakePool) -> Told:
    """Give the statistics of a pool that does nothing, to change."""
    made = Told(make_pool(name="orders").stats())
    made.set(window={"acquired": 1000, "seconds": 60.0})
    return made


def waits(total: float) -> TimeStats:
    """Give times with this sum."""
    return TimeStats(1, total, total, total, total, total, total)


# What makes each rule just not complain, and just complain; and how bad that is.
RULES: dict[str, tuple[Callable[[Told], None], Callable[[Told], None], str]] = {
    "utilization": (
        lambda told: told.set(window={"utilization": 0.95}),
        lambda told: told.set(window={"utilization": 0.96}),
        "critical",
    ),
    "mean_wait": (
        lambda told: told.set(window={"wait_time": waits(100.0)}),
        lambda told: told.set(window={"wait_time": waits(101.0)}),
        "warning",
    ),
    "failure_rate": (
        lambda told: told.set(window={"acquired": 990, "failed": 10}),
        lambda told: told.set(window={"acquired": 989, "failed": 11}),
        "error",
    ),
    "leaks": (
        lambda told: told.set(window={"leaks": 0}),
        lambda told: told.set(window={"leaks": 1}),
        "warning",
    ),
    "open_failures": (
        lambda told: told.set(window={"open_failed": 0}),
        lambda told: told.set(window={"open_failed": 1}),
        "warning",
    ),
    "failing": (
        lambda told: told.set(failing=1.0),
        lambda told: told.set(failing=1.1),
        "error",
    ),
    "turned_away": (
        lambda told: told.set(turned_away=0),
        lambda told: told.set(turned_away=1),
        "critical",
    ),
}


def alerts_of(judge: Judge, told: Told) -> list[Alert]:
    """Evaluate, and return the alerts."""
    return list(judge.judge(told.stats())[0].alerts)


def test_a_pool_that_does_nothing_is_healthy(told: Told) -> None:
    status, changes = Judge().judge(told.stats())

    assert (status.healthy, status.alerts, changes) == (True, (), [])
    assert status.stats is told.stats()


@pytest.mark.parametrize("metric", RULES)
def test_an_alert_is_raised_above_the_threshold_and_not_at_it(told: Told, metric: str) -> None:
    at, above, severity = RULES[metric]
    judge = Judge()
    assert alerts_of(judge, told) == []
    at(told)
    assert alerts_of(judge, told) == []

    above(told)

    (alert,) = alerts_of(judge, told)
    assert (alert.metric, alert.severity) == (metric, severity)
    assert alert.threshold == getattr(Thresholds(), metric)
    assert alert.value > alert.threshold
    assert alert.message.startswith("pool 'orders': ")


@pytest.mark.parametrize("metric", RULES)
def test_a_rule_can_be_left_out(told: Told, metric: str) -> None:
    judge = Judge(Thresholds(**{metric: None}))
    judge.judge(told.stats())

    RULES[metric][1](told)

    assert alerts_of(judge, told) == []


@pytest.mark.parametrize("metric", RULES)
def test_a_threshold_can_be_another(told: Told, metric: str) -> None:
    judge = Judge(Thresholds(**{metric: 1.0 if metric in {"utilization", "failure_rate"} else 1e9}))
    judge.judge(told.stats())

    RULES[metric][1](told)

    assert alerts_of(judge, told) == []


def test_warnings_alone_are_still_healthy(told: Told) -> None:
    judge = Judge()
    RULES["mean_wait"][1](told)
    assert judge.judge(told.stats())[0].healthy

    RULES["failing"][1](told)

    assert not judge.judge(told.stats())[0].healthy


def test_the_worst_comes_first(told: Told) -> None:
    for metric in ("leaks", "failure_rate", "utilization"):
        RULES[metric][1](told)

    severities = [alert.severity for alert in alerts_of(Judge(), told)]

    assert severities == ["critical", "error", "warning"]


def test_messages_say_how_bad_it_is_and_why(told: Told) -> None:
    told.set(
        failing=12.34,
        last_error="OperationalError: refused",
        window={"utilization": 0.973, "acquired": 9, "failed": 1, "wait_time": waits(2.0)},
    )

    messages = {alert.metric: alert.message for alert in alerts_of(Judge(), told)}

    assert messages == {
        "utilization": "pool 'orders': 97% of max_size=10 in use lately, more than 95%",
        "failure_rate": "pool 'orders': 10.0% of the acquires failed lately, more than 1.0%",
        "failing": "pool 'orders': no attempt to connect has succeeded for 12.3 s "
        "(OperationalError: refused)",
        "mean_wait": "pool 'orders': an acquire waited 0.222 s on average lately, more than 0.1 s",
    }


def test_a_value_that_wavers_around_the_threshold_does_not_ring_twice(told: Told) -> None:
    clock = Clock()
    judge = Judge(clock=clock)
    raised = 0
    for utilization in (0.96, 0.94, 0.96, 0.90, 0.77, 0.97, 0.80):
        clock.now += 10.0
        told.set(window={"utilization": utilization})
        status, changes = judge.judge(told.stats())
        raised += len(changes)
        assert [alert.metric for alert in status.alerts] == ["utilization"]

    assert raised == 1
    # It keeps the value and the words of the last time at which it was above.
    assert status.alerts[0].value == 0.97
    assert "97%" in status.alerts[0].message


def test_an_alert_is_over_after_enough_good_evaluations_in_a_row(told: Told) -> None:
    clock = Clock()
    judge = Judge(clear_ratio=0.5, clear_after=3, clock=clock)
    seen: list[tuple[int, list[bool]]] = []
    for utilization in (0.96, 0.4, 0.4, 0.6, 0.4, 0.4, 0.4, 0.4):
        clock.now += 10.0
        told.set(window={"utilization": utilization})
        status, changes = judge.judge(told.stats())
        seen.append((len(status.alerts), [change.raised for change in changes]))

    assert seen == [(1, [True]), *[(1, [])] * 5, (0, [False]), (0, [])]


def test_who_asks_often_does_not_bring_the_end_closer(told: Told) -> None:
    """One good evaluation a second counts."""
    clock = Clock()
    judge = Judge(clear_after=2, clock=clock)
    RULES["utilization"][1](told)
    judge.judge(told.stats())
    told.set(window={"utilization": 0.0})

    assert [len(alerts_of(judge, told)) for _ in range(50)] == [1] * 50
    clock.now += 1.0
    assert alerts_of(judge, told) == []


def test_an_alert_can_wait_for_several_bad_evaluations_in_a_row(told: Told) -> None:
    judge = Judge(raise_after=3)
    found = []
    for utilization in (0.96, 0.96, 0.9, 0.96, 0.96, 0.96, 0.96):
        told.set(window={"utilization": utilization})
        found.append(len(alerts_of(judge, told)))

    assert found == [0, 0, 0, 0, 0, 1, 1]


def test_callers_turned_away_before_the_first_look_are_history(told: Told) -> None:
    told.set(turned_away=100)
    judge = Judge()
    assert alerts_of(judge, told) == []

    told.set(turned_away=102)

    (alert,) = alerts_of(judge, told)
    assert alert.value == 2


def test_in_the_child_of_a_fork_everything_begins_anew(told: Told) -> None:
    judge = Judge()
    RULES["utilization"][1](told)
    assert len(alerts_of(judge, told)) == 1
    told.set(window={"utilization": 0.0})

    judge.after_fork()

    assert alerts_of(judge, told) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"raise_after": 0}, "raise_after=0: must be an int, at least 1"),
        ({"clear_after": 1.5}, "clear_after=1.5: must be an int, at least 1"),
        ({"clear_after": True}, "clear_after=True: must be an int"),
        ({"clear_ratio": 1.1}, "clear_ratio=1.1: must be from 0 to 1"),
        ({"clear_ratio": -1}, "clear_ratio=-1: must be a number, not negative"),
        ({"clear_ratio": None}, "clear_ratio=None: must be a number, not negative"),
    ],
)
def test_an_argument_out_of_range_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(millpond.PoolConfigError, match=message):
        Judge(**arguments)


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), "0.5", True])
@pytest.mark.parametrize("metric", RULES)
def test_a_threshold_that_is_no_number_is_refused(metric: str, value: Any) -> None:
    with pytest.raises(millpond.PoolConfigError, match=f"{metric}=.*must be a number"):
        Thresholds(**{metric: value})
