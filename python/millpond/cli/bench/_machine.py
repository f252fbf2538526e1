"""What a figure was measured on: a number without its machine says nothing."""

import platform
import sys
import time
from pathlib import Path

from millpond.sizing import available_cores

__all__ = ["machine", "python_version"]


def machine() -> dict[str, object]:
    """Describe this machine: ``cpu``, ``cores``, ``system``, ``python`` and the ``date``."""
    return {
        "cpu": _cpu_model(),
        "cores": available_cores(),
        "system": f"{platform.system()} {platform.release()}",
        "python": python_version(),
        "date": time.strftime("%Y-%m-%d"),
    }


def python_version() -> str:
    """Name the interpreter, with ``free-threaded`` when its GIL is off."""
    gil_is_on = getattr(sys, "_is_gil_enabled", lambda: True)()
    suffix = "" if gil_is_on else " free-threaded"
    return f"{platform.python_implementation()} {platform.python_version()}{suffix}"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())
