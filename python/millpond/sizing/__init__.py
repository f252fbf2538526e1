"""How large should a pool be? Pure functions, each with its answer and the reason for it.

    by_cpu          what the processors can work on at once
    by_memory       what fits into memory
    by_load         what the callers need, so that they wait no longer than a target
    by_load_of      the same, from what a pool has measured
    for_fleet       what the server has for each of several processes
    per_worker      a size for all processes, divided among them
    recommend       one size out of several, and which of them decided

    available_cores, available_memory    of this machine, or of the container around the process
    measure_memory, postgres_memory, mysql_memory    what one connection costs the server

The theory is in `millpond.sizing.queues`. All functions can be called from any thread; only those
of the two last paragraphs look at anything but their arguments.
"""

from millpond.sizing._limits import (
    by_cpu,
    by_memory,
    for_fleet,
    mysql_memory,
    per_worker,
    postgres_memory,
)
from millpond.sizing._load import by_load, by_load_of
from millpond.sizing._machine import available_cores, available_memory, measure_memory
from millpond.sizing._recommend import Recommendation, recommend
from millpond.sizing._result import Sizing

__all__ = [
    "Recommendation",
    "Sizing",
    "available_cores",
    "available_memory",
    "by_cpu",
    "by_load",
    "by_load_of",
    "by_memory",
    "for_fleet",
    "measure_memory",
    "mysql_memory",
    "per_worker",
    "postgres_memory",
    "recommend",
]
