"""What does ``with pool.connection()`` cost beside the cheapest block there is, a lock's?

Stub connections, one thread, defaults.
"""

import threading

import pytest

from _harness import WITH, Contender, defaults, seconds_per
from conftest import Show

DEFAULTS = defaults()


LOCK = "threading.Lock"


def block_of(subject: Contender | str) -> float:
    """Return the seconds for the empty block of a pool, or of a lock."""
    if isinstance(subject, str):
        return seconds_per("with pool: pass", threading.Lock())
    with subject.opened(size=4) as handle:
        return seconds_per(WITH[subject.peer.key], handle.pool)


def bench_with_floor(show: Show) -> None:
    """The floor: ``with lock: pass``."""
    show(block_of, LOCK)


@pytest.mark.parametrize("contender", DEFAULTS, ids=str)
def bench_with(contender: Contender, show: Show) -> None:
    """The block that most code uses."""
    show(block_of, contender)
