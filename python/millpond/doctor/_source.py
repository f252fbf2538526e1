"""One Python file, parsed: who is whose parent, what an imported name stands for, constants.

Nothing is imported or run. What can't be told by reading is left open.
"""

from __future__ import annotations

import ast
import warnings
from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING, Final, TypeAlias

from millpond.doctor._findings import Place
from millpond.doctor._options import Insertion

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "Function",
    "Source",
    "assigned",
    "dotted",
    "names_in",
    "own_nodes",
    "parameters_of",
    "targets_of",
    "text_of",
]

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_SCOPES: Final = (*_FUNCTIONS, ast.ClassDef)
_MUTATORS: Final = {"append", "clear", "extend", "insert", "pop", "popitem", "setdefault", "update"}


class Source:
    """A file and its syntax tree.

    Args:
        file: Its name, as it is shown.
        text: What is in it.
        module: Its dotted name as others would import it, as far as its path tells.

    Raises:
        SyntaxError: It is no Python of this version.
        ValueError: It has null bytes.
    """

    def __init__(self, file: str, text: str, module: str = "") -> None:
        self.file = file
        self.module = module
        self.lines = text.split("\n")
        with warnings.catch_warnings():
            # Of its style: "invalid escape sequence" is for whoever runs the program.
            warnings.simplefilter("ignore")
            self.tree = ast.parse(text)
        self.nodes = list(ast.walk(self.tree))
        self.parents: dict[ast.AST, ast.AST] = {
            child: node for node in self.nodes for child in ast.iter_child_nodes(node)
        }
        self._names: dict[Function, frozenset[str]] = {}

    def place(self, node: ast.AST) -> Place:
        """Return where a node begins."""
        return self.place_of(getattr(node, "lineno", 1))

    def place_of(self, line: int) -> Place:
        """Return the place of a line."""
        source = self.lines[line - 1].rstrip() if 0 < line <= len(self.lines) else ""
        return Place(self.file, line, source)

    def segment(self, node: ast.expr) -> tuple[int, int] | None:
        """Return the columns of an expression in its line, unless it has several lines."""
        line = self.lines[node.lineno - 1]
        # Columns are counted in bytes, and only in ASCII are these the characters.
        if node.end_lineno != node.lineno or node.end_col_offset is None or not line.isascii():
            return None
        return node.col_offset, node.end_col_offset

    def insertion(self, node: ast.Call | ast.Dict) -> Insertion | None:
        """Return where an argument or an entry can be added at the end."""
        form = "{}={}" if isinstance(node, ast.Call) else '"{}": {}'
        parts: list[ast.expr | ast.keyword] = (
            [*node.args, *node.keywords] if isinstance(node, ast.Call) else [*node.values]
        )
        line = self.lines[(node.end_lineno or 1) - 1].rstrip()
        if not parts or not line.isascii() or node.end_col_offset is None:
            return None
        # Arguments are in the order in which they are written only among their kind.
        last = max(parts, key=lambda part: (part.end_lineno or 0, part.end_col_offset or 0))
        if last.end_lineno == node.end_lineno:
            return Insertion(line, node.end_col_offset - 1, form=form)
        above = self.lines[(last.end_lineno or 1) - 1]
        return Insertion(line, None, above[: len(above) - len(above.lstrip())], form)

    def ancestors(self, node: ast.AST) -> Iterator[ast.AST]:
        """Return the parent of a node, its parent, and so on."""
        parent = self.parents.get(node)
        while parent is not None:
            yield parent
            parent = self.parents.get(parent)

    def function_of(self, node: ast.AST) -> Function | None:
        """Return the innermost function in whose body a node is executed."""
        child = node
        for parent in self.ancestors(node):
            if isinstance(parent, _FUNCTIONS):
                body = parent.body if isinstance(parent.body, list) else [parent.body]
                # Decorators and defaults are evaluated where the function is defined.
                if child in body:
                    return parent
            child = parent
        return None

    def class_of(self, node: ast.AST) -> ast.ClassDef | None:
        """Return the innermost class around a node."""
        return next((up for up in self.ancestors(node) if isinstance(up, ast.ClassDef)), None)

    def statement_of(self, node: ast.AST) -> ast.stmt:
        """Return the innermost statement that a node is a part of."""
        while not isinstance(node, ast.stmt):
            node = self.parents[node]
        return node

    def block_of(self, node: ast.AST) -> list[ast.stmt]:
        """Return the statements among which one stands; none for what is no statement."""
        for field in ("body", "orelse", "finalbody"):
            block = getattr(self.parents.get(node), field, None)
            if isinstance(block, list) and node in block:
                return block
        return []

    @cached_property
    def imports(self) -> Mapping[str, str]:
        """What each imported name stands for, as a dotted name, wherever it is imported."""
        found: dict[str, str] = {}
        for names in self._imports.values():
            found = {**names, **found}
        return found

    @cached_property
    def _imports(self) -> Mapping[Function | None, Mapping[str, str]]:
        """What is imported by each function, and by the module."""
        found: dict[Function | None, dict[str, str]] = {None: {}}
        for node in self.nodes:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                mine = found.setdefault(self.function_of(node), {})
                for name, origin in self._imported(node):
                    mine.setdefault(name, origin)
        return found

    def _imported(self, node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str]]:
        if isinstance(node, ast.ImportFrom):
            origin = self._origin(node)
            for alias in node.names:
                yield alias.asname or alias.name, f"{origin}.{alias.name}"
            return
        for alias in node.names:
            name = alias.asname or alias.name.partition(".")[0]
            yield name, alias.name if alias.asname else name

    def _origin(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        # In a package's __init__, the module's name is that of the package itself.
        is_package = self.file.endswith("__init__.py")
        parts = self.module.split(".")
        kept = parts[: len(parts) - node.level + is_package]
        return ".".join([*kept, *([node.module] if node.module else [])])

    def qualified(self, node: ast.AST) -> str:
        """Return the dotted name of what an expression refers to by an import, else ``""``."""
        name = dotted(node)
        head, _, rest = name.partition(".")
        if not name or head not in self.imports:
            return ""
        origin = self._origin_of(head, self.function_of(node))
        return f"{origin}.{rest}" if origin and rest else origin

    def _origin_of(self, name: str, scope: Function | None) -> str:
        """Return what a name stands for in a function by an import, there or around it."""
        while scope is not None:
            if name in self._imports.get(scope, ()):
                return self._imports[scope][name]
            if name in self._own_names(scope):
                return ""
            scope = self.function_of(scope)
        return "" if name in self._rebound else self._imports[None].get(name, "")

    def _own_names(self, scope: Function) -> frozenset[str]:
        """Return the names of a function's own: its parameters, and what it assigns."""
        if scope not in self._names:
            body = scope.body if isinstance(scope.body, list) else [scope.body]
            stored = {name for node in own_nodes(*body) for name in _bound_by(node)}
            stored -= self.globals_of(scope)
            self._names[scope] = frozenset(stored | parameters_of(scope))
        return self._names[scope]

    @cached_property
    def _rebound(self) -> frozenset[str]:
        """Imported names that the module gives another meaning."""
        assigned = {target.id for node in self.tree.body for target in targets_of(node)}
        scopes = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        defined = {node.name for node in self.tree.body if isinstance(node, scopes)}
        return frozenset(assigned | defined)

    @cached_property
    def constants(self) -> Mapping[str, ast.expr]:
        """The values of names that are assigned once in the whole file, at its top level."""
        stores = Counter(name for node in self.nodes for name in _bound_by(node))
        return {
            target.id: node.value
            for node in self.tree.body
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None
            for target in targets_of(node)
            if stores[target.id] == 1 and target.id not in self._mutated
        }

    @cached_property
    def _mutated(self) -> frozenset[str]:
        """Names of containers that are changed somewhere."""
        found = set()
        for node in self.nodes:
            if isinstance(node, ast.Subscript) and isinstance(node.ctx, (ast.Store, ast.Del)):
                found.add(dotted(_container(node)))
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                if node.func.attr in _MUTATORS:
                    found.add(dotted(_container(node.func.value)))
            elif isinstance(node, ast.AugAssign):
                found.add(dotted(node.target))
        return frozenset(found)

    @cached_property
    def functions(self) -> Mapping[str, ast.FunctionDef | ast.AsyncFunctionDef]:
        """The functions at the top level, by name."""
        return {
            node.name: node
            for node in self.tree.body
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        }

    def globals_of(self, scope: Function) -> frozenset[str]:
        """Return the names that a function declares as the module's."""
        return self._globals.get(scope, frozenset())

    @cached_property
    def _globals(self) -> Mapping[Function, frozenset[str]]:
        found: dict[Function, frozenset[str]] = {}
        for node in self.nodes:
            scope = self.function_of(node) if isinstance(node, ast.Global) else None
            if scope is not None and isinstance(node, ast.Global):
                found[scope] = found.get(scope, frozenset()) | frozenset(node.names)
        return found

    def calls(self) -> Iterator[ast.Call]:
        """Return every call."""
        return (node for node in self.nodes if isinstance(node, ast.Call))


def dotted(node: ast.AST) -> str:
    """Return ``a.b.c`` for such an expression, else ``""``."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([node.id, *reversed(parts)])


def _bound_by(node: ast.AST) -> list[str]:
    """Return the names that a node binds, in whatever scope."""
    if isinstance(node, ast.Name):
        return [] if isinstance(node.ctx, ast.Load) else [node.id]
    if isinstance(node, ast.arg):
        return [node.arg]
    if isinstance(node, ast.alias):
        return [node.asname or node.name.partition(".")[0]]
    if isinstance(node, (ast.ExceptHandler, *_SCOPES)) and not isinstance(node, ast.Lambda):
        return [node.name] if node.name else []
    return []


def names_in(node: ast.AST) -> set[str]:
    """Return the names in an expression."""
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def parameters_of(function: Function) -> set[str]:
    """Return the names of a function's parameters."""
    return {each.arg for each in ast.walk(function.args) if isinstance(each, ast.arg)}


def _container(node: ast.expr) -> ast.expr:
    while isinstance(node, ast.Subscript):
        node = node.value
    return node


def text_of(node: ast.AST) -> str:
    """Return an expression as source; ``...`` for one that is nested too deeply."""
    try:
        return ast.unparse(node)
    except RecursionError:
        return "..."


def targets_of(node: ast.AST) -> list[ast.Name]:
    """Return the plain names to which a statement assigns its value as a whole."""
    if isinstance(node, ast.Assign):
        return [target for target in node.targets if isinstance(target, ast.Name)]
    if isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and isinstance(node.target, ast.Name):
        return [node.target]
    return []


def own_nodes(*roots: ast.AST) -> Iterator[ast.AST]:
    """Return some nodes and all below them that are executed along with them.

    That leaves out what is in functions and classes which are only defined there; for what is in a
    function, give the statements of its body.
    """
    waiting = list(reversed(roots))
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, _SCOPES):
            waiting.extend(reversed(list(ast.iter_child_nodes(node))))


def assigned(node: ast.AST) -> list[tuple[str, ast.expr | None]]:
    """Return the names that a node assigns, with the value if it is one as a whole."""
    if isinstance(node, ast.Assign):
        return [
            (each.id, node.value if each is target else None)
            for target in node.targets
            for each in ast.walk(target)
            if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
        ]
    if isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and isinstance(node.target, ast.Name):
        return [(node.target.id, node.value)] if node.value is not None else []
    if isinstance(node, ast.withitem) and isinstance(node.optional_vars, ast.Name):
        return [(node.optional_vars.id, node.context_expr)]
    if isinstance(node, (ast.For, ast.AsyncFor)) and isinstance(node.target, ast.Name):
        return [(node.target.id, None)]
    return []
