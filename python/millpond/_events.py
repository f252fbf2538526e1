"""`pool.add_listener()`: who is told what happens in a pool, and what they are told."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

# Those with a number begin in Rust (heard.rs), which asks by it whether anybody listens.
KINDS: Final = {
    "opened": 0,
    "closed": 0,
    "acquired": 1,
    "released": 2,
    "waited": 4,
    "timed_out": 0,
    "leaked": 0,
    "validation_failed": 0,
    "open_failed": 0,
    "recovered": 0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolEvent:
    """Something that happened in a pool. Durations are in seconds.

    Kinds:
        opened: A connection was opened, which took `seconds`.
        closed: A connection was closed, which took `seconds`; `reason` is a key of
            `PoolStats.closed`.
        acquired: A caller gets a connection, `seconds` after it asked.
        released: A holder gave its connection back after `seconds`, ``None`` if it had it already
            when the first listener came. `reason` is ``None``, or why it is not used again:
            ``"discarded"``, ``"dead"``, ``"detached"``, ``"reset"``.
        waited: A caller that had to queue gets a connection, `seconds` after it asked.
        timed_out: An acquire ends by the `PoolTimeout` `error` after `seconds`; `reason` is the
            error's. Not one that is refused before it waits, as the database is down or by `shed`.
        leaked: Somebody has had a connection for `seconds`, longer than `leak_threshold`, and
            acquired it in the line `reason`.
        validation_failed: A connection did not prove to be alive, after `seconds`. `reason` says
            what was wrong, `error` is what was raised, if anything was.
        open_failed: An attempt to connect failed by `error`, or took too long, after `seconds`.
        recovered: Connecting works again, `seconds` after it first failed; `error` is the last
            failure.

    Attributes:
        kind: Which of these.
        pool: The pool's name.
        time: When it happened, as ``time.time()``.
        slot: The number of the connection's place in the pool; ``None`` for ``timed_out``.
        seconds: As above, or ``None``.
        reason: As above, or ``None``.
        error: As above, or ``None``.
    """

    kind: str
    pool: str
    time: float = field(default_factory=time.time)
    slot: int | None = None
    seconds: float | None = None
    reason: str | None = None
    error: BaseException | None = None


if TYPE_CHECKING:
    Listener: TypeAlias = Callable[[PoolEvent], object]


class Entry:
    """One listener, as often as it was added."""

    __slots__ = ("listener", "removed")

    def __init__(self, listener: Listener) -> None:
        """Hold the listener."""
        self.listener = listener
        self.removed = False


def _check(listener: object, kinds: tuple[object, ...]) -> None:
    if not callable(listener):
        msg = f"listener=<{type(listener).__name__}>: must be a callable that takes a PoolEvent"
        raise PoolConfigError(msg)
    for kind in kinds:
        if kind not in list(KINDS):  # a list, as it may not be hashable
            msg = f"kind={kind!r}: must be one of {', '.join(KINDS)}"
            raise PoolConfigError(msg)


class Listeners:
    """The listeners of one pool. Any thread may add and remove them, also a listener itself."""

    def __init__(self) -> None:
        """Begin with nobody."""
        # Replaced, never changed: who tells of an event looks once, without the lock.
        self._by_kind: dict[str, tuple[Entry, ...]] = {}
        self._begin()

    def _begin(self) -> None:
        # Reentrant, as a listener may be removed by a finalizer that interrupts this very code.
        self.lock = threading.RLock()
        self._telling = threading.local()

    def add(self, listener: Listener, kinds: tuple[str, ...]) -> Entry:
        """Have a listener told from now on, of all kinds if none is given.

        Raises:
            PoolConfigError: The listener is not callable, or a kind is not one of `KINDS`.
        """
        _check(listener, kinds)
        entry = Entry(listener)
        with self.lock:
            added = {kind: (*self.of(kind), entry) for kind in kinds or KINDS}
            self._by_kind = {**self._by_kind, **added}
        return entry

    def remove(self, entry: Entry) -> None:
        """Have a listener told no more. One that is being told right now comes to its end."""
        # Also for who tells of an event right now, and has not come to it yet.
        entry.removed = True
        with self.lock:
            left = {
                kind: tuple(one for one in entries if one is not entry)
                for kind, entries in self._by_kind.items()
            }
            self._by_kind = {kind: entries for kind, entries in left.items() if entries}

    def of(self, kind: str) -> tuple[Entry, ...]:
        """Return those who listen to a kind, in the order in which they began to."""
        return self._by_kind.get(kind, ())

    @property
    def mask(self) -> int:
        """The kinds that begin in Rust and that somebody listens to."""
        return sum(KINDS[kind] for kind in self._by_kind)

    def tell(
        self,
        event: PoolEvent,
        call: Callable[[Listener, PoolEvent], object],
        failed: Callable[[Listener, PoolEvent, BaseException], object],
        shield: type[BaseException] = Exception,
    ) -> None:
        """Tell all who listen, one after the other, with no lock held.

        What a listener itself does with the pool is told to all others, but not to that listener:
        it would never come to an end.

        Args:
            event: What happened.
            call: Calls a listener.
            failed: Learns what a listener raised.
            shield: What a listener may raise; anything else passes.
        """
        inside: set[Entry] = self._telling.__dict__.setdefault("inside", set())
        for entry in self.of(event.kind):
            if entry in inside or entry.removed:
                continue
            inside.add(entry)
            try:
                call(entry.listener, event)
            except shield as error:
                failed(entry.listener, event, error)
            finally:
                inside.discard(entry)

    def after_fork(self) -> None:
        """Begin anew in the child of a fork: the thread that held the lock may not exist here."""
        self._begin()


class Listening:
    """What pools of all kinds offer to listeners."""

    _listeners: Listeners

    if TYPE_CHECKING:

        def _update_heard(self) -> None:
            """Say to the core which kinds somebody listens to."""

    def add_listener(self, listener: Listener, *kinds: str) -> Callable[[], None]:
        """Have a callable told what happens in the pool.

        It is called in the thread in which it happens, which may be a caller's, a worker's or an
        event loop's, with no lock held. So it should not take long, and it is not awaited. It may
        use the pool, but not wait for a connection of it: that raises `PoolError`. What it raises
        is logged, and harms nothing.

        Listeners to ``"acquired"`` and ``"released"`` make acquires and releases slower as long as
        there are any; all others cost nothing but their own calls. Safe to call from any thread.

        Args:
            listener: Called with each `PoolEvent`.
            kinds: What it is told of: ``"opened"``, ``"closed"``, ``"acquired"``, ``"released"``,
                ``"waited"``, ``"timed_out"``, ``"leaked"``, ``"validation_failed"``,
                ``"open_failed"``, ``"recovered"``. All of them by default.

        Returns:
            A callable without arguments that has the listener told no more. It may be called again,
            and from any thread.

        Raises:
            PoolConfigError: The listener is not callable, or there is no such kind.
        """
        entry = self._listeners.add(listener, kinds)
        self._update_heard()

        def remove() -> None:
            self._listeners.remove(entry)
            self._update_heard()

        return remove
