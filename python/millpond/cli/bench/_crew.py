"""Threads that can always be left behind.

A pool under test may hang in any of its calls. So nothing here waits without a limit, every thread
is a daemon, and what doesn't come back is counted and abandoned.
"""

import threading
import time
from collections.abc import Callable

__all__ = ["GRACE", "run_crew"]

GRACE = 2.0
"""Seconds that threads have to come back after they were told to stop."""

_TICK = 0.25


def run_crew(
    loop: Callable[[int, threading.Event], None],
    threads: int,
    seconds: float,
    on_tick: Callable[[float], None] = lambda _seconds: None,
    turn: float = 0.0,
) -> tuple[float, list[int]]:
    """Run ``loop(index, stop)`` in ``threads`` threads at once until ``seconds`` have passed.

    Args:
        loop: Works until ``stop`` is set.
        threads: How many run it, with the indices 0 to ``threads - 1``.
        seconds: How long before ``stop`` is set.
        on_tick: Called a few times per second with the seconds since the last time.
        turn: Seconds that ``loop`` may need to see that ``stop`` is set.

    Returns:
        The seconds between start and stop, and the indices that had not come back ``GRACE`` and a
        turn later.
    """
    go, stop = threading.Event(), threading.Event()

    def enlist(index: int) -> None:
        go.wait()
        loop(index, stop)

    crew = [threading.Thread(target=enlist, args=(index,), daemon=True) for index in range(threads)]
    try:
        for member in crew:
            member.start()
        started = time.perf_counter()
        go.set()
        _watch(started, seconds, on_tick)
    finally:
        # Also on Ctrl-C, and when the system refused a thread: nobody may be left at the start.
        stop.set()
        go.set()
    elapsed = time.perf_counter() - started
    return elapsed, _join(crew, GRACE + turn)


def _watch(started: float, seconds: float, on_tick: Callable[[float], None]) -> None:
    now = started
    while (left := started + seconds - now) > 0:
        time.sleep(min(left, _TICK))
        before, now = now, time.perf_counter()
        on_tick(now - before)


def _join(crew: list[threading.Thread], seconds: float) -> list[int]:
    deadline = time.perf_counter() + seconds
    for member in crew:
        member.join(max(0.0, deadline - time.perf_counter()))
    return [index for index, member in enumerate(crew) if member.is_alive()]
