"""One connection for each thread, closed when its thread ends."""

from __future__ import annotations

import threading
from _threading_local import local
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from millpond.dbutils import _fork

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PerThread", "local"]

_C = TypeVar("_C")


class _Seat:
    """What one thread has of one `local`.

    It is kept in a `threading.local` of C, so it goes the moment its thread ends. What is in a
    `local` of Python only goes with the `Thread` object, which somebody may keep for ever.
    """

    def __init__(self, place: local) -> None:
        self.place = place
        self.data: dict[str, Any] = vars(place)
        # Nobody knows when a thread ends that `threading` has not started.
        foreign = isinstance(threading.current_thread(), threading._DummyThread)
        self._ends = not foreign

    def __del__(self) -> None:
        if self._ends:
            self.data.pop("connection", None)


class PerThread(Generic[_C]):
    """What `PersistentDB` and `PersistentPg` have in common.

    `local` is the one that is written in Python. Where threads belong to somebody else (mod_wsgi,
    callbacks from C) the interpreter forgets what is local to a thread in C whenever it leaves that
    thread, and no connection would persist.
    """

    #: The thread-local object, whose attribute ``connection`` is that of the current thread.
    thread: Any

    def _begin(self, threadlocal: Callable[[], object] | None) -> None:
        self._threadlocal = threadlocal or local
        self._begin_threads()
        _fork.register(self)

    def _begin_threads(self) -> None:
        self.thread = self._threadlocal()
        self._seats = threading.local()

    def _begin_in_child(self) -> None:
        # The lock in a `local` may be held by a thread that does not exist here, so nothing is
        # looked up.
        _fork.leak((self.thread, self._seats))
        self._begin_threads()

    def _mine(self) -> _C | None:
        """Look up the connection of the current thread; `None` when it has none yet."""
        thread = self.thread
        # Through the seat it takes a tenth of the time, and it is the same dictionary.
        seat: _Seat | None = getattr(self._seats, "seat", None)
        if seat is not None and seat.place is thread:
            connection: _C | None = seat.data.get("connection")
            if connection is not None:
                return connection
        return getattr(thread, "connection", None)

    def _keep(self, connection: _C) -> None:
        """Make `connection` that of the current thread, until the thread ends."""
        self.thread.connection = connection
        if isinstance(self.thread, local):
            self._seats.seat = _Seat(self.thread)
