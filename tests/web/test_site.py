"""What the endpoints answer, however they are asked."""

from __future__ import annotations

import gc
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

import millpond
from helpers import eventually, lines_of, pass_time
from millpond._config import PoolConfig
from millpond.exporters.prometheus import PoolCollector
from millpond.health import Thresholds
from millpond.web import Response, Site
from millpond.web._site import Request
from observing import Told, break_down, time_out

if TYPE_CHECKING:
    from fakes import FakeConnection, FakeDatabase
    from helpers import MakePool
    from millpond._core import ManualClock

PATHS = ("/", "/healthz", "/readyz", "/metrics", "/pool.json")


def ask(site: Site, path: str, **request: str) -> Response:
    """Ask for something that is there."""
    response = site.respond(path, Request(**request))
    assert response is not None
    return response


def text(site: Site, path: str) -> tuple[int, str]:
    """Return the status and the text."""
    response = ask(site, path)
    return response.status, response.body.decode()


def pools_of(site: Site) -> list[dict[str, Any]]:
    """Return what is told of the pools."""
    told: list[dict[str, Any]] = json.loads(ask(site, "/pool.json").body)["pools"]
    return told


def test_a_process_that_answers_lives(make_pool: MakePool) -> None:
    pool = make_pool()
    pool.close()

    assert text(Site([pool]), "/healthz") == (200, "ok\n")


def test_healthy_pools_are_ready_and_so_is_a_process_without_pools(make_pool: MakePool) -> None:
    assert text(Site([]), "/readyz") == (200, "ready\n")
    assert text(Site([make_pool(), make_pool()]), "/readyz") == (200, "ready\n")


def test_an_unhealthy_pool_is_not_ready_and_says_why(
    make_pool: MakePool, clock: ManualClock
) -> None:
    pool = make_pool(name="orders", max_size=1, _clock=clock, _inline=True)
    site = Site([make_pool(), pool], thresholds=Thresholds(utilization=None))
    held = pool.acquire()
    time_out(pool, 1)

    assert text(site, "/readyz") == (
        503,
        "not ready\npool 'orders': 50.0% of the acquires failed lately, more than 1.0%\n",
    )

    pool.release(held)


def test_a_pool_with_warnings_alone_is_ready(make_pool: MakePool, clock: ManualClock) -> None:
    pool = make_pool(leak_threshold=1.0, _clock=clock, _inline=True)
    pool.acquire()
    pass_time(pool, clock, 2.0)
    site = Site([pool])

    assert text(site, "/readyz") == (200, "ready\n")
    (told,) = pools_of(site)
    assert [alert["metric"] for alert in told["health"]["alerts"]] == ["leaks"]


def test_a_database_that_is_out_of_reach_is_not_ready(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    pool = make_pool(name="orders", fail_fast_after=5.0, _clock=clock)
    site = Site([pool])
    break_down(pool, driver, clock)

    status, said = text(site, "/readyz")

    assert status == 503
    assert "no attempt to connect has succeeded for" in said
    assert "OperationalError: connection refused" in said


def test_an_outage_of_a_moment_is_not_ready_if_nothing_is_open(make_pool: MakePool) -> None:
    told = Told(make_pool(name="orders").stats())
    told.set(failing=0.2, last_error="OperationalError: refused")
    site = Site([told])
    message = "pool 'orders': nothing is open, and connecting fails (OperationalError: refused)"
    assert text(site, "/readyz") == (503, f"not ready\n{message}\n")

    told.set(size=1)

    assert text(site, "/readyz") == (200, "ready\n")


def test_the_metrics_are_those_of_the_pools(make_pool: MakePool) -> None:
    response = ask(Site([make_pool(name="orders")]), "/metrics")

    assert dict(response.headers)["Content-Type"].startswith("text/plain")
    families = {one.name: one for one in text_string_to_metric_families(response.body.decode())}
    (sample,) = families["db_client_connection_max"].samples
    assert sample.labels == {"db_client_connection_pool_name": "orders"}
    assert "python_info" not in families


def test_the_metrics_can_be_those_of_the_application_too(make_pool: MakePool) -> None:
    registry = CollectorRegistry()
    PoolCollector([make_pool()], registry)
    Counter("carts", "Carts that were paid.", registry=registry).inc()

    body = ask(Site(registry=registry), "/metrics").body.decode()

    assert "carts_total 1.0" in body
    assert "db_client_connection_max" in body


def test_the_metrics_come_in_the_format_that_was_asked_for(make_pool: MakePool) -> None:
    site = Site([make_pool()])

    response = ask(site, "/metrics", accept="application/openmetrics-text; version=1.0.0")

    assert dict(response.headers)["Content-Type"].startswith("application/openmetrics-text")
    assert response.body.endswith(b"# EOF\n")


def test_without_prometheus_client_the_metrics_say_how_to_get_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "millpond.exporters.prometheus", raising=False)
    monkeypatch.delattr("millpond.exporters.prometheus", raising=False)

    status, said = text(Site([]), "/metrics")

    assert status == 501
    assert "pip install 'millpond[prometheus]'" in said


