"""A server that is stopped and started, as probes, alerts and Prometheus see it."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

import millpond
from helpers import eventually, in_thread
from load import fill
from millpond.health import Thresholds
from millpond.web import Site

if TYPE_CHECKING:
    from collections.abc import Callable

    from private_postgres import PrivatePostgres

pytestmark = pytest.mark.server


def asked(site: Site, path: str) -> tuple[int, str]:
    """Ask as a probe does."""
    response = site.respond(path)
    assert response is not None
    return response.status, response.body.decode()


def keep_asking(pool: millpond.Pool[Any]) -> Callable[[], None]:
    """Use a pool all the time, whatever it says, and return how to stop it."""
    stopped: list[bool] = []

    def ask() -> None:
        while not stopped:
            try:
                with pool.connection(timeout=0.2) as conn:
                    conn.execute("SELECT 1")
            except (millpond.PoolError, psycopg.Error):
                continue

    asking = in_thread(ask)

    def stop() -> None:
        stopped.append(True)
        asking.result()

    return stop


def test_a_stopped_server_is_seen_by_everybody_and_so_is_its_return(
    server: PrivatePostgres,
) -> None:
    raised: list[str] = []
    cleared: list[str] = []
    seconds = itertools.count()
    with millpond.Pool(server.url, name="orders", max_size=2, fail_fast_after=0.5) as pool:
        monitor = millpond.HealthMonitor(
            pool,
            failing=0.2,
            # These stay for a minute, which is longer than a test should take.
            failure_rate=None,
            open_failures=None,
            turned_away=None,
            utilization=None,
            clock=lambda: float(next(seconds)),
            on_raise=lambda alert: raised.append(alert.metric),
            on_clear=lambda alert: cleared.append(alert.metric),
        )
        probed = Site([pool], monitors=[monitor])
        unforgiving = Site([pool], thresholds=Thresholds())
        fill(pool, 2)
        stop = keep_asking(pool)
        assert asked(probed, "/readyz") == (200, "ready\n")

        server.stop()

        eventually(lambda: monitor.status() and "failing" in raised)
        status, said = asked(probed, "/readyz")
        assert status == 503
        assert "no attempt to connect has succeeded for" in said
        assert "OperationalError" in said
        assert asked(probed, "/healthz") == (200, "ok\n")
        assert asked(unforgiving, "/readyz")[0] == 503
        _, metrics = asked(probed, "/metrics")
        (failing,) = (
            line.split()[-1]
            for line in metrics.splitlines()
            if line.startswith("millpond_connect_failing_seconds{")
        )
        assert float(failing) > 0.2

        server.start()

        eventually(lambda: asked(probed, "/readyz")[0] == 200)
        assert (raised, cleared) == (["failing"], ["failing"])
        # By the rates of the last minute, not all is well yet.
        assert "of the acquires failed lately" in asked(unforgiving, "/readyz")[1]
        stop()
