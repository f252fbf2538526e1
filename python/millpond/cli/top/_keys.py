"""The keyboard, as the words that ``millpond top`` knows."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import blessed

__all__ = ["keyboard"]

_NAMES = {
    "KEY_UP": "up",
    "KEY_DOWN": "down",
    "KEY_LEFT": "left",
    "KEY_RIGHT": "right",
    "KEY_PGUP": "page up",
    "KEY_PGDOWN": "page down",
    "KEY_HOME": "home",
    "KEY_END": "end",
    "KEY_ENTER": "enter",
    "KEY_ESCAPE": "escape",
    "KEY_BACKSPACE": "left",
    "KEY_DELETE": "left",
}


@contextmanager
def keyboard() -> Iterator[Callable[[float], str]]:
    """Give a function that waits some seconds for a key, and returns its word.

    A key that writes something is that letter; an arrow and the like is one of the words above; and
    the empty text means that none was pressed. The terminal is as it was after the block.
    """
    terminal = blessed.Terminal()

    def wait(seconds: float) -> str:
        key = terminal.inkey(timeout=seconds)
        return _NAMES.get(key.name or "", "" if key.is_sequence else str(key))

    with terminal.cbreak():
        yield wait
