"""What Prometheus is told: by the real client library, and over HTTP."""

from __future__ import annotations

import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest, start_http_server
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

import millpond
from helpers import eventually, lines_of, pass_time, waiting
from millpond.exporters._buckets import BOUNDS
from millpond.exporters.prometheus import PoolCollector, expose
from observing import break_down, time_out, use

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client import Metric

    from fakes import FakeDatabase
    from helpers import MakePool
    from millpond._core import ManualClock
    from pooled import MakePooled

POOL = "db_client_connection_pool_name"

# What OpenTelemetry's nine are called when they are translated, with their types.
CONVENTIONS = {
    "db_client_connection_count": "gauge",
    "db_client_connection_idle_max": "gauge",
    "db_client_connection_idle_min": "gauge",
    "db_client_connection_max": "gauge",
    "db_client_connection_pending_requests": "gauge",
    "db_client_connection_timeouts": "counter",
    "db_client_connection_create_time_seconds": "histogram",
    "db_client_connection_wait_time_seconds": "histogram",
    "db_client_connection_use_time_seconds": "histogram",
}
OURS = {
    "millpond_acquires": "counter",
    "millpond_acquires_queued": "counter",
    "millpond_connections_opening": "gauge",
    "millpond_connections_opened": "counter",
    "millpond_connections_closed": "counter",
    "millpond_connect_failures": "counter",
    "millpond_connect_failing_seconds": "gauge",
    "millpond_longest_wait_seconds": "gauge",
    "millpond_validations": "counter",
    "millpond_validation_failures": "counter",
    "millpond_leaks": "counter",
}


@pytest.fixture
def registry() -> CollectorRegistry:
    """Give a registry with nothing in it."""
    return CollectorRegistry()


class Scrape:
    """What a scrape of a registry gave."""

    def __init__(self, text: str) -> None:
        self.families = {one.name: one for one in text_string_to_metric_families(text)}
        samples = [sample for family in self.families.values() for sample in family.samples]
        self.values = {
            (sample.name, *sorted(sample.labels.items())): sample.value for sample in samples
        }
        # A series that is there twice makes Prometheus refuse the scrape.
        assert len(self.values) == len(samples)

    def value(self, name: str, pool: str = "orders", **labels: str) -> float:
        """Return one sample."""
        return self.values[(name, *sorted({POOL: pool, **labels}.items()))]


def scrape(registry: CollectorRegistry) -> Scrape:
    """Read what a registry writes."""
    return Scrape(generate_latest(registry).decode())


def test_all_metrics_have_their_names_types_and_descriptions(
    make_pool: MakePool, registry: CollectorRegistry
) -> None:
    PoolCollector([make_pool()], registry)

    families = scrape(registry).families

    assert {name: family.type for name, family in families.items()} == {**CONVENTIONS, **OURS}
    assert [name for name, family in families.items() if not family.documentation] == []


def test_the_sizes_are_those_of_the_pool(make_pool: MakePool, registry: CollectorRegistry) -> None:
    pool = make_pool(name="orders", min_size=2, max_size=3)
    PoolCollector([pool], registry)
    pool.wait()
    pool.acquire()

    found = scrape(registry)

    assert found.value("db_client_connection_count", db_client_connection_state="used") == 1
    assert found.value("db_client_connection_count", db_client_connection_state="idle") == 1
    assert found.value("db_client_connection_max") == 3
    assert found.value("db_client_connection_idle_max") == 3
    assert found.value("db_client_connection_idle_min") == 2
    assert found.value("db_client_connection_pending_requests") == 0


