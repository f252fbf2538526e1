"""Folders and files in, subjects out."""

from __future__ import annotations

import os
import tokenize
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from millpond.doctor._django import databases_of, flask_engines_of
from millpond.doctor._findings import Place
from millpond.doctor._module import Module
from millpond.doctor._source import Source
from millpond.doctor._toml import pools_of_toml
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from millpond.doctor._bindings import Pooled
    from millpond.doctor._options import PoolOptions

__all__ = ["Project", "Unreadable", "read_config", "read_paths"]

# Others' code, and copies of one's own.
_SKIPPED: Final = frozenset(
    {"__pycache__", "build", "dist", "node_modules", "site-packages", "venv", "virtualenv"}
)
# What holds pools and not the settings of some tool; other TOML files are read if they are named.
_TOML: Final = frozenset({"millpond.toml", "pool.toml", "pools.toml"})
_TESTS: Final = frozenset({"test", "tests"})
_LARGEST: Final = 2_000_000


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file that could not be read.

    Attributes:
        place: Which one.
        reason: Why not.
    """

    place: Place
    reason: str


@dataclass(slots=True, eq=False)
class Project:
    """All files that were read, for rules about what is in several of them.

    Attributes:
        modules: The Python files.
        configurations: Pools that are not made by a call: Django's, and those given as TOML.
        unreadable: Files that could not be read.
    """

    modules: list[Module] = field(default_factory=list)
    configurations: list[PoolOptions] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    _found: dict[str, Module | None] = field(default_factory=dict, repr=False)

    @property
    def place(self) -> Place:
        """Nowhere in particular."""
        return Place()

    @property
    def pools(self) -> list[PoolOptions]:
        """Every pool."""
        made = [options for module in self.modules for options in module.pools.values()]
        return [*made, *self.configurations]

    def imports(self, *packages: str) -> bool:
        """Whether any file imports one of some packages."""
        return any(
            name.partition(".")[0] in packages
            for module in self.modules
            for name in module.source.imports.values()
        )

    def subjects(self) -> list[object]:
        """Return everything that rules look at."""
        return [*self.unreadable, *self.pools, *self.modules, self]

    def module(self, name: str) -> Module | None:
        """Return the file that others import by a dotted name; all files have to be read."""
        if name not in self._found:
            found = [each for each in self.modules if _is_called(each.source.module, name)]
            # Two files of the same name in different folders: it can't be told which is meant.
            self._found[name] = found[0] if len(found) == 1 else None
        return self._found[name]

    def named(self, name: str) -> Pooled | None:
        """Return the pool that another file has under a dotted name; ``name()`` is a function."""
        owner, _, attribute = name.removesuffix("()").rpartition(".")
        module = self.module(owner)
        if module is None:
            return None
        bindings = module.bindings
        return bindings.returned_by(attribute) if name.endswith("()") else bindings.named(attribute)


def read_paths(paths: Iterable[Path]) -> list[object]:
    """Return what there is to look at in files and folders.

    Args:
        paths: Python files, TOML files, or folders of them; hidden folders, virtual environments
            and the like are left out, and so are tests, which make pools in ways in which no
            server should; unless a folder of tests is given by its name.

    Raises:
        PoolConfigError: There is no such file or folder, or a TOML file is not valid.
    """
    project = Project()
    seen: set[str] = set()
    for root in paths:
        if not root.exists():
            msg = f"path={str(root)!r}: must be a file or folder that exists"
            raise PoolConfigError(msg)
        for path in sorted(_files(root)):
            is_wanted = root.is_file() or root.name in _TESTS
            if not is_wanted and _is_test(path.relative_to(root)):
                continue
            # Folders that were named may be in each other, and links lead anywhere.
            real = os.path.realpath(path)
            if real not in seen:
                _read(project, path, root)
            seen.add(real)
    return project.subjects()


def read_config(path: Path) -> list[object]:
    """Return the pools of a TOML file.

    Raises:
        PoolConfigError: It can't be read, is no TOML, or has a table that is no pool.
    """
    pools = pools_of_toml(str(path), _text_of_toml(path))
    if not pools:
        msg = f"{path}: has no pool; must have a table [pool], or several, [[pool]]"
        raise PoolConfigError(msg)
    return [*pools]


def _text_of_toml(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path}: can't be read: {error}"
        raise PoolConfigError(msg) from None


def _files(root: Path) -> Iterator[Path]:
    if root.is_file():
        yield root
        return
    for folder, folders, files in os.walk(root):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and name not in _SKIPPED
            # A virtual environment, whatever it is called.
            and not Path(folder, name, "pyvenv.cfg").exists()
        ]
        yield from (Path(folder, name) for name in files if name.endswith(".py") or name in _TOML)


def _is_test(path: Path) -> bool:
    name = path.name
    return (
        bool(_TESTS.intersection(path.parts[:-1]))
        or name.startswith("test_")
        or name.endswith(("_test.py", "conftest.py"))
    )


def _read(project: Project, path: Path, root: Path) -> None:
    file = str(path)
    if path.suffix == ".toml":
        _read_toml(project, path, is_named=path == root)
        return
    try:
        if not path.is_file():
            # A pipe, of which nobody may ever write the other end; or a link to nowhere.
            project.unreadable.append(Unreadable(Place(file), "is no file that can be read"))
            return
        if path.stat().st_size > _LARGEST:
            project.unreadable.append(Unreadable(Place(file), f"is over {_LARGEST} bytes"))
            return
        with tokenize.open(path) as opened:
            source = Source(file, opened.read(), _module_name(path, root))
    except SyntaxError as error:
        place = Place(file, error.lineno, (error.text or "").rstrip())
        project.unreadable.append(Unreadable(place, f"is no valid Python: {error.msg}"))
        return
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        project.unreadable.append(Unreadable(Place(file), f"can't be read: {error}"))
        return
    module = Module(source, project.named)
    project.modules.append(module)
    project.configurations += databases_of(source, module.bindings.folder)
    project.configurations += flask_engines_of(source, module.bindings.folder)


def _read_toml(project: Project, path: Path, *, is_named: bool) -> None:
    try:
        project.configurations += pools_of_toml(str(path), _text_of_toml(path))
    except PoolConfigError as error:
        # A file that only has such a name may be somebody else's.
        if is_named:
            raise
        reason = str(error).removeprefix(f"{path}: ")
        project.unreadable.append(Unreadable(Place(str(path)), reason))


def _module_name(path: Path, root: Path) -> str:
    relative = path.relative_to(root) if root.is_dir() else Path(path.name)
    parts = [*relative.parent.parts, *([] if path.stem == "__init__" else [path.stem])]
    return ".".join(part for part in parts if part != "src")


def _is_called(module: str, name: str) -> bool:
    """Whether a file may be what others import by a name; the folder may be inside a package."""
    return bool(module and name) and (
        module == name or name.endswith(f".{module}") or module.endswith(f".{name}")
    )
