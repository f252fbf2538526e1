"""Pools as OpenTelemetry sees them: all nine ``db.client.connection.*`` instruments, and our own.

```python
from millpond.exporters.opentelemetry import instrument

instrumentation = instrument()  # all pools, those of tomorrow included
...
instrumentation.uninstrument()
```

Names, units and attributes are those of the semantic conventions 1.44. What they do not have begins
with ``millpond.``. The pool's name is in ``db.client.connection.pool.name``.

Nothing is recorded when a connection is acquired or released: the pools are looked at when the SDK
collects, once for each collection. Levels and totals are observable instruments. A histogram cannot
be observed, so what came into the core's histograms since the last collection is recorded then,
from the callback of the observable ones, and belongs to the same collection. Counts and sums are
exact, and so are the SDK's buckets with the bounds that the instruments advise; a single value is
up to a quarter off. That costs some microseconds of the collecting thread for each acquire that had
to wait, each connection that was opened, and one use in 64: of others the core has no times.

The first collection has all that happened since a pool was made, so that the distributions tell the
same as the totals. Exemplars have no trace.

Needs the extra ``millpond[opentelemetry]``, which is the API. Without an SDK this does nothing.
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Final

try:
    from opentelemetry.metrics import MeterProvider, Observation, get_meter_provider
except ImportError as error:
    msg = f"{error}: pip install 'millpond[opentelemetry]'"
    raise ImportError(msg) from error

from millpond import _lifecycle
from millpond._version import __version__
from millpond._watched import Labels, Pools, Watched, chosen, living
from millpond.exporters._buckets import BOUNDS, spread
from millpond.exporters._metrics import LEVELS, POOL, SCHEMA_URL, TIMES, TOTALS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.metrics import CallbackOptions, Histogram, Meter

    from millpond._stats import PoolStats
    from millpond._times import TimeStats
    from millpond.exporters._metrics import Number, Time

__all__ = ["Instrumentation", "instrument"]


class Instrumentation:
    """What `instrument()` returns: some pools, told of to a meter provider until it is ended."""

    def __init__(self, pools: Callable[[], tuple[Watched, ...]], bridge: _Bridge) -> None:
        """Begin to tell; `instrument` calls this."""
        self._bridge = bridge
        bridge.add(self, pools)

    def uninstrument(self) -> None:
        """Tell no more of these pools. May be called again.

        The SDK goes on to report the last value of what it has accumulated by itself, which are the
        histograms.
        """
        self._bridge.remove(self)


def instrument(pools: Pools = None, meter_provider: MeterProvider | None = None) -> Instrumentation:
    """Tell OpenTelemetry of pools; see the head of this file. May be called from any thread.

    Calls for the same provider add up; a pool in several of them is told of once.

    Args:
        pools: The pools, of which closed ones are left out, or a callable that returns them.
            ``None``, the default, is for all pools of the process at the moment of each collection;
            it keeps none alive. Pools with the same name are told apart by numbers: ``orders``,
            ``orders-2``.
        meter_provider: Whom to tell. ``None``, the default, is for the global one.

    Raises:
        PoolConfigError: One of `pools` is no pool.
    """
    wanted = chosen(pools)
    provider = get_meter_provider() if meter_provider is None else meter_provider
    with _lock:
        return Instrumentation(wanted, _bridge_of(provider))


def _bridge_of(provider: MeterProvider) -> _Bridge:
    """Return a provider's instruments.

    The SDK has each of them once and keeps its callbacks for ever, so they stay, with nothing to
    tell after `uninstrument`; and it drops the callbacks of a second one without a word.
    """
    if provider is get_meter_provider():
        provider = next(filter(_stands_in, _bridges), provider)
    bridge = _bridges.get(provider)
    if bridge is None:
        meter = provider.get_meter("millpond", __version__, schema_url=SCHEMA_URL)
        bridge = _bridges[provider] = _Bridge(meter)
    return bridge


def _stands_in(provider: MeterProvider) -> bool:
    """Tell whether it is what the API has before a global provider is set, to which it leads on."""
    return type(provider).__name__ == "_ProxyMeterProvider"  # which has no public name


class _Bridge:
    """The instruments of one meter provider, and what was told to them."""

    def __init__(self, meter: Meter) -> None:
        self._sources: dict[Instrumentation, Callable[[], tuple[Watched, ...]]] = {}
        self._labels = Labels()
        self._begin_in_child()
        _lifecycle.inherit(self)
        self._histograms: list[tuple[Time, Histogram]] = [
            (time, _histogram(meter, time)) for time in TIMES
        ]
        for level in LEVELS:
            meter.create_observable_up_down_counter(
                level.name, [self._observer(level)], level.unit, level.description
            )
        for total in TOTALS:
            meter.create_observable_counter(
                total.name, [self._observer(total)], total.unit, total.description
            )

    def _begin_in_child(self) -> None:
        """Begin anew, which is also what the child of a fork does, whose pools count from zero."""
        # Reentrant: whatever a collection runs into may be in the middle of another.
        self._lock = threading.RLock()
        self._looks: list[tuple[str, PoolStats]] = []
        self._looked: set[str] = set()
        self._present: weakref.WeakSet[Watched] = weakref.WeakSet()
        self._told: weakref.WeakKeyDictionary[Watched, dict[str, _Told]] = (
            weakref.WeakKeyDictionary()
        )

    def add(self, who: Instrumentation, pools: Callable[[], tuple[Watched, ...]]) -> None:
        with self._lock:
            self._sources[who] = pools

    def remove(self, who: Instrumentation) -> None:
        with self._lock:
            if self._sources.pop(who, None) is not None:
                self._present.clear()

    def _observer(self, number: Number) -> Callable[[CallbackOptions], Iterator[Observation]]:
        def observe(_: CallbackOptions) -> Iterator[Observation]:
            for pool, stats in self._look(number.name):
                for attribute, value in number.points(stats):
                    yield Observation(value, _attributes(pool, number.attribute, attribute))

        return observe

    def _look(self, name: str) -> list[tuple[str, PoolStats]]:
        """Look at the pools, once for each collection.

        Nobody says when one begins. It has when an instrument asks that has had its answer.
        """
        with self._lock:
            if name in self._looked or not self._looked:
                self._looked.clear()
                self._looks = self._look_anew()
            self._looked.add(name)
            return self._looks

    def _look_anew(self) -> list[tuple[str, PoolStats]]:
        sources = tuple(self._sources.values())
        pools = living(pool for source in sources for pool in source())
        looks = self._labels.label([(pool, pool.stats()) for pool in pools])
        for pool, (label, stats) in zip(pools, looks, strict=True):
            self._record(pool, label, stats)
        for pool in self._present.difference(pools):
            # It was closed since: what happened until then.
            self._record(pool, self._labels.of(pool), pool.stats())
        self._present = weakref.WeakSet(pools)
        return looks

    def _record(self, pool: Watched, label: str, stats: PoolStats) -> None:
        told = self._told.setdefault(pool, {time.name: _Told() for time in TIMES})
        attributes = {POOL: label}
        for time, histogram in self._histograms:
            for duration, count in told[time.name].news(time.read(stats)):
                for _ in range(count):
                    histogram.record(duration, attributes)


class _Told:
    """What was recorded of one histogram of a pool so far."""

    def __init__(self) -> None:
        self._counts: dict[float, int] = {}
        self._sum = 0.0

    def news(self, times: TimeStats) -> list[tuple[float, int]]:
        """Give what has to be recorded, as durations and how many times each.

        The count of a duration may be seen before its sum, or after it. So it is the sum of what
        was recorded that the next one has to make up for, not what was seen.
        """
        new = [(upper, count - self._counts.get(upper, 0)) for upper, count in times.buckets]
        news = list(
            spread([(upper, count) for upper, count in new if count], times.sum - self._sum)
        )
        self._counts = dict(times.buckets)
        self._sum += sum(duration * count for duration, count in news)
        return news


def _histogram(meter: Meter, time: Time) -> Histogram:
    return meter.create_histogram(
        time.name, "s", time.description, explicit_bucket_boundaries_advisory=BOUNDS
    )


def _attributes(pool: str, name: str | None, value: str | None) -> dict[str, str]:
    return {POOL: pool} if name is None or value is None else {POOL: pool, name: value}


_lock: Final = threading.Lock()
_bridges: Final[weakref.WeakKeyDictionary[MeterProvider, _Bridge]] = weakref.WeakKeyDictionary()
