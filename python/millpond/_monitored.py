"""`monitored`: how long a function takes, and what its pool is like before and after."""

from __future__ import annotations

import functools
import inspect
import logging
import time
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from millpond._config import check_timeout
from millpond._messages import one_line, span
from millpond._watched import check_pool
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from millpond._stats import PoolStats
    from millpond._watched import Watched

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger("millpond.monitored")


def monitored(
    pool: Watched, *, slow: float | None = 5.0
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function or coroutine function, to log how long each call takes.

    ```python
    @millpond.monitored(pool, slow=1.0)
    def checkout(cart): ...
    ```

    Logged under ``millpond.monitored``: a warning for a call that took longer than `slow`, and all
    others at the level DEBUG, those that raise as well. Each with what the pool was like before and
    after. As extra fields the record has ``pool``, ``event`` (``"slow"`` or ``"called"``),
    ``function``, ``seconds``, ``error`` (the exception's class, or ``None``), ``before`` and
    ``after`` (``size``, ``in_use``, ``idle``, ``waiting`` and ``max_size`` each).

    Costs two calls of `Pool.stats()`, so it is for what takes milliseconds and more. The function
    keeps its name, signature and types, and may be called from any thread.

    Args:
        pool: The pool that the function uses, of any kind.
        slow: Seconds above which a call is slow. 5.0 by default, ``None`` never.

    Returns:
        The decorator.

    Raises:
        PoolConfigError: An argument is not valid, or what is decorated is no function, or a
            generator, whose work is done after the call.
    """
    check_pool(pool)
    limit = check_timeout(slow, name="slow", none="never")

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        _refuse_generators(function)
        name = f"{function.__module__}.{function.__qualname__}"

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def watched_coroutine(*args: P.args, **kwargs: P.kwargs) -> Any:  # noqa: ANN401
                with _Call(pool, name, limit):
                    return await function(*args, **kwargs)

            return watched_coroutine  # type: ignore[return-value]  # R is its coroutine

        @functools.wraps(function)
        def watched(*args: P.args, **kwargs: P.kwargs) -> R:
            with _Call(pool, name, limit):
                return function(*args, **kwargs)

        return watched

    return decorate


def _refuse_generators(function: Any) -> None:  # noqa: ANN401  whatever is decorated
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        why = "is a generator, whose work is done after the call; decorate who runs through it"
    elif not inspect.isroutine(function):
        why = "must be a function or a coroutine function"
    else:
        return
    name = getattr(function, "__qualname__", type(function).__name__)
    msg = f"@monitored: {name} {why}"
    raise PoolConfigError(msg)


class _Call:
    """One call, from before it to after it."""

    __slots__ = ("_before", "_limit", "_name", "_pool", "_started")

    def __init__(self, pool: Watched, name: str, limit: float | None) -> None:
        self._pool = pool
        self._name = name
        self._limit = limit

    def __enter__(self) -> Self:
        self._before = self._pool.stats()
        self._started = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        seconds = time.perf_counter() - self._started
        is_slow = self._limit is not None and seconds > self._limit
        level = logging.WARNING if is_slow else logging.DEBUG
        if not logger.isEnabledFor(level):
            return
        after = self._pool.stats()
        logger.log(
            level,
            "%s took %s%s; pool %r before: %s; after: %s",
            self._name,
            span(seconds),
            f" and failed: {one_line(error)}" if error is not None else "",
            after.name,
            _words(self._before),
            _words(after),
            extra={
                "pool": after.name,
                "event": "slow" if is_slow else "called",
                "function": self._name,
                "seconds": seconds,
                "error": None if kind is None else kind.__name__,
                "before": _numbers(self._before),
                "after": _numbers(after),
            },
        )


def _numbers(stats: PoolStats) -> dict[str, int]:
    names = ("size", "in_use", "idle", "waiting", "max_size")
    return {name: getattr(stats, name) for name in names}


def _words(stats: PoolStats) -> str:
    return f"{stats.in_use} of {stats.max_size} in use, {stats.waiting} waiting"
