"""Rules about how connections come back to their pool, and what is done with them afterwards."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Final

from millpond.doctor._findings import Remark
from millpond.doctor._flow import fate_of, is_detach, is_release
from millpond.doctor._module import Module
from millpond.doctor._rules import Rules
from millpond.doctor._source import assigned, dotted, own_nodes, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from millpond.doctor._acquire import Acquisition, Grip
    from millpond.doctor._findings import Severity

__all__ = ["RULES"]

RULES: Final = Rules(Module)

# What is done with a connection, and not with what makes it ready, such as `execution_options`.
_USED: Final = frozenset(
    {
        "cursor",
        "exec_driver_sql",
        "execute",
        "executemany",
        "fetch",
        "fetchrow",
        "fetchval",
        "query",
        "scalar",
        "scalars",
    }
)


def _name_of(grip: Grip) -> str:
    return dotted(grip.target)


@RULES.add("MP202", "error", "a connection is not returned")
def not_returned(module: Module) -> Iterator[Remark]:
    """A connection is acquired, and nothing in the function gives it back.

    After as many calls as the pool has connections, the pool is empty, and stays so. PooledDB and
    SQLAlchemy get it back when the garbage collector finds it, which may be late or never: there it
    is a warning.

    At 3 a.m.: exactly ten requests after the deployment everybody times out, and a restart helps
    for exactly ten more.

    Fix: `with pool.connection() as conn:`, which returns it whatever happens.

    Before:
        conn = pool.acquire()
        conn.execute("SELECT 1")

    After:
        with pool.connection() as conn:
            conn.execute("SELECT 1")
    """
    for call, acquisition in module.acquisitions.items():
        used = module.source.parents[_awaited(module, call)]
        if isinstance(used, ast.Attribute) and used.attr in _USED and acquisition.style != "block":
            yield Remark(
                message=f"{text_of(used)}() has a connection that nothing can return, as it has "
                "no name",
                place=module.source.place(call),
                fix=f"{_with(acquisition, 'conn')}",
                severity=_severity(acquisition),
            )
    for grip in module.grips:
        if grip.function is None or not isinstance(grip.target, ast.Name):
            continue
        fate = fate_of(module, grip)
        # What is closed for real is MP214's.
        if not fate.releases and not fate.escapes and not fate.is_closed:
            yield Remark(
                message=f"{_name_of(grip)} is acquired here and never returned",
                place=module.source.place(grip.statement),
                fix=f"{_with(grip.acquisition, _name_of(grip))}",
                severity=_severity(grip.acquisition),
            )


@RULES.add("MP203", "warning", "a connection is not returned after an exception")
def not_returned_after_exception(module: Module) -> Iterator[Remark]:
    """A connection is given back at the end, but not if something before that raises or returns.

    Each exception costs the pool a connection, for ever. As exceptions are rare, it takes days.

    At 3 a.m.: the database refuses some statements for a minute. Each refusal leaks a connection;
    when the database is well again, the pool is empty.

    Fix: `with`, or `try` and `finally`.

    Before:
        conn = pool.acquire()
        conn.execute(statement)
        pool.release(conn)

    After:
        with pool.connection() as conn:
            conn.execute(statement)
    """
    for grip in module.grips:
        if grip.function is None or not isinstance(grip.target, ast.Name):
            continue
        fate = fate_of(module, grip)
        if fate.releases and not fate.is_safe and not fate.escapes and fate.risk is not None:
            line = getattr(fate.risk, "lineno", grip.statement.lineno)
            yield Remark(
                message=f"{_name_of(grip)} is not returned if line {line} raises"
                if not isinstance(fate.risk, ast.Return)
                else f"{_name_of(grip)} is not returned by the return in line {line}",
                place=module.source.place(grip.statement),
                fix=f"{_with(grip.acquisition, _name_of(grip))}, or release it in a finally clause",
            )


def _severity(acquisition: Acquisition) -> Severity | None:
    """Return how bad it is to forget a connection, where that is not for good."""
    return None if acquisition.style == "raw" else "warning"


def _awaited(module: Module, node: ast.expr) -> ast.expr:
    """Return ``await node``, if it is awaited."""
    parent = module.source.parents[node]
    return parent if isinstance(parent, ast.Await) else node


def _with(acquisition: Acquisition, name: str) -> str:
    call = acquisition.call
    text = text_of(call)
    if acquisition.style == "raw" and isinstance(call.func, ast.Attribute):
        text = f"{text_of(call.func.value)}.connection()"
    word = "async with" if acquisition.pool.is_async else "with"
    return f"`{word} {text} as {name}:`"


@RULES.add("MP204", "error", "a connection is used after it was returned")
def used_after_return(module: Module) -> Iterator[Remark]:
    """A connection is used after it went back to the pool.

    By then somebody else may have it. Two threads on one connection: rows of the other's query,
    statements in the other's transaction, or a crash of the driver.

    At 3 a.m.: a customer sees the orders of another one. It can't be reproduced with one user.

    Fix: move the use into the block; read what you need (`fetchall()`) before you give the
    connection back.

    Before:
        with pool.connection() as conn:
            cursor = conn.execute("SELECT name FROM users")
        conn.commit()

    After:
        with pool.connection() as conn:
            cursor = conn.execute("SELECT name FROM users")
            conn.commit()
    """
    for hold in module.holds:
        if hold.name:
            yield from _uses(module, hold.name, hold.block, _following(module, hold.block))
    for grip in module.grips:
        if not isinstance(grip.target, ast.Name):
            continue
        for release in fate_of(module, grip).releases:
            statement = module.source.statement_of(release)
            # Only a call by itself: what a `with` block returns is used inside of it.
            if isinstance(statement, ast.Expr) and not is_detach(release):
                following = _following(module, statement)
                yield from _uses(module, grip.target.id, statement, following)


def _following(module: Module, statement: ast.stmt) -> Sequence[ast.stmt]:
    """Return the statements that come after one in the same block."""
    block = module.source.block_of(statement)
    return block[block.index(statement) + 1 :]


def _uses(
    module: Module, name: str, end: ast.stmt, following: Sequence[ast.stmt]
) -> Iterator[Remark]:
    for statement in following:
        # A function that is only defined here has names of its own, or is called who knows when.
        names = [
            node for node in own_nodes(statement) if isinstance(node, ast.Name) and node.id == name
        ]
        # It is assigned again, or only asked whether it is there.
        if any(not isinstance(node.ctx, ast.Load) for node in names):
            return
        for node in names:
            if isinstance(module.source.parents[node], ast.Attribute) and not is_release(
                module, node
            ):
                yield Remark(
                    message=f"{name} went back to the pool by line {end.end_lineno}, and is used "
                    "here",
                    place=module.source.place(node),
                    fix="use it before it is returned",
                )
                return


@RULES.add("MP207", "warning", "a connection is kept for good")
def kept(module: Module) -> Iterator[Remark]:
    """A connection is acquired once and kept, in a global variable or an attribute.

    It is never reset, validated or replaced while it is in use, so when it breaks, it stays
    broken. Threads that use it at the same time share its transaction. And the pool has one
    connection less.

    At 3 a.m.: the database was restarted, every request fails, and only a restart of the workers
    helps: all that the pool would have done by itself.

    Fix: keep the pool, and acquire a connection for each piece of work.

    Before:
        class Users:
            def __init__(self, pool):
                self.conn = pool.acquire()

    After:
        class Users:
            def __init__(self, pool):
                self.pool = pool
    """
    for grip in module.grips:
        target = _name_of(grip)
        if isinstance(grip.target, ast.Attribute) and target.startswith("self."):
            if _is_released_in_class(module, grip, target):
                continue
            message = f"{target} keeps a connection for as long as the object lives"
        elif isinstance(grip.target, ast.Name) and _is_global(module, grip):
            message = f"{target} keeps a connection for as long as the program runs"
        else:
            continue
        yield Remark(
            message=message,
            place=module.source.place(grip.statement),
            fix="keep the pool, and acquire a connection for each piece of work",
        )


def _is_released_in_class(module: Module, grip: Grip, target: str) -> bool:
    """Whether another method gives it back, as context managers and units of work do."""
    owner = module.source.class_of(grip.statement)
    for node in ast.walk(owner) if owner is not None else ():
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        names = {target} | _aliases(module, node, target)
        is_given = any(dotted(each) in names for each in node.args)
        if (is_given and node.func.attr in {"detach", "discard", "release"}) or (
            dotted(node.func.value) in names and node.func.attr in {"close", "__exit__"}
        ):
            return True
    return False


def _aliases(module: Module, node: ast.AST, target: str) -> set[str]:
    """Return what else a method calls an attribute: ``conn, self.conn = self.conn, None``."""
    function = module.source.function_of(node)
    return {
        name
        for statement in (ast.walk(function) if function is not None else ())
        for name, value in assigned(statement)
        if target in _values(statement, value)
    }


def _values(statement: ast.AST, value: ast.expr | None) -> list[str]:
    """Return what a name is given: the value, or one of several."""
    if value is None and isinstance(statement, ast.Assign):
        value = statement.value
    parts = value.elts if isinstance(value, ast.Tuple) else [value]
    return [dotted(each) for each in parts if each is not None]


def _is_global(module: Module, grip: Grip) -> bool:
    """Whether a name of the module holds the connection, and functions use it."""
    name = _name_of(grip)
    if grip.function is not None:
        body = grip.function.body if isinstance(grip.function.body, list) else []
        return any(isinstance(node, ast.Global) and name in node.names for node in body)
    if module.source.class_of(grip.statement) is not None:
        return False
    return any(
        isinstance(node, ast.Name)
        and node.id == name
        and isinstance(node.ctx, ast.Load)
        and _is_free(module, node)
        for node in module.source.nodes
    )


def _is_free(module: Module, node: ast.Name) -> bool:
    """Whether a name is used in a function that does not have it as its own."""
    function = module.source.function_of(node)
    if function is None:
        return False
    while function is not None:
        for each in ast.walk(function):
            if isinstance(each, ast.arg) and each.arg == node.id:
                return False
            same = isinstance(each, ast.Name) and each.id == node.id
            if same and not isinstance(getattr(each, "ctx", None), ast.Load):
                return False
        function = module.source.function_of(function)
    return True


@RULES.add("MP214", "error", "close() closes a pooled connection for real")
def closed_for_real(module: Module) -> Iterator[Remark]:
    """The connection of a millpond pool is closed by its user.

    DBUtils and SQLAlchemy hand out wrappers, whose `close()` returns the connection. millpond hands
    out the driver's own connection: `close()` ends it, so that the pool has to open another one for
    each use; and after `acquire()` the pool does not even know that it is no longer in use.

    At 3 a.m.: each request signs in anew, and a pool of which connections were acquired and closed
    is empty after ten requests.

    Fix: leave the `with` block; or call `pool.release(conn)`.

    Before:
        conn = pool.acquire()
        try: ...
        finally: conn.close()

    After:
        conn = pool.acquire()
        try: ...
        finally: pool.release(conn)
    """
    for hold in module.holds:
        if hold.acquisition.pool.is_millpond and hold.name:
            yield from _closes(module, [hold.block], hold.name, "leave it out")
    for grip in module.grips:
        if grip.acquisition.style == "raw" and isinstance(grip.target, ast.Name):
            name, pool = grip.target.id, dotted(grip.acquisition.call.func).rpartition(".")[0]
            yield from _closes(module, _body(module, grip), name, f"{pool}.release({name})")


def _body(module: Module, grip: Grip) -> Sequence[ast.AST]:
    body = grip.function.body if grip.function is not None else module.source.tree.body
    return body if isinstance(body, list) else [body]


def _closes(module: Module, roots: Sequence[ast.AST], name: str, fix: str) -> Iterator[Remark]:
    every = (each for root in roots for each in ast.walk(root))
    named = [each for each in every if isinstance(each, ast.Name) and each.id == name]
    calls = {node: is_release(module, node) for node in named}
    if any(call is not None and is_detach(call) for call in calls.values()):
        return
    for node, call in calls.items():
        if call is not None and isinstance(module.source.parents[node], ast.Attribute):
            yield Remark(
                message=f"{name}.close() ends the connection rather than returning it",
                place=module.source.place(call),
                fix=fix,
            )
            return
