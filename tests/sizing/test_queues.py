"""The formulas of queues: against known values, and against a simulation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from millpond.sizing import queues
from queueing import Arrivals, SimulatedPool, Simulation, constant, exponential, lognormal

if TYPE_CHECKING:
    from queueing import Draw

USE = 0.1


def simulated_waits(servers: int, load: float, use: Draw, *, callers: int = 150_000) -> list[float]:
    """Return the waits of callers who come independently, the first tenth left out."""
    simulation = Simulation()
    pool = SimulatedPool(simulation, use, max_size=servers)
    waits: list[float] = []
    pool.on_wait = waits.append
    rate = load / USE
    pool.serve(Arrivals(lambda _time: rate, rate))
    simulation.run(callers / rate)
    return waits[callers // 10 :]


def mean(waits: list[float]) -> float:
    return sum(waits) / len(waits)


def quantile(waits: list[float], probability: float) -> float:
    return sorted(waits)[int(probability * len(waits))]


@pytest.mark.parametrize(
    ("servers", "load", "waiting"),
    [
        (1, 0.5, 1 / 2),
        (2, 1.0, 1 / 3),
        (3, 2.0, 4 / 9),
        (5, 2.5, 0.13037),
        (6, 2.5, 0.04744),
        (10, 6.0, 0.10130),
        (10, 8.0, 0.40918),
    ],
)
def test_the_share_that_waits_is_erlangs(servers: int, load: float, waiting: float) -> None:
    assert queues.erlang_c(servers, load) == pytest.approx(waiting, abs=1e-5)


@pytest.mark.parametrize("servers", [1, 4, 20])
@pytest.mark.parametrize("load", [0.1, 3.5, 25.0])
def test_the_recursion_gives_the_sum_of_the_textbook(servers: int, load: float) -> None:
    terms = [load**count / math.factorial(count) for count in range(servers + 1)]

    assert queues.erlang_b(servers, load) == pytest.approx(terms[-1] / sum(terms))


def test_thousands_of_servers_are_no_trouble() -> None:
    assert 0.0 < queues.erlang_c(5100, 5000.0) < 0.2


def test_one_server_is_what_pollaczek_and_khinchine_say() -> None:
    """Exact for one server, whatever the time of use: Wq = rho (1 + cv²) / 2 / (1 - rho) x mean."""
    factor = queues.variability(cv_use=2.0)

    assert queues.mean_wait(1, 0.8, USE, factor) == pytest.approx(0.8 * (1 + 4) / 2 / 0.2 * USE)


def test_too_few_servers_make_callers_wait_for_ever() -> None:
    assert queues.mean_wait(4, 4.0, USE) == math.inf
    assert queues.wait_quantile(4, 4.5, USE, 0.5) == math.inf
    assert queues.erlang_c(4, 4.0) == 1.0


def test_a_quantile_that_does_not_wait_waits_nothing() -> None:
    assert queues.erlang_c(10, 2.0) < 0.01
    assert queues.wait_quantile(10, 2.0, USE, 0.95) == 0.0


@pytest.mark.parametrize(("servers", "load"), [(300, 0.1), (1, 0.0)])
def test_nobody_waits_where_the_share_that_does_is_too_small_for_a_float(
    servers: int, load: float
) -> None:
    assert queues.erlang_c(servers, load) == 0.0
    assert queues.wait_quantile(servers, load, USE, 0.95) == 0.0
    assert queues.mean_wait(servers, load, USE) == 0.0


@pytest.mark.parametrize(("servers", "load"), [(1, 0.6), (3, 2.0), (10, 8.0)])
def test_the_waits_are_those_of_a_simulation(servers: int, load: float) -> None:
    waits = simulated_waits(servers, load, exponential(USE))

    assert mean(waits) == pytest.approx(queues.mean_wait(servers, load, USE), rel=0.1)
    for probability in (0.9, 0.99):
        expected = queues.wait_quantile(servers, load, USE, probability)
        assert quantile(waits, probability) == pytest.approx(expected, rel=0.1)
    share = sum(wait > 1e-9 for wait in waits) / len(waits)
    assert share == pytest.approx(queues.erlang_c(servers, load), rel=0.05)


@pytest.mark.parametrize(
    ("use", "cv"), [(constant(USE), 0.0), (lognormal(USE, 0.5), 0.5), (lognormal(USE, 1.5), 1.5)]
)
def test_other_times_of_use_are_corrected_to_a_quarter(use: Draw, cv: float) -> None:
    factor = queues.variability(cv_use=cv)

    waits = simulated_waits(6, 4.8, use)

    assert mean(waits) == pytest.approx(queues.mean_wait(6, 4.8, USE, factor), rel=0.25)


@pytest.mark.parametrize("probability", [None, 0.95])
@pytest.mark.parametrize("load", [0.5, 4.0, 30.0])
def test_the_smallest_number_meets_the_target_and_one_less_does_not(
    load: float, probability: float | None
) -> None:
    target = 0.005

    def wait(servers: int) -> float:
        if probability is None:
            return queues.mean_wait(servers, load, USE)
        return queues.wait_quantile(servers, load, USE, probability)

    servers, promised = queues.smallest(load, USE, target, probability=probability)

    assert promised == pytest.approx(wait(servers))
    assert wait(servers) <= target < wait(servers - 1)
