"""`AsyncPool` under the eyes of all who look at pools."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

import millpond
from millpond.exporters.opentelemetry import instrument
from millpond.exporters.prometheus import expose, registry_of
from millpond.web import Site
from observing import async_pool

if TYPE_CHECKING:
    import pytest


def test_it_is_listed_until_it_is_closed() -> None:
    async def main() -> tuple[bool, bool]:
        async with async_pool() as pool:
            before = pool in millpond.pools()
        return before, pool in millpond.pools()

    assert asyncio.run(main()) == (True, False)


def test_the_endpoints_tell_of_it() -> None:
    async def main() -> dict[str, Any]:
        async with async_pool(name="orders", max_size=2) as pool, pool.connection():
            response = Site().respond("/pool.json")
            assert response is not None
            told: list[dict[str, Any]] = json.loads(response.body)["pools"]
            (one,) = (one for one in told if one["stats"]["name"] == "orders")
            return one

    told = asyncio.run(main())

    assert told["stats"]["in_use"] == 1
    assert told["stats"]["connections"][0]["holder_name"].startswith("Task-")
    assert told["options"]["max_size"] == 2
    assert told["health"]["healthy"]


def test_the_exporters_tell_of_it() -> None:
    async def main() -> tuple[str, str]:
        reader = InMemoryMetricReader()
        provider = MeterProvider([reader])
        async with async_pool(name="orders", max_size=2) as pool, pool.connection():
            instrument([pool], provider)
            _, text = expose(registry_of([pool]), "")
            data = reader.get_metrics_data()
            provider.shutdown()
        assert data is not None
        return text.decode(), data.to_json()

    text, collected = asyncio.run(main())

    assert 'state="used"} 1.0' in text
    wait = 'db_client_connection_wait_time_seconds_count{db_client_connection_pool_name="orders"} 1'
    assert wait in text
    names = {
        metric["name"]
        for metric in json.loads(collected)["resource_metrics"][0]["scope_metrics"][0]["metrics"]
    }
    assert {"db.client.connection.count", "db.client.connection.create_time"} <= names


def test_a_monitor_judges_it() -> None:
    async def main() -> list[str]:
        async with async_pool(max_size=1) as pool, pool.connection():
            return [alert.metric for alert in millpond.HealthMonitor(pool).status().alerts]

    assert asyncio.run(main()) == ["utilization"]


def test_a_coroutine_function_that_uses_it_is_monitored(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "millpond.monitored")

    async def main() -> None:
        async with async_pool(name="orders", max_size=2) as pool:
            held: list[object] = []

            @millpond.monitored(pool)
            async def checkout() -> None:
                held.append(await pool.acquire())

            await checkout()
            await pool.release(held.pop())

    asyncio.run(main())

    (record,) = (one for one in caplog.records if one.name == "millpond.monitored")
    assert vars(record)["after"]["in_use"] == 1