def test_who_waits_and_who_gave_up_is_counted(
    make_pool: MakePool, clock: ManualClock, registry: CollectorRegistry
) -> None:
    pool = make_pool(name="orders", max_size=1, max_waiting=1, _clock=clock)
    PoolCollector([pool], registry)
    held = pool.acquire()
    time_out(pool, 3)
    waiter = waiting(pool)
    with pytest.raises(millpond.PoolExhausted):
        pool.acquire()
    clock.advance(2.0)

    found = scrape(registry)

    assert found.value("db_client_connection_pending_requests") == 1
    assert found.value("db_client_connection_timeouts_total") == 3
    assert found.value("millpond_acquires_total", result="succeeded") == 1
    assert found.value("millpond_acquires_total", result="timed_out") == 3
    assert found.value("millpond_acquires_total", result="refused") == 1
    assert found.value("millpond_acquires_total", result="turned_away") == 0
    assert found.value("millpond_acquires_total", result="failed") == 0
    assert found.value("millpond_longest_wait_seconds") == 2.0
    pool.release(held)
    waiter.result()
    assert scrape(registry).value("millpond_acquires_total", result="succeeded") == 2


def test_an_outage_shows(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock, registry: CollectorRegistry
) -> None:
    pool = make_pool(name="orders", fail_fast_after=5.0, _clock=clock)
    PoolCollector([pool], registry)

    break_down(pool, driver, clock)

    found, stats = scrape(registry), pool.stats()
    assert stats.failing is not None
    assert found.value("millpond_connect_failing_seconds") == stats.failing > 5
    assert found.value("millpond_connect_failures_total") == stats.open_failed > 1
    assert found.value("millpond_acquires_total", result="turned_away") == 1


def test_leaks_validations_and_closes_are_counted(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock, registry: CollectorRegistry
) -> None:
    pool = make_pool(
        name="orders",
        leak_threshold=1.0,
        validate="SELECT 1",
        validation_interval=30.0,
        _clock=clock,
        _inline=True,
    )
    PoolCollector([pool], registry)
    held = pool.acquire()
    pass_time(pool, clock, 2.0)
    pool.release(held)
    driver.kill_all()
    for _ in range(40):
        pass_time(pool, clock, 1.0)

    found, stats = scrape(registry), pool.stats()

    assert found.value("millpond_leaks_total") == 1
    assert found.value("millpond_validations_total") == stats.checks > 0
    assert found.value("millpond_validation_failures_total") == stats.checks_failed > 0
    assert found.value("millpond_connections_opened_total") == stats.opened
    closed = {
        reason: found.value("millpond_connections_closed_total", reason=reason)
        for reason in stats.closed
    }
    assert closed == stats.closed
    assert sum(closed.values()) > 0


def test_the_histograms_count_exactly_what_was_within_each_bound(
    make_pool: MakePool, clock: ManualClock, registry: CollectorRegistry
) -> None:
    pool = make_pool(name="orders", leak_threshold=1000.0, _clock=clock, _inline=True)
    PoolCollector([pool], registry)
    durations = [0.001, 0.002, 0.03, 0.3, 0.3, 2.0, 61.0]

    use(pool, clock, *durations)

    found = scrape(registry)
    name = "db_client_connection_use_time_seconds"
    for bound in BOUNDS:
        within = sum(duration <= bound for duration in durations)
        assert found.value(f"{name}_bucket", le=f"{bound!r}") == within
    assert found.value(f"{name}_bucket", le="+Inf") == len(durations)
    assert found.value(f"{name}_count") == len(durations)
    assert found.value(f"{name}_sum") == pytest.approx(sum(durations), rel=1e-9)


def test_waits_and_connects_are_timed(make_pool: MakePool, registry: CollectorRegistry) -> None:
    pool = make_pool(name="orders", max_size=1)
    PoolCollector([pool], registry)
    held = pool.acquire()
    waiter = waiting(pool)
    pool.release(held)
    waiter.result()

    found, stats = scrape(registry), pool.stats()

    # The first one waited too: for the connection to be opened.
    assert found.value("db_client_connection_wait_time_seconds_count") == 2
    assert found.value("db_client_connection_wait_time_seconds_sum") == stats.wait_time.sum
    assert found.value("db_client_connection_create_time_seconds_count") == 1
    assert found.value("db_client_connection_create_time_seconds_sum") == stats.open_time.sum


