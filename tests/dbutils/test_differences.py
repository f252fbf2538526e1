"""The list of the deliberate differences, and those of them that no script shows."""

from __future__ import annotations

import ast
import copy
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from differential.differences import DIFFERENCES, README, Difference, as_markdown, table_of
from traced import TracedDriver

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent


class Package:
    """One of the two packages, with a pool that shares, and a driver that lets it."""

    def __init__(self, name: str) -> None:
        self.pooled_db: Any = import_module(f"{name}.pooled_db")
        self.pool = self.pooled_db.PooledDB(TracedDriver(threadsafety=2), maxshared=1)


@pytest.fixture
def theirs() -> Package:
    return Package("dbutils")


@pytest.fixture
def ours() -> Package:
    return Package("millpond.dbutils")


def test_the_readme_has_the_list() -> None:
    assert table_of(README.read_text()) == as_markdown(), (
        "write it anew: cd tests; python -m differential.differences"
    )


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda one: one.id)
def test_each_difference_is_shown_by_a_script_or_by_a_test(difference: Difference) -> None:
    assert bool(difference.explains) != bool(difference.test)
    if difference.test:
        file, _, name = difference.test.partition("::")
        tree = ast.parse((HERE / file).read_text())
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(
    ("made", "some"),
    [
        (lambda pool: pool, {"_connections", "_idle_cache", "_maxconnections", "_reset"}),
        (lambda pool: pool.dedicated_connection(), {"_con", "_pool"}),
        (lambda pool: pool.connection(), {"_con", "_pool", "_shared_con"}),
        (lambda pool: pool.steady_connection(), {"_con", "_usage", "_transaction", "_closed"}),
        (lambda pool: pool.steady_connection().cursor(), {"_con", "_cursor", "_args", "_closed"}),
    ],
    ids=["pool", "dedicated", "shared", "steady", "cursor"],
)
def test_what_the_core_keeps_is_not_in_vars(
    theirs: Package, ours: Package, made: Callable[[Any], Any], some: set[str]
) -> None:
    one, other = made(theirs.pool), made(ours.pool)

    assert some <= vars(one).keys()
    assert not some & vars(other).keys()
    for name in vars(one):
        value = getattr(other, name)
        setattr(other, name, value)
        assert getattr(other, name) == value


def test_whether_a_connection_is_safe_is_asked_once(theirs: Package, ours: Package) -> None:
    for package, times in ((theirs, 3), (ours, 1)):
        con = package.pool.steady_connection()
        asked: list[str] = []
        con.threadsafety = lambda asked=asked: asked.append("asked") or 2
        for _ in range(3):
            package.pooled_db.PooledDedicatedDBConnection(package.pool, con)
        assert len(asked) == times


@pytest.mark.parametrize("name", ["commit", "rollback", "cancel"])
def test_the_end_of_a_shared_transaction_is_a_partial(
    theirs: Package, ours: Package, name: str
) -> None:
    for package, same in ((theirs, True), (ours, False)):
        con = package.pool.connection()
        end = getattr(con, name)
        assert (end == getattr(con._con, name)) is same
        con.begin()
        end()
        assert not con._con._transaction


def test_the_class_of_proxies_is_not_looked_up(
    theirs: Package, ours: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package, replaced in ((theirs, True), (ours, False)):
        original = package.pooled_db.PooledDedicatedDBConnection
        replacement = type("Replacement", (original,), {})
        monkeypatch.setattr(package.pooled_db, "PooledDedicatedDBConnection", replacement)
        assert isinstance(package.pool.dedicated_connection(), replacement) is replaced


def test_a_pool_is_not_copied(theirs: Package, ours: Package) -> None:
    assert copy.copy(theirs.pool)._idle_cache is theirs.pool._idle_cache
    with pytest.raises(TypeError):
        copy.copy(ours.pool)


def test_a_tough_method_maker_of_one_cursor_makes_the_rarer_ones(
    theirs: Package, ours: Package
) -> None:
    for package, result in ((theirs, "mine"), (ours, "c1.k1 executed")):
        con = package.pool.steady_connection()
        cursor = con.cursor()
        cursor._get_tough_method = lambda _: lambda: "mine"
        assert cursor.execute() == result
        assert cursor.executescript() == "mine"
        cursor.execute = lambda: "mine"
        assert cursor.execute() == "mine"
