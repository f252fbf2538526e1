"""How long until 20 threads that arrive at once at an empty pool all have a connection?

Connecting takes 50 ms, and the pool may open 20. Side by side that is 50 ms; one after the other, a
second.
"""

import pytest

from _harness import PSYCOPG_POOL, Contender, defaults, until_all_served
from conftest import Show

THREADS, CONNECTING = 20, 0.05

# It would otherwise fill itself before the burst.
EMPTY = {PSYCOPG_POOL: {"min_size": 0}}

CONTENDERS = tuple(Contender(each.peer, EMPTY.get(each.peer, {})) for each in defaults())


def burst(contender: Contender) -> float:
    """Return the seconds until the last thread was served; nobody gives back before that."""
    with contender.opened(THREADS, delay=CONNECTING, warm=False) as handle:
        return until_all_served(THREADS, handle.acquire, handle.release)


@pytest.mark.parametrize("contender", CONTENDERS, ids=str)
def bench_burst(contender: Contender, show: Show) -> None:
    """20 connects of 50 ms."""
    show(burst, contender, rounds=3)
