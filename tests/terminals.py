"""A terminal to run programs in, press keys in and look at: tmux, with a server of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from helpers import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def need(*programs: str) -> str:
    """Give the path of the first of these programs that there is.

    Without one, the test is skipped; with MILLPOND_REQUIRE_SERVERS=1 it fails.
    """
    found = next(filter(None, map(shutil.which, programs)), None)
    if found is None:
        reason = f"{' or '.join(programs)} is not installed: apt-get install {programs[0]}"
        if os.environ.get("MILLPOND_REQUIRE_SERVERS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


class Terminal:
    """One window, in which one program runs."""

    def __init__(self, tmux: Sequence[str]) -> None:
        self._tmux = tmux

    def keys(self, *keys: str) -> None:
        """Press keys, by tmux's names: `q`, `Enter`, `Down`."""
        self._run("send-keys", *keys)

    def resize(self, columns: int, lines: int) -> None:
        """Make the window that large."""
        self._run("resize-window", "-x", str(columns), "-y", str(lines))

    def screen(self, *, colours: bool = False) -> str:
        """Give what is on the screen, with escape sequences for `colours`."""
        return self._run("capture-pane", "-p", *(["-e"] if colours else []))

    def shows(self, *texts: str) -> None:
        """Return when all of `texts` are on the screen; fail when they never are."""
        try:
            eventually(lambda: all(text in self.screen() for text in texts))
        except AssertionError:
            pytest.fail(f"there is no {texts} on the screen:\n{self.screen()}")

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            [*self._tmux, *command], capture_output=True, text=True, timeout=20, check=True
        )
        return done.stdout


@contextmanager
def terminal(program: Sequence[str], columns: int = 80, lines: int = 24) -> Iterator[Terminal]:
    """Run `program` in a window for the length of a block; then a shell says ``ended`` and why."""
    tmux = [need("tmux"), "-L", f"millpond-{uuid.uuid4().hex}", "-f", os.devnull]
    # The window stays when the program has ended, for a look at what it left behind.
    script = 'trap : INT; "$@"; echo "ended: $?"; cat'
    size = ["-x", str(columns), "-y", str(lines)]
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "TERM": "xterm-256color"}
    subprocess.run(
        [*tmux, "new-session", "-d", *size, "sh", "-c", script, "sh", *program],
        env=environment,
        timeout=20,
        check=True,
    )
    try:
        yield Terminal(tmux)
    finally:
        subprocess.run([*tmux, "kill-server"], timeout=20, check=False)
