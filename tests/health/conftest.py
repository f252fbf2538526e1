"""Monitors that end with their test, and statistics that can be changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import millpond
from helpers import eventually
from observing import Told, monitoring

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from helpers import MakePool


@pytest.fixture
def make_monitor() -> Iterator[Callable[..., millpond.HealthMonitor]]:
    """Give a factory of monitors, which are stopped after the test."""
    monitors: list[millpond.HealthMonitor] = []

    def make(*args: Any, **options: Any) -> millpond.HealthMonitor:
        monitors.append(millpond.HealthMonitor(*args, **options))
        return monitors[-1]

    yield make
    for monitor in monitors:
        monitor.stop()
    eventually(lambda: not monitoring())


@pytest.fixture
def told(make_pool: MakePool) -> Told:
    """Give the statistics of a pool that does nothing, to change."""
    return Told(make_pool(name="orders").stats())
