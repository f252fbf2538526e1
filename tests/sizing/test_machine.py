"""Cores and memory: of made-up machines, in and out of containers, and of this one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from millpond import sizing

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 2**20
MEMINFO = "MemTotal:  16777216 kB\nMemAvailable:  8388608 kB\nHugePages_Total:  0\n"

Machine = dict[str, str]


@pytest.fixture
def root(tmp_path: Path) -> Callable[[Machine], Path]:
    """Give a function that makes a file system of files and their contents."""

    def make(files: Machine) -> Path:
        for name, content in files.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        return tmp_path

    return make


@pytest.fixture
def many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the machine have 64 cores, and this process all of them."""
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "process_cpu_count", lambda: 64, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(64)), raising=False)


@pytest.mark.usefixtures("many_cores")
@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 64),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, 64),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "400000 100000\n"}, 4),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "10000 100000\n"}, 1),
        (
            {
                "proc/self/cgroup": "0::/pod/app\n",
                "sys/fs/cgroup/pod/app/cpu.max": "max 100000\n",
                "sys/fs/cgroup/pod/cpu.max": "300000 100000\n",
            },
            3,
        ),
        (
            {
                "proc/self/cgroup": "4:memory:/x\n3:cpu,cpuacct:/docker/1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            2,
        ),
        (
            {
                "proc/self/cgroup": "3:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            64,
        ),
    ],
)
def test_a_container_has_the_cores_of_its_quota(
    root: Callable[[Machine], Path], files: Machine, cores: int
) -> None:
    assert sizing.available_cores(root(files)) == cores


def test_a_process_has_the_cores_that_it_is_bound_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {3, 5, 7}, raising=False)

    assert sizing.available_cores(tmp_path) <= 3


@pytest.mark.parametrize(
    ("files", "mebibytes"),
    [
        ({}, 8192),
        (
            {
                "proc/self/cgroup": "0::/\n",
                "sys/fs/cgroup/memory.max": str(512 * MIB),
                "sys/fs/cgroup/memory.current": str(200 * MIB),
                "sys/fs/cgroup/memory.stat": f"anon 1\ninactive_file {50 * MIB}\n",
            },
            362,
        ),
        (
            {
                "proc/self/cgroup": "0::/\n",
                "sys/fs/cgroup/memory.max": "max\n",
                "sys/fs/cgroup/memory.current": str(200 * MIB),
            },
            8192,
        ),
        (
            {
                "proc/self/cgroup": "4:memory:/docker/1\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": str(256 * MIB),
                "sys/fs/cgroup/memory/memory.usage_in_bytes": str(300 * MIB),
                "sys/fs/cgroup/memory/memory.stat": "total_inactive_file 0\n",
            },
            0,
        ),
    ],
)
def test_a_container_has_what_its_limit_leaves(
    root: Callable[[Machine], Path], files: Machine, mebibytes: int
) -> None:
    assert sizing.available_memory(root({"proc/meminfo": MEMINFO, **files})) == mebibytes * MIB


def test_a_machine_without_proc_tells_nothing_of_its_memory(tmp_path: Path) -> None:
    assert sizing.available_memory(tmp_path) is None
    assert sizing.measure_memory([1, 2], root=tmp_path) is None


def test_a_process_costs_its_share_without_shared_memory(root: Callable[[Machine], Path]) -> None:
    proc = root(
        {
            "proc/10/comm": "postgres\n",
            "proc/10/smaps_rollup": "0-1 ---p [rollup]\nRss: 90 kB\nPss: 50 kB\nPss_Shmem: 20 kB\n",
            "proc/11/comm": "postgres\n",
            "proc/11/smaps_rollup": "0-1 ---p [rollup]\nRss: 90 kB\nPss: 10 kB\n",
            "proc/12/comm": "firefox\n",
            "proc/12/smaps_rollup": "0-1 ---p [rollup]\nPss: 900000 kB\n",
        }
    )

    assert sizing.measure_memory([10, 11, 12, 13], command="postgres", root=proc) == 20 * 1024
    assert sizing.measure_memory([13], command="postgres", root=proc) is None


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux 4.14")
def test_this_machine_tells_plausible_numbers() -> None:
    own = sizing.measure_memory([os.getpid()])

    assert 1 <= sizing.available_cores() <= (os.cpu_count() or 1)
    assert (sizing.available_memory() or 0) > MIB
    assert own is not None
    assert MIB < own < 100_000 * MIB
