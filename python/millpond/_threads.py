"""The threads of the process: their names, and starting one wherever the need for it arises."""

from __future__ import annotations

import threading


def names() -> dict[int, str]:
    """Return the names of all threads that run, by their numbers."""
    return {one.ident: one.name for one in threading.enumerate() if one.ident is not None}


def start(thread: threading.Thread) -> bool:
    """Start a thread, and tell whether it runs.

    It may be started in a finalizer too, and in gevent's event loop that finalizes what belonged to
    a greenlet: there, `start` may not wait for the thread to begin.
    """
    try:
        thread.start()
    except RuntimeError:  # no more threads to be had, or the interpreter is shutting down
        return False
    except AssertionError:  # gevent's BlockingSwitchOutError, after it made the greenlet
        return True
    return True
