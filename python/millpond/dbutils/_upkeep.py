"""What `pool_options` ask for: who has which connection, and what time does to connections.

An upkeep stands between a pool and its idle connections: the pool asks it for a connection (`obtain`) and
gives it back (`retain`). A pool without such options has none, and does both in Rust.

```text
  idle ──obtain──▶ lent ──retain──▶ idle, or closed: too old, used too often
   │ ▲
   ▼ └───────────────┐
  away: a worker pings it, or closes it
```

The timer calls `_advance` when something is due. Whoever removes a connection from the pool's idle list
owns it, so that no lock is held while one is pinged or closed. As long as a worker has it, it counts as
one of the pool's connections: at the limit, `obtain` waits for it rather than to open one too many.
"""

from __future__ import annotations

import logging
import math
import threading
import time
import weakref
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from millpond import _messages
from millpond._stats import ConnectionStats
from millpond._timer import TIMER
from millpond._workers import Workers
from millpond.dbutils._loans import Loan, Record, reference, site_of_checkout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from millpond.dbutils._options import PoolOptions
    from millpond.dbutils.pooled_db import PooledDB

logger = logging.getLogger("millpond.pool")

# The most connections that are pinged or closed at once.
_WORKERS: Final = 8


@dataclass(slots=True)
class _Absence:
    """A connection that a worker has, until a moment after which nobody reckons with it any more."""

    until: float


