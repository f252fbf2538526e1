"""The public names, their defaults and their documentation, also of what is written in Rust."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

import millpond
from millpond import _core

if TYPE_CHECKING:
    from collections.abc import Iterable

NAMES = {
    "Pool",
    "ThreadLocalPool",
    "AsyncLease",
    "AsyncPool",
    "Lease",
    "PoolStats",
    "ConnectionStats",
    "TimeStats",
    "WindowStats",
    "HealthMonitor",
    "monitored",
    "pools",
    "AdaptiveSizer",
    "PoolEvent",
    "presets",
    "sizing",
    "PoolError",
    "PoolTimeout",
    "PoolClosed",
    "PoolExhausted",
    "PoolConfigError",
    "PoolConfigWarning",
    "QueryTimeout",
    "__version__",
}
DEFAULTS = {
    "min_size": 0,
    "max_size": 10,
    "acquire_timeout": 5.0,
    "connect_timeout": 5.0,
    "max_connecting": 32,
    "fail_fast_after": 5.0,
    "idle_timeout": 600.0,
    "max_lifetime": 3600.0,
    "max_uses": None,
    "max_waiting": None,
    "validation_interval": 30.0,
    "validation_timeout": 5.0,
    "max_latency": None,
    "reset": "rollback",
    "leak_threshold": None,
    "policy": "fair",
    "name": None,
    "driver": None,
    "connect_kwargs": None,
    "socket_timeout": None,
    "statement_timeout": None,
    "keepalive": None,
    "application_name": None,
    "autocommit": None,
    "isolation_level": None,
    "read_only": None,
    "session": (),
    "profile": None,
    "configure": None,
    "validate": None,
    "on_acquire": None,
    "on_release": None,
    "on_exhausted": "wait",
    "shed": False,
    "on_close": None,
}
METHODS = {
    "acquire": "(self, /, *, timeout=None, priority='normal')",
    "try_acquire": "(self, /)",
    "release": "(self, connection, /)",
    "discard": "(self, connection, /)",
    "detach": "(self, connection, /)",
    "connection": "(self, /, *, timeout=None, priority='normal', query_timeout=None)",
    "transaction": "(self, *, isolation=None, read_only=None, timeout=None)",
    "savepoint": "(self, conn)",
    "run": "(self, work, /, *, retries=3, isolation=None, read_only=None, timeout=None)",
    "query_timeout": "(self, conn, seconds)",
    "stats": "(self)",
    "add_listener": "(self, listener, *kinds)",
    "wait": "(self, timeout=30.0)",
    "resize": "(self, *, min_size=None, max_size=None)",
    "evict": "(self, /)",
    "suspend": "(self, /)",
    "resume": "(self, /)",
    "close": "(self, timeout=5.0)",
}
PROPERTIES = {"name", "closed", "suspended", "min_size", "max_size"}
# What makes sense only where a connection goes from hand to hand, and the other way round.
POOLED_ONLY = {
    *("try_acquire", "discard", "detach", "suspend", "resume", "suspended"),
    *("transaction", "savepoint", "run", "query_timeout"),
}
LOCAL_ONLY = {"release_thread"}
LOCAL_METHODS = {
    **{name: signature for name, signature in METHODS.items() if name not in POOLED_ONLY},
    "acquire": "(self, /, *, timeout=None)",
    "connection": "(self, /, *, timeout=None)",
}

WITH = ("__enter__", "__exit__")


def public(names: Iterable[str]) -> list[str]:
    """Leave out what begins with an underscore, but for the two methods of a block."""
    return [name for name in names if name in WITH or not name.startswith("_")]


def read_stub() -> dict[str, str]:
    """Return the docstrings of `_core.pyi`, by dotted names."""
    tree = ast.parse(Path(millpond.__file__).with_name("_core.pyi").read_text("utf-8"))
    found: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name.startswith("_"):
            continue  # what classes have in common, in the stub only
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found[node.name] = ast.get_docstring(node) or ""
        if isinstance(node, ast.ClassDef):
            methods = {each.name: each for each in node.body if isinstance(each, ast.FunctionDef)}
            for name in public(methods):
                found[f"{node.name}.{name}"] = ast.get_docstring(methods[name]) or ""
    return found


STUB = read_stub()


def documentation(name: str) -> str:
    """Return the docstring of one of a pool's methods, wherever it is written."""
    written_here = inspect.getdoc(getattr(millpond.Pool, name)) or ""
    return STUB.get(f"CorePool.{name}", written_here)


