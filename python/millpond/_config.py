"""What a pool is told, checked before it does anything.

`PoolConfig` holds every argument of the pool's constructor but the first one. A value that cannot
work is refused here, with the name of the parameter, the value and what is allowed, so that nothing
behind this file has to doubt its numbers.
"""

from __future__ import annotations

import inspect
import reprlib
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, TypeAlias

from millpond.drivers import ISOLATION_LEVELS, SessionOptions
from millpond.errors import PoolConfigError, PoolConfigWarning

_Check: TypeAlias = Callable[[str, Any], object]
_Hook: TypeAlias = Callable[[Any], object]

MAX_SIZE: Final = 100_000
MAX_COUNT: Final = 1_000_000_000
MAX_SECONDS: Final = 10 * 365 * 86_400


class _Unset(float):
    """A default that can be told from the same number given by the user."""

    __slots__ = ()


# A user who gives acquire_timeout=1.0 never spoke of validation_timeout, and must not be told that
# the two contradict each other. Only a value that is not this object can contradict.
VALIDATION_TIMEOUT: Final[float] = _Unset(5.0)
FAIL_FAST_AFTER: Final[float] = _Unset(5.0)
CONNECT_TIMEOUT: Final[float] = _Unset(5.0)

# From here on it is more likely a mistake than a wish: who waits for so long for a connection has
# been given up by its own caller; connections that come and go so fast are not pooled.
LONG_ACQUIRE: Final = 5.0
SHORT_IDLE: Final = 30.0


def check_timeout(
    timeout: object, *, name: str = "timeout", none: str = "no limit"
) -> float | None:
    """Check the timeout of one call.

    Args:
        timeout: Seconds to wait. ``0`` means do not wait.
        name: What the error calls the argument.
        none: What ``None`` means there.

    Returns:
        The timeout in seconds as a float, or ``None``.

    Raises:
        PoolConfigError: It is neither ``None`` nor a number of seconds from 0 to ten years.
    """
    return None if timeout is None else _seconds(name, timeout, zero=True, none=none)


def check_seconds(name: str, value: object) -> float:
    """Check an argument that is a time above 0, and return it.

    Raises:
        PoolConfigError: It is not a number of seconds above 0, up to ten years.
    """
    return _seconds(name, value)


def check_acquire(timeout: Any, priority: Any) -> None:  # noqa: ANN401
    """Check what a caller is ready to bear. ``None`` is the pool's timeout, infinity no limit.

    Raises:
        PoolConfigError: The timeout is no number of seconds, or there is no such priority.
    """
    if not (_is_number(timeout, (int, float)) and timeout > MAX_SECONDS):
        check_timeout(timeout, none="the pool's acquire_timeout, and math.inf for no limit")
    if not isinstance(priority, str) or priority not in {"normal", "high"}:
        msg = f"priority={priority!r}: must be 'normal' or 'high'"
        raise PoolConfigError(msg)


def check_integer(name: str, value: object, low: int, high: int = MAX_COUNT) -> int:
    """Check an argument that is a whole number, and return it.

    Raises:
        PoolConfigError: It is not an int from `low` to `high`.
    """
    number: Any = _integer(low, high)(name, value)
    return int(number)


def check_between(
    name: str, value: object, low: float, high: float, *, zero: bool = False
) -> float:
    """Check an argument that is a number between two others, and return it.

    Raises:
        PoolConfigError: It is not an int or float above `low` and below `high`, nor 0 with `zero`.
    """
    number: Any = value
    if not _is_number(number, (int, float)) or not (low < number < high or (zero and not number)):
        allowed = f"a number above {low:g} and below {high:g}"
        raise _refuse(name, value, f"0 or {allowed}" if zero else allowed)
    return float(number)


def check_order(low_name: str, low: float, high_name: str, high: float) -> None:
    """Check that of two arguments the first is not above the second.

    Raises:
        PoolConfigError: It is.
    """
    if low > high:
        _contradict(low_name, low, high_name, high)