def test_registering_does_not_look_at_any_pool(registry: CollectorRegistry) -> None:
    class Untouchable:
        def stats(self) -> millpond.PoolStats:
            raise AssertionError

    collector = PoolCollector([Untouchable()], registry)

    assert {one.name for one in collector.describe()} == {*CONVENTIONS, *OURS}


def test_it_registers_itself_where_it_is_told_and_only_once(registry: CollectorRegistry) -> None:
    collector = PoolCollector([])
    try:
        with pytest.raises(ValueError, match="Duplicated"):
            PoolCollector([])
    finally:
        REGISTRY.unregister(collector)

    PoolCollector([], None)

    assert scrape(registry).families == {}


def test_by_default_all_pools_of_the_process_are_told_of_those_of_later_too(
    make_pool: MakePool, registry: CollectorRegistry
) -> None:
    PoolCollector(registry=registry)
    pool = make_pool(name="of later")
    assert scrape(registry).value("db_client_connection_max", "of later") == 10

    pool.close()

    with pytest.raises(KeyError):
        scrape(registry).value("db_client_connection_max", "of later")


def test_a_closed_pool_that_was_given_is_left_out(
    make_pool: MakePool, registry: CollectorRegistry
) -> None:
    pools = [make_pool(name="orders"), make_pool(name="users")]
    PoolCollector(pools, registry)

    pools[0].close()

    samples = scrape(registry).families["db_client_connection_max"].samples
    assert [sample.labels[POOL] for sample in samples] == ["users"]


def test_pools_of_the_same_name_are_told_apart_and_keep_their_labels(
    make_pool: MakePool, registry: CollectorRegistry
) -> None:
    pools = [make_pool(name="orders", max_size=size) for size in (1, 2, 3)]
    PoolCollector(pools, registry)
    assert [scrape(registry).value("db_client_connection_max", name) for name in LABELS] == [
        *(1, 2, 3)
    ]

    pools[0].close()

    assert [scrape(registry).value("db_client_connection_max", name) for name in LABELS[1:]] == [
        *(2, 3)
    ]


LABELS = ("orders", "orders-2", "orders-3")


def test_a_pool_that_was_away_does_not_come_back_by_the_name_of_another(
    make_pool: MakePool, registry: CollectorRegistry
) -> None:
    one, other = (make_pool(name="orders", max_size=size) for size in (1, 2))
    shown = [one]
    PoolCollector(lambda: shown, registry)
    for pools in ([one], [other], [one, other], [one, other]):
        shown[:] = pools
        found = scrape(registry)

    assert [found.value("db_client_connection_max", name) for name in LABELS[:2]] == [1, 2]


def test_a_pool_that_is_given_twice_is_told_of_once(
    make_pool: MakePool, registry: CollectorRegistry
) -> None:
    PoolCollector([make_pool(name="orders")] * 2, registry)

    assert scrape(registry).value("db_client_connection_max") == 10


def test_a_pool_that_follows_a_closed_one_of_its_name_takes_the_name_over(
    make_pool: MakePool, registry: CollectorRegistry
) -> None:
    PoolCollector(registry=registry)
    make_pool(name="orders", max_size=1).close()
    make_pool(name="orders", max_size=2)

    assert scrape(registry).value("db_client_connection_max") == 2


def test_a_name_with_anything_in_it_survives_the_way(
    make_pool: MakePool, registry: CollectorRegistry
) -> None:
    name = 'a "b" \\ c\nd é'
    PoolCollector([make_pool(name=name)], registry)

    assert scrape(registry).value("db_client_connection_max", name) == 10


