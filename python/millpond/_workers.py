"""The threads in which a pool connects, validates and closes.

There is a thread for each job that is running, and none that nobody needs: a thread is started when
a job finds all others busy, and ends after it was idle for a while. All are daemons, since a driver
that hangs must not keep the interpreter from exiting.

A job may be submitted from anywhere, also from a finalizer that interrupts this very code in the
same thread. So the lock is reentrant, and the queue is `SimpleQueue`, whose `put` is too.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Final, TypeAlias

from millpond._core import leak
from millpond._threads import start

Task: TypeAlias = Callable[[], object]

# Long enough for a worker to see the next job of a busy pool, short enough not to linger.
IDLE_SECONDS: Final = 5.0

logger = logging.getLogger("millpond.pool")


class Workers:
    """The worker threads of one pool.

    Args:
        name: The pool's name, for those of the threads.
        limit: The most threads at a time. What is beyond waits for a thread: with a driver that
            hangs for ever, abandoned jobs must not pile up threads.
        inline: Run each job in the thread that submits it, for tests.
    """

    def __init__(self, name: str, *, limit: int, inline: bool = False) -> None:
        self._name = name
        self.limit = limit
        self._inline = inline
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._threads: set[threading.Thread] = set()
        self._unfinished = 0
        self._started = 0
        self._stopped = False

    def submit(self, task: Task) -> None:
        """Run `task` in a worker, or right here when there are to be no workers any more."""
        if self._inline or self._stopped:
            task()
            return
        with self._lock:
            self._unfinished += 1
            short = len(self._threads) < min(self._unfinished, self.limit)
        if short and not self._add_thread():
            self._finished()
            task()
            return
        self._tasks.put(task)

    def stop(self) -> None:
        """End the threads once the tasks that they have are done. Safe in a finalizer."""
        with self._lock:
            self._stopped = True
            count = len(self._threads)
        for _ in range(count):
            self._tasks.put(None)

    def join(self, timeout: float) -> None:
        """Wait for the threads to end, at most `timeout` seconds."""
        deadline = time.monotonic() + timeout
        for thread in list(self._threads):
            # One that another thread is about to start can't be joined, and finds that it is over.
            if thread.is_alive() and thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))

    def after_fork(self) -> None:
        """Begin anew in the child of a fork, where none of the threads exists."""
        # The old tasks have connections of the parent, which must never be finalized here.
        leak(self._tasks)
        stopped = self._stopped
        self._begin()
        self._stopped = stopped

    def _add_thread(self) -> bool:
        with self._lock:
            self._started += 1
            name = f"millpond-{self._name}-worker-{self._started}"
            thread = threading.Thread(target=self._run, name=name, daemon=True)
            self._threads.add(thread)
        if start(thread):
            return True
        with self._lock:
            self._threads.discard(thread)
            return bool(self._threads)

    def _run(self) -> None:
        while (task := self._next()) is not None:
            try:
                task()
            except Exception:
                # Whatever the task was, the next one needs this thread.
                extra = {"pool": self._name, "event": "job_failed"}
                logger.exception("a job of pool %r failed", self._name, extra=extra)
            finally:
                del task  # or the pool would live for as long as its last worker is idle
                self._finished()

    def _next(self) -> Task | None:
        while True:
            try:
                task = self._tasks.get(timeout=IDLE_SECONDS)
            except Empty:
                task = None
            with self._lock:
                # A task that came since the time was up has been counted and relies on this thread.
                if task is None and (self._stopped or self._unfinished < len(self._threads)):
                    self._threads.discard(threading.current_thread())
                    return None
            if task is not None:
                return task

    def _finished(self) -> None:
        with self._lock:
            self._unfinished -= 1
