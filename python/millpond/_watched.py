"""Pools as those see them who only look: exporters, health rules, the web pages.

Whoever looks takes the pools that he is given, or all that live at the moment of each look. None is
kept alive by being looked at, unless it was given.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from millpond import _lifecycle, _plain
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Container

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
        PoolConfigError: One of them is no pool, or there is one pool in place of several.
    """
    if pools is None:
        return _lifecycle.pools
    if callable(pools):
        return lambda: living(pools())
    maybe_one: object = pools
    if not isinstance(maybe_one, Iterable):
        msg = f"pools=<{type(pools).__name__}>: must be pools, such as [pool], or a callable"
        raise PoolConfigError(msg)
    given = tuple(pools)
    for pool in given:
        check_pool(pool, "pools")
    return lambda: living(given)


def living(pools: Iterable[Watched]) -> tuple[Watched, ...]:
    """Leave out those that are closed, and those that were there before."""
    found = {id(pool): pool for pool in pools if not getattr(pool, "closed", False)}
    return tuple(found.values())


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
    label for life, unless it was not looked at for a while and another one got it.
    """

    def __init__(self) -> None:
        """Begin with no names given."""
        self._begin_in_child()
        _lifecycle.inherit(self)

    def _begin_in_child(self) -> None:
        """Begin anew, which is also what the child of a fork does."""
        self._lock = threading.Lock()
        self._given: weakref.WeakKeyDictionary[Watched, str] = weakref.WeakKeyDictionary()

    def label(self, looks: Iterable[tuple[Watched, PoolStats]]) -> list[tuple[str, PoolStats]]:
        """Give each pool its label.

        Args:
            looks: The pools that there are, oldest first, and what they are like.
        """
        looks = list(looks)
        with self._lock:
            known: dict[str, Watched] = {}
            for pool, _ in looks:
                if pool in self._given:
                    known.setdefault(self._given[pool], pool)
            for pool, stats in looks:
                if known.get(self._given.get(pool, "")) is not pool:
                    self._given[pool] = _free(stats.name, known)
                    known[self._given[pool]] = pool
            return [(self._given[pool], stats) for pool, stats in looks]

    def of(self, pool: Watched) -> str:
        """Return the label that a pool was given."""
        with self._lock:
            return self._given[pool]


def _free(name: str, taken: Container[str]) -> str:
    label, number = name, 1
    while label in taken:
        number += 1
        label = f"{name}-{number}"
    return label
