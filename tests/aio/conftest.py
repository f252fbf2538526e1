"""The tests of `Pool`, collected once more for `AsyncPool`; and the fixtures of its own."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.assertion.rewrite import assertstate_key

import async_facade
from async_contract import excluded
from helpers import eventually

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import ModuleType

    from fakes import FakeDatabase

HERE = Path(__file__).parent
POOL = HERE.parent / "pool"


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect the tests of tests/pool as a part of test_contract.py."""
    if file_path == HERE / "test_contract.py":
        return Contract.from_parent(parent, path=file_path)
    return None


class Contract(pytest.File):
    """All tests of `Pool`."""

    def collect(self) -> Iterable[pytest.Collector]:
        """Find their files."""
        for path in sorted(POOL.glob("test_*.py")):
            if excluded(path.stem, "") is None:
                node = f"{self.nodeid}::{path.stem}"
                yield OverAsyncPool.from_parent(self, path=path, name=path.stem, nodeid=node)


class OverAsyncPool(pytest.Module):
    """A file of them, in which `millpond.Pool` is the facade of `AsyncPool`."""

    def _getobj(self) -> ModuleType:
        """Import the file a second time, as another module."""
        name = f"over_async_pool_{self.path.stem}"
        hook = self.config.stash[assertstate_key].hook
        spec = importlib.util.spec_from_file_location(name, self.path, loader=hook)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        theirs: dict[str, Any] = {
            "millpond": async_facade.facade,
            "threads_of": async_facade.tasks_of,
        }
        for known in theirs.keys() & vars(module).keys():
            setattr(module, known, theirs[known])
        return module


def pytest_collection_modifyitems(items: list[pytest.Item], config: pytest.Config) -> None:
    """Leave out what can't be said of `AsyncPool`."""
    left_out = [item for item in items if _is_excluded(item)]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


def _is_excluded(item: pytest.Item) -> bool:
    module = item.getparent(OverAsyncPool)
    names = [node.name for node in item.listchain()]
    return module is not None and any(excluded(module.path.stem, name) for name in names)


@pytest.fixture
def make_pool(driver: FakeDatabase) -> Iterator[Any]:
    """Give a factory of facades; as the one for `Pool`, it closes them and looks for tasks left."""
    pools: list[async_facade.Pool] = []

    def make(connect: Any = None, /, **options: Any) -> async_facade.Pool:
        pool = async_facade.Pool(driver.connect if connect is None else connect, **options)
        pools.append(pool)
        return pool

    yield make

    driver.release_all()
    for pool in pools:
        pool.close(timeout=0)
    for pool in pools:
        eventually(lambda pool=pool: not async_facade.tasks_of(pool))  # type: ignore[misc]
        pool.end()


@pytest.fixture(autouse=True)
def no_troubles() -> Iterator[None]:
    """Fail when a loop had to report something that nobody saw."""
    async_facade.troubles.clear()
    yield
    assert async_facade.troubles == []


@pytest.fixture(params=["asyncio", "uvloop"])
def each_loop(request: pytest.FixtureRequest) -> Iterator[None]:
    """Have `asyncio.run` run each kind of event loop."""
    if request.param == "asyncio":
        yield
        return
    uvloop = pytest.importorskip("uvloop")
    before = asyncio.get_event_loop_policy()
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    yield
    asyncio.set_event_loop_policy(before)
