"""What the core and the jobs call back: the half of `Pool` that its users never call.

Any of these may run in any thread, also in a finalizer.
"""

from __future__ import annotations

import logging
import sys
import warnings
from typing import TYPE_CHECKING, Any, Final, TypeVar

from millpond import _jobs, _messages, _stats, drivers, errors
from millpond._config import check_timeout
from millpond._core import CorePool
from millpond._timer import TIMER
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    import threading

    from millpond._config import PoolConfig
    from millpond._core import Job, ManualClock
    from millpond._workers import Workers

C = TypeVar("C")

_NO_PING: Final = (
    "validation_interval=0: the driver {name} has no ping; say with validate= how to validate"
)

logger = logging.getLogger("millpond.pool")


class Callbacks(CorePool[C]):
    """See the head of this file."""

    _config: PoolConfig
    _clock: ManualClock | None
    _name: str
    _driver: drivers.Driver[C]
    _errors: errors.ErrorSet
    _workers: Workers
    _progress: threading.Condition
    _backoff: _jobs.Backoff
    _last_error: BaseException | None
    _recognised: bool
    _finished: bool

    @property
    def name(self) -> str:
        """The pool's name."""
        return self._name

    def stats(self) -> _stats.PoolStats:
        """Return what the pool is like right now, and what it has done so far."""
        return _stats.from_snapshot(self.name, (self.min_size, self.max_size), self._snapshot())

    def _submit(self, job: Job) -> None:
        self._workers.submit(lambda: _jobs.run(self, job))

    def _poke(self) -> None:
        if self._clock is None and not self._finished:
            TIMER.wake(self)

    def _failure(self, kind: str, detail: Any) -> errors.PoolError:  # noqa: ANN401
        """Make the exception for a failure."""
        if kind == "timeout":
            timeout = self._errors.timeout(
                _messages.timed_out(self.stats(), detail, self._last_error)
            )
            timeout.__cause__ = self._last_error
            return timeout
        if kind == "down":
            down = self._errors.timeout(_messages.down(self.stats(), self._last_error))
            down.__cause__ = self._last_error
            return down
        if kind == "bad_timeout":
            try:
                check_timeout(detail)
            except PoolConfigError as error:
                return error
        if kind == "bad_priority":
            return PoolConfigError(f"priority={detail!r}: must be 'normal' or 'high'")
        kinds: dict[str, type[errors.PoolError]] = {
            "closed": self._errors.closed,
            "full": self._errors.exhausted,
            "hopeless": self._errors.timeout,
        }
        message = _messages.FAILURES[kind].format(
            name=self.name,
            detail=f"<{type(detail).__name__} at {id(detail):#x}>",
            waiting=self._counts()[2],
            max_waiting=self._config.max_waiting,
        )
        return kinds.get(kind, self._errors.error)(message)

    def _site(self) -> tuple[str, int, str]:
        """Find the line that acquires: the core has no frame, so it is the caller's."""
        frame = sys._getframe(1)
        return frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name

    def _leaked(
        self, slot: int, holder: int, held: float, site: tuple[str, int, str] | None
    ) -> None:
        logger.warning(
            "pool %r: connection %d has been held for %.3g s by %s%s",
            self.name,
            slot,
            held,
            _messages.thread_name(holder),
            f", acquired at {_messages.place(site)}" if site else "",
            extra={"pool": self.name, "event": "leaked"},
        )

    def _lease_lost(self, slot: int) -> None:
        warnings.warn(
            f"pool {self.name!r}: a lease was garbage collected without leaving its block, and its "
            f"connection {slot} was closed: use it in a with statement",
            ResourceWarning,
            stacklevel=2,
        )

    def _hook_failed(self, hook: str, error: BaseException) -> None:
        logger.warning(
            "pool %r: %s failed, so the connection is closed: %s",
            self.name,
            hook,
            _messages.one_line(error),
            extra={"pool": self.name, "event": "hook_failed"},
        )

    def _overdue(self, kind: str, slot: int) -> None:
        """Learn that a job missed its deadline and was given up on."""
        limits = {"check": "validation_timeout"}
        limit = limits.get(kind, "connect_timeout")
        seconds = getattr(self._config, limit)
        message = f"{kind} took longer than {limit}={seconds}"
        if kind == "open":
            self._last_error = TimeoutError(message)
        logger.warning(
            "pool %r: connection %d: %s",
            self.name,
            slot,
            message,
            extra={"pool": self.name, "event": "overdue"},
        )

    def _is_fatal(self, connection: C, error: Exception) -> bool:
        """Say whether the error that ended a block was also the end of its connection."""
        if self._driver.is_demoted(connection, error):
            logger.warning(
                "pool %r: the server no longer takes writes, so all connections are replaced: %s",
                self.name,
                _messages.one_line(error),
                extra={"pool": self.name, "event": "demoted"},
            )
            self._evict_with(connection)
            return True
        return self._driver.is_disconnect(error)

    # What the jobs call.

    def _recognise(self, connection: C) -> None:
        """Look at the first connection: its class may tell the driver of a callable."""
        if self._recognised:
            return
        config = self._config
        self._driver = drivers.refine(
            self._driver, connection, options=config.session_options, needs=config.needs
        )
        self._set_validation(*self._validation(is_known=True))
        self._errors = errors.for_driver(self._driver.operational_error)
        self._recognised = True

    def _validation(self, *, is_known: bool) -> tuple[float | None, bool]:
        """Say how long connections may be silent, and whether they can be asked at all.

        Args:
            is_known: Whether the driver is the right one already; the first connection may tell.
        """
        config = self._config
        possible = config.validate is not None or self._driver.pings
        if config.validation_interval == 0 and is_known and not possible:
            raise PoolConfigError(_NO_PING.format(name=self._driver.name))
        return config.validation_interval if possible else None, possible

    def _reset_of(self, connection: C) -> object:
        """Say how the core resets this connection: not at all, by a method, or by a callable."""
        del connection  # all connections of a pool are alike
        if self._config.reset == "none":
            return None
        if self._config.reset == "session":
            return _jobs.session_reset(self._driver, self._config)
        if self._config.reset != "rollback":
            return self._config.reset
        if not self._driver.needs_reset:
            return None
        return self._driver.reset_method or self._driver.reset

    def _opened(self) -> None:
        self._last_error = None
        self._backoff.succeeded()
        self._changed()

    def _changed(self) -> None:
        with self._progress:
            self._progress.notify_all()
