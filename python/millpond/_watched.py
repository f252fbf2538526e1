"""Pools as those see them who only look: exporters, health rules, the web pages.

Whoever looks takes the pools that he is given, or all that live at the moment of each look. None is
kept alive by being looked at, unless it was given.
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from millpond import _lifecycle, _plain
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from millpond._stats import PoolStats


class Watched(Protocol):
    """Anything that can be looked at: a pool of any kind."""

    def stats(self) -> PoolStats:
        """Return what it is like right now."""


Pools: TypeAlias = "Iterable[Watched] | Callable[[], Iterable[Watched]] | None"


def chosen(pools: Pools) -> Callable[[], tuple[Watched, ...]]:
    """Return a function that gives the pools to look at.

    Args:
        pools: The pools, or a callable that returns them; of these the closed ones are left out.
            ``None`` is for all pools of the process, those that are yet to be made included.

    Raises:
        PoolConfigError: One of them is no pool.
    """
    if pools is None:
        return _lifecycle.pools
    if callable(pools):
        return lambda: _living(pools())
    try:
        given = tuple(pools)
    except TypeError:
        msg = f"pools=<{type(pools).__name__}>: must be several, such as [pool], or a callable"
        raise PoolConfigError(msg) from None
    for pool in given:
        check_pool(pool, "pools")
    return lambda: _living(given)


def _living(pools: Iterable[Watched]) -> tuple[Watched, ...]:
    return tuple(pool for pool in pools if not getattr(pool, "closed", False))


def check_pool(pool: object, name: str = "pool") -> None:
    """Refuse what has no statistics.

    Raises:
        PoolConfigError: It has none.
    """
    if not callable(getattr(pool, "stats", None)):
        msg = f"{name}=<{type(pool).__name__}>: must be a pool, with a method stats()"
        raise PoolConfigError(msg)


def leak_threshold_of(pool: Any) -> float | None:  # noqa: ANN401  a pool of any kind
    """Return the seconds after which a pool reports a leak, if it does and tells."""
    config = getattr(getattr(pool, "_pool", pool), "_config", None)
    return None if config is None else config.leak_threshold


def options_of(pool: Any) -> dict[str, Any]:  # noqa: ANN401  a pool of any kind
    """Return the arguments that a pool was made with as plain values, without any password.

    A pool that is not ours, such as one of `millpond.dbutils`, tells nothing.
    """
    inner = getattr(pool, "_pool", pool)
    config, driver = getattr(inner, "_config", None), getattr(inner, "_driver", None)
    return {} if config is None or driver is None else _plain.options(config, driver)


class Labels:
    """Names by which the pools can be told apart.

    Nobody has to give his pools different names, but two series of metrics with the same name are
    none. So while pools of the same name live, the younger ones get a number. A pool keeps its
    label for life.
    """

    def __init__(self) -> None:
        """Begin with no names given."""
        self._lock = threading.Lock()
        self._given: weakref.WeakKeyDictionary[Watched, str] = weakref.WeakKeyDictionary()

    def label(self, looks: Iterable[tuple[Watched, PoolStats]]) -> list[tuple[str, PoolStats]]:
        """Give each pool its label.

        Args:
            looks: The pools that there are, oldest first, and what they are like.
        """
        looks = list(looks)
        with self._lock:
            taken = {self._given[pool] for pool, _ in looks if pool in self._given}
            for pool, stats in looks:
                if pool not in self._given:
                    self._given[pool] = _free(stats.name, taken)
                    taken.add(self._given[pool])
            return [(self._given[pool], stats) for pool, stats in looks]

    def of(self, pool: Watched) -> str:
        """Return the label that a pool was given."""
        with self._lock:
            return self._given[pool]


def _free(name: str, taken: set[str]) -> str:
    label, number = name, 1
    while label in taken:
        number += 1
        label = f"{name}-{number}"
    return label
