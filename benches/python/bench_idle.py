"""What does a pool with 10 open connections do while nobody uses it?

Nothing, one hopes: no CPU time, and no thread that wakes up to find that nothing is due. The
figures are the CPU time of the process and the voluntary context switches of all threads but the
main one, which sleeps. Each pool is looked at in a process of its own:

    python benches/python/bench_idle.py millpond 60
"""

import json
import sys
import threading
import time
from pathlib import Path

import pytest

from _harness import MILLPOND, Contender, defaults, run_script
from conftest import Show

SIZE = 10

_TASKS = Path("/proc/self/task")

# Settling: threads that opened the connections still go to sleep.
_SETTLING = 0.5


def watch(contender: Contender, seconds: float) -> dict[str, float]:
    """Return ``cpu`` seconds, ``wakeups`` and ``threads`` of an idle pool in this process."""
    with contender.opened(SIZE):
        time.sleep(_SETTLING)
        before, cpu = _wakeups(), time.process_time()
        time.sleep(seconds)
        cpu, after = time.process_time() - cpu, _wakeups()
    woken = sum(after.values()) - sum(before.get(thread, 0) for thread in after)
    return {"cpu": cpu, "wakeups": woken, "threads": len(after)}


def look_at(contender: Contender, seconds: float) -> dict[str, float]:
    """Do the same in a fresh process."""
    figures: dict[str, float] = run_script(
        sys.executable, "bench_idle.py", contender.peer.key, seconds, timeout=seconds + 60
    )
    return figures


def missing() -> str | None:
    """Say why this can't be measured here, or return ``None``."""
    return None if _TASKS.exists() else "only Linux counts context switches per thread"


def idle_contender(contender: Contender) -> Contender:
    """Switch off what is due by itself, so that every wake-up that is seen is one too many."""
    if contender.peer is MILLPOND:
        return Contender(MILLPOND, {"validation_interval": None})
    return contender


def _wakeups() -> dict[str, int]:
    main = str(threading.main_thread().native_id)
    counts = {}
    for task in _TASKS.iterdir():
        if task.name != main:
            status = dict(line.split(":", 1) for line in (task / "status").read_text().splitlines())
            counts[task.name] = int(status["voluntary_ctxt_switches"])
    return counts


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
@pytest.mark.parametrize("contender", defaults(), ids=str)
def bench_idle(contender: Contender, show: Show) -> None:
    """CPU time of 5 idle seconds."""
    show(lambda subject: look_at(subject, 5.0)["cpu"], contender, rounds=1)


if __name__ == "__main__":
    key, duration = sys.argv[1], float(sys.argv[2])
    wanted = next(each for each in defaults() if each.peer.key == key)
    json.dump(watch(idle_contender(wanted), duration), sys.stdout)
