"""Idle connections that are in the hands of workers, which ping or close them.

As long as a worker has it, a connection counts as one of the pool's: at the limit, whoever needs
one waits for it rather than to open one too many. A worker that takes too long is not reckoned with
any more.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from millpond._workers import Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from millpond.dbutils._options import PoolOptions
    from millpond.dbutils.pooled_db import PooledDB

logger = logging.getLogger("millpond.pool")

# The most connections that are pinged or closed at once.
_WORKERS: Final = 8


class Absent:
    """See the head of this file."""

    def __init__(self, name: str, options: PoolOptions) -> None:
        """Begin with nobody away, and without a thread."""
        self._name = name
        self._patience = options.validation_timeout
        self._inline = options._inline
        # Reentrant: a proxy may be finalized, and come back, while its thread is in here.
        self._changed = threading.Condition(threading.RLock())
        # By the connection's identity: until when it is awaited.
        self._until: dict[int, float] = {}
        self._workers = self._new_workers()
        # How often all were called off.
        self.recall = 0

    def _new_workers(self) -> Workers:
        return Workers(self._name, limit=_WORKERS, inline=self._inline)

    def __len__(self) -> int:
        """Count those that are awaited."""
        return len(self._until)

    def send(self, idle: Any, con: Any, now: float, task: Callable[[], object]) -> float:
        """Have a worker do something with an idle connection, unless somebody takes it before.

        Returns:
            The moment at which it should be back.
        """
        with self._changed:
            # First, or it would count nowhere for a moment.
            until = self._until[id(con)] = now + self._patience
            try:
                idle.remove(con)
            except ValueError:
                self._back(con)
                return math.inf
            # Under the lock: to workers that were stopped, this thread would be one.
            self._workers.submit(partial(self._run, con, task))
        return until

    def _run(self, con: Any, task: Callable[[], object]) -> None:
        try:
            task()
        finally:
            self._back(con)

    def _back(self, con: Any) -> None:
        with self._changed:
            self._until.pop(id(con), None)
            self._changed.notify_all()

    def is_awaited(self, con: Any, recall: int) -> bool:
        """Tell whether a connection is still wanted that left after so many recalls."""
        with self._changed:
            return id(con) in self._until and recall == self.recall

    def await_one(self, pool: PooledDB) -> bool:
        """Wait for one, if one more would be too many. False when one may be opened."""
        if not self._until:
            return False
        deadline = time.monotonic() + self._patience
        with self._changed:
            while self._until and not pool._idle_cache:
                limit = pool._maxconnections
                left = deadline - time.monotonic()
                if not limit or pool._connections + len(self._until) <= limit or left <= 0:
                    return False
                self._changed.wait(left)
            return bool(pool._idle_cache)

    def look_after(self, now: float) -> Iterator[float]:
        """Give up those that are overdue, and say when the others will be."""
        for key, until in list(self._until.items()):
            if until > now:
                yield until
                continue
            with self._changed:
                self._until.pop(key, None)
                self._changed.notify_all()
            logger.warning(
                "pool %r: a ping or a close took longer than validation_timeout=%s",
                self._name,
                self._patience,
                extra={"pool": self._name, "event": "overdue"},
            )

    def call_off(self) -> None:
        """Have workers close what they have when they are done, and end."""
        with self._changed:
            self.recall += 1
            self._workers.stop()
            self._workers = self._new_workers()
