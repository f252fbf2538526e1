"""Millpond's modules in the place of DBUtils', under its name and its former one."""

from __future__ import annotations

import importlib
import sys
import threading
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Final

from millpond.dbutils._version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import ModuleType

_HOME: Final = "millpond.dbutils"

# What the modules of each package are called, and what they are called here.
_PACKAGES: Final[dict[str, dict[str, str]]] = {
    "dbutils": {
        name: f"{_HOME}.{name}"
        for name in (
            "pooled_db",
            "steady_db",
            "persistent_db",
            "simple_pooled_db",
            "pooled_pg",
            "steady_pg",
            "persistent_pg",
            "simple_pooled_pg",
        )
    },
    "DBUtils": {
        "PooledDB": f"{_HOME}.pooled_db",
        "SteadyDB": f"{_HOME}.steady_db",
        "PersistentDB": f"{_HOME}.persistent_db",
        "SimplePooledDB": f"{_HOME}.simple_pooled_db",
        "PooledPg": f"{_HOME}.pooled_pg",
        "SteadyPg": f"{_HOME}.steady_pg",
        "PersistentPg": f"{_HOME}.persistent_pg",
        "SimplePooledPg": f"{_HOME}.simple_pooled_pg",
    },
}
_ALIASES: Final = {
    f"{package}.{name}": target
    for package, names in _PACKAGES.items()
    for name, target in names.items()
}

# How many names an error lists.
SHOWN: Final = 3

_lock = threading.Lock()


def install(*, force: bool = False) -> None:
    """Let every later ``import dbutils`` or ``import DBUtils`` give millpond's modules.

    All eight modules are there under both of their names, `dbutils.pooled_db` as well as
    ``DBUtils.PooledDB``, whether DBUtils is installed or not. Those for PyGreSQL import ``pg`` when
    they are imported themselves. Calling it again does nothing. It holds for this interpreter and
    its forks; an interpreter that the program starts has to install for itself.

    Args:
        force: What to do when something else called ``dbutils`` was imported before: ``False``,
            the default, refuses, since whoever imported it keeps its classes; ``True`` takes its
            place for the imports to come.

    Raises:
        RuntimeError: Another ``dbutils`` is imported already, and ``force`` is false.
    """
    with _lock:
        others = sorted(_others())
        if others and not force:
            raise RuntimeError(_too_late(others))
        for name in others:
            del sys.modules[name]
        if _FINDER not in sys.meta_path:
            sys.meta_path.insert(0, _FINDER)
        for package in _PACKAGES:
            importlib.import_module(package)


class _Finder(MetaPathFinder, Loader):
    """Finds the two packages and their modules, and loads them."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        """Give the spec of a name that is DBUtils'."""
        del path, target
        if fullname in _PACKAGES:
            # The path of such a package is empty, so nobody finds a second copy of a module by it.
            return ModuleSpec(fullname, self, origin=_HOME, is_package=True)
        if fullname in _ALIASES:
            return ModuleSpec(fullname, self, origin=_ALIASES[fullname])
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Fill one of the two packages, or put a module's real self where it was asked for."""
        name = module.__name__
        if name in _PACKAGES:
            _fill(module)
        else:
            # The import system takes what it then finds here, and throws the empty module away.
            sys.modules[name] = importlib.import_module(_ALIASES[name])


_FINDER: Final = _Finder()


def _fill(package: ModuleType) -> None:
    package.__doc__ = f"DBUtils as it is in millpond: see {_HOME}."
    vars(package)["__version__"] = __version__
    # As DBUtils has it: all modules in the days of DBUtils 1, and none since.
    vars(package)["__all__"] = (
        ["__version__"] if package.__name__ == "dbutils" else list(_PACKAGES[package.__name__])
    )
    for name, target in _PACKAGES[package.__name__].items():
        if not target.endswith("_pg"):  # those need PyGreSQL, and are found when they are imported
            module = importlib.import_module(target)
            sys.modules[f"{package.__name__}.{name}"] = module
            setattr(package, name, module)


def _others() -> Iterator[str]:
    """Name the imported modules which have DBUtils' names and are not ours."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] not in _PACKAGES:
            continue
        if name in _PACKAGES:
            spec = getattr(module, "__spec__", None)
            ours = spec is not None and spec.loader is _FINDER
        else:
            ours = name in _ALIASES and module is sys.modules.get(_ALIASES[name])
        if not ours:
            yield name


def _too_late(others: list[str]) -> str:
    holders = sorted(_holders(others))
    who = f" {_some(holders)} would keep what it has of it:" if holders else ""
    return (
        f"{_some(others)} was imported before millpond.dbutils.install();{who} install before"
        " anything imports it, or run the program by python -m millpond.dbutils, or say"
        " force=True to take its place for later imports only"
    )


def _holders(others: list[str]) -> Iterator[str]:
    """Name the modules that have one of the others, or something that is defined in it."""
    modules = [sys.modules[name] for name in others]
    for name, module in list(sys.modules.items()):
        if name in others:
            continue
        for value in list(getattr(module, "__dict__", {}).values()):
            if getattr(value, "__module__", None) in others or any(value is one for one in modules):
                yield name
                break


def _some(names: list[str]) -> str:
    shown, more = ", ".join(names[:SHOWN]), len(names) - SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
