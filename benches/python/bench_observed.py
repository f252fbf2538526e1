"""What do an acquire and a release cost while somebody looks on, and what does the look cost?

Stub connections, one thread. Nobody is asked to look while it is measured: what an exporter has to
do is done when it collects, so what counts is whether the pool is any slower for having one.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeAlias

import pytest

import millpond
from _harness import MILLPOND, PAIR, Contender, seconds_per
from conftest import Show

BARE = Contender(MILLPOND, {"reset": "none"}, "reset=none")
SIZE = 10
WAITS = 2000

Pool: TypeAlias = millpond.Pool[Any]
Look: TypeAlias = Callable[[], object]
Looks: TypeAlias = Callable[[Pool], AbstractContextManager[Look]]


@contextmanager
def nobody(_pool: Pool) -> Iterator[Look]:
    """Look away."""
    yield lambda: None


@contextmanager
def statistics(pool: Pool) -> Iterator[Look]:
    """Ask the pool itself."""
    yield pool.stats


@contextmanager
def health(pool: Pool) -> Iterator[Look]:
    """Judge it."""
    yield millpond.HealthMonitor(pool).status


@contextmanager
def prometheus(pool: Pool) -> Iterator[Look]:
    """Scrape it."""
    pytest.importorskip("prometheus_client")
    from millpond.exporters.prometheus import expose, registry_of  # noqa: PLC0415  an extra

    registry = registry_of([pool])
    yield lambda: expose(registry, "text/plain")


@contextmanager
def opentelemetry(pool: Pool) -> Iterator[Look]:
    """Collect it."""
    metrics = pytest.importorskip("opentelemetry.sdk.metrics")
    export = pytest.importorskip("opentelemetry.sdk.metrics.export")
    from millpond.exporters.opentelemetry import instrument  # noqa: PLC0415  an extra

    reader = export.InMemoryMetricReader()
    provider = metrics.MeterProvider([reader])
    instrumentation = instrument([pool], provider)
    yield reader.get_metrics_data
    instrumentation.uninstrument()
    provider.shutdown()


@contextmanager
def listener(pool: Pool) -> Iterator[Look]:
    """Have each release told, which is the other way to feed a histogram."""
    remove = pool.add_listener(lambda _: None, "released")
    yield lambda: None
    remove()


def pair_watched_by(looks: Looks) -> float:
    """Return the seconds for an acquire and a release, when somebody has looked already."""
    with BARE.opened(size=SIZE) as handle, looks(handle.pool) as look:
        look()
        return seconds_per(PAIR["millpond"], handle.pool)


def look_of(looks: Looks) -> float:
    """Return the seconds for a look at a pool of ten connections where nothing is new."""
    with BARE.opened(size=SIZE) as handle, looks(handle.pool) as look:
        look()
        return seconds_per("pool()", look)


def collection_after_waits() -> float:
    """Return the seconds that each wait adds to OpenTelemetry's next collection."""
    with BARE.opened(size=1) as handle, opentelemetry(handle.pool) as look:
        look()
        for _ in range(WAITS):
            handle.pool.evict()  # so that the next one has to wait, for a new connection
            handle.release(handle.acquire())
        began = time.perf_counter()
        look()
        return (time.perf_counter() - began) / WAITS


@pytest.mark.parametrize("looks", [nobody, prometheus, opentelemetry, health, listener])
def bench_observed_pair(looks: Looks, show: Show) -> None:
    """The bookkeeping and nothing else."""
    show(pair_watched_by, looks)


@pytest.mark.parametrize("looks", [statistics, health, prometheus, opentelemetry])
def bench_observed_look(looks: Looks, show: Show) -> None:
    """What the one who looks pays."""
    show(look_of, looks)


def bench_observed_waits(show: Show) -> None:
    """A wait, the opening of a connection and its first use: three values to record."""
    show(collection_after_waits, rounds=2)
