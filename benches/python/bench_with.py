"""What does ``with pool.connection()`` cost beside the cheapest block there is, a lock's?

Stub connections, one thread, defaults.
"""

import threading

import pytest

from _harness import WITH, Contender, defaults, seconds_per
from conftest import Show

DEFAULTS = defaults()


def block_of(contender: Contender) -> float:
    """Return the seconds for a pool's empty block."""
    with contender.opened(size=4) as handle:
        return seconds_per(WITH[contender.peer.key], handle.pool)


def block_of_lock() -> float:
    """Return the seconds for a lock's."""
    return seconds_per("with pool: pass", threading.Lock())


def bench_with_floor(show: Show) -> None:
    """The floor: ``with lock: pass``."""
    show(block_of_lock)


@pytest.mark.parametrize("contender", DEFAULTS, ids=str)
def bench_with(contender: Contender, show: Show) -> None:
    """The block that most code uses."""
    show(block_of, contender)