def check(name: str, value: object) -> Any:  # noqa: ANN401  whatever the argument is
    """Check one argument of `PoolConfig` by itself, and return it as it is to be used.

    Raises:
        PoolConfigError: It has the wrong type or is out of range.
    """
    return _CHECKS[name](name, value)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolConfig:
    """The checked arguments of a pool. Durations are seconds as floats, ``None`` is no limit.

    The constructor of the pool documents each of them. `driver` and `connect_kwargs` are checked
    once more by `millpond.drivers.find()`, together with the argument that they depend on.

    Raises:
        PoolConfigError: A value has the wrong type, is out of range or contradicts another one.
    """

    min_size: int = 0
    max_size: int = 10
    acquire_timeout: float | None = 5.0
    connect_timeout: float | None = CONNECT_TIMEOUT
    max_connecting: int | None = 32
    fail_fast_after: float | None = FAIL_FAST_AFTER
    idle_timeout: float | None = 600.0
    max_lifetime: float | None = 3600.0
    max_uses: int | None = None
    max_waiting: int | None = None
    validation_interval: float | None = 30.0
    validation_timeout: float = VALIDATION_TIMEOUT
    max_latency: float | None = None
    reset: str | _Hook = "rollback"
    leak_threshold: float | None = None
    policy: str = "fair"
    name: str | None = None
    driver: Any = None
    # Out of the repr: this is where passwords are.
    connect_kwargs: Mapping[str, Any] | None = field(default=None, repr=False)
    socket_timeout: float | None = None
    statement_timeout: float | None = None
    keepalive: bool | float | None = None
    application_name: str | None = None
    autocommit: bool | None = None
    isolation_level: str | None = None
    read_only: bool | None = None
    session: str | Iterable[str] = field(default=(), repr=False)
    profile: str | None = None
    configure: _Hook | None = None
    validate: str | _Hook | None = None
    on_acquire: _Hook | None = None
    on_release: _Hook | None = None
    on_exhausted: str | _Hook = "wait"
    shed: bool = False
    on_close: _Hook | None = None

    def __post_init__(self) -> None:
        """Check each argument alone, then those that depend on each other."""
        derived = isinstance(self.validation_timeout, _Unset)
        impatient = isinstance(self.fail_fast_after, _Unset)
        adapts = isinstance(self.connect_timeout, _Unset)
        for name in _CHECKS:
            object.__setattr__(self, name, check(name, getattr(self, name)))
        check_order("min_size", self.min_size, "max_size", self.max_size)
        if self.on_exhausted == "raise" and self.max_waiting:
            msg = f"on_exhausted='raise', max_waiting={self.max_waiting}: nobody waits then"
            raise PoolConfigError(msg)
        self._check_socket_timeout(adapts=adapts)
        # An acquire_timeout of 0 is for callers that never wait, and says nothing about validation.
        if self.acquire_timeout and self.validation_timeout > self.acquire_timeout:
            if not derived:
                _contradict(
                    "validation_timeout",
                    self.validation_timeout,
                    "acquire_timeout",
                    self.acquire_timeout,
                )
            object.__setattr__(self, "validation_timeout", self.acquire_timeout)
        if impatient and self.acquire_timeout and self.acquire_timeout < FAIL_FAST_AFTER:
            object.__setattr__(self, "fail_fast_after", self.acquire_timeout)
        if not derived and self.max_latency and self.max_latency > self.validation_timeout:
            _contradict(
                "max_latency", self.max_latency, "validation_timeout", self.validation_timeout
            )

    def _check_socket_timeout(self, *, adapts: bool) -> None:
        """Connecting is reading from a socket too, and must not be given up halfway."""
        socket, connect = self.socket_timeout, self.connect_timeout
        if socket is None or connect is None or socket >= connect:
            return
        if not adapts:
            _contradict("connect_timeout", connect, "socket_timeout", socket)
        object.__setattr__(self, "connect_timeout", socket)

    @property
    def session_options(self) -> SessionOptions:
        """What the driver is told about its sessions."""
        names = (field.name for field in fields(SessionOptions))
        return SessionOptions(**{name: getattr(self, name) for name in names})

    @property
    def needs(self) -> dict[str, str]:
        """What the driver has to be able to do, as `drivers.find` takes it."""
        return {"reset_session": "reset='session'"} if self.reset == "session" else {}

    def advise(self) -> None:
        """Warn of what is valid and seldom wanted, at the line that made the pool."""
        advice = []
        if self.acquire_timeout is not None and self.acquire_timeout > LONG_ACQUIRE:
            advice.append(
                f"acquire_timeout={self.acquire_timeout:g}: over {LONG_ACQUIRE:g} s callers pile "
                "up behind a database that is down or busy, rather than being told"
            )
        if self.idle_timeout is not None and self.idle_timeout < SHORT_IDLE:
            advice.append(
                f"idle_timeout={self.idle_timeout:g}: under {SHORT_IDLE:g} s most connections are "
                "opened for one use, which costs more than it saves"
            )
        for text in advice:
            warnings.warn(text, PoolConfigWarning, stacklevel=_depth_of_user())

    def resized(self, *, min_size: int | None = None, max_size: int | None = None) -> PoolConfig:
        """Return the same configuration with other sizes.

        Args:
            min_size: Connections to keep open. ``None`` keeps the present value.
            max_size: Connections that may be open at once. ``None`` keeps the present value.

        Returns:
            A new configuration, checked like any other.

        Raises:
            PoolConfigError: A size is out of range, or `min_size` would be above `max_size`.
        """
        return replace(
            self,
            min_size=self.min_size if min_size is None else min_size,
            max_size=self.max_size if max_size is None else max_size,
        )