class Upkeep:
    """See the head of this file."""

    def __init__(self, pool: PooledDB, options: PoolOptions) -> None:
        """Begin with nothing to look after, and without a thread."""
        self._pool = weakref.ref(pool)
        self._name = pool._name
        self._options = options
        clock = options._clock
        self._now = time.monotonic if clock is None else clock.now
        self.begin()

    def begin(self) -> None:
        """Begin, or begin anew in the child of a fork, where neither threads nor connections are."""
        self._workers = self._new_workers()
        # Reentrant: a proxy may be finalized, and come back, while its thread is in here.
        self._changed = threading.Condition(threading.RLock())
        self._loans: dict[int, Loan] = {}
        self._absent: dict[int, _Absence] = {}
        self._closings = 0
        # The moment at which the timer looks by itself.
        self._promised = math.inf
        self.checks = self.checks_failed = self.leaks = 0

    def _new_workers(self) -> Workers:
        return Workers(self._name, limit=_WORKERS, inline=self._options._inline)

    @property
    def away(self) -> int:
        """How many connections are in the hands of workers."""
        return len(self._absent)

    # Lending and taking back: called by Rust, with a permit.

    def obtain(self, pool: PooledDB) -> Any:
        """Return an idle connection, tested, or a new one."""
        con = self._find(pool)
        now = self._now()
        record = Record.of(con, now, self._options.max_lifetime)
        record.uses += 1
        site = None
        if self._options.leak_threshold is not None:
            site = site_of_checkout()
            self._watch(now + self._options.leak_threshold)
        self._loans[id(con)] = Loan(
            reference(con), threading.get_ident(), now, record.opened_at, record.uses, site
        )
        if self._options.on_acquire is not None:
            try:
                self._options.on_acquire(con)
            except BaseException:
                self._loans.pop(id(con), None)
                self._close(pool, con, "discarded")
                raise
        return con

    def retain(self, pool: PooledDB, con: Any) -> None:
        """Make a connection idle again, or close it."""
        loan = self._loans.pop(id(con), None)
        try:
            self._take_back(pool, con)
        except BaseException:
            # The caller still has it: a second attempt to give it back may follow.
            if loan is not None:
                self._loans[id(con)] = loan
            raise

    def _take_back(self, pool: PooledDB, con: Any) -> None:
        if not self._is_released(pool, con):
            return
        now = self._now()
        record = Record.of(con, now, self._options.max_lifetime)
        reason = self._spent(record, now)
        if reason is not None:
            self._close(pool, con, reason)
            return
        # Before it is idle, when it may be another's at once.
        record.idle_since = record.proven_at = now
        pool._keep(con)
        self._watch(self._deadline(record))

    def _is_released(self, pool: PooledDB, con: Any) -> bool:
        """Call the hook, and tell whether the connection is still good."""
        if self._options.on_release is None:
            return True
        try:
            self._options.on_release(con)
        except Exception as error:  # noqa: BLE001  the hook is the user's
            logger.warning(
                "pool %r: on_release failed, so the connection is closed: %s",
                self._name,
                _messages.one_line(error),
                extra={"pool": self._name, "event": "hook_failed"},
            )
            self._close(pool, con, "reset")
            return False
        return True

    def _find(self, pool: PooledDB) -> Any:
        until: float | None = None
        while True:
            try:
                con = pool._idle_cache.pop(0)
            except IndexError:
                until = until or time.monotonic() + self._options.validation_timeout
                if self._await_return(pool, until):
                    continue
                return pool._open()
            if self._is_fit(pool, con):
                return con

    def _is_fit(self, pool: PooledDB, con: Any) -> bool:
        """Test a connection that was idle, and close it if its time is over."""
        now = self._now()
        record = Record.of(con, now, self._options.max_lifetime)
        reason = self._spent(record, now, idle=True)
        if reason is not None:
            self._close(pool, con, reason)
            return False
        interval = self._options.validation_interval
        if interval is None or now - record.proven_at >= interval:
            con._ping_check()
        return True

    def _await_return(self, pool: PooledDB, until: float) -> bool:
        """Wait for a connection that a worker has, if one more would be too many. False to open one."""
        with self._changed:
            while self._absent and not pool._idle_cache:
                limit = pool._maxconnections
                if not limit or pool._connections + len(self._absent) <= limit:
                    return False
                left = until - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    return False
            return bool(pool._idle_cache)

    # What time does.

    def _spent(self, record: Record, now: float, *, idle: bool = False) -> str | None:
        """Say why a connection can't go on, if it can't."""
        options = self._options
        if options.max_uses is not None and record.uses >= options.max_uses:
            return "uses"
        if now >= record.expires_at:
            return "lifetime"
        timeout = options.idle_timeout
        return "idle" if idle and timeout is not None and now - record.idle_since >= timeout else None

    def _deadline(self, record: Record) -> float:
        """Return when an idle connection is to be looked at."""
        options = self._options
        deadline = record.expires_at
        if options.idle_timeout is not None:
            deadline = min(deadline, record.idle_since + options.idle_timeout)
        if options.validation_interval is not None:
            deadline = min(deadline, record.proven_at + options.validation_interval)
        return deadline

    def _watch(self, deadline: float) -> None:
        """Have the timer look at that moment, at the latest."""
        if deadline >= self._promised:
            return
        with self._changed:
            if deadline >= self._promised:
                return
            self._promised = deadline
        if self._options._clock is None:
            TIMER.wake(self)

    def _advance(self) -> float | None:
        """Do what is due, and return the seconds until the next deadline."""
        pool = self._pool()
        if pool is None:
            return None
        with self._changed:
            # What is watched from here on is looked at again, as it may come after the looks below.
            self._promised = math.inf
        now = self._now()
        soonest = min(self._look_after(pool, now), default=math.inf)
        with self._changed:
            self._promised = min(self._promised, soonest)
            soonest = self._promised
        return None if soonest == math.inf else max(0.0, soonest - now)

    def _look_after(self, pool: PooledDB, now: float) -> Iterator[float]:
        for con in list(pool._idle_cache):
            record = Record.of(con, now, self._options.max_lifetime)
            reason = self._spent(record, now, idle=True)
            deadline = self._deadline(record)
            if reason is not None:
                deadline = self._send(pool, con, now, partial(self._close, pool, con, reason))
            elif deadline <= now:
                deadline = self._send(pool, con, now, partial(self._check, pool, con, record, self._closings))
            yield deadline
        for loan in self._present_loans():
            yield self._look_after_loan(loan, now)
        for key, absence in list(self._absent.items()):
            yield self._look_after_absent(key, absence, now)

    def _present_loans(self) -> list[Loan]:
        """Return the loans, without those of connections that are gone."""
        for key, loan in list(self._loans.items()):
            if loan.con() is None and self._loans.get(key) is loan:
                self._loans.pop(key, None)
        return list(self._loans.values())

    def _look_after_loan(self, loan: Loan, now: float) -> float:
        threshold = self._options.leak_threshold
        if threshold is None or loan.reported:
            return math.inf
        if loan.since + threshold > now:
            return loan.since + threshold
        loan.reported = True
        self.leaks += 1
        logger.warning(
            "pool %r: a connection has been held for %.3g s by %s%s",
            self._name,
            now - loan.since,
            _messages.thread_name(loan.holder),
            f", checked out at {_messages.place(loan.site)}" if loan.site else "",
            extra={"pool": self._name, "event": "leaked"},
        )
        return math.inf

    def _look_after_absent(self, key: int, absence: _Absence, now: float) -> float:
        if absence.until > now:
            return absence.until
        with self._changed:
            if self._absent.get(key) is absence:
                del self._absent[key]
                self._changed.notify_all()
        logger.warning(
            "pool %r: pinging or closing an idle connection took longer than validation_timeout=%s",
            self._name,
            self._options.validation_timeout,
            extra={"pool": self._name, "event": "overdue"},
        )
        return math.inf

    # What a worker does.

    def _send(self, pool: PooledDB, con: Any, now: float, task: Any) -> float:
        """Have a worker do something with an idle connection, and return when it has to be over."""
        absence = _Absence(now + self._options.validation_timeout)
        with self._changed:
            # First, or it would count nowhere for a moment.
            self._absent[id(con)] = absence
            try:
                pool._idle_cache.remove(con)
            except ValueError:  # somebody was faster
                del self._absent[id(con)]
                self._changed.notify_all()
                return math.inf
            # Under the lock: to workers that `closed` has stopped, this thread would be one.
            self._workers.submit(partial(self._run, id(con), absence, task))
        return absence.until

    def _run(self, key: int, absence: _Absence, task: Callable[[], object]) -> None:
        try:
            task()
        finally:
            with self._changed:
                if self._absent.get(key) is absence:
                    del self._absent[key]
                self._changed.notify_all()

    def _check(self, pool: PooledDB, con: Any, record: Record, closings: int) -> None:
        """Ping an idle connection, and put it back or close it. One of which nobody can tell is kept."""
        alive: object = False
        with suppress(Exception):
            alive = con._ping_check(reconnect=False)
        dead = alive is not None and not alive
        with self._changed:
            self.checks += 1
            self.checks_failed += dead
            # Who is late was given up on, and who was away when the pool was closed is closed now.
            late = id(con) not in self._absent or closings != self._closings
        if dead or late:
            self._close(pool, con, "invalid" if dead else "closed")
            return
        record.proven_at = self._now()
        pool._keep(con)
        self._watch(self._deadline(record))

    def _close(self, pool: PooledDB, con: Any, reason: str) -> None:
        pool._notes.count_closed(reason)
        with suppress(Exception):
            con.close()

    # What the pool does.

    def closed(self) -> None:
        """Learn that the pool closes what is idle: threads end, unless loans are watched."""
        with self._changed:
            self._closings += 1
            watches = self._options.leak_threshold is not None and bool(self._loans)
            if not watches:
                self._promised = math.inf
            self._workers.stop()
            self._workers = self._new_workers()
        if not watches and self._options._clock is None:
            TIMER.forget(self)

    def connections(self, pool: PooledDB) -> Iterator[ConnectionStats]:
        """Tell of each connection: those that are lent, longest first, then those that are idle."""
        now = self._now()
        loans = sorted(self._present_loans(), key=lambda loan: loan.since)
        number = 0
        for loan in loans:
            yield loan.stats(number, now)
            number += 1
        for con in list(pool._idle_cache):
            yield Record.of(con, now, self._options.max_lifetime).stats(number, now)
            number += 1
