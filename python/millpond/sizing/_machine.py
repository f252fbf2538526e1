"""What this process may use: cores and memory, of the machine or of the container around it.

In a container the machine's numbers are too large: the limits are in the control group (cgroup v2
or v1), and in those around it.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_ROOT: Final = Path("/")
_KIB: Final = 1024


def available_cores(root: Path = _ROOT) -> int:
    """Return how many cores this process may use, at least 1.

    The smallest of the machine's, those that it is bound to (affinity), what ``PYTHON_CPU_COUNT``
    says (from Python 3.13 on), and the quota of its control groups, rounded up.

    Args:
        root: Where ``/proc`` and ``/sys`` are.
    """
    count = getattr(os, "process_cpu_count", os.cpu_count)() or 1
    if hasattr(os, "sched_getaffinity"):
        count = min(count, len(os.sched_getaffinity(0)))
    return max(1, min([count, *map(math.ceil, _quotas(root))]))


def available_memory(root: Path = _ROOT) -> int | None:
    """Return how many bytes could still be taken without swapping; ``None`` if nobody can tell.

    The smallest of what the machine has available and what the limits of the process's control
    groups leave. File caches that can be dropped count as available.

    Args:
        root: Where ``/proc`` and ``/sys`` are.
    """
    amounts = [*_of_machine(root), *_left_by_groups(root)]
    return max(0, min(amounts)) if amounts else None


def measure_memory(pids: Iterable[int], *, command: str = "", root: Path = _ROOT) -> int | None:
    """Return the bytes that each of some processes needs on average; ``None`` if none can be read.

    Measured is the proportional share (Pss) of ``/proc/<pid>/smaps_rollup``, less that of shared
    memory: a database's cache is there only once, however many of its processes look at it.

    Args:
        pids: The processes, such as the ``pid`` column of ``pg_stat_activity``.
        command: Only processes whose name begins so, as the same number may be another process: the
            server may be on another machine or in another container.
        root: Where ``/proc`` is.
    """
    found = [size for pid in pids for size in _proportional(root / "proc" / str(pid), command)]
    return sum(found) // len(found) if found else None


def _proportional(process: Path, command: str) -> Iterator[int]:
    if not _read(process / "comm").startswith(command):
        return
    sizes = _fields(_read(process / "smaps_rollup"))
    if "Pss" in sizes:
        yield sizes["Pss"] - sizes.get("Pss_Shmem", 0)


def _of_machine(root: Path) -> Iterator[int]:
    sizes = _fields(_read(root / "proc/meminfo"))
    if "MemAvailable" in sizes:
        yield sizes["MemAvailable"]


def _fields(text: str) -> dict[str, int]:
    """Read lines like ``MemAvailable:  1000 kB``, and return bytes."""
    rows = (line.split() for line in text.splitlines())
    return {row[0].rstrip(":"): int(row[1]) * _KIB for row in rows if row[2:] == ["kB"]}


def _quotas(root: Path) -> Iterator[float]:
    for group in _groups(root, "cpu"):
        quota, _, period = _read(group / "cpu.max").strip().partition(" ")
        if not quota:
            quota = _read(group / "cpu.cfs_quota_us").strip()
            period = _read(group / "cpu.cfs_period_us").strip()
        # Neither "max" nor -1, which are no limit.
        if quota.isdecimal() and period.isdecimal() and int(period):
            yield int(quota) / int(period)


def _left_by_groups(root: Path) -> Iterator[int]:
    names = (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    )
    for group in _groups(root, "memory"):
        for limit_file, usage_file, cache in names:
            limit, usage = _read(group / limit_file).strip(), _read(group / usage_file).strip()
            if limit.isdecimal() and usage.isdecimal():
                rows = (line.split() for line in _read(group / "memory.stat").splitlines())
                droppable = next((int(row[1]) for row in rows if row[0] == cache), 0)
                yield int(limit) - int(usage) + droppable


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Give the folders of this process's control groups, from the innermost outwards."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            mount = root / "sys/fs/cgroup"
        elif controller in controllers.split(","):
            mount = root / "sys/fs/cgroup" / controller
        else:
            continue
        # In a container the path may be that on the machine outside, which is not to be seen here;
        # then the container's own group is at the top.
        group = mount / path.lstrip("/")
        yield from (one for one in (group, *group.parents) if one.is_relative_to(mount))


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
