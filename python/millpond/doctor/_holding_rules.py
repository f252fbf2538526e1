"""Rules about what is done while a connection is held."""

from __future__ import annotations

import ast
import math
import re
from typing import TYPE_CHECKING, Final

from millpond.doctor._findings import Remark
from millpond.doctor._module import Module
from millpond.doctor._reach import decorator_names
from millpond.doctor._rules import Rules
from millpond.doctor._source import (
    assigned,
    dotted,
    names_in,
    own_nodes,
    parameters_of,
    text_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from millpond.doctor._acquire import Acquisition, Hold

__all__ = ["RULES"]

RULES: Final = Rules(Module)

_SLOW: Final = {
    "asyncio.sleep": "sleeps",
    "anyio.sleep": "sleeps",
    "time.sleep": "sleeps",
    "smtplib.SMTP": "waits for a mail server",
    "subprocess.check_call": "waits for a program",
    "subprocess.check_output": "waits for a program",
    "subprocess.run": "waits for a program",
    "urllib.request.urlopen": "waits for another server",
}
_CLIENTS: Final = ("httpx.", "requests.")
_CLIENT_CLASSES: Final = {
    "aiohttp.ClientSession",
    "httpx.AsyncClient",
    "httpx.Client",
    "requests.Session",
}
_VERBS: Final = frozenset({"delete", "get", "head", "patch", "post", "put", "request", "stream"})
_STARTS: Final = re.compile("lifespan|startup|shutdown")
_STARTING: Final = {"after_serving", "before_serving", "on_event"}
_EXECUTORS: Final = {
    "concurrent.futures.ProcessPoolExecutor",
    "concurrent.futures.ThreadPoolExecutor",
    "concurrent.futures.thread.ThreadPoolExecutor",
    "multiprocessing.dummy.Pool",
    "multiprocessing.pool.ThreadPool",
}
_EXECUTOR: Final = re.compile("exec|pool|threads|workers", re.IGNORECASE)
_SPAWNERS: Final = frozenset({"create_task", "ensure_future", "start_soon", "submit", "Thread"})


@RULES.add("MP206", "error", "a pool for threads in async code")
def blocks_the_loop(module: Module) -> Iterator[Remark]:
    """A coroutine acquires a connection from a pool that blocks the thread.

    While it waits for a connection, and during each statement, the event loop stands still: no
    other request is served, not even the one that would give a connection back. That is a
    deadlock, which ends with the timeout.

    At 3 a.m.: at the first moment of load everything stands still for five seconds, health check
    included, although the machine is idle.

    Fix: `millpond.AsyncPool` with an async driver; or do the whole work in a thread
    (`asyncio.to_thread`), or in a handler with `def`, which FastAPI runs in a thread.

    Before:
        async def users():
            with pool.connection() as conn: ...

    After:
        async def users():
            async with async_pool.connection() as conn: ...
    """
    for call, acquisition in module.acquisitions.items():
        function = module.source.function_of(call)
        if not isinstance(function, ast.AsyncFunctionDef) or acquisition.pool.is_async:
            continue
        # Before the first request is served, and after the last one, nobody else wants the loop.
        if _STARTS.search(function.name) or _STARTING & set(decorator_names(function)):
            continue
        # A session of a synchronous engine connects with its first statement.
        yield Remark(
            message=f"{text_of(call.func)}() in {function.name}(), which is async, stops the "
            "whole event loop",
            place=module.source.place(call),
            fix="an async pool, or asyncio.to_thread() around the whole piece of work",
        )


@RULES.add("MP209", "warning", "a second connection while the first one is held")
def nested(module: Module) -> Iterator[Remark]:
    """Whoever holds a connection waits for another one of the same pool.

    When all connections are held by such callers, each waits for what the others hold. Nobody
    gives anything back, until all time out. It takes as many callers at once as the pool has
    connections; in a test there is one.

    At 3 a.m.: a burst, and the pool is dead for `acquire_timeout`; then all of them fail, try
    again, and it is dead once more.

    Fix: pass the connection on. A `ThreadLocalPool` gives a thread that has a connection the same
    one again.

    Before:
        def order(id):
            with pool.connection() as conn:
                log("reading")       # which acquires a connection itself

    After:
        def order(id):
            with pool.connection() as conn:
                log(conn, "reading")
    """
    for hold in module.holds:
        if not _can_run_dry(hold):
            continue
        second = next(_seconds(module, hold), None)
        if second is not None:
            call, through = second
            size = hold.acquisition.pool.capacity
            alone = size is not None and size <= 1
            yield Remark(
                message=f"the connection of line {hold.block.lineno} is held while {through} "
                f"acquires another one: {'it' if alone else 'with enough callers each'} waits "
                f"for {'itself' if alone else 'the others'}",
                place=module.source.place(call),
                fix="use the connection that is there, and pass it on",
                severity="error" if alone else None,
            )


def _can_run_dry(hold: Hold) -> bool:
    """Whether callers wait for a connection of a pool when all are in use."""
    pool = hold.acquisition.pool
    if pool.kind == "millpond.ThreadLocalPool" or hold.acquisition.style == "session":
        return False
    if pool.is_pooled_db:
        return bool(pool.value("blocking"))
    return pool.capacity != math.inf and pool.pool_class not in {"NullPool", "?"}


def _seconds(module: Module, hold: Hold) -> Iterator[tuple[ast.Call, str]]:
    """Return what acquires from the same pool in a block, itself or by a function of the file."""
    mine = hold.acquisition.call
    every = [item.context_expr for item in hold.block.items]
    at = (mine.lineno, mine.col_offset)
    items = [each for each in every if (each.lineno, each.col_offset) > at]
    for node in own_nodes(*items, *hold.block.body):
        if not isinstance(node, ast.Call) or node is mine:
            continue
        again = module.acquisitions.get(node)
        if again is not None and _waits_for_another(again, hold.acquisition):
            yield node, "this block"
        called = module.source.functions.get(dotted(node.func))
        if called is None or called is hold.function or _is_given(called, node, hold):
            continue
        for inner in own_nodes(*called.body):
            found = module.acquisitions.get(inner) if isinstance(inner, ast.Call) else None
            if found is not None and _waits_for_another(found, hold.acquisition):
                yield node, f"{called.name}()"
                break


def _is_given(called: ast.FunctionDef | ast.AsyncFunctionDef, call: ast.Call, hold: Hold) -> bool:
    """Whether a function gets the connection, and asks for it: ``if conn is None``."""
    given = [*call.args, *(word.value for word in call.keywords)]
    if not any(dotted(each) == hold.name for each in given if hold.name):
        return False
    return any(
        parameters_of(called)
        & names_in(node.test if isinstance(node, (ast.If, ast.IfExp)) else node)
        for node in own_nodes(*called.body)
        if isinstance(node, (ast.BoolOp, ast.If, ast.IfExp))
    )


def _waits_for_another(acquisition: Acquisition, outer: Acquisition) -> bool:
    """Whether an acquisition waits for a second connection of the pool."""
    pool = outer.pool
    if acquisition.pool is not pool or acquisition.style == "session":
        return False
    # Who does not wait can't be part of a deadlock.
    words = {word.arg: word.value for word in acquisition.call.keywords}
    timeout = words.get("timeout")
    waits = not (isinstance(timeout, ast.Constant) and timeout.value == 0)
    is_try = dotted(acquisition.call.func).endswith(".try_acquire")
    # A transaction in a transaction is a savepoint of the same connection.
    is_savepoint = pool.is_millpond and outer.commits and acquisition.commits
    return waits and not is_try and not is_savepoint


@RULES.add("MP211", "error", "one connection for several threads or tasks")
def shared(module: Module) -> Iterator[Remark]:
    """Several threads or tasks are given the same connection, to work at the same time.

    A connection is one conversation: a second statement before the first one's answer is an error
    ("another operation is in progress"), a wait, or somebody else's rows. And all of them are in
    one transaction, which whoever fails rolls back for everybody.

    At 3 a.m.: a report has rows of another report, once in some thousand times.

    Fix: let each thread or task acquire its own.

    Before:
        async with pool.connection() as conn:
            await asyncio.gather(load(conn, 1), load(conn, 2))

    After:
        await asyncio.gather(load(pool, 1), load(pool, 2))
    """
    for hold in module.holds:
        if not hold.name:
            continue
        calls = [node for node in hold.nodes() if isinstance(node, ast.Call)]
        for call in calls:
            how = _shares(module, call, hold)
            if how:
                yield Remark(
                    message=f"{hold.name} is given to {how} at the same time",
                    place=module.source.place(call),
                    fix="let each of them acquire its own connection",
                )
                break


def _shares(module: Module, call: ast.Call, hold: Hold) -> str:
    name = hold.name
    method = dotted(call.func).rpartition(".")[2]
    if module.source.qualified(call.func) in {"asyncio.gather", "asyncio.wait"}:
        given = [argument for argument in call.args if name in names_in(argument)]
        many = any(isinstance(each, (ast.Starred, ast.ListComp)) for each in given)
        return "several tasks" if len(given) > 1 or many else ""
    if _is_map(module, call) and any(name in names_in(argument) for argument in call.args):
        return "several threads"
    if method in _SPAWNERS and name in names_in(call):
        others = [
            other
            for other in hold.nodes()
            if isinstance(other, ast.Call)
            and dotted(other.func) == dotted(call.func)
            and name in names_in(other)
        ]
        if len(others) > 1 or _is_repeated(module, call, hold):
            return "several tasks" if hold.acquisition.pool.is_async else "several threads"
    return ""


def _is_map(module: Module, call: ast.Call) -> bool:
    """Whether it is the ``map()`` of an executor: others, such as a column's, use one thread."""
    if not isinstance(call.func, ast.Attribute) or call.func.attr != "map":
        return False
    owner = dotted(call.func.value)
    is_called_so = bool(_EXECUTOR.search(owner.rpartition(".")[2]))
    return is_called_so or owner in _always_made_by(module, _EXECUTORS)


def _is_repeated(module: Module, node: ast.AST, hold: Hold) -> bool:
    """Whether something is done in a loop within a block."""
    for parent in module.source.ancestors(node):
        if parent is hold.block:
            return False
        if isinstance(parent, (ast.For, ast.AsyncFor, ast.While, ast.ListComp, ast.GeneratorExp)):
            return True
    return False


@RULES.add("MP212", "warning", "a connection is held while something else is waited for")
def held_while_waiting(module: Module) -> Iterator[Remark]:
    """A connection is held during a sleep, an HTTP call or a program that runs.

    The database does nothing for it, but nobody else can have the connection, and its transaction
    may hold locks and keep old rows from being cleaned up. The pool is as fast as that other
    server.

    At 3 a.m.: the payment provider answers in 30 s instead of 0.1 s. All connections are held by
    requests that wait for it, and pages that have nothing to do with payments time out.

    Fix: read, give the connection back, wait, and acquire one again to write.

    Before:
        with pool.connection() as conn:
            order = read(conn)
            answer = requests.post(url, json=order)
            write(conn, answer)

    After:
        with pool.connection() as conn:
            order = read(conn)
        answer = requests.post(url, json=order, timeout=10)
        with pool.connection() as conn:
            write(conn, answer)
    """
    for hold in module.holds:
        # A session has a connection from its first statement on only.
        if hold.acquisition.style == "session":
            continue
        clients = _always_made_by(module, _CLIENT_CLASSES)
        for node in hold.nodes():
            why = _waits(module, node, clients) if isinstance(node, ast.Call) else ""
            if why:
                yield Remark(
                    message=f"the connection of line {hold.block.lineno} is held while this {why}",
                    place=module.source.place(node),
                    fix="give the connection back first, and acquire one again afterwards",
                )
                break


def _always_made_by(module: Module, classes: set[str]) -> set[str]:
    """Return the names that only ever stand for an instance of some classes."""
    made: dict[str, bool] = {}
    for node in module.source.nodes:
        for name, value in assigned(node):
            call = value.value if isinstance(value, ast.Await) else value
            is_one = isinstance(call, ast.Call) and module.source.qualified(call.func) in classes
            made[name] = is_one and made.get(name, True)
    return {name for name, is_one in made.items() if is_one}


def _waits(module: Module, call: ast.Call, clients: set[str]) -> str:
    name = module.source.qualified(call.func)
    if name in _SLOW:
        first = module.bindings.folder.value(call.args[0]) if call.args else None
        # sleep(0) only lets others run.
        return "" if first == 0 else _SLOW[name]
    owner, _, verb = (name or dotted(call.func)).rpartition(".")
    is_http = verb in _VERBS and (name.startswith(_CLIENTS) or owner in clients)
    return "waits for another server" if is_http else ""
