"""Where connections are acquired, and for how long they are held."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from millpond.doctor._source import own_nodes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from millpond.doctor._bindings import Bindings, Pooled
    from millpond.doctor._options import PoolOptions
    from millpond.doctor._source import Function, Source

__all__ = ["Acquisition", "Grip", "Hold", "Style", "acquisitions", "grips", "holds"]

Style: TypeAlias = Literal["block", "raw", "proxy", "session"]
"""How it is released: by ``with``, by ``pool.release()``, or by its own ``close()``."""

_METHODS: Final[dict[str, tuple[Style, bool]]] = {
    "connection": ("block", False),
    "transaction": ("block", True),
    "acquire": ("raw", False),
    "try_acquire": ("raw", False),
}
_POOLED_DB: Final[dict[str, tuple[Style, bool]]] = dict.fromkeys(
    ("connection", "dedicated_connection"), ("proxy", False)
)
_ENGINE: Final[dict[str, tuple[Style, bool]]] = {
    "connect": ("proxy", False),
    "raw_connection": ("proxy", False),
    "begin": ("block", True),
}
_SESSIONS: Final = {
    "sqlalchemy.orm.Session",
    "sqlalchemy.ext.asyncio.AsyncSession",
    "sqlmodel.Session",
}
_CLOSING: Final = {"contextlib.closing", "contextlib.aclosing"}


@dataclass(frozen=True, slots=True)
class Acquisition:
    """A call that acquires a connection, or a session that will.

    Attributes:
        call: The call.
        pool: Of which pool.
        style: How it is released.
        commits: Whether its block ends with a commit.
    """

    call: ast.Call
    pool: PoolOptions
    style: Style
    commits: bool


@dataclass(frozen=True, slots=True)
class Hold:
    """A ``with`` block that holds a connection.

    Attributes:
        acquisition: The call.
        block: The ``with`` statement.
        name: The variable of the connection; empty if there is none.
        function: The function that it is in.
    """

    acquisition: Acquisition
    block: ast.With | ast.AsyncWith
    name: str
    function: Function | None

    def nodes(self) -> Iterator[ast.AST]:
        """Return what is executed in the block."""
        return own_nodes(*self.block.body)


@dataclass(frozen=True, slots=True)
class Grip:
    """A connection that is held by a variable.

    Attributes:
        acquisition: The call.
        statement: The assignment.
        target: What it is assigned to.
        function: The function that it is in; ``None`` at the top level.
    """

    acquisition: Acquisition
    statement: ast.Assign | ast.AnnAssign
    target: ast.expr
    function: Function | None


def acquisitions(source: Source, bindings: Bindings) -> dict[ast.Call, Acquisition]:
    """Return every call that acquires a connection."""
    found = {call: _acquisition(source, bindings, call) for call in source.calls()}
    return {call: acquisition for call, acquisition in found.items() if acquisition is not None}


def holds(source: Source, every: dict[ast.Call, Acquisition]) -> list[Hold]:
    """Return every block that holds a connection."""
    return [
        Hold(
            every[call],
            node,
            item.optional_vars.id if isinstance(item.optional_vars, ast.Name) else "",
            source.function_of(node),
        )
        for node in source.nodes
        if isinstance(node, (ast.With, ast.AsyncWith))
        for item in node.items
        if (call := _call_of(source, item.context_expr)) in every
    ]


def grips(source: Source, every: dict[ast.Call, Acquisition]) -> list[Grip]:
    """Return every assignment of a connection that is to be released by hand."""
    return [
        Grip(
            every[call],
            node,
            node.targets[0] if isinstance(node, ast.Assign) else node.target,
            source.function_of(node),
        )
        for node in source.nodes
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None
        if (call := _call_of(source, node.value)) in every and every[call].style != "block"
    ]


def _call_of(source: Source, node: ast.expr) -> ast.Call | None:
    if isinstance(node, ast.Await):
        node = node.value
    if not isinstance(node, ast.Call):
        return None
    if source.qualified(node.func) in _CLOSING and node.args:
        return _call_of(source, node.args[0])
    return node


def _acquisition(source: Source, bindings: Bindings, call: ast.Call) -> Acquisition | None:
    if source.qualified(call.func) in _SESSIONS:
        engine = call.args[0] if call.args else _word(call, "bind")
        pool = bindings.pool_of(engine) if engine is not None else None
        return Acquisition(call, pool.options, "session", commits=False) if pool else None
    if isinstance(call.func, ast.Attribute):
        pool = bindings.pool_of(call.func.value)
        how = _how(pool, call.func.attr) if pool else None
        if pool and how:
            return Acquisition(call, pool.options, *how)
    made = bindings.pool_of(call.func)
    is_session = made is not None and made.makes_sessions
    return (
        Acquisition(call, made.options, "session", commits=False) if made and is_session else None
    )


def _how(pool: Pooled, method: str) -> tuple[Style, bool] | None:
    if pool.makes_sessions:
        return ("block", True) if method == "begin" else None
    if pool.options.is_millpond:
        return _METHODS.get(method)
    if pool.options.is_sqlalchemy:
        return _ENGINE.get(method)
    return _POOLED_DB.get(method) if pool.options.is_pooled_db else None


def _word(call: ast.Call, name: str) -> ast.expr | None:
    return next((word.value for word in call.keywords if word.arg == name), None)