def without_annotations(function: Any) -> str:
    signature = inspect.signature(function)
    parameters = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in signature.parameters.values()
    ]
    return str(inspect.Signature(parameters))


def test_the_package_offers_these_names() -> None:
    assert set(millpond.__all__) == NAMES
    assert all(hasattr(millpond, name) for name in NAMES)


@pytest.mark.parametrize(
    "name",
    ["web.asgi_app", "exporters.prometheus.PoolCollector", "exporters.opentelemetry.instrument"],
)
def test_what_the_readme_names_is_there_after_import_millpond(name: str) -> None:
    asked = f"import millpond; assert callable(millpond.{name})"

    subprocess.run([sys.executable, "-c", asked], check=True)


def test_import_millpond_imports_nothing_for_http_or_asyncio() -> None:
    asked = (
        "import sys, millpond; print({'millpond.web', 'http.server', 'asyncio'} & {*sys.modules})"
    )

    said = subprocess.check_output([sys.executable, "-c", asked], text=True)

    assert said == "set()\n"


def test_no_public_name_is_missing_from_all() -> None:
    offered = {
        name
        for name, value in vars(millpond).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }

    assert offered <= NAMES


def test_a_pool_has_these_methods_and_properties() -> None:
    assert set(public(dir(millpond.Pool))) == {*METHODS, *PROPERTIES, *WITH}


def test_a_thread_local_pool_differs_in_what_makes_sense_for_it() -> None:
    names = {*METHODS, *PROPERTIES, *WITH} - POOLED_ONLY | LOCAL_ONLY

    assert set(public(dir(millpond.ThreadLocalPool))) == names


@pytest.mark.parametrize("name", LOCAL_METHODS)
def test_a_method_of_a_thread_local_pool_has_the_documented_signature(name: str) -> None:
    # That of `evict` is written in Rust for the one and in Python for the other.
    signature = without_annotations(getattr(millpond.ThreadLocalPool, name))
    expected = LOCAL_METHODS[name]
    assert signature in {expected, expected.replace("(self, /)", "(self)")}


def test_a_thread_local_pool_takes_the_same_arguments() -> None:
    def arguments(kind: type) -> dict[str, object]:
        found = inspect.signature(kind).parameters.values()
        return {one.name: (one.kind, one.default) for one in found}

    assert arguments(millpond.ThreadLocalPool) == arguments(millpond.Pool)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_the_documented_signature(name: str) -> None:
    assert without_annotations(getattr(millpond.Pool, name)) == METHODS[name]


def test_a_pool_has_the_documented_defaults() -> None:
    connect, *options = [
        parameter
        for parameter in inspect.signature(millpond.Pool).parameters.values()
        if not parameter.name.startswith("_")
    ]

    assert (connect.name, connect.kind) == ("connect", inspect.Parameter.POSITIONAL_ONLY)
    assert {option.name: option.default for option in options} == DEFAULTS
    assert {option.kind for option in options} == {inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize("option", ["connect", *DEFAULTS])
@pytest.mark.parametrize("kind", [millpond.Pool, millpond.ThreadLocalPool])
def test_every_argument_of_a_pool_is_documented(kind: type, option: str) -> None:
    assert f"\n    {option}: " in (inspect.getdoc(kind) or "")


@pytest.mark.parametrize("name", sorted(NAMES - {"__version__"}))
def test_every_public_name_has_a_docstring(name: str) -> None:
    assert inspect.getdoc(getattr(millpond, name))


@pytest.mark.parametrize("name", [*METHODS, *PROPERTIES, *WITH])
def test_every_method_has_a_docstring(name: str) -> None:
    assert documentation(name)


@pytest.mark.parametrize("name", METHODS)
def test_the_docstring_of_a_method_names_its_arguments(name: str) -> None:
    _, *parameters = inspect.signature(getattr(millpond.Pool, name)).parameters

    assert [each for each in parameters if f"    {each}: " not in documentation(name)] == []


@pytest.mark.parametrize("name", STUB)
def test_what_is_written_in_rust_is_documented_in_the_stub(name: str) -> None:
    assert STUB[name]


@pytest.mark.parametrize("name", STUB)
def test_help_shows_the_first_line_of_the_stub(name: str) -> None:
    outer, _, inner = name.partition(".")
    found = getattr(_core, outer)

    doc = inspect.getdoc(getattr(found, inner) if inner else found) or ""

    assert doc.partition("\n")[0] == STUB[name].partition("\n")[0]
