"""Sizes from a load, given or measured."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from millpond import PoolConfigError, sizing
from millpond._times import TimeStats
from queueing import Arrivals, SimulatedPool, Simulation, exponential

if TYPE_CHECKING:
    from helpers import MakePool

RATE, USE, TARGET = 200.0, 0.02, 0.005


def waits_with(size: int) -> float:
    """Return the mean wait in a simulation, which knows no formula."""
    simulation = Simulation()
    pool = SimulatedPool(simulation, exponential(USE), max_size=size)
    waits: list[float] = []
    pool.on_wait = waits.append
    pool.serve(Arrivals(lambda _time: RATE, RATE))
    simulation.run(100_000 / RATE)
    return sum(waits) / len(waits)


def test_the_size_is_the_fewest_connections_that_keep_the_target_in_a_simulation() -> None:
    size = sizing.by_load(RATE, USE, TARGET).size

    assert size == 6
    assert waits_with(size) <= TARGET < waits_with(size - 1)


def test_the_reason_can_be_checked_by_hand() -> None:
    found = sizing.by_load(RATE, USE, TARGET)

    assert found.reason == (
        "200/s * 20 ms = 4 in use on average; with 6 the mean wait is 2.85 ms, target 5 ms "
        "(M/M/c, 28.5% wait)"
    )
    assert found.inputs["arrival_rate"] == RATE
    assert found.to_dict()["inputs"]["use_time"] == USE


def test_a_quantile_needs_more_than_the_mean() -> None:
    found = sizing.by_load(RATE, USE, TARGET, probability=0.99)

    assert found.size == 9
    assert "the p99 wait is" in found.reason


def test_times_that_vary_need_more_and_equal_ones_fewer() -> None:
    sizes = [sizing.by_load(RATE, USE, 0.002, cv_use=cv).size for cv in (0.0, 1.0, 4.0)]

    assert sizes == sorted(set(sizes))


def test_bursts_need_more() -> None:
    bursts = sizing.by_load(RATE, USE, TARGET, cv_arrivals=5.0)

    assert bursts.size > sizing.by_load(RATE, USE, TARGET).size
    assert "G/G/c" in bursts.reason


def test_a_target_that_a_single_connection_meets_gives_one() -> None:
    assert sizing.by_load(0.01, 0.001, 1.0).size == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((0, USE, TARGET), "arrival_rate=0: must be a number above 0"),
        ((RATE, -1, TARGET), "use_time=-1: must be a number above 0"),
        ((RATE, USE, float("nan")), "target_wait=nan: must be"),
        (("many", USE, TARGET), "arrival_rate='many': must be a number"),
        ((RATE, True, TARGET), "use_time=True: must be a number"),
        ((1e6, 1.0, TARGET), "need 1e\\+06 connections on average; must be below 100000"),
        ((99_999.9, 1.0, 1e-6), "need 10[0-9]+ connections; must be no more than 100000"),
    ],
)
def test_bad_input_is_named(arguments: tuple[Any, Any, Any], said: str) -> None:
    with pytest.raises(PoolConfigError, match=said):
        sizing.by_load(*arguments)


@pytest.mark.parametrize("probability", [0, 1, 95, "p95"])
def test_a_probability_is_between_0_and_1(probability: Any) -> None:
    with pytest.raises(PoolConfigError, match=r"probability=.*above 0 and below 1"):
        sizing.by_load(RATE, USE, TARGET, probability=probability)


@pytest.mark.parametrize("option", ["cv_use", "cv_arrivals"])
def test_a_coefficient_of_variation_is_not_negative(option: str) -> None:
    with pytest.raises(PoolConfigError, match=f"{option}=-0.5: must be 0 or a number above 0"):
        sizing.by_load(RATE, USE, TARGET, **{option: -0.5})


def times(*durations: tuple[float, int]) -> TimeStats:
    """Return a distribution of (duration, count)."""
    total = sum(duration * count for duration, count in durations)
    return TimeStats.from_buckets(dict(durations), total, 100.0)


def measured(make_pool: MakePool, use: TimeStats, **window: Any) -> Any:
    """Return the statistics of a pool that was busy for a minute."""
    stats = make_pool(name="busy").stats()
    lately = replace(stats.window, seconds=60.0, use_time=use, **window)
    return replace(stats, window=lately, use_time=use)


def test_a_pools_own_measurements_give_the_same_as_its_numbers(make_pool: MakePool) -> None:
    use = times((USE, 10))
    stats = measured(make_pool, use, acquired=11_000, timed_out=1000)

    found = sizing.by_load_of(stats, TARGET)

    assert found.inputs == sizing.by_load(RATE, USE, TARGET).inputs
    assert sizing.by_load_of(stats.to_dict(), TARGET) == found


def test_the_variation_is_that_of_the_histogram(make_pool: MakePool) -> None:
    # Half of them 0, so to speak, and half twice the mean: the standard deviation is the mean.
    stats = measured(make_pool, times((1e-6, 500), (0.04, 500)), acquired=12_000)
    equal = measured(make_pool, times((0.02, 1000)), acquired=12_000)

    assert sizing.by_load_of(stats, TARGET).inputs["cv_use"] == pytest.approx(1.0, rel=1e-3)
    assert sizing.by_load_of(equal, TARGET).inputs["cv_use"] == 0.0


def test_a_pool_that_measured_no_use_lately_takes_that_of_all_time(make_pool: MakePool) -> None:
    stats = measured(make_pool, times(), acquired=12_000)
    stats = replace(stats, use_time=times((USE, 3)))

    assert sizing.by_load_of(stats, TARGET).inputs["use_time"] == pytest.approx(USE)


def test_a_pool_that_nobody_uses_has_no_size(make_pool: MakePool) -> None:
    stats = make_pool(name="idle").stats()

    with pytest.raises(PoolConfigError, match="stats=<idle>: must be of a pool that was in use"):
        sizing.by_load_of(stats, TARGET)


def told(window: dict[str, Any], use_time: dict[str, Any]) -> dict[str, Any]:
    """Return what a process could say of its pool."""
    whole = {"acquired": 10, "timed_out": 0, "seconds": 60.0, "use_time": use_time}
    return {"window": {**whole, **window}, "use_time": {"count": 0}}


USED = {"count": 30, "mean": 0.1, "buckets": []}


@pytest.mark.parametrize(
    "stats",
    [
        {},
        None,
        {"window": None},
        {"window": {"acquired": "many"}},
        told({"acquired": "1", "timed_out": "x"}, USED),
        told({"acquired": None}, USED),
        told({"acquired": float("inf")}, USED),
        told({}, USED | {"buckets": [(0.0, 30)]}),
        told({}, USED | {"buckets": 7}),
    ],
)
def test_what_is_not_of_a_pool_is_named(stats: Any) -> None:
    with pytest.raises(PoolConfigError, match=r"stats: must be a PoolStats or its to_dict\(\)"):
        sizing.by_load_of(stats, TARGET)


def test_a_real_pool_can_be_asked(make_pool: MakePool) -> None:
    pool = make_pool(max_size=2)
    for _ in range(50):
        with pool.connection():
            pass

    assert sizing.by_load_of(pool.stats(), TARGET).size >= 1
