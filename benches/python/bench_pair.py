"""What does one acquire and one release cost, with a connection idle and nobody else about?

Stub connections, one thread. The floors say what Python alone costs: calling two functions that do
nothing, and the cheapest stack there is.
"""

import queue
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from _harness import (
    DBUTILS,
    MILLPOND,
    PAIR,
    PSYCOPG_POOL,
    SQLALCHEMY,
    Contender,
    defaults,
    seconds_per,
)
from conftest import Show

BARE = (
    Contender(MILLPOND, {"reset": "none"}, "reset=none"),
    Contender(DBUTILS, {"reset": False, "ping": 0}, "reset=False ping=0"),
    Contender(SQLALCHEMY, {"reset_on_return": None}, "reset_on_return=None"),
    Contender(PSYCOPG_POOL),
)
"""As little as each can be told to do. psycopg_pool has no switch; it looks at the status."""

DEFAULTS = defaults()
"""A rollback each time, except for psycopg_pool: its stub says that there is nothing to undo."""


@dataclass(frozen=True)
class Floor:
    """Something simpler than a pool."""

    name: str
    statement: str
    make: Callable[[], object]

    def __str__(self) -> str:
        """Return the name, as a label."""
        return self.name


def _filled_queue() -> "queue.LifoQueue[object]":
    full: queue.LifoQueue[object] = queue.LifoQueue()
    full.put(object())
    return full


NO_OP = Floor("no-op pair", "pool.clear(); pool.count(None)", list)
DEQUE = Floor("deque", "pool.append(pool.pop())", lambda: deque([object()]))
LIFO_QUEUE = Floor("queue.LifoQueue", "pool.put(pool.get())", _filled_queue)


def pair_of(subject: Contender | Floor) -> float:
    """Return the seconds for an acquire and a release."""
    if isinstance(subject, Floor):
        return seconds_per(subject.statement, subject.make())
    with subject.opened(size=4) as handle:
        return seconds_per(PAIR[subject.peer.key], handle.pool)


@pytest.mark.parametrize("floor", [NO_OP, DEQUE, LIFO_QUEUE], ids=str)
def bench_pair_floor(floor: Floor, show: Show) -> None:
    """What Python alone costs."""
    show(pair_of, floor)


@pytest.mark.parametrize("contender", BARE, ids=str)
def bench_pair_with_nothing_to_reset(contender: Contender, show: Show) -> None:
    """The bookkeeping and nothing else."""
    show(pair_of, contender)


@pytest.mark.parametrize("contender", DEFAULTS, ids=str)
def bench_pair_with_defaults(contender: Contender, show: Show) -> None:
    """What somebody gets who sets nothing."""
    show(pair_of, contender)
