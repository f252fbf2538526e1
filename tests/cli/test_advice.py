"""Which of several sizes `millpond size` recommends."""

from __future__ import annotations

import pytest

from millpond.cli.size._advice import Advice, Question, advise
from millpond.cli.size._facts import Facts
from millpond.doctor.ask._memory import SessionMemory

MIB = 2**20


def advice(estimate: int, measured: int | None) -> Advice:
    """Ask for a pool that needs 11 connections, and has 100 MiB for them."""
    costs = SessionMemory(
        estimate=estimate, settings={"work_mem": estimate}, measured=measured, how="by /proc"
    )
    server = Facts(title="PostgreSQL", is_local=True, memory=costs)
    return advise(Question(rate=1000.0, query_time=0.01, memory=100 * MIB, server=server))


@pytest.mark.parametrize(
    ("measured", "decided_by", "size"),
    [(None, "memory", 4), (2 * MIB, "load", 11), (16 * MIB, "memory measured", 5)],
)
def test_memory_is_limited_by_what_was_measured_or_else_by_the_estimate(
    measured: int | None, decided_by: str, size: int
) -> None:
    found = advice(40 * MIB, measured)

    assert {row.name for row in found.rows} >= {"memory"}
    assert (found.recommendation.decided_by, found.recommendation.size) == (decided_by, size)
