"""The entries of Django's ``DATABASES``, and the options that Flask-SQLAlchemy gives its engine."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Final

from millpond.doctor._calls import DEFAULTS
from millpond.doctor._options import UNKNOWN, Option, PoolOptions
from millpond.doctor._source import dotted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from millpond.doctor._fold import Folder
    from millpond.doctor._source import Source

__all__ = ["databases_of", "flask_engines_of"]

_FROM_URL: Final = {"dj_database_url.config": 1, "dj_database_url.parse": 1}
_INSERTABLE: Final = (ast.Call, ast.Dict)
_FLASK: Final = "SQLALCHEMY_ENGINE_OPTIONS"
_FLASK_URL: Final = "SQLALCHEMY_DATABASE_URI"


def databases_of(source: Source, folder: Folder) -> Iterator[PoolOptions]:
    """Return the entries of a settings module, with what later lines change of them."""
    if not source.file.endswith(".py") or "DATABASES" not in _stored(source):
        return
    aliases: dict[str, dict[str, Option]] = {}
    incomplete: set[str] = set()
    places: dict[str, ast.AST] = {}
    for path, node in _assignments(source, folder):
        if not path:
            for alias, value in folder.literal(node).items():
                places[str(alias)] = value
                aliases[str(alias)] = _entry(source, folder, value, incomplete, str(alias))
        elif len(path) == 1:
            places.setdefault(path[0], node)
            aliases[path[0]] = _entry(source, folder, node, incomplete, path[0])
        elif path[0] in aliases:
            aliases[path[0]][".".join(path[1:])] = folder.option(node)
    for alias, options in aliases.items():
        entry = places[alias]
        yield PoolOptions(
            kind="django",
            options=options,
            defaults=DEFAULTS["django"],
            place=source.place(entry),
            complete=alias not in incomplete,
            name=alias,
            insertion=source.insertion(entry) if isinstance(entry, _INSERTABLE) else None,
        )


def flask_engines_of(source: Source, folder: Folder) -> Iterator[PoolOptions]:
    """Return the engines that Flask-SQLAlchemy makes of an application's configuration."""
    urls = [value for name, value in _settings(source) if name == _FLASK_URL]
    for name, value in _settings(source):
        if name != _FLASK:
            continue
        options = {str(key): folder.option(entry) for key, entry in folder.literal(value).items()}
        # Of several configurations, nobody knows which one applies.
        if len(urls) == 1:
            options["url"] = folder.option(urls[0])
        yield PoolOptions(
            kind="sqlalchemy.create_engine",
            options=options,
            defaults=DEFAULTS["sqlalchemy.create_engine"],
            place=source.place(value),
            complete=isinstance(value, ast.Dict) and None not in value.keys,
            name=_FLASK,
            insertion=source.insertion(value) if isinstance(value, _INSERTABLE) else None,
        )


def _settings(source: Source) -> Iterator[tuple[str, ast.expr]]:
    """Return ``NAME = value`` and ``app.config["NAME"] = value``."""
    for node in source.nodes:
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            if isinstance(target, ast.Name):
                yield target.id, node.value
            elif isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant):
                yield str(target.slice.value), node.value


def _stored(source: Source) -> set[str]:
    return {
        node.id
        for node in source.nodes
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }


def _assignments(source: Source, folder: Folder) -> Iterator[tuple[list[str], ast.expr]]:
    """Return what is assigned to ``DATABASES`` and to its entries, with the keys."""
    for node in source.tree.body:
        if not isinstance(node, (ast.Assign, ast.AnnAssign)) or node.value is None:
            continue
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            keys: list[str] = []
            inner: ast.expr = target
            while isinstance(inner, ast.Subscript):
                keys.insert(0, str(folder.value(inner.slice)))
                inner = inner.value
            if dotted(inner) == "DATABASES":
                yield keys, node.value


def _entry(
    source: Source, folder: Folder, node: ast.expr, incomplete: set[str], alias: str
) -> dict[str, Option]:
    if isinstance(node, ast.Call):
        # What dj-database-url makes of a URL; the rest of its arguments have Django's names.
        words = {(word.arg or "").upper(): folder.option(word.value) for word in node.keywords}
        if source.qualified(node.func) not in _FROM_URL:
            incomplete.add(alias)
            return {}
        words["ENGINE"] = Option(UNKNOWN, source.place(node))
        return words
    literal = folder.literal(node)
    if not isinstance(node, ast.Dict) or None in node.keys:
        incomplete.add(alias)
    options = {str(key): folder.option(value) for key, value in literal.items()}
    if "OPTIONS" in literal:
        options |= _nested(folder, "OPTIONS", literal["OPTIONS"])
    return options


def _nested(folder: Folder, name: str, node: ast.expr) -> dict[str, Option]:
    """Return the entries of a dict in a dict as ``OPTIONS.pool`` and ``OPTIONS.pool.max_size``."""
    found: dict[str, Option] = {}
    for key, value in folder.literal(node).items():
        found[f"{name}.{key}"] = folder.option(value)
        if isinstance(value, ast.Dict):
            found |= _nested(folder, f"{name}.{key}", value)
    return found
