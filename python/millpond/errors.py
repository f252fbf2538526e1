"""The errors of a pool, on their own and as errors of a driver.

Code that already says ``except psycopg.OperationalError`` should not have to change when it moves
to a pool. So a pool whose driver is known raises subclasses made by `for_driver()`, which are also
that driver's ``OperationalError``. They keep the name and the module of the class they stand for:
a traceback says ``millpond.PoolTimeout`` whatever the driver, and ``except millpond.PoolTimeout``
catches them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

if TYPE_CHECKING:
    from typing import Self

    from millpond._stats import PoolStats

    _E = TypeVar("_E", bound="PoolError")


class PoolError(Exception):
    """Anything that a pool raises by itself.

    Attributes:
        code: The error's stable name, for logs and ``millpond doctor --explain``.
    """

    __module__ = "millpond"
    code: ClassVar[str] = "pool-error"


class PoolTimeout(PoolError):
    """No connection became free within the acquire timeout.

    Every instance is a ``TimeoutError`` too, unless the driver's own error cannot share a layout
    with it (psycopg2's cannot). ``__cause__`` is the driver's last error if connecting failed.

    Attributes:
        reason: Why no connection came: ``"exhausted"``, ``"leak_suspected"``, ``"slow_queries"``,
            ``"database_down"``, ``"connects_slow"`` or ``"starved_by_priority"``. The message has
            what it was told by, and what to do.
        stats: What the pool was like at that moment.
    """

    # TimeoutError is not a base class here, or psycopg2's errors could never be a PoolTimeout: both
    # are C structs with fields of their own. It is mixed in wherever it fits instead.
    __module__ = "millpond"
    code: ClassVar[str] = "pool-timeout"
    reason: str | None = None
    stats: PoolStats | None = None

    def __new__(cls, *args: object) -> Self:
        """Make the variant that is a ``TimeoutError`` when the class is used directly."""
        kind: Any = _PLAIN_TIMEOUT if cls is PoolTimeout else cls
        made: Self = super(PoolTimeout, kind).__new__(kind, *args)
        return made


class PoolClosed(PoolError):
    """The pool was closed, before or during the call."""

    __module__ = "millpond"
    code: ClassVar[str] = "pool-closed"


class PoolExhausted(PoolError):
    """``max_waiting`` callers are waiting already, or nobody is to, by ``on_exhausted="raise"``."""

    __module__ = "millpond"
    code: ClassVar[str] = "pool-exhausted"


class QueryTimeout(PoolError):
    """A statement was cancelled on the server, as its query timeout was over.

    ``__cause__`` is what the driver raised. Every instance is a ``TimeoutError`` too, where the
    driver's own error can share a layout with it.
    """

    __module__ = "millpond"
    code: ClassVar[str] = "query-timeout"


class PoolConfigError(PoolError, ValueError):
    """An argument has the wrong type or value, or contradicts another one."""

    __module__ = "millpond"
    code: ClassVar[str] = "pool-config"


class PoolConfigWarning(UserWarning):
    """Arguments that are valid, and seldom what anybody wants. Given once, when a pool is made."""

    __module__ = "millpond"


@dataclass(frozen=True, slots=True)
class ErrorSet:
    """The classes that one pool raises.

    Attributes:
        error: A `PoolError`.
        timeout: A `PoolTimeout`.
        closed: A `PoolClosed`.
        exhausted: A `PoolExhausted`.
        query_timeout: A `QueryTimeout`.
    """

    error: type[PoolError]
    timeout: type[PoolTimeout]
    closed: type[PoolClosed]
    exhausted: type[PoolExhausted]
    query_timeout: type[QueryTimeout]


def for_driver(operational_error: type[Exception] | None) -> ErrorSet:
    """Return the classes to raise for a driver, always the same ones for the same driver.

    Safe to call from any thread.

    Args:
        operational_error: The driver's ``OperationalError``, or ``None`` if it is not known.

    Returns:
        Subclasses of the public errors that are also ``operational_error``. Where Python cannot
        make such a class, one without it.
    """
    made = _SETS.get(operational_error)
    if made is None:
        made = ErrorSet(
            error=_mix(PoolError, operational_error),
            timeout=_mix(PoolTimeout, operational_error, TimeoutError),
            closed=_mix(PoolClosed, operational_error),
            exhausted=_mix(PoolExhausted, operational_error),
            query_timeout=_mix(QueryTimeout, operational_error, TimeoutError),
        )
    # setdefault: two threads that got here together must leave with the same classes.
    return _SETS.setdefault(operational_error, made)


def _mix(base: type[_E], *others: type[Exception] | None) -> type[_E]:
    """Return the subclass of `base` with as many of `others` as Python can join."""
    wanted = [other for other in others if other is not None]
    # Without the last (TimeoutError), then without the first (the driver's).
    choices = [wanted, wanted[:1], wanted[1:]]
    # adbc's errors need a keyword argument: the second attempt goes past the driver's constructor.
    constructors: tuple[dict[str, object], ...] = ({}, {"__init__": _initialize})
    for parents, namespace in product(filter(None, choices), constructors):
        made = _subclass(base, parents, namespace)
        if made is not None:
            return made
    return base


def _subclass(
    base: type[_E], parents: list[type[Exception]], namespace: dict[str, object]
) -> type[_E] | None:
    """Return the subclass if it can be made, instantiated and printed."""

    # Whoever unpickles it may not have the driver, and could not find a class made at run time.
    def reduce(self: Exception) -> tuple[type[_E], tuple[str], dict[str, Any] | None]:
        return base, (str(self),), self.__dict__ or None

    special = {"__module__": base.__module__, "__doc__": base.__doc__, "__reduce__": reduce}
    try:
        made = type(base.__name__, (base, *parents), namespace | special)
        return made if str(made("probe")) == "probe" else None
    except Exception:  # noqa: BLE001  # the driver's constructor may raise anything
        return None


def _initialize(self: Exception, *args: object) -> None:
    Exception.__init__(self, *args)


_SETS: dict[type[Exception] | None, ErrorSet] = {}
_PLAIN_TIMEOUT = for_driver(None).timeout
