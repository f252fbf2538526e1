"""Show what a leak and an outage look like in the alerts and to Prometheus: two seconds each.

``python benches/python/show_bad_day.py``, with stub connections.
"""

import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import millpond
from _harness import StubConnection
from millpond.exporters.prometheus import expose, registry_of

# What a leak and an outage change; the others would only make it longer.
TELLING = re.compile(
    r"db_client_connection_(count|max|pending_requests|timeouts_total)\b"
    r"|millpond_(leaks|acquires|connect_failures)_total|millpond_connect_failing_seconds"
)

LEAKS = 3
LONG = 1.0


class Server:
    """A database that can be stopped."""

    is_up = True

    def connect(self) -> StubConnection:
        """Connect, if it is up."""
        if not self.is_up:
            message = 'connection to server at "db-1", port 5432 failed: Connection refused'
            raise ConnectionRefusedError(message)
        return StubConnection()


@contextmanager
def watched(
    title: str, *, leak_threshold: float | None = None, patience: float = 1.0
) -> Iterator[tuple[Server, millpond.Pool[Any]]]:
    """Give a pool, and print the alerts and metrics that it has in the end."""
    server = Server()
    with millpond.Pool(
        server.connect,
        name="orders",
        max_size=4,
        leak_threshold=leak_threshold,
        acquire_timeout=patience,
        fail_fast_after=patience,
    ) as pool:
        monitor = millpond.HealthMonitor(pool)
        monitor.status()
        yield server, pool
        lines = ["", f"=== {title}", "", *_alerts(monitor), "", *_metrics(pool), ""]
        sys.stdout.write("\n".join(lines))


def _alerts(monitor: millpond.HealthMonitor) -> list[str]:
    status = monitor.status()
    alerts = (f"  {alert.severity:8} {alert.message}" for alert in status.alerts)
    return [f"healthy: {status.healthy}", *alerts]


def _metrics(pool: millpond.Pool[Any]) -> list[str]:
    _, text = expose(registry_of([pool]), "text/plain")
    lines = (line for line in text.decode().splitlines() if TELLING.match(line))
    return [line.replace("db_client_connection_pool_name", "pool") for line in lines]


def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait for something that happens in real time, in another thread."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)


def ask(pool: millpond.Pool[Any], times: int, timeout: float) -> None:
    """Be a client who gets an error."""
    for _ in range(times):
        try:
            pool.acquire(timeout=timeout)
        except millpond.PoolTimeout:
            continue


def leak() -> None:
    """Have three threads that never release."""
    with watched("three threads forget to release", leak_threshold=0.5) as (_, pool):
        for number in range(LEAKS):
            thread = threading.Thread(target=pool.acquire, name=f"report-{number}")
            thread.start()
            thread.join()
        for _ in range(200):
            with pool.connection():
                pass
        with pool.connection():
            ask(pool, 5, 0.05)
        until(lambda: pool.stats().leaks >= LEAKS)


def outage() -> None:
    """Stop the server."""
    with watched("the database is down") as made:
        server, pool = made
        for _ in range(200):
            with pool.connection():
                pass
        server.is_up = False
        pool.evict()
        asking = [threading.Thread(target=ask, args=(pool, 1, 1.0)) for _ in range(3)]
        for thread in asking:
            thread.start()
        until(lambda: (pool.stats().failing or 0.0) > LONG)
        ask(pool, 20, 1.0)
        for thread in asking:
            thread.join()


if __name__ == "__main__":
    leak()
    outage()
