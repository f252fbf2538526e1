"""How much more do two threads get done than one, without the GIL?

Each thread acquires and releases stub connections of one pool that has enough for both: twice as
much is the most there is. It takes a free-threaded interpreter that can import millpond: the one in
MILLPOND_FREE_THREADED, or the first of python3.14t and python3.13t in the PATH. It can also be run
by one itself:

    python3.13t benches/python/bench_free_threaded.py
"""

import json
import sys
import unittest
from typing import TYPE_CHECKING

from _harness import Contender, defaults, interpreter, run_script, throughput

if TYPE_CHECKING:
    from conftest import Show

SIZE = 4

_SECONDS = 1.0


def scaling(contender: Contender) -> dict[str, float]:
    """Return the checkouts per second of ``one`` thread and of ``two`` in this process."""
    with contender.opened(SIZE) as handle:
        one, two = (throughput(handle, threads, _SECONDS) for threads in (1, 2))
    return {"one": one, "two": two}


def scale_all() -> dict[str, dict[str, float]]:
    """Return that of each pool that the free-threaded interpreter has.

    Raises:
        LookupError: There is no such interpreter, or it has no millpond.
    """
    figures: dict[str, dict[str, float]] = run_script(interpreter(), "bench_free_threaded.py")
    return figures


def bench_free_threaded(show: "Show") -> None:
    """The time per checkout of two threads, millpond."""
    try:
        figures = scale_all()
    except LookupError as error:
        # Pytest's own skip would need pytest in the free-threaded interpreter.
        raise unittest.SkipTest(str(error)) from None
    show(lambda: 1.0 / figures["millpond"]["two"], rounds=1)


if __name__ == "__main__":
    installed = [each for each in defaults() if each.peer.version is not None]
    json.dump({each.peer.key: scaling(each) for each in installed}, sys.stdout)