def test_a_thread_local_pool_is_told_of_like_any_other(
    driver: FakeDatabase, registry: CollectorRegistry
) -> None:
    PoolCollector(registry=registry)
    with millpond.ThreadLocalPool(driver.connect, name="orders", max_size=7):
        assert scrape(registry).value("db_client_connection_max") == 7


def test_a_pool_of_dbutils_can_be_told_of_as_well(
    make_pooled: MakePooled, registry: CollectorRegistry
) -> None:
    pool = make_pooled(maxconnections=3)
    PoolCollector([pool], registry)
    connection = pool.connection()

    name = pool.stats().name
    assert scrape(registry).value("db_client_connection_max", name) == 3
    used = {"db_client_connection_state": "used"}
    assert scrape(registry).value("db_client_connection_count", name, **used) == 1
    assert millpond.HealthMonitor(pool).status().healthy
    connection.close()


def test_what_is_no_pool_is_refused() -> None:
    with pytest.raises(millpond.PoolConfigError, match="pools=<str>: must be a pool"):
        PoolCollector(["orders"], None)  # type: ignore[list-item]


def test_one_pool_in_place_of_several_is_refused(make_pool: MakePool) -> None:
    with pytest.raises(millpond.PoolConfigError, match=r"must be pools, such as \[pool\]"):
        PoolCollector(make_pool(), None)  # type: ignore[arg-type]


@pytest.fixture
def scraped(make_pool: MakePool, registry: CollectorRegistry) -> Iterator[str]:
    """Give the URL at which prometheus_client serves a pool."""
    pool = make_pool(name="orders", max_size=1)
    pool.acquire()
    PoolCollector([pool], registry)
    server, thread = start_http_server(0, "127.0.0.1", registry)
    yield f"http://127.0.0.1:{server.server_port}/metrics"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_real_scrape_can_be_parsed(scraped: str) -> None:
    with urllib.request.urlopen(scraped) as response:
        text = response.read().decode()

    assert Scrape(text).value("db_client_connection_count", db_client_connection_state="used") == 1


def test_a_real_scrape_in_the_openmetrics_format_can_be_parsed(scraped: str) -> None:
    """Its parser is strict: it checks units, suffixes, and that buckets are ascending."""
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    with urllib.request.urlopen(urllib.request.Request(scraped, headers=accept)) as response:
        text = response.read().decode()

    parsed: Iterable[Metric] = openmetrics(text)  # type: ignore[no-untyped-call]
    families = {one.name: one for one in parsed}
    assert {name: one.type for name, one in families.items()} == {**CONVENTIONS, **OURS}


def test_what_is_exposed_is_in_the_format_that_was_asked_for(registry: CollectorRegistry) -> None:
    plain, _ = expose(registry, "text/plain")
    other, body = expose(registry, "application/openmetrics-text; version=1.0.0")

    assert plain.startswith("text/plain")
    assert other.startswith("application/openmetrics-text")
    assert body == b"# EOF\n"


def test_a_fork_during_a_scrape_does_not_hold_up_the_child() -> None:
    script = """
        import os
        import millpond
        from fakes import FakeDatabase
        from millpond.exporters.prometheus import PoolCollector

        pool = millpond.Pool(FakeDatabase().connect)
        collector = PoolCollector([pool], None)
        collector._labels._lock.acquire()  # as a thread has it that does not exist in the child
        child = os.fork()
        if not child:
            print(len(list(collector.collect())), flush=True)
            os._exit(0)
        os.waitpid(child, 0)
    """

    assert lines_of(script) == [str(len({*CONVENTIONS, *OURS}))]


def test_collecting_keeps_no_pool_alive(driver: FakeDatabase, registry: CollectorRegistry) -> None:
    PoolCollector(registry=registry)
    pool: Any = millpond.Pool(driver.connect, name="orders")
    assert scrape(registry).value("db_client_connection_max") == 10

    del pool

    eventually(lambda: [one for one in millpond.pools() if one.name == "orders"] == [])