def test_importing_the_endpoints_needs_nothing_that_is_not_installed() -> None:
    script = """
        import sys
        import millpond.web

        others = ("prometheus_client", "opentelemetry", "fastapi", "starlette")
        print([name for name in others if name in sys.modules])
    """

    assert lines_of(script) == ["[]"]


def test_everything_about_a_pool_is_told(make_pool: MakePool) -> None:
    pool = make_pool(name="orders", max_size=3, configure=print, acquire_timeout=1.5)
    site = Site([pool])
    held = pool.acquire()

    told = json.loads(ask(site, "/pool.json").body)

    assert told["millpond"] == millpond.__version__
    assert set(told) == {"millpond", "pid", "time", "pools"}
    (one,) = told["pools"]
    assert set(one) == {"stats", "options", "health"}
    assert one["stats"]["in_use"] == 1
    assert set(one["stats"]) == set(pool.stats().to_dict())
    assert one["health"] == {"healthy": True, "alerts": []}
    options = one["options"]
    assert set(options) == {"connect", *PoolConfig.__dataclass_fields__}
    assert (options["max_size"], options["acquire_timeout"]) == (3, 1.5)
    assert options["configure"] == "builtins.print"
    assert options["connect"] == "FakeDatabase.connect"
    pool.release(held)


def test_no_password_is_told(driver: FakeDatabase) -> None:
    def connect_with_password() -> FakeConnection:
        return driver.connect()

    made = [
        millpond.Pool("postgresql://app:secret1@localhost/db?sslpassword=secret2", name="a"),
        millpond.Pool(
            "postgresql://localhost/db",
            name="b",
            connect_kwargs={"password": "secret3", "options": "-c x=secret4", "port": 5433},
            session=["SET ROLE secret5", "SELECT 1"],
        ),
        millpond.Pool(
            "mysql+pymysql://app:secret6@localhost/db", name="c", connect_kwargs={"passwd": 7777}
        ),
        millpond.Pool(connect_with_password, name="d"),
    ]
    try:
        body = ask(Site(made), "/pool.json").body.decode()
    finally:
        for pool in made:
            pool.close()

    assert "secret" not in body
    assert "7777" not in body
    options = {one["options"]["name"]: one["options"] for one in json.loads(body)["pools"]}
    assert options["a"]["connect"] == "postgresql://app:***@localhost/db?sslpassword=***"
    assert options["b"]["connect_kwargs"] == {"password": "***", "options": "***", "port": 5433}
    assert options["b"]["session"] == ["SET ***", "SELECT ***"]
    assert options["c"]["driver"] == "pymysql"
    assert options["d"]["connect"].endswith("connect_with_password")


def test_what_is_no_number_of_json_is_not_told_as_one() -> None:
    pool = millpond.Pool("sqlite:///no.db", connect_kwargs={"timeout": float("inf")})
    with pool:
        body = ask(Site([pool]), "/pool.json").body

    assert b"Infinity" not in body
    assert json.loads(body)["pools"][0]["options"]["connect_kwargs"] == {"timeout": "***"}


def test_a_name_that_is_no_text_breaks_nothing(make_pool: MakePool) -> None:
    told = Told(make_pool().stats())
    told.set(failing=9.0, last_error="OperationalError: no file '\udcff'")

    status, said = text(Site([told]), "/readyz")

    assert status == 503
    assert "no file '\\udcff'" in said


def test_a_thread_local_pool_tells_its_options(driver: FakeDatabase) -> None:
    with millpond.ThreadLocalPool(driver.connect, name="orders", max_size=3) as pool:
        (told,) = pools_of(Site([pool]))

    assert told["options"]["max_size"] == 3
    assert told["options"]["name"] == "orders"


def test_by_default_all_pools_are_told_of_and_none_is_kept_alive(driver: FakeDatabase) -> None:
    site = Site()
    pool: Any = millpond.Pool(driver.connect, name="of later")

    def names() -> set[str]:
        return {one["stats"]["name"] for one in pools_of(site)}

    assert "of later" in names()
    del pool
    eventually(lambda: gc.collect() is not None and "of later" not in names())


def test_a_callable_gives_the_pools_of_the_moment(make_pool: MakePool) -> None:
    pools = [make_pool(name="orders")]
    site = Site(lambda: pools)
    pools.append(make_pool(name="users"))

    assert [one["stats"]["name"] for one in pools_of(site)] == ["orders", "users"]


