"""What may hang is done by a thread that can always be left behind."""

import threading
from collections.abc import Callable
from typing import TypeVar

__all__ = ["in_time"]

_T = TypeVar("_T")


def in_time(work: Callable[[], _T], seconds: float) -> _T:
    """Return ``work()``, run in a thread of its own.

    Raises:
        TimeoutError: It took longer than ``seconds``. The thread is left behind.
        Exception: Whatever ``work`` raised.
    """
    results: list[_T] = []
    errors: list[Exception] = []

    def attempt() -> None:
        try:
            results.append(work())
        except Exception as error:  # noqa: BLE001 - raised again, in the thread that asked
            errors.append(error)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        message = f"no answer within {seconds:g} s"
        raise TimeoutError(message)
    return results[0]
