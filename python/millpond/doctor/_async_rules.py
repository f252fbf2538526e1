"""Rules about async pools and engines."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Final

from millpond.doctor._findings import Remark
from millpond.doctor._module import Module
from millpond.doctor._project import Project
from millpond.doctor._reach import per_request, resolved
from millpond.doctor._rules import Rules
from millpond.doctor._source import own_nodes, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from millpond.doctor._reach import Definition

__all__ = ["PROJECT_RULES", "RULES"]

RULES: Final = Rules(Module)
PROJECT_RULES: Final = Rules(Project)

_AWAITED: Final = frozenset(
    {"acquire", "close", "detach", "discard", "dispose", "release", "run", "try_acquire", "wait"}
)
_BLOCKS: Final = frozenset({"begin", "connect", "connection", "transaction"})


@RULES.add("MP216", "error", "an async pool is not awaited")
def not_awaited(module: Module) -> Iterator[Remark]:
    """A method of an async pool is called like that of a pool for threads.

    Without `await` the call only makes a coroutine, and nothing happens: the connection is not
    released, the pool is not closed. `with` rather than `async with` is a TypeError.

    At 3 a.m.: "coroutine was never awaited" among the warnings that nobody reads, and a pool that
    is empty after ten requests.

    Fix: `await`, or `async with`.

    Before:
        conn = await async_pool.acquire()
        try: ...
        finally: async_pool.release(conn)

    After:
        async with async_pool.connection() as conn: ...
    """
    for call in module.source.calls():
        if not isinstance(call.func, ast.Attribute):
            continue
        parent = module.source.parents[call]
        is_forgotten = isinstance(parent, ast.Expr) and call.func.attr in _AWAITED
        is_with = isinstance(parent, ast.withitem) and call.func.attr in _BLOCKS
        block = module.source.parents[parent] if is_with else None
        if not is_forgotten and not isinstance(block, ast.With):
            continue
        pool = module.bindings.pool_of(call.func.value)
        if pool is not None and pool.options.is_async and not pool.makes_sessions:
            word = "async with" if is_with else "await"
            yield Remark(
                message=f"{text_of(call.func)}() without {word} does nothing"
                if is_forgotten
                else f"{text_of(call.func)}() can't be entered by with",
                place=module.source.place(call),
                fix=f"{word} {text_of(call)}",
            )


@PROJECT_RULES.add("MP217", "error", "one async engine for several event loops")
def several_loops(project: Project) -> Iterator[Remark]:
    """Each request or task starts an event loop of its own, and all use the same engine.

    A connection belongs to the loop that opened it. The pool of the engine keeps it, and the next
    loop gets a connection whose loop is closed.

    At 3 a.m.: the second task of each worker fails: "Event loop is closed", "attached to a
    different loop"; the first one never does, so it passes every test.

    Fix: one loop for each process; or a synchronous engine in tasks; or `poolclass=NullPool`.
    `millpond.AsyncPool` keeps connections apart by their loops.

    Before:
        engine = create_async_engine(url)

        async def work():
            async with engine.begin() as conn: ...

        @app.task
        def task():
            asyncio.run(work())

    After:
        engine = create_async_engine(url, poolclass=NullPool)

        async def work():
            async with engine.begin() as conn: ...

        @app.task
        def task():
            asyncio.run(work())
    """
    reached = per_request(project)
    for module in project.modules:
        for call in module.source.calls():
            if module.source.qualified(call.func) != "asyncio.run" or not call.args:
                continue
            function, inner = module.source.function_of(call), call.args[0]
            if function not in reached or not isinstance(inner, ast.Call):
                continue
            for where, called in resolved(project, module, inner.func):
                if _uses_engine(where, called):
                    yield Remark(
                        message=f"{reached[function]}: each time with a new event loop for "
                        f"{called.name}(), whose engine keeps the connections of the last one",
                        place=module.source.place(call),
                        fix="one loop for each process, or poolclass=NullPool",
                    )


def _uses_engine(module: Module, function: Definition) -> bool:
    """Whether a function uses an engine that outlives it, and keeps connections."""
    for node in own_nodes(*function.body):
        found = module.acquisitions.get(node) if isinstance(node, ast.Call) else None
        if found is None or found.pool.kind != "sqlalchemy.create_async_engine":
            continue
        if found.pool.is_queue and not found.pool.is_local:
            return True
    return False
