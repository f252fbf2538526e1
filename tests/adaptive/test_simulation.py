"""What a sizer makes of loads that change: it arrives, stays, and does not swing.

The callers and connections are those of a simulation (benches/python/adaptive.py, which also draws
it), the sizer is the real one. The same seeds give the same numbers everywhere.
"""

from __future__ import annotations

from functools import cache

import pytest

from adaptive import SCENARIOS, Run, Scenario, simulate

pytestmark = pytest.mark.slow

SEEDS = (1, 2, 3)
STEP, BURSTS, DAY = SCENARIOS


@cache
def run_of(scenario: Scenario, seed: int) -> Run:
    return simulate(scenario, seed=seed)


def sizes(run: Run, begin: float, end: float) -> set[int]:
    return {moment.size for moment in run.between(begin, end)}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_jump_of_the_load_is_met_within_a_minute_and_then_nothing_changes(seed: int) -> None:
    run = run_of(STEP, seed)
    optimum = STEP.optimum(600.0)

    (size,) = sizes(run, 360.0, 1200.0)
    assert optimum <= size <= 2 * optimum
    assert run.mean_wait(360.0, 1200.0) <= STEP.target_wait
    assert run.in_time(360.0, 1200.0) == 1.0


@pytest.mark.parametrize("seed", SEEDS)
def test_after_the_jump_it_goes_back_in_one_movement(seed: int) -> None:
    run = run_of(STEP, seed)
    load = STEP.rate(0.0) * STEP.use_time

    assert run.turns <= 3
    assert sizes(run, 1800.0, 2400.0) <= set(range(STEP.optimum(0.0), round(load / 0.3) + 4))
    assert run.mean_wait(1260.0) <= STEP.target_wait


@pytest.mark.parametrize("seed", SEEDS)
def test_bursts_find_the_pool_large_enough_from_the_third_on(seed: int) -> None:
    run = run_of(BURSTS, seed)

    assert run.mean_wait(600.0) <= BURSTS.target_wait
    assert run.in_time(600.0) >= 0.98
    assert run.turns <= 8
    # 40 bursts, of which a sizer without patience would follow each.
    assert len([change for change in run.changes if change.time > 3600.0]) <= 6


@pytest.mark.parametrize("seed", SEEDS)
def test_day_and_night_are_followed_without_making_callers_wait(seed: int) -> None:
    run = run_of(DAY, seed)
    nights, days = (0.0, 7200.0), (3600.0, 10_800.0)

    small = sum(moment.size < DAY.optimum(moment.time - 1.0) for moment in run.moments)
    assert small / len(run.moments) <= 0.01
    assert run.in_time() >= 0.99
    assert run.turns <= 8
    for noon in days:
        assert max(sizes(run, noon - 300.0, noon + 300.0)) <= 2 * DAY.optimum(noon)
    assert min(sizes(run, nights[1] - 300.0, nights[1] + 300.0)) <= 5


@pytest.mark.parametrize("load", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("seed", SEEDS)
def test_four_hours_of_the_same_load_end_the_search(load: float, seed: int) -> None:
    rate = load / STEP.use_time
    same = Scenario("same", lambda _time: rate, rate, 4 * 3600.0)

    run = simulate(same, seed=seed)

    assert run.mean_wait(600.0) <= same.target_wait / 2
    assert run.turns <= 8
    assert len([change for change in run.changes if change.time > 2 * 3600.0]) <= 7
    assert run.moments[-1].size >= same.optimum(0.0)
