"""What `pool_options` ask for: who has which connection, and what time does to connections.

An upkeep stands between a pool and its idle connections: the pool asks it for a connection
(`obtain`) and gives it back (`retain`). A pool without such options has none, and does both in
Rust.

```text
  idle ──obtain──▶ lent ──retain──▶ idle, or closed: too old, used too often
   │ ▲
   ▼ └───────────────┐
  away: a worker pings it, or closes it                            (_absent.py)
```

The timer calls `_advance` when something is due. Whoever removes a connection from the pool's idle
list owns it, so no lock is held while one is pinged or closed.
"""

from __future__ import annotations

import logging
import math
import threading
import time
import weakref
from contextlib import suppress
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any

from millpond import _messages, _threads
from millpond._timer import TIMER
from millpond.dbutils._absent import Absent
from millpond.dbutils._record import Record, site_of_checkout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from millpond._stats import ConnectionStats
    from millpond.dbutils._options import PoolOptions
    from millpond.dbutils.pooled_db import PooledDB

logger = logging.getLogger("millpond.pool")


class Upkeep:
    """See the head of this file."""

    def __init__(self, pool: PooledDB, options: PoolOptions) -> None:
        """Begin with nothing to look after, and without a thread."""
        self._pool = weakref.ref(pool)
        self._name = pool._pool_name
        self._options = options
        clock = options._clock
        self._now = time.monotonic if clock is None else clock.now
        self._ages = options.limits_age
        self._max_uses = math.inf if options.max_uses is None else options.max_uses
        limits = [options.idle_timeout, options.validation_interval]
        self._rest = min((limit for limit in limits if limit is not None), default=math.inf)
        self._proves = options.validation_interval is not None
        self._leak_threshold = options.leak_threshold
        self.begin()

    def begin(self) -> None:
        """Begin, or begin anew in the child of a fork, with neither threads nor connections."""
        # Reentrant: a proxy may be finalized, and come back, while its thread is in here.
        self._lock = threading.RLock()
        self._records: set[Record] = set()
        self._absent = Absent(self._name, self._options)
        # The moment at which the timer looks by itself.
        self._promised = math.inf
        self.checks = self.checks_failed = self.leaks = 0

    @property
    def away(self) -> int:
        """How many connections are in the hands of workers."""
        return len(self._absent)

    # Lending and taking back: called by Rust, with a permit.

    def obtain(self, pool: PooledDB) -> Any:
        """Return an idle connection, tested, or a new one."""
        con = self._find(pool) if self._ages else pool._find_or_open()
        record = self._record_of(con)
        now = self._now()
        record.uses += 1
        record.holder = get_ident()
        record.lent_at = now
        if self._leak_threshold is not None:
            record.site = site_of_checkout()
            record.reported = False
            if now + self._leak_threshold < self._promised:
                self._watch(now + self._leak_threshold)
        if self._options.on_acquire is not None:
            self._call_on_acquire(pool, con, record)
        return con

    def retain(self, pool: PooledDB, con: Any) -> None:
        """Make a connection idle again, or close it."""
        record = self._record_of(con)
        if self._options.on_release is not None and not self._is_released(pool, con, record):
            return
        since = record.lent_at
        due = math.inf
        if self._ages:
            now = self._now()
            if record.uses >= self._max_uses or now >= record.expires_at:
                self._close(pool, con, "lifetime" if now >= record.expires_at else "uses")
                return
            record.idle_since = record.proven_at = now
            record.due = due = min(now + self._rest, record.expires_at)
        # All of it before it is idle, when it may be another's at once.
        record.lent_at = None
        try:
            pool._keep(con)
        except BaseException:
            # The caller still has it: a second attempt to give it back may follow.
            record.lent_at = since
            raise
        if due < self._promised:
            self._watch(due)

    def _record_of(self, con: Any) -> Record:
        try:
            record: Record = con._record
        except AttributeError:
            lifetime = self._options.max_lifetime
            record = con._record = Record(con, self._now(), lifetime, self._records.discard)
            self._records.add(record)
        return record

    def _find(self, pool: PooledDB) -> Any:
        while True:
            try:
                con = pool._idle_cache.pop(0)
            except IndexError:
                if self._absent.await_one(pool):
                    continue
                return pool._open_noted()
            record = self._record_of(con)
            if self._now() < record.due or self._is_still_good(pool, con, record):
                if not self._proves:
                    con._ping_check()
                return con

    def _is_still_good(self, pool: PooledDB, con: Any, record: Record) -> bool:
        """Look at an idle connection whose time has come, before the timer did."""
        now = self._now()
        reason = self._spent(record, now)
        if reason is not None:
            self._close(pool, con, reason)
            return False
        if self._is_unproven(record, now):
            con._ping_check()
        return True

    def _call_on_acquire(self, pool: PooledDB, con: Any, record: Record) -> None:
        hook: Any = self._options.on_acquire
        try:
            hook(con)
        except BaseException:
            record.lent_at = None
            self._close(pool, con, "discarded")
            raise

    def _is_released(self, pool: PooledDB, con: Any, record: Record) -> bool:
        """Call the hook, and tell whether the connection is still good."""
        hook: Any = self._options.on_release
        try:
            hook(con)
        except Exception as error:  # noqa: BLE001  the hook is the user's
            message = "on_release failed, so the connection is closed: " + _messages.one_line(error)
            self._warn("hook_failed", message)
            record.lent_at = None
            self._close(pool, con, "reset")
            return False
        return True

    # What time does.

    def _spent(self, record: Record, now: float) -> str | None:
        """Say why an idle connection can't go on, if it can't."""
        if now >= record.expires_at:
            return "lifetime"
        timeout = self._options.idle_timeout
        return "idle" if timeout is not None and now - record.idle_since >= timeout else None

    def _is_unproven(self, record: Record, now: float) -> bool:
        interval = self._options.validation_interval
        return interval is not None and now - record.proven_at >= interval

    def _next_look(self, record: Record) -> float:
        """Note, and return, when an idle connection is to be looked at."""
        options = self._options
        idle_until = record.idle_since + (options.idle_timeout or math.inf)
        proven_until = record.proven_at + (options.validation_interval or math.inf)
        record.due = min(idle_until, proven_until, record.expires_at)
        return record.due

    def _watch(self, moment: float) -> None:
        """Have the timer look at that moment, at the latest."""
        with self._lock:
            if moment >= self._promised:
                return
            self._promised = moment
        if self._options._clock is None:
            TIMER.wake(self)

    def _advance(self) -> float | None:
        """Do what is due, and return the seconds until the next deadline."""
        pool = self._pool()
        if pool is None:
            return None
        with self._lock:
            # What comes back from here on may come after the looks below, and has to tell.
            self._promised = math.inf
        now = self._now()
        soonest = min(self._look_after_all(pool, now), default=math.inf)
        with self._lock:
            soonest = self._promised = min(self._promised, soonest)
        return None if soonest == math.inf else max(0.0, soonest - now)

    def _look_after_all(self, pool: PooledDB, now: float) -> Iterator[float]:
        if self._ages:
            for con in list(pool._idle_cache):
                yield self._look_after(pool, con, now)
        if self._leak_threshold is not None:
            for record in list(self._records):
                yield self._look_after_loan(record, now, self._leak_threshold)
        yield from self._absent.look_after(now)

    def _look_after(self, pool: PooledDB, con: Any, now: float) -> float:
        record = self._record_of(con)
        if (reason := self._spent(record, now)) is not None:
            task = partial(self._close, pool, con, reason)
        elif self._is_unproven(record, now):
            task = partial(self._check, pool, con, record, self._absent.recall)
        else:
            return self._next_look(record)
        return self._absent.send(pool._idle_cache, con, now, task)

    def _look_after_loan(self, record: Record, now: float, threshold: float) -> float:
        since = record.lent_at
        if since is None or record.reported:
            return math.inf
        if since + threshold > now:
            return since + threshold
        record.reported = True
        self.leaks += 1
        holder = _messages.thread_name(record.holder)
        place = f", checked out at {_messages.place(record.site)}" if record.site else ""
        self._warn(
            "leaked",
            f"a connection has been held for {_messages.span(now - since)} by {holder}{place}",
        )
        return math.inf

    def _check(self, pool: PooledDB, con: Any, record: Record, recall: int) -> None:
        """Ping an idle connection in a worker, and put it back or close it."""
        alive: object = False
        with suppress(Exception):
            alive = con._ping_check(reconnect=False)
        # `None` is of a driver that can't tell.
        dead = alive is not None and not alive
        with self._lock:
            self.checks += 1
            self.checks_failed += dead
        if dead or not self._absent.is_awaited(con, recall):
            self._close(pool, con, "invalid" if dead else "closed")
            return
        record.proven_at = self._now()
        moment = self._next_look(record)
        pool._keep(con)
        self._watch(moment)

    def _close(self, pool: PooledDB, con: Any, reason: str) -> None:
        pool._notes.count_closed(reason)
        with suppress(Exception):
            con.close()

    def _warn(self, event: str, message: str) -> None:
        extra = {"pool": self._name, "event": event}
        logger.warning("pool %r: %s", self._name, message, extra=extra)

    # What the pool tells and asks.

    def closing(self) -> None:
        """Learn that the pool closes what is idle: threads end, unless loans are watched."""
        self._absent.call_off()
        watches = self._leak_threshold is not None and any(
            record.lent_at is not None for record in list(self._records)
        )
        if watches:
            return
        with self._lock:
            self._promised = math.inf
        if self._options._clock is None:
            TIMER.forget(self)

    def connections(self, pool: PooledDB) -> Iterator[ConnectionStats]:
        """Tell of each connection: those that are lent, longest first, then those that are idle."""
        now = self._now()
        lent = [record for record in list(self._records) if record.lent_at is not None]
        lent.sort(key=lambda record: record.lent_at or 0.0)
        idle = [self._record_of(con) for con in list(pool._idle_cache)]
        names = _threads.names()
        for number, record in enumerate(lent + idle):
            yield record.stats(number, now, names)
