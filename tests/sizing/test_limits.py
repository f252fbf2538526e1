"""Sizes by processors, memory and what a server lets in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from millpond import PoolConfigError, sizing

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 2**20


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({}, 16),
        ({"query_time": 0.02, "target": 0.05}, 16),
        ({"query_time": 0.02, "target": 0.05, "kind": "blocking"}, 16),
        ({"query_time": 0.03, "target": 0.05, "kind": "blocking"}, 32),
        ({"query_time": 0.03, "target": 0.05}, 16),
        ({"kind": "blocking"}, 32),
        ({"kind": "async"}, 80),
        ({"kind": "async", "active_queries": 20}, 30),
        ({"kind": "async", "active_queries": 21}, 32),
        ({"kind": "async", "active_queries": 1000}, 80),
        ({"kind": "async", "active_queries": 0}, 1),
    ],
)
def test_eight_cores_keep_so_many_busy(options: dict[str, Any], size: int) -> None:
    assert sizing.by_cpu(8, **options).size == size


@pytest.mark.parametrize(
    ("available", "each", "size"),
    [(1000 * MIB, 8 * MIB, 100), (100 * MIB, 8 * MIB, 10), (30 * MIB, 8 * MIB, 4), (1, MIB, 4)],
)
def test_so_many_fit_into_memory_but_four_at_least(available: int, each: int, size: int) -> None:
    assert sizing.by_memory(available, each).size == size


def test_the_reasons_are_calculations() -> None:
    assert sizing.by_cpu(8, kind="blocking").reason == "8 cores * 4, for blocking I/O"
    assert sizing.by_memory(1000 * MIB, 8 * MIB).reason == "1000 MiB * 0.8 / 8 MiB each"
    assert sizing.by_memory(30 * MIB, 8 * MIB).reason.endswith("is 3; 4 at least")
    assert sizing.for_fleet(8, 15, 100, 3).reason == (
        "(100 - 3 reserved) / 8 workers; 8 * 15 = 120 is 23 too many"
    )


def test_a_postgresql_session_is_estimated_from_two_settings() -> None:
    assert sizing.postgres_memory(4 * MIB, 100 * MIB) == 5 * MIB


def test_a_mysql_session_is_estimated_from_its_buffers() -> None:
    buffers = {"sort_buffer_size": 2 * MIB, "thread_stack": 256 * 1024, "join_buffer_size": 0}

    assert sizing.mysql_memory(buffers) == 2 * MIB + 256 * 1024


@pytest.mark.parametrize(
    ("workers", "server_max", "reserved", "size"),
    [(8, 100, 3, 12), (1, 100, 0, 100), (4, 100, 100, 0), (200, 100, 0, 0), (3, 10, 20, 0)],
)
def test_each_worker_may_have_its_share(
    workers: int, server_max: int, reserved: int, size: int
) -> None:
    assert sizing.for_fleet(workers, None, server_max, reserved).size == size


def test_a_fleet_that_fits_is_told_so() -> None:
    assert "8 * 12 = 96 fits" in sizing.for_fleet(8, 12, 100, 3).reason
    assert "not even one" in sizing.for_fleet(200, None, 100).reason


def test_a_size_for_all_is_divided_among_the_workers() -> None:
    whole = sizing.by_cpu(8)

    assert sizing.per_worker(whole, 1) is whole
    assert sizing.per_worker(whole, 3).size == 5
    assert sizing.per_worker(whole, 100).size == 1
    assert sizing.per_worker(whole, 3).reason == "8 cores * 2: 16 for 3 workers"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: sizing.by_cpu(0), "cores=0: must be an int from 1"),
        (lambda: sizing.by_cpu(2.5), "cores=2.5: must be an int"),  # type: ignore[arg-type]
        (lambda: sizing.by_cpu(2, kind="fast"), "kind='fast': must be 'blocking', 'async' or None"),
        (lambda: sizing.by_cpu(2, query_time=0.1), "query_time=0.1, target=None: must be given"),
        (lambda: sizing.by_cpu(2, query_time=0, target=1), "query_time=0: must be a number above"),
        (lambda: sizing.by_cpu(2, kind="async", active_queries=-1), "active_queries=-1: must be"),
        (lambda: sizing.by_cpu(2, active_queries=-1), "active_queries=-1: must be an int from 0"),
        (lambda: sizing.by_memory(0, 1), "available=0: must be"),
        (lambda: sizing.by_memory(1, -1), "per_connection=-1: must be"),
        (lambda: sizing.postgres_memory(0, 1), "work_mem=0: must be"),
        (lambda: sizing.mysql_memory({}), "buffers={}: must be a mapping"),
        (lambda: sizing.mysql_memory([9]), "buffers=[9]: must be a mapping"),  # type: ignore[arg-type]
        (lambda: sizing.mysql_memory({"thread_stack": -1}), "thread_stack=-1: must be"),
        (lambda: sizing.for_fleet(0, 1, 1), "workers=0: must be an int from 1"),
        (lambda: sizing.for_fleet(1, 0, 1), "max_size=0: must be an int from 1"),
        (lambda: sizing.for_fleet(1, 1, 0), "server_max=0: must be an int from 1"),
        (lambda: sizing.for_fleet(1, 1, 1, -1), "reserved=-1: must be an int from 0"),
        (lambda: sizing.per_worker(sizing.by_cpu(1), 0), "workers=0: must be an int from 1"),
    ],
)
def test_bad_input_is_named(call: Callable[[], object], said: str) -> None:
    with pytest.raises(PoolConfigError) as raised:
        call()

    assert said in str(raised.value)


def test_a_recommendation_is_what_the_load_needs_under_every_limit() -> None:
    cpu, load = sizing.by_cpu(8), sizing.by_load(200.0, 0.02, 0.005)
    limits = {"memory": sizing.by_memory(1000 * MIB, 8 * MIB), "fleet": sizing.for_fleet(8, 15, 30)}

    free = sizing.recommend(cpu, load=load)
    limited = sizing.recommend(cpu, load=load, limits=limits)
    unknown = sizing.recommend(cpu, limits={"memory": limits["memory"]})

    assert (free.size, free.decided_by, free.notes) == (6, "load", ())
    assert (limited.size, limited.decided_by) == (3, "fleet")
    assert limited.reason == "load asks for 6, but fleet allows no more than 3"
    assert "the queue never ends" in limited.notes[0]
    assert (unknown.size, unknown.decided_by) == (16, "cpu")
    assert "memory would allow 100" in unknown.reason
    assert limited.to_dict()["notes"] == list(limited.notes)


def test_a_recommendation_says_what_it_costs_to_be_under_the_need() -> None:
    load = sizing.by_load(200.0, 0.02, 0.005)

    found = sizing.recommend(sizing.by_cpu(8), load=load, limits={"x": sizing.for_fleet(1, 5, 5)})

    assert found.notes == ("with 5 callers wait 11.1 ms on average",)


def test_a_need_above_the_processors_is_doubted() -> None:
    found = sizing.recommend(sizing.by_cpu(1), load=sizing.by_load(200.0, 0.02, 0.005))

    assert found.size == 6
    assert "more than the 2 that the processors keep busy" in found.notes[0]


def test_no_connection_for_each_is_said() -> None:
    found = sizing.recommend(sizing.by_cpu(1), limits={"server": sizing.for_fleet(9, None, 5)})

    assert found.size == 0
    assert found.notes[0] == "there are not enough connections for all workers"
