"""How much gets through when 32 threads fight for 4 connections and nobody holds one?

Stub connections, defaults. The figure is the time per checkout, all threads together.
"""

import pytest

from _harness import MILLPOND, Contender, defaults, throughput
from conftest import Show

THREADS, SIZE = 32, 4

FAIR, *PEERS = defaults()
THROUGHPUT = Contender(MILLPOND, {"policy": "throughput"}, 'policy="throughput"')


def checkouts_per_second(contender: Contender, seconds: float = 0.5) -> float:
    """Return the checkouts per second of all threads together."""
    with contender.opened(SIZE) as handle:
        return throughput(handle, THREADS, seconds)


def seconds_per_checkout(contender: Contender) -> float:
    """Return its inverse."""
    return 1.0 / checkouts_per_second(contender)


@pytest.mark.parametrize("contender", [FAIR, THROUGHPUT, *PEERS], ids=str)
def bench_contention(contender: Contender, show: Show) -> None:
    """32 threads, 4 connections, no hold."""
    show(seconds_per_checkout, contender, rounds=3)
