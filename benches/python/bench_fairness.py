"""How long does the unluckiest thread wait when 24 share 4 connections, each held for 10 ms?

In turn, nobody would wait longer than 50 ms. Stub connections, defaults, the workload of
`millpond bench` without its query. The figure is the worst wait.
"""

import pytest

from _harness import Contender, defaults
from conftest import Show
from millpond.cli.bench._workload import Measurement, Workload, measure

WORKLOAD = Workload(threads=24, size=4, hold=0.01, seconds=2.0, query=None)


def contest(contender: Contender) -> Measurement:
    """Put a pool through the workload."""
    with contender.opened(WORKLOAD.size) as handle:
        return measure(handle, WORKLOAD)


def worst_wait(contender: Contender) -> float:
    """Return the longest wait of any thread, in seconds."""
    return contest(contender).wait(1) or 0.0


@pytest.mark.parametrize("contender", defaults(), ids=str)
def bench_fairness(contender: Contender, show: Show) -> None:
    """24 threads, 4 connections, 10 ms."""
    show(worst_wait, contender, rounds=1)
