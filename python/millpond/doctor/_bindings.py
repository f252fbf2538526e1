"""Which expressions of a file are pools, as far as their names tell.

A pool is known by the variable that it was assigned to, here or in another file of the project, by
an attribute of ``self`` or of an application's ``state``, by an annotation, or by a function that
returns it. A name that is given something else in between is no pool.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final

from millpond.doctor._calls import DEFAULTS, pool_of_call
from millpond.doctor._fold import Folder
from millpond.doctor._options import PoolOptions
from millpond.doctor._source import Function, Source, assigned, dotted, own_nodes, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from millpond.doctor._options import Kind

__all__ = ["Bindings", "Pooled"]

_ANNOTATIONS: Final[Mapping[str, Kind]] = {
    "millpond.Pool": "millpond.Pool",
    "millpond.AsyncPool": "millpond.AsyncPool",
    "millpond.ThreadLocalPool": "millpond.ThreadLocalPool",
    "dbutils.pooled_db.PooledDB": "dbutils.PooledDB",
    "millpond.dbutils.pooled_db.PooledDB": "millpond.dbutils.PooledDB",
    "millpond.dbutils.PooledDB": "millpond.dbutils.PooledDB",
    "sqlalchemy.Engine": "sqlalchemy.create_engine",
    "sqlalchemy.engine.Engine": "sqlalchemy.create_engine",
    "sqlalchemy.ext.asyncio.AsyncEngine": "sqlalchemy.create_async_engine",
}
_SESSION_MAKERS: Final = {
    "sqlalchemy.orm.sessionmaker",
    "sqlalchemy.ext.asyncio.async_sessionmaker",
}
_DEEP: Final = 8


@dataclass(frozen=True, slots=True)
class Pooled:
    """What an expression stands for: a pool, or what makes sessions of one.

    Attributes:
        options: The pool's configuration. The same object is the same pool.
        makes_sessions: Whether it is a ``sessionmaker`` of the pool.
        scope: The function whose variable it is; ``None`` for what lives as long as the module.
    """

    options: PoolOptions
    makes_sessions: bool = False
    scope: Function | None = field(default=None, compare=False)


class Bindings:
    """The pools of one file.

    Args:
        source: The file.
        elsewhere: Called with a dotted name; returns what another file has under it.
    """

    def __init__(
        self, source: Source, elsewhere: Callable[[str], Pooled | None] = lambda _: None
    ) -> None:
        self._source = source
        self._elsewhere = elsewhere
        self._depth = 0
        self._of_scopes: dict[Function, Mapping[str, ast.expr | Pooled | None]] = {}
        self._of_classes: dict[ast.ClassDef, Mapping[str, ast.expr]] = {}
        self.folder = Folder(source)

    @cached_property
    def pools(self) -> Mapping[ast.Call, PoolOptions]:
        """The calls that make a pool, and its configuration."""
        found = {call: self._made_by(call) for call in self._source.calls()}
        return {call: options for call, options in found.items() if options is not None}

    def pool_of(self, node: ast.expr) -> Pooled | None:
        """Return the pool that an expression stands for, if it is known to be one."""
        if self._depth > _DEEP:
            return None
        self._depth += 1
        try:
            return self._pool_of(node)
        finally:
            self._depth -= 1

    def named(self, name: str) -> Pooled | None:
        """Return what the module has under a name: a pool, or a function that returns one."""
        if name in self._at_top:
            return self.pool_of(self._at_top[name])
        return None

    def returned_by(self, name: str) -> Pooled | None:
        """Return the pool that a function at the top level returns."""
        function = self._source.functions.get(name)
        if function is None:
            return None
        for node in own_nodes(*function.body):
            if isinstance(node, ast.Return) and node.value is not None:
                return self.pool_of(node.value)
        return None

    def _made_by(self, call: ast.Call) -> PoolOptions | None:
        return pool_of_call(self._source, self.folder, call)

    def _pool_of(self, node: ast.expr) -> Pooled | None:
        if isinstance(node, ast.Await):
            return self.pool_of(node.value)
        if isinstance(node, ast.Call):
            return self._of_call(node)
        if isinstance(node, ast.Name):
            return self._of_name(node)
        if isinstance(node, ast.Attribute):
            return self._of_attribute(node)
        if isinstance(node, ast.Subscript):
            return self._kept(_key(node))
        return None

    def _of_call(self, node: ast.Call) -> Pooled | None:
        if node in self.pools:
            return Pooled(self.pools[node], scope=self._source.function_of(node))
        name = self._source.qualified(node.func)
        if name in _SESSION_MAKERS:
            words = {word.arg: word.value for word in node.keywords}
            engine = node.args[0] if node.args else words.get("bind")
            found = self.pool_of(engine) if engine is not None else None
            return found and Pooled(found.options, makes_sessions=True, scope=found.scope)
        if isinstance(node.func, ast.Name):
            return self.returned_by(node.func.id) or (
                self._elsewhere(f"{name}()") if name else None
            )
        return None

    def _of_name(self, node: ast.Name) -> Pooled | None:
        scope = self._source.function_of(node)
        while scope is not None:
            names = self._locals(scope)
            if node.id in names:
                value = names[node.id]
                found = self.pool_of(value) if isinstance(value, ast.expr) else value
                return found and Pooled(found.options, found.makes_sessions, found.scope or scope)
            scope = self._source.function_of(scope)
        if node.id in self._at_top:
            return self.pool_of(self._at_top[node.id])
        name = self._source.qualified(node)
        return self._elsewhere(name) if name else None

    def _of_attribute(self, node: ast.Attribute) -> Pooled | None:
        name = self._source.qualified(node)
        if name:
            found = self._elsewhere(name)
            if found is not None:
                return found
        if isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}:
            owner = self._source.class_of(node)
            value = self._attributes(owner).get(node.attr) if owner is not None else None
            return self.pool_of(value) if value is not None else None
        return self._kept(_key(node))

    def _kept(self, key: str) -> Pooled | None:
        value = self._at_places.get(key) if key else None
        return self.pool_of(value) if value is not None else None

    def _locals(self, scope: Function) -> Mapping[str, ast.expr | Pooled | None]:
        """What a function's own names stand for: parameters, and the first value of others."""
        if scope not in self._of_scopes:
            self._of_scopes[scope] = self._names_of(scope)
        return self._of_scopes[scope]

    def _names_of(self, scope: Function) -> Mapping[str, ast.expr | Pooled | None]:
        arguments = scope.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        names: dict[str, ast.expr | Pooled | None] = {
            argument.arg: self._annotated(argument.annotation) for argument in every
        }
        body = scope.body if isinstance(scope.body, list) else [scope.body]
        elsewhere: set[str] = set()
        for node in own_nodes(*body):
            if isinstance(node, (ast.Global, ast.Nonlocal)):
                elsewhere |= set(node.names)
            for name, value in assigned(node):
                known = names.setdefault(name, value)
                if isinstance(known, ast.expr) and _is_none(known):
                    names[name] = value
        return {name: value for name, value in names.items() if name not in elsewhere}

    def _annotated(self, annotation: ast.expr | None) -> Pooled | None:
        if isinstance(annotation, ast.Subscript):
            annotation = annotation.value
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            annotation = _parsed(annotation.value)
        if annotation is None:
            return None
        kind = _ANNOTATIONS.get(self._source.qualified(annotation))
        if kind is None:
            return None
        place = self._source.place(annotation)
        known = PoolOptions(kind, {}, DEFAULTS[kind], place, complete=False)
        return Pooled(known)

    @cached_property
    def _at_top(self) -> Mapping[str, ast.expr]:
        """The values of the module's own names, where a pool wins over ``None``."""
        found: dict[str, ast.expr] = {}
        for node in self._source.nodes:
            for name, value in assigned(node):
                if value is not None and self._is_global(node, name):
                    found[name] = found.get(name, value) if _is_none(value) else value
        return found

    def _is_global(self, node: ast.AST, name: str) -> bool:
        scope = self._source.function_of(node)
        if scope is not None:
            return name in self._source.globals_of(scope)
        return self._source.class_of(node) is None

    def _attributes(self, owner: ast.ClassDef) -> Mapping[str, ast.expr]:
        """What a class and its methods assign to attributes."""
        if owner not in self._of_classes:
            self._of_classes[owner] = self._attributes_of(owner)
        return self._of_classes[owner]

    def _attributes_of(self, owner: ast.ClassDef) -> Mapping[str, ast.expr]:
        found: dict[str, ast.expr] = {}
        for node in ast.walk(owner):
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    name = dotted(target)
                    in_body = self._source.parents[node] is owner
                    if name.startswith(("self.", "cls.")) or in_body:
                        _remember(found, name.rpartition(".")[2], node.value)
        return found

    @cached_property
    def _at_places(self) -> Mapping[str, ast.expr]:
        """What is kept in ``app.state.pool`` or ``app["pool"]``."""
        return {
            key: node.value
            for node in self._source.nodes
            if isinstance(node, ast.Assign)
            for target in node.targets
            if (key := _key(target))
        }


def _is_none(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None


def _remember(found: dict[str, ast.expr], name: str, value: ast.expr) -> None:
    """Keep the first value of a name, or one that is there instead of ``None``."""
    if name not in found or _is_none(found[name]):
        found[name] = value


def _key(node: ast.expr) -> str:
    """Return ``state.pool`` for ``request.app.state.pool``, and likewise for ``app["pool"]``."""
    if isinstance(node, ast.Attribute):
        parts = dotted(node).split(".")
        return ".".join(parts[-2:]) if len(parts) > 1 and parts[-2] in {"state", "app", "g"} else ""
    if isinstance(node, ast.Subscript) and dotted(node.value).rpartition(".")[2] == "app":
        return f"app[{text_of(node.slice)}]"
    return ""


def _parsed(text: str) -> ast.expr | None:
    try:
        return ast.parse(text, mode="eval").body
    except SyntaxError:
        return None
