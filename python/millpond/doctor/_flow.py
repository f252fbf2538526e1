"""What becomes of a connection that a variable holds, within one function."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from millpond.doctor._reach import is_memoized
from millpond.doctor._source import dotted, own_nodes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from millpond.doctor._acquire import Grip
    from millpond.doctor._module import Module

__all__ = ["Fate", "fate_of", "is_detach", "is_release"]

_RELEASES: Final = frozenset({"detach", "discard", "release"})
# Whoever is given a connection by one of these may release it later.
_TAKERS: Final = frozenset(
    {
        "addCleanup",
        "addfinalizer",
        "add",
        "append",
        "callback",
        "call_later",
        "create_task",
        "enter_async_context",
        "enter_context",
        "finalize",
        "partial",
        "push",
        "push_async_callback",
        "put",
        "put_nowait",
        "register",
        "setdefault",
        "submit",
        "Thread",
    }
)
_GIVES_BACK: Final = re.compile(
    "back|clos|clean|dispose|free|give|put|releas|return", re.IGNORECASE
)
_ENDS: Final = (ast.Call, ast.Raise, ast.Return)
_CATCHES_ALL: Final = frozenset({"BaseException", "Exception"})


@dataclass(slots=True)
class Fate:
    """What becomes of a connection.

    Attributes:
        releases: The calls that release it, and the blocks that do.
        escapes: Whether somebody else has it too, who may release it.
        is_closed: Whether the driver's own ``close()`` ends it, of which the pool knows nothing.
        is_safe: Whether it is released whatever happens.
        risk: What may happen between acquisition and release, if that is not safe.
    """

    releases: list[ast.AST] = field(default_factory=list)
    escapes: bool = False
    is_closed: bool = False
    is_safe: bool = False
    risk: ast.AST | None = None


def fate_of(module: Module, grip: Grip) -> Fate:
    """Return what becomes of the connection that a grip holds in a variable of its function."""
    fate = Fate()
    name = dotted(grip.target)
    body = grip.function.body if grip.function is not None else module.source.tree.body
    if not isinstance(grip.target, ast.Name) or not isinstance(body, list):
        fate.escapes = True
        return fate
    for node in _nodes_with_nested(body):
        if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load):
            _follow(module, grip, node, fate)
        elif isinstance(node, (ast.Global, ast.Nonlocal)) and name in node.names:
            fate.escapes = True
    fate.is_safe = fate.is_safe or any(_is_certain(module, node) for node in fate.releases)
    if fate.releases and not fate.is_safe:
        fate.risk = _risk(module, grip, fate.releases)
    return fate


def is_release(module: Module, node: ast.Name) -> ast.Call | None:
    """Return the call that releases the connection which a name stands for here, if it is one."""
    parent = module.source.parents[node]
    if isinstance(parent, ast.Call) and node in parent.args:
        method = parent.func.attr if isinstance(parent.func, ast.Attribute) else ""
        return parent if method in _RELEASES else None
    if isinstance(parent, ast.Attribute) and parent.attr == "close":
        call = module.source.parents[parent]
        return call if isinstance(call, ast.Call) and call.func is parent else None
    return None


def is_detach(call: ast.AST) -> bool:
    """Whether a release is ``pool.detach()``, after which the connection is the caller's own."""
    return isinstance(call, ast.Call) and dotted(call.func).endswith(".detach")


def _nodes_with_nested(body: list[ast.stmt]) -> Iterator[ast.AST]:
    for statement in body:
        yield from ast.walk(statement)


def _follow(module: Module, grip: Grip, node: ast.Name, fate: Fate) -> None:
    source = module.source
    if source.function_of(node) is not grip.function:
        fate.escapes = True
        return
    released = is_release(module, node)
    parent = source.parents[node]
    if released is not None:
        # The driver's own close() returns nothing to a pool of millpond.
        if grip.acquisition.style == "raw" and isinstance(parent, ast.Attribute):
            fate.is_closed = True
        else:
            fate.releases.append(released)
        return
    if isinstance(parent, ast.withitem) or _is_closing(module, parent):
        fate.releases.append(source.statement_of(node))
        fate.is_safe = True
    elif _is_taken(source.parents[parent] if isinstance(parent, ast.keyword) else parent):
        fate.escapes = True


def _is_closing(module: Module, parent: ast.AST) -> bool:
    """Whether it is ``with closing(connection):``."""
    if not isinstance(parent, ast.Call) or not isinstance(
        module.source.parents[parent], ast.withitem
    ):
        return False
    return module.source.qualified(parent.func) in {"contextlib.closing", "contextlib.aclosing"}


def _is_taken(parent: ast.AST) -> bool:
    """Whether a value is passed on to where it may live longer than here."""
    if isinstance(parent, (ast.Return, ast.Tuple, ast.List, ast.Dict, ast.Set, ast.Starred)):
        return True
    if isinstance(parent, (ast.Assign, ast.AnnAssign, ast.NamedExpr)):
        return True
    if isinstance(parent, ast.Attribute):
        # `stack.callback(connection.close)`, or a bound method that is kept.
        return parent.attr == "close"
    if isinstance(parent, ast.Call):
        name = dotted(parent.func)
        # A method of one's own, an object made for it, or a function whose name says so, may
        # release it.
        last = name.rpartition(".")[2]
        is_class = last.lstrip("_")[:1].isupper()
        is_own = is_class or name.startswith("self.")
        return is_own or last in _TAKERS or bool(_GIVES_BACK.search(last))
    return False


def _is_certain(module: Module, release: ast.AST) -> bool:
    """Whether a release comes whatever happens: in ``finally``, or in ``except`` for everything."""
    child = release
    for parent in module.source.ancestors(release):
        if isinstance(parent, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            return False
        if isinstance(parent, ast.Try) and child in parent.finalbody:
            return True
        if isinstance(parent, ast.ExceptHandler):
            names = [] if parent.type is None else [dotted(each) for each in ast.walk(parent.type)]
            if parent.type is None or _CATCHES_ALL & set(names):
                return True
        child = parent
    return False


def _risk(module: Module, grip: Grip, releases: list[ast.AST]) -> ast.AST | None:
    """Return the first thing between acquisition and release that may raise or return."""
    end = min(getattr(release, "lineno", 0) for release in releases)
    start = grip.statement.end_lineno or grip.statement.lineno
    body = grip.function.body if grip.function is not None else module.source.tree.body
    if not isinstance(body, list):
        return None
    # What pytest resumes, it resumes whatever happens.
    is_resumed = grip.function is not None and is_memoized(grip.function)
    risks = _ENDS if is_resumed else (*_ENDS, ast.Yield, ast.YieldFrom)
    for node in own_nodes(*body):
        line = getattr(node, "lineno", 0)
        between = start < line < end and isinstance(node, risks)
        if between and not _is_about(module, node, dotted(grip.target)):
            return node
    return None


def _is_about(module: Module, node: ast.AST, name: str) -> bool:
    """Whether something only happens if there is no connection: ``if conn is None: return``."""
    for parent in module.source.ancestors(node):
        if isinstance(parent, ast.If):
            names = {each.id for each in ast.walk(parent.test) if isinstance(each, ast.Name)}
            return names == {name}
    return False
