"""Programs of their own for asyncio, in which every warning is an error and nothing may be left."""

from __future__ import annotations

import signal
import subprocess
from typing import TYPE_CHECKING

from helpers import script_command

if TYPE_CHECKING:
    from collections.abc import Callable

PRELUDE = """\
import asyncio, gc, signal, sys
import millpond
from async_fakes import AsyncFakeDatabase

database = AsyncFakeDatabase()

def make(**options):
    return millpond.AsyncPool(database.aconnect, driver=database.driver(), **options)

"""


def run_strictly(
    source: str, *, interrupt_after: Callable[[str], bool] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program with ``-X dev -W error``, and perhaps press Ctrl-C after one of its lines."""
    command, environment = script_command(source)
    command[1:1] = ["-X", "dev", "-W", "error"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        said = ""
        if interrupt_after is not None:
            assert program.stdout is not None
            for line in program.stdout:
                said += line
                if interrupt_after(line):
                    program.send_signal(signal.SIGINT)
                    break
        try:
            rest, errors = program.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            program.kill()
            _, errors = program.communicate()
            message = f"the program does not end: {errors}"
            raise AssertionError(message) from None
    # The debug mode of asyncio tells of every step that takes long, as on a busy machine many do.
    lines = [
        line for line in errors.splitlines(keepends=True) if not line.startswith("Executing <")
    ]
    errors = "".join(lines)
    return subprocess.CompletedProcess(command, program.returncode, said + rest, errors)


def printed(source: str) -> list[str]:
    """Run a program that has to end well and without a word of complaint; give what it printed."""
    ended = run_strictly(source)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout.splitlines()
