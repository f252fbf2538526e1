"""The drivers for asyncio, each on both event loops. A test that asks for `case` runs with all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from drivers.aio.cases import CASES, LOOPS, AsyncCase

if TYPE_CHECKING:
    from collections.abc import Callable


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test with all drivers, or with those behind which there is a server."""
    if "case" in metafunc.fixturenames:
        served = "served" in metafunc.fixturenames
        wanted = [kind for kind in CASES if kind.twin.has_server or not served]
        parameters = [_parameter(kind, loop) for kind in wanted for loop in LOOPS]
        metafunc.parametrize("case", parameters, indirect=True)


def _parameter(kind: type[AsyncCase], loop: str) -> Any:
    marks = [pytest.mark.server] if kind.twin.has_server else []
    return pytest.param((kind, loop), id=f"{kind.name}-{loop}", marks=marks)


@pytest.fixture
def case(request: pytest.FixtureRequest) -> AsyncCase:
    """Give a driver with its database, and an event loop to run it in."""
    kind, loop = request.param
    made: AsyncCase = kind(request, loop)
    return made


@pytest.fixture(params=LOOPS)
def make(request: pytest.FixtureRequest) -> Callable[[type[AsyncCase]], AsyncCase]:
    """Give what makes the case of one driver, for what only that one has."""
    return lambda kind: kind(request, request.param)


@pytest.fixture
def served(case: AsyncCase) -> AsyncCase:
    """Give a driver with its server; without one, the test is not for it."""
    return case
