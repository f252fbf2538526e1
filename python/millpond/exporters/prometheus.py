"""Pools as Prometheus sees them: a collector that looks at them when it is scraped.

```python
from prometheus_client import start_http_server
from millpond.exporters.prometheus import PoolCollector

PoolCollector()  # all pools, those of tomorrow included
start_http_server(9000)
```

The names are those of OpenTelemetry's conventions, translated as OpenTelemetry does: dots become
underscores, seconds are in the name, totals end with ``_total``. What the conventions do not have
begins with ``millpond_``. Each series has the pool's name as ``db_client_connection_pool_name``.

The histograms are exact: counts, sums, and the count at each ``le``, which is why those are numbers
like 0.001048575. ``wait_time`` has the acquires that had to wait only; how many there are in all
tells ``millpond_acquires_total``. ``use_time`` has one borrow in 64 of each connection, the first
included, so its counts are no counts of uses; its quantiles and its mean are what they seem.

In prometheus_client's multiprocess mode (``PROMETHEUS_MULTIPROC_DIR``, as with gunicorn) collectors
like this one are not asked: it reads files that other kinds of metrics write. Let each worker
answer for itself on a port or path of its own (`millpond.web`), or push by OpenTelemetry.

Needs the extra ``millpond[prometheus]``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

try:
    from prometheus_client import REGISTRY, CollectorRegistry
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        Metric,
    )
    from prometheus_client.exposition import choose_encoder
    from prometheus_client.registry import Collector
    from prometheus_client.utils import floatToGoString
except ImportError as error:
    msg = f"{error}: pip install 'millpond[prometheus]'"
    raise ImportError(msg) from error

from millpond._watched import Labels, chosen
from millpond.exporters._buckets import BOUNDS, cumulative
from millpond.exporters._metrics import LEVELS, POOL, TIMES, TOTALS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from millpond._stats import PoolStats
    from millpond._watched import Pools
    from millpond.exporters._metrics import Number, Time

__all__ = ["PoolCollector", "expose", "registry_of"]

_LES: Final = (*map(floatToGoString, BOUNDS), "+Inf")


class PoolCollector(Collector):
    """See the head of this file.

    It holds no lock and takes one look at each pool for each scrape. May be scraped from several
    threads.

    Args:
        pools: The pools to tell of, of which closed ones are left out, or a callable that returns
            them. ``None``, the default, is for all pools of the process at the moment of each
            scrape; it keeps none alive. Pools with the same name are told apart by numbers:
            ``orders``, ``orders-2``.
        registry: Where it registers itself: prometheus_client's own by default, ``None`` for
            nowhere. Unregister it by the registry's ``unregister()``.

    Raises:
        PoolConfigError: One of `pools` is no pool.
        ValueError: The registry has a collector of pools already.
    """

    def __init__(
        self,
        pools: Pools = None,
        registry: CollectorRegistry | None = REGISTRY,
    ) -> None:
        """Register, which asks no pool anything."""
        self._pools = chosen(pools)
        self._labels = Labels()
        if registry is not None:
            registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """Return all metrics without values: registering must not look at pools."""
        return self._families([])

    def collect(self) -> Iterable[Metric]:
        """Look at the pools, and return all metrics with their values."""
        looks = [(pool, pool.stats()) for pool in self._pools()]
        return self._families(self._labels.label(looks))

    def _families(self, pools: list[tuple[str, PoolStats]]) -> Iterator[Metric]:
        for level in LEVELS:
            yield _of_number(GaugeMetricFamily, level, pools)
        for total in TOTALS:
            yield _of_number(CounterMetricFamily, total, pools)
        for time in TIMES:
            yield _of_time(time, pools)


def registry_of(pools: Pools = None) -> CollectorRegistry:
    """Return a new registry that has a `PoolCollector` and nothing else.

    Args:
        pools: See there.
    """
    registry = CollectorRegistry()
    PoolCollector(pools, registry)
    return registry


def expose(registry: CollectorRegistry, accept: str) -> tuple[str, bytes]:
    """Write what a registry has as text.

    Args:
        registry: The registry.
        accept: The request's ``Accept``, which may ask for the OpenMetrics format.

    Returns:
        The content type and the text.
    """
    encode, content_type = choose_encoder(accept)
    return content_type, encode(registry)


def _translated(name: str, unit: str = "") -> str:
    suffix = "_seconds" if unit == "s" else ""
    return name.replace(".", "_") + suffix


def _of_number(
    family: type[GaugeMetricFamily | CounterMetricFamily],
    number: Number,
    pools: list[tuple[str, PoolStats]],
) -> Metric:
    attributes = [POOL] if number.attribute is None else [POOL, number.attribute]
    made = family(
        _translated(number.name, number.unit),
        number.description,
        labels=[_translated(attribute) for attribute in attributes],
    )
    for pool, stats in pools:
        for attribute, value in number.points(stats):
            made.add_metric([pool] if attribute is None else [pool, attribute], value)
    return made


def _of_time(time: Time, pools: list[tuple[str, PoolStats]]) -> Metric:
    made = HistogramMetricFamily(
        _translated(time.name, "s"), time.description, labels=[_translated(POOL)]
    )
    for pool, stats in pools:
        times = time.read(stats)
        buckets = list(zip(_LES, cumulative(times), strict=True))
        made.add_metric([pool], buckets, times.sum)
    return made