def _depth_of_user() -> int:
    """Return the stacklevel, for the caller, of the first frame outside of this package."""
    frame, depth = inspect.currentframe(), 0
    while frame is not None and frame.f_globals.get("__name__", "").startswith("millpond."):
        frame, depth = frame.f_back, depth + 1
    return depth


def _refuse(name: str, value: object, allowed: str) -> PoolConfigError:
    return PoolConfigError(f"{name}={_show(value)}: must be {allowed}")


def _contradict(name: str, value: float, limit_name: str, limit: float) -> None:
    msg = f"{name}={value!r}, {limit_name}={limit!r}: {name} must not be above {limit_name}"
    raise PoolConfigError(msg)


def _show(value: object) -> str:
    """Return a repr that fits on a line and never fails."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = 60
    try:
        return short.repr(value)
    except ValueError:  # an int of more than 4300 digits
        return f"<{type(value).__name__}>"


def _is_number(value: object, kinds: type | tuple[type, ...]) -> bool:
    # True is an int for Python, but max_size=True is a slip of the user.
    return isinstance(value, kinds) and not isinstance(value, bool)


def _integer(low: int, high: int, *, optional: bool = False) -> _Check:
    allowed = f"an int from {low} to {high}" + (", or None for no limit" if optional else "")

    def check(name: str, value: Any) -> object:  # noqa: ANN401
        if value is None and optional:
            return None
        if not _is_number(value, int) or not low <= value <= high:
            raise _refuse(name, value, allowed)
        return int(value)

    return check


def _seconds(name: str, value: Any, *, zero: bool = False, none: str | None = None) -> float:  # noqa: ANN401
    lowest = "not negative" if zero else "above 0"
    # NaN fails both comparisons, and infinity the second one.
    valid = _is_number(value, (int, float)) and 0 <= value <= MAX_SECONDS and (zero or value != 0)
    if not valid:
        advice = f"; use None for {none}" if none else ""
        limit = f"at most {MAX_SECONDS} (10 years)"
        raise _refuse(name, value, f"seconds as an int or float, {lowest}, {limit}{advice}")
    return float(value)


def _duration(*, zero: bool = False, none: str | None = None) -> _Check:
    def check(name: str, value: Any) -> object:  # noqa: ANN401
        if value is None and none:
            return None
        return _seconds(name, value, zero=zero, none=none)

    return check


def _one_of(*words: str, or_callable: bool = False) -> _Check:
    allowed = " or ".join(map(repr, words)) + (" or a callable" if or_callable else "")

    def check(name: str, value: Any) -> object:  # noqa: ANN401
        if (or_callable and callable(value)) or (isinstance(value, str) and value in words):
            return value
        raise _refuse(name, value, allowed)

    return check


def _hook(name: str, value: Any) -> object:  # noqa: ANN401
    if value is None or callable(value):
        return value
    raise _refuse(name, value, "a callable that takes the connection, or None")


def _validator(name: str, value: Any) -> object:  # noqa: ANN401
    if value is None or callable(value) or (isinstance(value, str) and value.strip()):
        return value
    raise _refuse(name, value, "a statement, a callable that takes the connection, or None")


def _flag(name: str, value: Any) -> object:  # noqa: ANN401
    if isinstance(value, bool):
        return value
    raise _refuse(name, value, "a bool")


def _optional(check: _Check) -> _Check:
    """Allow ``None`` as well, which leaves it to the driver."""

    def checked(name: str, value: Any) -> object:  # noqa: ANN401
        if value is None:
            return None
        try:
            return check(name, value)
        except PoolConfigError as error:
            msg = f"{error}, or None for what the driver does by itself"
            raise PoolConfigError(msg) from None

    return checked


def _keepalive(name: str, value: Any) -> object:  # noqa: ANN401
    if isinstance(value, bool):
        return value
    if _is_number(value, (int, float)) and 0 < value <= MAX_SECONDS:
        return float(value)
    raise _refuse(name, value, "a bool, or the seconds of silence before the first probe")


def _statements(name: str, value: Any) -> object:  # noqa: ANN401
    statements = (value,) if isinstance(value, str) else value
    if isinstance(statements, (list, tuple)) and all(
        isinstance(one, str) and one.strip() for one in statements
    ):
        return tuple(statements)
    # A statement may hold a password, so only its type is shown.
    msg = f"{name}=<{type(value).__name__}>: must be a statement, or a list or tuple of statements"
    raise PoolConfigError(msg)


def _name(name: str, value: Any) -> object:  # noqa: ANN401
    if value is None or (isinstance(value, str) and value.strip()):
        return value
    raise _refuse(name, value, "a non-empty str or None")


def _driver(name: str, value: Any) -> object:  # noqa: ANN401
    if value is None or (isinstance(value, str) and value) or callable(getattr(value, "reset", 0)):
        return value
    raise _refuse(name, value, "the name of a driver, a Driver or None")


def _kwargs(name: str, value: Any) -> object:  # noqa: ANN401
    if value is None:
        return None
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return dict(value)
    # The value may hold a password, so only its type is shown.
    msg = f"{name}=<{type(value).__name__}>: must be a mapping with str keys, or None"
    raise PoolConfigError(msg)


_CHECKS: Final[Mapping[str, _Check]] = {
    "min_size": _integer(0, MAX_SIZE),
    "max_size": _integer(1, MAX_SIZE),
    "acquire_timeout": _duration(zero=True, none="no limit"),
    "connect_timeout": _duration(none="no limit"),
    "max_connecting": _integer(1, MAX_SIZE, optional=True),
    "fail_fast_after": _duration(zero=True, none="never"),
    "idle_timeout": _duration(none="no limit"),
    "max_lifetime": _duration(none="no limit"),
    "max_uses": _integer(1, MAX_COUNT, optional=True),
    "max_waiting": _integer(0, MAX_COUNT, optional=True),
    "validation_interval": _duration(zero=True, none="never"),
    "validation_timeout": _duration(),
    "max_latency": _duration(none="no limit"),
    "reset": _one_of("rollback", "session", "none", or_callable=True),
    "leak_threshold": _duration(none="no leak reports"),
    "policy": _one_of("fair", "throughput"),
    "name": _name,
    "driver": _driver,
    "connect_kwargs": _kwargs,
    "socket_timeout": _duration(none="what the driver does by itself"),
    "statement_timeout": _duration(none="what the driver does by itself"),
    "keepalive": _optional(_keepalive),
    "application_name": _name,
    "autocommit": _optional(_flag),
    "isolation_level": _optional(_one_of(*ISOLATION_LEVELS)),
    "read_only": _optional(_flag),
    "session": _statements,
    "profile": _optional(_one_of("pgbouncer")),
    "configure": _hook,
    "validate": _validator,
    "on_acquire": _hook,
    "on_release": _hook,
    "on_exhausted": _one_of("wait", "raise", or_callable=True),
    "shed": _flag,
    "on_close": _hook,
}
