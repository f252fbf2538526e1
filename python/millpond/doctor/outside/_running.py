"""A pool at work, as its process tells it by ``/pool.json``."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final

from millpond._config import PoolConfig
from millpond.doctor._findings import Place
from millpond.doctor._options import Option, PoolOptions, number_of
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Fleet", "RunningPool", "configurations", "read_document"]

# A share of fewer acquires is an accident.
_FEWEST: Final = 20
_PLANNED: Final = frozenset({"closed", "evicted", "shrunk"})
_DEFAULTS: Final = {each.name: each.default for each in fields(PoolConfig)}


@dataclass(frozen=True, slots=True, eq=False)
class RunningPool:
    """What one pool told of itself.

    Attributes:
        where: The URL or the file that it comes from.
        stats: ``PoolStats.to_dict()``.
        options: The arguments that it was made with, as plain values.
    """

    where: str
    stats: Mapping[str, Any]
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The pool's name."""
        return str(self.stats.get("name", "?"))

    @property
    def place(self) -> Place:
        """The process, in which there is no line: host and port, or the file."""
        return Place(self.where.removeprefix("http://").removesuffix("/pool.json"))

    def number(self, *path: str) -> float:
        """Return a number of the statistics, such as ``window``, ``acquired``; 0.0 for none."""
        value: Any = self.stats
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return _number(value) or 0.0

    def option(self, name: str) -> float | None:
        """Return an option that is a number; ``None`` for no limit, and for what is not told."""
        return _number(self.options.get(name))

    @property
    def closed(self) -> Mapping[str, float]:
        """Connections closed, by reason, without those that the pool was told to close."""
        counts = self.stats.get("closed")
        reasons = counts if isinstance(counts, dict) else {}
        numbers = {name: _number(count) or 0.0 for name, count in reasons.items()}
        return {name: count for name, count in numbers.items() if count and name not in _PLANNED}

    @property
    def asked(self) -> float:
        """Acquires of the window, those that failed included; 0.0 if they are too few to judge."""
        asked = self.number("window", "acquired") + self.number("window", "failed")
        return asked if asked >= _FEWEST else 0.0

    @property
    def connections(self) -> list[Mapping[str, Any]]:
        """Each connection."""
        told = self.stats.get("connections")
        return [one for one in told if isinstance(one, dict)] if isinstance(told, list) else []

    def as_configured(self) -> PoolOptions:
        """Return its options as the rules about configurations take them."""
        at = self.place
        given = {
            name: Option(value, at, known_url=str(value) if name == "connect" else "")
            for name, value in self.options.items()
            if name in _DEFAULTS or name == "connect"
        }
        return PoolOptions(
            kind="millpond.Pool", options=given, defaults=_DEFAULTS, place=at, name=self.name
        )


@dataclass(frozen=True, slots=True, eq=False)
class Fleet:
    """The pools of several processes."""

    pools: tuple[RunningPool, ...]

    @property
    def place(self) -> Place:
        """Nowhere in particular."""
        return Place()


def read_document(document: object, where: str) -> list[RunningPool]:
    """Return the pools of a ``/pool.json``.

    Args:
        document: What it has, as Python values.
        where: Where it comes from.

    Raises:
        PoolConfigError: It is something else.
    """
    pools = document.get("pools") if isinstance(document, dict) else None
    if not isinstance(pools, list) or not all(_is_pool(pool) for pool in pools):
        msg = f"process={where!r}: must be the /pool.json of millpond.web, or a file that has it"
        raise PoolConfigError(msg)
    return [RunningPool(where, pool["stats"], pool.get("options") or {}) for pool in pools]


def configurations(pools: Iterable[RunningPool]) -> list[PoolOptions]:
    """Return the configurations of pools that tell theirs."""
    return [pool.as_configured() for pool in pools if pool.options]


def _is_pool(pool: object) -> bool:
    if not isinstance(pool, dict) or not isinstance(pool.get("stats"), dict):
        return False
    return isinstance(pool.get("options") or {}, dict) and "max_size" in pool["stats"]


def _number(value: object) -> float | None:
    number = number_of(value)
    return None if number is None or math.isinf(number) else number
