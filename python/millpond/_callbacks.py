"""What the core and the jobs call back: the half of `Pool` that its users never call.

Any of these may run in any thread, also in a finalizer.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any, Final, TypeVar

from millpond import _explain, _jobs, _messages, drivers, errors
from millpond._config import check_acquire
from millpond._observed import Observed
from millpond._timer import TIMER
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from millpond._config import PoolConfig
    from millpond._core import Job
    from millpond._stats import PoolStats

C = TypeVar("C")

_NO_PING: Final = (
    "validation_interval=0: the driver {name} has no ping; say with validate= how to validate"
)

logger = logging.getLogger("millpond.pool")


class Callbacks(Observed[C]):
    """See the head of this file."""

    _config: PoolConfig
    _driver: drivers.Driver[C]
    _errors: errors.ErrorSet
    _progress: threading.Condition
    _backoff: _jobs.Backoff
    _recognised: bool
    _finished: bool

    def _engine_options(self) -> dict[str, Any]:
        """Return what the core is told when it starts."""
        config = self._config
        names = (
            "min_size max_size max_waiting max_uses policy acquire_timeout connect_timeout "
            "max_connecting fail_fast_after idle_timeout max_lifetime validation_timeout "
            "leak_threshold on_acquire on_release"
        )
        options = {name: getattr(config, name) for name in names.split()}
        interval, validates = self._validation(is_known=self._is_known())
        if config.on_exhausted == "raise":
            options["max_waiting"] = 0
        hook = config.on_exhausted if callable(config.on_exhausted) else None
        options |= {"on_exhausted": hook, "shed": config.shed}
        options |= {"validation_interval": interval, "validates": validates}
        return {**options, "clock": self._clock}

    def _is_known(self) -> bool:
        """Say whether the driver is the right one already; else the first connection may tell."""
        driver: object = self._driver
        return type(driver) is not drivers.Dbapi

    def _submit(self, job: Job) -> None:
        self._workers.submit(lambda: _jobs.run(self, job))

    def _poke(self) -> None:
        if self._clock is None and not self._finished:
            TIMER.wake(self)

    def _failure(self, kind: str, detail: Any) -> errors.PoolError:  # noqa: ANN401
        """Make the exception for a failure."""
        if kind in {"timeout", "not_ready", "down"}:
            return self._failure_in_time(kind, detail)
        if kind in {"bad_timeout", "bad_priority"}:
            timeout, priority = (detail, "normal") if kind == "bad_timeout" else (None, detail)
            try:
                check_acquire(timeout, priority)
            except PoolConfigError as error:
                return error
        if kind == "full" and self._config.on_exhausted == "raise":
            kind = "none_free"
        kinds: dict[str, type[errors.PoolError]] = {
            "closed": self._errors.closed,
            "full": self._errors.exhausted,
            "none_free": self._errors.exhausted,
        }
        message = _messages.FAILURES[kind].format(
            name=self.name,
            detail=f"<{type(detail).__name__} at {id(detail):#x}>",
            waiting=self._counts()[2],
            max_waiting=self._config.max_waiting,
        )
        if kind == "hopeless":
            return self._timeout(message, "exhausted", self.stats(), None)
        return kinds.get(kind, self._errors.error)(message)

    def _failure_in_time(
        self, kind: str, detail: float | tuple[float, int] | None
    ) -> errors.PoolTimeout:
        """Make the exception for a wait that was too long, or would be.

        Args:
            kind: ``"timeout"`` of an acquire, which ends by it; ``"not_ready"`` of `Pool.wait`;
                ``"down"`` if the caller does not even wait.
            detail: How many seconds it waited; or that, and how many callers with priority were
                served meanwhile.
        """
        if kind == "timeout":
            self._count_timeout()
        seconds, overtaken = detail if isinstance(detail, tuple) else (detail or 0.0, 0)
        stats, error = self.stats(), self._last_error
        if kind == "down":
            return self._timeout(_messages.down(stats, error), "database_down", stats, error)
        wait = _explain.Wait(
            seconds,
            overtaken,
            error,
            leak_threshold=self._config.leak_threshold,
            suspended=self.suspended,
            running=_messages.running(
                one.holder for one in stats.connections if one.holder is not None
            ),
            own=self._caller(),
            ready=stats.min_size if kind == "not_ready" else None,
        )
        reason = _explain.reason_of(stats, wait)
        message = _explain.message_of(stats, wait, reason)
        timeout = self._timeout(message, reason, stats, error)
        if kind == "timeout":
            self._emit("timed_out", seconds=seconds, reason=reason, error=timeout)
        return timeout

    def _caller(self) -> int:
        """Return the number by which the core knows who is calling."""
        return threading.get_ident()

    def _timeout(
        self, message: str, reason: str, stats: PoolStats, error: BaseException | None
    ) -> errors.PoolTimeout:
        timeout = self._errors.timeout(message)
        timeout.reason, timeout.stats = reason, stats
        timeout.__cause__ = error
        return timeout

    def _site(self) -> tuple[str, int, str]:
        """Find the line that acquires: the core has no frame, so it is the caller's."""
        return _messages.caller(sys._getframe(1))

    def _leaked(
        self, slot: int, holder: int, held: float, site: tuple[str, int, str] | None
    ) -> None:
        now = _messages.place_now(holder)
        logger.warning(
            "pool %r: connection %d has been held for %s by %s%s%s",
            self.name,
            slot,
            _messages.span(held),
            _messages.thread_name(holder),
            f", acquired at {_messages.place(site)}" if site else "",
            f", now at {now}" if now else "",
            extra={"pool": self.name, "event": "leaked"},
        )
        line = _messages.place(site) if site else None
        self._emit_later("leaked", slot=slot, seconds=held, reason=line)

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
        error = TimeoutError(message)
        if kind == "open":
            self._note_failure(error, time.perf_counter())
            self._emit_later("open_failed", slot=slot, seconds=seconds, error=error)
        elif kind == "check":
            self._emit_later("validation_failed", slot=slot, seconds=seconds, reason=message)
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
        recovered = self._note_success()
        self._backoff.succeeded()
        self._changed()
        if recovered is not None:
            seconds, error = recovered
            self._emit("recovered", seconds=seconds, error=error, shield=BaseException)

    def _changed(self) -> None:
        with self._progress:
            self._progress.notify_all()
