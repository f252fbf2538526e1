"""`pool_options`: what a `PooledDB` can do that DBUtils can't, checked before anything is opened.

The names are those of `millpond.Pool`, and so are the checks. An option that is not given, or
``None``, changes nothing.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from millpond import _config
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from millpond._core import ManualClock


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolOptions:
    """The checked options of a pool. Durations are seconds as floats.

    Attributes:
        acquire_timeout: Seconds that `connection()` waits at the limit, whether the pool blocks or
            not; 0 does not wait. Without it, a pool that blocks waits for ever, and another one
            does not wait.
        max_waiting: Callers that may wait; the next one gets an error at once.
        idle_timeout: Seconds after which an idle connection is closed, in the background.
        max_lifetime: Seconds after which a connection is closed, however much it is used: when it
            is idle, or when it comes back.
        max_uses: Checkouts after which a connection is closed when it comes back. (`maxusage`
            counts statements, and replaces the connection in the middle of its use.)
        validation_interval: Seconds for which a sign of life counts: a connection that was given
            back or found alive within them is not pinged at its checkout, and an idle one is pinged
            in the background when they are over. It takes a driver with ``ping()``, or a statement
            or a callable as the pool's `ping`.
        validation_timeout: Seconds that such a ping may take before others stop to reckon with the
            connection. 5.0 by default.
        leak_threshold: Seconds after which a connection in use is reported as a leak, in the log
            ``millpond.pool``, with its thread and the line that checked it out.
        name: The pool's name in messages, statistics and thread names. ``PooledDB-N`` by default.
        on_acquire: Called with a connection before it is lent, in the caller's thread.
        on_release: Called with a connection when it comes back, before it is reset.
    """

    acquire_timeout: float | None = None
    max_waiting: int | None = None
    idle_timeout: float | None = None
    max_lifetime: float | None = None
    max_uses: int | None = None
    validation_interval: float | None = None
    validation_timeout: float = 5.0
    leak_threshold: float | None = None
    name: str | None = None
    on_acquire: Callable[[Any], object] | None = None
    on_release: Callable[[Any], object] | None = None
    # For tests, as the arguments of `Pool` with these names.
    _clock: ManualClock | None = None
    _inline: bool = False

    def __post_init__(self) -> None:
        """Check each option.

        Raises:
            PoolConfigError: A value has the wrong type or is out of range.
        """
        for name in _NAMES:
            if name != "validation_timeout" and getattr(self, name) is None:
                continue
            try:
                object.__setattr__(self, name, _config.check(name, getattr(self, name)))
            except PoolConfigError as error:
                msg = f"pool_options: {error}"
                raise PoolConfigError(msg) from None

    @property
    def limits_age(self) -> bool:
        """Whether connections are pinged or closed for what they went through."""
        limits = self.idle_timeout, self.max_lifetime, self.max_uses, self.validation_interval
        return limits != (None,) * len(limits)

    @property
    def needs_upkeep(self) -> bool:
        """Whether connections have to be looked at when they are lent and when they come back."""
        others = {"max_waiting", "name", "validation_timeout"}
        return any(getattr(self, name) is not None for name in _NAMES if name not in others)


_NAMES = tuple(field.name for field in fields(PoolOptions) if not field.name.startswith("_"))


def parse(*sources: object) -> PoolOptions:
    """Return the options of several mappings, of which the later ones win, key by key.

    Args:
        *sources: Mappings of options, or ``None``.

    Raises:
        PoolConfigError: One is no mapping, has an unknown option, or a value that can't be.
    """
    merged: dict[str, Any] = {}
    for source in sources:
        merged.update(_checked(source))
    return PoolOptions(**merged)


def _checked(source: object) -> Mapping[str, Any]:
    if source is None:
        return {}
    if not isinstance(source, Mapping):
        msg = f"pool_options=<{type(source).__name__}>: must be a mapping of options, or None"
        raise PoolConfigError(msg)
    known = {field.name for field in fields(PoolOptions)}
    for name in source:
        if name not in known:
            close = difflib.get_close_matches(str(name), _NAMES, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            msg = f"pool_options: {name!r} is unknown; known are {', '.join(_NAMES)}{hint}"
            raise PoolConfigError(msg)
    return source
