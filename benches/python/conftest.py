"""How a figure gets into pytest-benchmark's table."""

from collections.abc import Callable
from typing import Any

import pytest

from _harness import FIGURE_CLOCK, Contender
from _harness_async import AsyncContender

Show = Callable[..., None]


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let every bench be timed by its own figure."""
    item.add_marker(pytest.mark.benchmark(timer=FIGURE_CLOCK))


@pytest.fixture
def show(benchmark: Any, request: pytest.FixtureRequest) -> Show:  # noqa: ANN401 - untyped plugin
    """Return ``show(figure, *args, rounds=5)``: measures ``figure(*args)`` for the table."""

    def measure(figure: Callable[..., float], *args: object, rounds: int = 5) -> None:
        for subject in args:
            if isinstance(subject, Contender | AsyncContender) and subject.peer.version is None:
                pytest.skip(f"{subject.peer.distribution} is not installed")
        benchmark.group = request.node.originalname.removeprefix("bench_").replace("_", " ")
        benchmark.pedantic(FIGURE_CLOCK.move, args=(figure, *args), rounds=rounds)

    return measure
