"""What OpenTelemetry is told: by the real SDK."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    HistogramDataPoint,
    InMemoryMetricReader,
    NumberDataPoint,
    Sum,
)
from opentelemetry.semconv._incubating.metrics import db_metrics as semconv
from opentelemetry.semconv.schemas import Schemas

import millpond
from helpers import in_thread, lines_of, together, waiting
from millpond._times import TimeStats
from millpond.exporters._buckets import BOUNDS, cumulative
from millpond.exporters._metrics import SCHEMA_URL
from millpond.exporters.opentelemetry import _Told, instrument
from observing import time_out, use

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.metrics.export import Metric

    from helpers import MakePool
    from millpond._core import ManualClock

POOL = "db.client.connection.pool.name"
STATE = "db.client.connection.state"

# Names, units and kinds, as the conventions have them.
CONVENTIONS = {
    semconv.DB_CLIENT_CONNECTION_COUNT: ("{connection}", "up and down"),
    semconv.DB_CLIENT_CONNECTION_IDLE_MAX: ("{connection}", "up and down"),
    semconv.DB_CLIENT_CONNECTION_IDLE_MIN: ("{connection}", "up and down"),
    semconv.DB_CLIENT_CONNECTION_MAX: ("{connection}", "up and down"),
    semconv.DB_CLIENT_CONNECTION_PENDING_REQUESTS: ("{request}", "up and down"),
    semconv.DB_CLIENT_CONNECTION_TIMEOUTS: ("{timeout}", "counter"),
    semconv.DB_CLIENT_CONNECTION_CREATE_TIME: ("s", "histogram"),
    semconv.DB_CLIENT_CONNECTION_WAIT_TIME: ("s", "histogram"),
    semconv.DB_CLIENT_CONNECTION_USE_TIME: ("s", "histogram"),
}


class Collected:
    """What a reader collected, once."""

    def __init__(self, reader: InMemoryMetricReader) -> None:
        data = reader.get_metrics_data()
        scopes = [] if data is None else data.resource_metrics[0].scope_metrics
        self.scopes = [scope.scope for scope in scopes]
        self.metrics: dict[str, Metric] = {
            metric.name: metric for scope in scopes for metric in scope.metrics
        }

    def points(self, name: str) -> list[Any]:
        """Return the points of a metric."""
        return [] if name not in self.metrics else list(self.metrics[name].data.data_points)

    def value(self, name: str, pool: str = "orders", **more: str) -> float:
        """Return a number."""
        wanted = {POOL: pool, **more}
        (point,) = (one for one in self.points(name) if dict(one.attributes) == wanted)
        assert isinstance(point, NumberDataPoint)
        return point.value

    def times(self, name: str, pool: str = "orders") -> HistogramDataPoint:
        """Return a distribution."""
        (point,) = (one for one in self.points(name) if dict(one.attributes) == {POOL: pool})
        assert isinstance(point, HistogramDataPoint)
        return point

    def states(self, pool: str = "orders") -> dict[str, float]:
        """Return the number of connections by their state."""
        name = semconv.DB_CLIENT_CONNECTION_COUNT
        return {state: self.value(name, pool, **{STATE: state}) for state in ("idle", "used")}


class Setup:
    """The SDK with a reader that keeps what it collects."""

    def __init__(self, **preferences: Any) -> None:
        self.readers = [InMemoryMetricReader(**preferences), InMemoryMetricReader()]
        self.provider = MeterProvider(self.readers)

    def collect(self, reader: int = 0) -> Collected:
        """Collect."""
        return Collected(self.readers[reader])


@pytest.fixture
def sdk() -> Iterator[Setup]:
    """Give the SDK."""
    made = Setup()
    yield made
    made.provider.shutdown()


def test_all_nine_instruments_are_as_the_conventions_have_them(
    make_pool: MakePool, sdk: Setup
) -> None:
    pool = make_pool(name="orders", max_size=1)
    pool.release(pool.acquire())
    instrument([pool], sdk.provider)

    metrics = sdk.collect().metrics

    found = {name: (metrics[name].unit, kind(metrics[name])) for name in CONVENTIONS}
    assert found == CONVENTIONS
    assert all(metric.description for metric in metrics.values())
    assert {name.split(".")[0] for name in metrics if name not in CONVENTIONS} == {"millpond"}


def kind(metric: Metric) -> str:
    """Say what kind of instrument a metric comes from."""
    if not isinstance(metric.data, Sum):
        return "histogram"
    assert metric.data.aggregation_temporality == AggregationTemporality.CUMULATIVE
    return "counter" if metric.data.is_monotonic else "up and down"


def test_the_scope_says_whose_and_which_conventions_these_are(
    make_pool: MakePool, sdk: Setup
) -> None:
    instrument([make_pool()], sdk.provider)

    (scope,) = sdk.collect().scopes

    assert (scope.name, scope.version) == ("millpond", millpond.__version__)
    assert scope.schema_url == SCHEMA_URL
    assert SCHEMA_URL in {schema.value for schema in Schemas}


def test_the_numbers_are_those_of_the_pool_at_each_collection(
    make_pool: MakePool, sdk: Setup
) -> None:
    pool = make_pool(name="orders", min_size=2, max_size=3)
    pool.wait()
    instrument([pool], sdk.provider)
    held = pool.acquire()
    found = sdk.collect()
    assert found.states() == {"idle": 1, "used": 1}
    assert found.value(semconv.DB_CLIENT_CONNECTION_MAX) == 3
    assert found.value(semconv.DB_CLIENT_CONNECTION_IDLE_MAX) == 3
    assert found.value(semconv.DB_CLIENT_CONNECTION_IDLE_MIN) == 2

    pool.release(held)
    pool.resize(max_size=5)

    found = sdk.collect()
    assert found.states() == {"idle": 2, "used": 0}
    assert found.value(semconv.DB_CLIENT_CONNECTION_MAX) == 5


def test_who_waits_and_who_gave_up_is_counted(make_pool: MakePool, sdk: Setup) -> None:
    pool = make_pool(name="orders", max_size=1)
    instrument([pool], sdk.provider)
    held = pool.acquire()
    time_out(pool, 3)
    waiter = waiting(pool)

    found = sdk.collect()

    assert found.value(semconv.DB_CLIENT_CONNECTION_PENDING_REQUESTS) == 1
    assert found.value(semconv.DB_CLIENT_CONNECTION_TIMEOUTS) == 3
    assert found.value("millpond.acquires", result="timed_out") == 3
    pool.release(held)
    waiter.result()
    assert sdk.collect().value(semconv.DB_CLIENT_CONNECTION_PENDING_REQUESTS) == 0


def test_the_distributions_have_exact_counts_sums_and_buckets(
    make_pool: MakePool, clock: ManualClock, sdk: Setup
) -> None:
    pool = make_pool(name="orders", leak_threshold=1000.0, _clock=clock, _inline=True)
    instrument([pool], sdk.provider)
    durations = [0.001, 0.002, 0.03, 0.3, 0.3, 2.0, 61.0]

    use(pool, clock, *durations[:3])
    sdk.collect()
    use(pool, clock, *durations[3:])

    used = sdk.collect().times(semconv.DB_CLIENT_CONNECTION_USE_TIME)
    assert used.count == len(durations)
    assert used.sum == pytest.approx(sum(durations), rel=1e-9)
    assert tuple(used.explicit_bounds) == BOUNDS
    within = [sum(one <= bound for one in durations) for bound in BOUNDS]
    assert [sum(used.bucket_counts[: n + 1]) for n in range(len(BOUNDS))] == within


def test_waits_and_connects_are_as_the_pool_has_them(make_pool: MakePool, sdk: Setup) -> None:
    pool = make_pool(name="orders", max_size=1)
    instrument([pool], sdk.provider)
    held = pool.acquire()
    for _ in range(3):
        waiter = waiting(pool)
        pool.release(held)
        held = waiter.result()
        sdk.collect()

    found, stats = sdk.collect(), pool.stats()

    for name, times in {
        semconv.DB_CLIENT_CONNECTION_WAIT_TIME: stats.wait_time,
        semconv.DB_CLIENT_CONNECTION_CREATE_TIME: stats.open_time,
    }.items():
        point = found.times(name)
        assert point.count == times.count > 0
        assert point.sum == pytest.approx(times.sum, rel=1e-9)
        assert sum(point.bucket_counts[:8]) == cumulative(times)[7]


def test_what_happened_is_told_once_to_each_of_several_readers(
    make_pool: MakePool, clock: ManualClock, sdk: Setup
) -> None:
    pool = make_pool(name="orders", leak_threshold=1000.0, _clock=clock, _inline=True)
    instrument([pool], sdk.provider)
    use(pool, clock, 1.0, 2.0)

    for reader in (0, 1, 1, 0):
        found = sdk.collect(reader)
        assert found.times(semconv.DB_CLIENT_CONNECTION_USE_TIME).count == 2
        assert found.states() == {"idle": 0, "used": 0}


def test_with_delta_temporality_each_collection_has_what_is_new(
    make_pool: MakePool, clock: ManualClock
) -> None:
    delta = AggregationTemporality.DELTA
    sdk = Setup(preferred_temporality={Counter: delta, Histogram: delta})
    pool = make_pool(name="orders", leak_threshold=1000.0, _clock=clock, _inline=True)
    instrument([pool], sdk.provider)
    name = semconv.DB_CLIENT_CONNECTION_USE_TIME

    use(pool, clock, 1.0, 2.0)
    assert sdk.collect().times(name).count == 2
    use(pool, clock, 4.0)
    assert sdk.collect().times(name).sum == pytest.approx(4.0)
    assert sdk.collect().points(name) == []
    sdk.provider.shutdown()


def test_what_was_before_it_was_instrumented_is_told_as_well(
    make_pool: MakePool, clock: ManualClock, sdk: Setup
) -> None:
    """So that the distributions fit the totals, which count from the beginning."""
    pool = make_pool(name="orders", leak_threshold=1000.0, _clock=clock, _inline=True)
    use(pool, clock, 1.0)

    instrument([pool], sdk.provider)

    found = sdk.collect()
    assert found.times(semconv.DB_CLIENT_CONNECTION_USE_TIME).count == 1
    assert found.value("millpond.acquires", result="succeeded") == 1


def test_after_uninstrument_nothing_more_is_told(
    make_pool: MakePool, clock: ManualClock, sdk: Setup
) -> None:
    pool = make_pool(name="orders", leak_threshold=1000.0, _clock=clock, _inline=True)
    instrumentation = instrument([pool], sdk.provider)
    use(pool, clock, 1.0)
    sdk.collect()

    instrumentation.uninstrument()
    instrumentation.uninstrument()
    use(pool, clock, 1.0)
    pool.close()

    found = sdk.collect()
    assert found.points(semconv.DB_CLIENT_CONNECTION_COUNT) == []
    assert found.times(semconv.DB_CLIENT_CONNECTION_USE_TIME).count == 1


def test_who_ends_it_twice_ends_nothing_else(make_pool: MakePool, sdk: Setup) -> None:
    pool = make_pool(name="orders", max_size=3)
    mine, _theirs = instrument(meter_provider=sdk.provider), instrument(meter_provider=sdk.provider)

    mine.uninstrument()
    mine.uninstrument()

    assert sdk.collect().value(semconv.DB_CLIENT_CONNECTION_MAX) == pool.max_size


def test_instrumented_anew_everything_was_told_once(
    make_pool: MakePool, clock: ManualClock, sdk: Setup, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make_pool(name="orders", leak_threshold=1000.0, _clock=clock, _inline=True)
    for _ in range(3):
        instrumentation = instrument([pool], sdk.provider)
        use(pool, clock, 1.0)
        assert sdk.collect().states() == {"idle": 0, "used": 0}
        instrumentation.uninstrument()

    assert sdk.collect().times(semconv.DB_CLIENT_CONNECTION_USE_TIME).count == 3
    # The SDK would complain about an instrument that is there already.
    assert caplog.records == []


def test_a_pool_that_was_instrumented_twice_is_told_of_once(
    make_pool: MakePool, clock: ManualClock, sdk: Setup
) -> None:
    pool = make_pool(name="orders", leak_threshold=1000.0, _clock=clock, _inline=True)
    other = make_pool(name="users")
    instrument([pool], sdk.provider)
    instrument([pool, other], sdk.provider)
    use(pool, clock, 1.0)

    found = sdk.collect()

    assert found.value(semconv.DB_CLIENT_CONNECTION_MAX) == 10
    assert found.value(semconv.DB_CLIENT_CONNECTION_MAX, "users") == 10
    assert found.times(semconv.DB_CLIENT_CONNECTION_USE_TIME).count == 1


def test_by_default_all_pools_are_told_of_those_of_later_too(
    make_pool: MakePool, sdk: Setup
) -> None:
    instrument(meter_provider=sdk.provider)
    make_pool(name="of later", max_size=3)

    assert sdk.collect().value(semconv.DB_CLIENT_CONNECTION_MAX, "of later") == 3


def test_of_a_closed_pool_the_last_moments_are_told(
    make_pool: MakePool, clock: ManualClock, sdk: Setup
) -> None:
    pool = make_pool(name="orders", leak_threshold=1000.0, _clock=clock, _inline=True)
    instrument(meter_provider=sdk.provider)
    use(pool, clock, 1.0)
    sdk.collect()
    use(pool, clock, 1.0)
    pool.close()
    successor = make_pool(name="orders", max_size=3)

    found = sdk.collect()

    assert found.times(semconv.DB_CLIENT_CONNECTION_USE_TIME).count == 2
    # And its successor has its name.
    assert found.value(semconv.DB_CLIENT_CONNECTION_MAX) == successor.max_size == 3


def test_a_duration_whose_sum_comes_later_is_made_up_for() -> None:
    """Counts and sums are not read at the same moment."""
    told, upper = _Told(), 0.001048575
    durations = told.news(TimeStats.from_buckets({upper: 1}, 0.0, 1.0))

    durations += told.news(TimeStats.from_buckets({upper: 11}, 0.011, 1.0))

    assert sum(count for _, count in durations) == 11
    assert sum(duration * count for duration, count in durations) == pytest.approx(0.011)
    assert told.news(TimeStats.from_buckets({upper: 11}, 0.011, 1.0)) == []


def test_while_the_pool_is_busy_everything_is_told_once(make_pool: MakePool, sdk: Setup) -> None:
    pool = make_pool(name="orders", max_size=2)
    instrument([pool], sdk.provider)
    done = threading.Event()

    def borrow(_: int) -> None:
        for _ in range(300):
            with pool.connection(timeout=60):
                pass

    def collect() -> int:
        times = 0
        while not done.is_set():
            sdk.collect(times % 2)
            times += 1
        return times

    collecting = [in_thread(collect), in_thread(collect)]
    together(4, borrow)
    done.set()
    assert all(one.result() > 0 for one in collecting)

    found, stats = sdk.collect(), pool.stats()

    assert found.value("millpond.acquires", result="succeeded") == 1200
    for name, times in {
        semconv.DB_CLIENT_CONNECTION_WAIT_TIME: stats.wait_time,
        semconv.DB_CLIENT_CONNECTION_USE_TIME: stats.use_time,
    }.items():
        point = found.times(name)
        assert point.count == times.count
        assert sum(point.bucket_counts[:4]) == cumulative(times)[3]
        assert point.sum == pytest.approx(times.sum, rel=0.05)


def test_in_the_child_of_a_fork_everything_is_told_from_the_beginning() -> None:
    """Its pools count from zero, and a collection may have been under way."""
    script = """
        import os
        import threading
        import millpond
        from fakes import FakeDatabase
        from millpond._core import ManualClock
        from millpond.exporters.opentelemetry import instrument
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader

        def use():
            connection = pool.acquire()
            clock.advance(1.0)
            pool.release(connection)

        def used():
            points = [
                point
                for metric in reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
                if metric.name == "db.client.connection.use_time"
                for point in metric.data.data_points
            ]
            return points[0].count, round(points[0].sum, 9)

        clock, reader = ManualClock(), InMemoryMetricReader()
        pool = millpond.Pool(FakeDatabase().connect, leak_threshold=99, _clock=clock, _inline=True)
        bridge = instrument([pool], MeterProvider([reader]))._bridge
        use()
        print(used(), flush=True)
        there, stay = threading.Event(), threading.Event()

        def collect():
            with bridge._lock:
                there.set()
                stay.wait()

        threading.Thread(target=collect, daemon=True).start()
        there.wait()
        if child := os.fork():
            os.waitpid(child, 0)
            stay.set()
        else:
            use()
            print(used(), flush=True)
            os._exit(0)
    """

    assert lines_of(script) == ["(1, 1.0)", "(2, 2.0)"]


def test_the_global_provider_may_come_later_than_the_first_who_asks_for_it() -> None:
    script = """
        import millpond
        from fakes import FakeDatabase
        from millpond.exporters.opentelemetry import instrument
        from opentelemetry.metrics import NoOpMeterProvider, set_meter_provider
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader

        pools = [millpond.Pool(FakeDatabase().connect, name=name) for name in "abc"]
        reader = InMemoryMetricReader()
        provider = MeterProvider([reader])
        instrument([], NoOpMeterProvider())
        instrument([pools[0]])
        set_meter_provider(provider)
        instrument([pools[1]])
        instrument([pools[2]], provider)
        for metric in reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics:
            if metric.name == "db.client.connection.max":
                points = metric.data.data_points
                print(*(one.attributes["db.client.connection.pool.name"] for one in points))
    """

    assert lines_of(script) == ["a b c"]


def test_without_an_sdk_nothing_happens(make_pool: MakePool) -> None:
    instrument([make_pool()]).uninstrument()


def test_what_is_no_pool_is_refused(sdk: Setup) -> None:
    with pytest.raises(millpond.PoolConfigError, match="pools=<int>: must be a pool"):
        instrument([4], sdk.provider)  # type: ignore[list-item]