def test_a_monitor_judges_its_pool_by_its_own_thresholds(
    make_pool: MakePool, clock: ManualClock
) -> None:
    strict, other = (make_pool(max_size=2, _clock=clock, _inline=True) for _ in range(2))
    raised: list[str] = []
    monitor = millpond.HealthMonitor(
        strict, utilization=0.2, on_raise=lambda alert: raised.append(alert.metric)
    )
    site = Site([other], monitors=[monitor])
    held = strict.acquire(), other.acquire()

    found = {one["options"]["name"] or i: one["health"] for i, one in enumerate(pools_of(site))}

    assert [health["healthy"] for health in found.values()] == [True, False]
    assert raised == ["utilization"]
    strict.release(held[0])
    other.release(held[1])


def test_a_closed_pool_is_left_out_though_it_has_a_monitor(make_pool: MakePool) -> None:
    pool = make_pool(name="orders", max_size=1)
    site = Site([], monitors=[millpond.HealthMonitor(pool)])
    held = pool.acquire()
    assert text(site, "/readyz")[0] == 503

    pool.close(timeout=0)

    assert text(site, "/readyz") == (200, "ready\n")
    assert pools_of(site) == []
    pool.release(held)


def test_everybody_asking_about_a_pool_has_the_same_alerts(make_pool: MakePool) -> None:
    """An alert is still there for who comes when the value is good again."""
    told = Told(make_pool(name="orders").stats())
    site = Site([told])
    told.set(window={"utilization": 1.0})
    assert text(site, "/readyz")[0] == 503

    told.set(window={"utilization": 0.9})

    assert text(site, "/readyz")[0] == 503
    assert not pools_of(site)[0]["health"]["healthy"]


@pytest.mark.parametrize("path", PATHS)
def test_an_answer_is_never_kept_and_its_length_is_right(make_pool: MakePool, path: str) -> None:
    response = ask(Site([make_pool()]), path)

    headers = dict(response.headers)
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Length"] == str(len(response.body))


@pytest.mark.parametrize("path", PATHS)
def test_who_asks_for_the_head_gets_no_body(path: str) -> None:
    site = Site([])

    response = ask(site, path, method="HEAD")

    assert response.status == 200
    assert response.body == b""
    assert int(dict(response.headers)["Content-Length"]) > 0


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_changed(method: str) -> None:
    response = ask(Site([]), "/pool.json", method=method)

    assert response.status == 405
    assert dict(response.headers)["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/nothing", "/healthz/", "/pool", "//", "/../etc/passwd", "x"])
def test_there_is_nothing_else(path: str) -> None:
    site = Site([])

    assert site.respond(path) is None
    missing = site.missing()
    assert site.missing("HEAD") == missing._replace(body=b"")
    assert missing.status == 404
    assert b"/healthz, /readyz, /metrics, /pool.json" in missing.body


def test_everything_can_be_below_a_path() -> None:
    site = Site([], path="/internal/db/")

    assert all(site.respond(path) is None for path in PATHS)
    assert all(ask(site, f"/internal/db{path}").status == 200 for path in PATHS)
    assert ask(site, "/internal/db").status == 200


def test_the_page_knows_where_it_is_and_loads_nothing_from_elsewhere() -> None:
    site = Site([], path="/db")

    response = ask(site, "/db", base="/app&\"<'")

    page = response.body.decode()
    assert 'data-base="/app&amp;&quot;&lt;&#x27;/db/"' in page
    assert "{{" not in page
    assert "//" not in page.replace("// ", "").replace("http://", "")
    assert "http" not in page.replace("HTTP", "")
    policy = dict(response.headers)["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy


def test_who_asks_for_something_else_reads_what_there_is() -> None:
    assert Site([]).missing().body == (
        b"not found; there are /healthz, /readyz, /metrics, /pool.json, /\n"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "internal"}, "path='internal': must begin with a slash, or be empty"),
        ({"path": 4}, "path=4: must begin with a slash"),
        ({"pools": [4]}, "pools=<int>: must be a pool"),
        ({"pools": 4}, "pools=<int>: must be pools, such as \\[pool], or a callable"),
        ({"monitors": [4]}, "monitors=<int>: must be HealthMonitors"),
    ],
)
def test_an_argument_that_is_not_valid_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(millpond.PoolConfigError, match=message):
        Site(**options)


def test_in_the_child_of_a_fork_everything_begins_anew() -> None:
    script = """
        import os
        import millpond
        from fakes import FakeDatabase
        from millpond.web import Site

        pool = millpond.Pool(FakeDatabase().connect, max_size=1)
        site = Site()
        pool.acquire()
        assert site.respond("/readyz").status == 503
        site._lock.acquire()  # as a thread has it that does not exist in the child
        child = os.fork()
        if not child:
            print(site.respond("/readyz").body, flush=True)
            os._exit(0)
        os.waitpid(child, 0)
    """

    assert lines_of(script) == ["b'ready\\n'"]
