"""Rules about where pools are made and closed."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Final

from millpond.doctor._findings import Remark
from millpond.doctor._project import Project
from millpond.doctor._reach import is_guarded, is_memoized, per_request
from millpond.doctor._rules import Rules
from millpond.doctor._source import (
    dotted,
    names_in,
    own_nodes,
    parameters_of,
    targets_of,
    text_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from millpond.doctor._bindings import Pooled
    from millpond.doctor._module import Module
    from millpond.doctor._options import PoolOptions
    from millpond.doctor._reach import Definition

__all__ = ["RULES"]

RULES: Final = Rules(Project)

_ENDS: Final = frozenset({"close", "dispose"})
_FORKS: Final = {
    "multiprocessing.Pool",
    "multiprocessing.Process",
    "multiprocessing.pool.Pool",
    "concurrent.futures.ProcessPoolExecutor",
    "concurrent.futures.process.ProcessPoolExecutor",
    "os.fork",
}
_KEEPERS: Final = frozenset({"add", "append", "put", "register", "set", "setattr", "setdefault"})
_USES: Final = frozenset({"begin", "connect", "connection", "execute", "raw_connection"})
_SPAWNS: Final = frozenset({"forkserver", "spawn"})


@RULES.add("MP201", "error", "a pool is made for each request")
def made_per_request(project: Project) -> Iterator[Remark]:
    """A pool is made in a function that is called again and again.

    Each call opens new connections, uses one of them once, and leaves the pool to the garbage
    collector. It is slower than no pool at all, and nothing limits how many connections there are:
    each pool only counts its own.

    At 3 a.m.: "too many connections", although `max_size` says 10.

    Fix: one pool for each process: at the top level of a module, in the application's start
    (`create_app`, lifespan), or in a function that remembers it (`functools.cache`).

    Before:
        @app.get("/users")
        def users():
            pool = millpond.Pool(url)
            with pool.connection() as conn: ...

    After:
        pool = millpond.Pool(url)

        @app.get("/users")
        def users():
            with pool.connection() as conn: ...
    """
    reached = per_request(project)
    for module in project.modules:
        for call, options in module.pools.items():
            function = module.source.function_of(call)
            if function is None or isinstance(function, ast.Lambda) or is_memoized(function):
                continue
            if options.is_sqlalchemy and options.pool_class == "NullPool":
                continue
            why = reached.get(function) or _why_repeated(module, call, function)
            if why and not (is_guarded(module, call) and _is_kept(module, call, function)):
                yield Remark(
                    message=f"{why}: each time with a pool of its own",
                    place=options.place,
                    fix="make one pool for each process, where the program starts",
                )


def _is_kept(module: Module, call: ast.Call, function: Definition) -> bool:
    """Whether a pool is stored where the next call of the function finds it."""
    statement = module.source.statement_of(call)
    if not isinstance(statement, (ast.Assign, ast.AnnAssign)) or statement.value is not call:
        return True
    names = {target.id for target in targets_of(statement)}
    # `self.pool = pool = Pool()`
    every = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    if len(names) < len(every):
        return True
    is_given = bool(names & parameters_of(function))
    return is_given or any(_keeps_one(node, names) for node in own_nodes(*function.body))


def _keeps_one(node: ast.AST, names: set[str]) -> bool:
    """Whether what has one of some names is there for the next call of a function, too."""
    if isinstance(node, (ast.Global, ast.Nonlocal)):
        return bool(names & set(node.names))
    if isinstance(node, ast.Assign):  # `_pools[url] = pool`
        return dotted(node.value) in names
    if isinstance(node, ast.Call):  # `_pools.setdefault(url, pool)`
        is_keeper = dotted(node.func).rpartition(".")[2] in _KEEPERS
        return is_keeper and any(dotted(each) in names for each in node.args)
    return False


def _why_repeated(module: Module, call: ast.Call, function: Definition) -> str:
    """Return how it is known that a function with a pool of its own is called repeatedly."""
    name = function.name
    for node in own_nodes(*function.body):
        value = node.value if isinstance(node, (ast.Return, ast.Yield)) else None
        value = value.value if isinstance(value, ast.Await) else value
        acquired = module.acquisitions.get(value) if isinstance(value, ast.Call) else None
        if acquired is not None and acquired.pool is module.pools[call]:
            return f"{name}() returns a connection"
    for other in module.source.calls():
        loop = _loop_of(module, other) if dotted(other.func) == name else None
        if loop is None or _is_result_kept(module, other) or _is_left(module, other, loop):
            continue
        # Each turn may be about a database of its own.
        is_each = not isinstance(loop, ast.While) and names_in(loop.target) & names_in(other)
        if not (is_each and parameters_of(function) & names_in(call)):
            return f"{name}() is called in a loop"
    return ""


def _loop_of(module: Module, node: ast.AST) -> ast.For | ast.AsyncFor | ast.While | None:
    """Return the loop in which something is done again and again."""
    child = node
    for parent in module.source.ancestors(node):
        if isinstance(parent, (ast.For, ast.AsyncFor, ast.While)) and child in parent.body:
            return parent
        if isinstance(parent, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            return None
        child = parent
    return None


def _is_result_kept(module: Module, call: ast.Call) -> bool:
    """Whether each turn of a loop keeps what a call returns: ``pools[name] = make(name)``."""
    statement = module.source.statement_of(call)
    parent = module.source.parents[call]
    if isinstance(parent, ast.Call):
        return dotted(parent.func).rpartition(".")[2] in _KEEPERS
    return isinstance(statement, ast.Assign) and len(targets_of(statement)) < len(statement.targets)


def _is_left(module: Module, call: ast.Call, loop: ast.For | ast.AsyncFor | ast.While) -> bool:
    """Whether a loop ends when a call has succeeded: it is one of attempts."""
    statement = module.source.statement_of(call)
    names = {target.id for target in targets_of(statement)}
    if isinstance(loop, ast.While) and names & names_in(loop.test):
        return True
    child: ast.AST = statement
    while child is not loop:
        block, parent = module.source.block_of(child), module.source.parents[child]
        then = block[block.index(child) :] if isinstance(child, ast.stmt) and block else []
        if isinstance(parent, ast.Try) and child in parent.body:
            then = [*then, *parent.orelse]
        if any(isinstance(each, (ast.Break, ast.Return)) for each in then):
            return True
        child = parent
    return False


@RULES.add("MP210", "error", "the pool is closed for each request")
def closed_per_request(project: Project) -> Iterator[Remark]:
    """A request closes the pool that all requests share.

    A closed millpond pool serves nobody any more; SQLAlchemy's `dispose()` and PooledDB's
    `close()` throw all idle connections away, so that each request opens its own.

    At 3 a.m.: PoolClosed in every request after the first one; or, more quietly, a server that is
    busy with sign-ins.

    Fix: release the connection, and close the pool where the program ends. Flask's
    `teardown_appcontext` is called after each request, not at the end of the application.

    Before:
        @app.teardown_appcontext
        def teardown(error):
            pool.close()

    After:
        atexit.register(pool.close)
    """
    reached = per_request(project)
    for module in project.modules:
        for call in module.source.calls():
            if not isinstance(call.func, ast.Attribute) or call.func.attr not in _ENDS:
                continue
            function = module.source.function_of(call)
            if function is None or function not in reached:
                continue
            pool = module.bindings.pool_of(call.func.value)
            if pool is not None and pool.scope is None and not pool.makes_sessions:
                yield Remark(
                    message=f"{reached[function]}: {text_of(call.func)}() ends the pool of "
                    "all requests",
                    place=module.source.place(call),
                    fix="release the connection, and close the pool where the program ends",
                )


@RULES.add("MP205", "error", "connections are taken along into forked processes")
def fork_after_connect(project: Project) -> Iterator[Remark]:
    """A process forks after its pool has connected, so that two processes use the same sockets.

    The child inherits the connections. Both write into the same stream, each reads what was meant
    for the other, and whoever ends first says goodbye to the server for both.

    At 3 a.m.: rows of another query, "SSL error: decryption failed", "lost synchronization with
    server", and nothing of it can be reproduced.

    Fix: make the pool in the child, or leave the inherited connections there:
    `engine.dispose(close=False)`. millpond's pools notice the fork and begin anew.

    Before:
        engine = create_engine(url)
        with engine.connect() as conn: ...
        with multiprocessing.Pool(4) as workers: ...

    After:
        def forget():
            engine.dispose(close=False)

        with multiprocessing.Pool(4, initializer=forget) as workers: ...
    """
    for module in project.modules:
        yield from _forks_of(module)
    yield from _preloaded(project)


def _forks_of(module: Module) -> Iterator[Remark]:
    source = module.source
    text = "\n".join(source.lines)
    if any(f'"{word}"' in text or f"'{word}'" in text for word in _SPAWNS):
        return
    if "dispose(" in text or "register_at_fork" in text:
        return
    for call in source.calls():
        if source.qualified(call.func) not in _FORKS:
            continue
        if any(word.arg == "initializer" for word in call.keywords):
            continue
        before = _connected_before(module, call)
        if before is not None:
            yield Remark(
                message=f"{text_of(call.func)}() after {before}: parent and child use the same "
                "connections",
                place=source.place(call),
                fix="make the pool in the child, or let the child forget it at its start",
            )


def _connected_before(module: Module, fork: ast.Call) -> str | None:
    """Return what opened a connection before a fork, at the top level or in the same function."""
    scope = module.source.function_of(fork)
    for call in module.source.calls():
        if call.lineno >= fork.lineno:
            continue
        made = module.pools.get(call)
        if made is not None and _forgets(made.kind):
            continue
        at_top = module.source.function_of(call)
        if at_top is not None and at_top is not scope:
            continue
        if made is not None and made.is_pooled_db and made.number("mincached"):
            return f"PooledDB(mincached={made.number('mincached'):g})"
        pool = _used(module, call)
        if pool is not None and not _forgets(pool.options.kind) and _keeps(pool.options):
            return f"{text_of(call.func)}()"
    return None


def _used(module: Module, call: ast.Call) -> Pooled | None:
    """Return the pool of which a call takes a connection, itself or as ``create_all(engine)``."""
    if isinstance(call.func, ast.Attribute) and call.func.attr in _USES:
        return module.bindings.pool_of(call.func.value)
    if isinstance(call.func, ast.Attribute) and call.func.attr == "create_all":
        words = [word.value for word in call.keywords if word.arg == "bind"]
        for node in (*call.args, *words):
            return module.bindings.pool_of(node)
    return None


def _forgets(kind: str) -> bool:
    """Whether a pool notices a fork by itself."""
    return kind.startswith("millpond.")


def _keeps(options: PoolOptions) -> bool:
    """Whether a connection that was given back stays open."""
    return not options.is_sqlalchemy or options.pool_class not in {"NullPool", "?"}


def _preloaded(project: Project) -> Iterator[Remark]:
    """Gunicorn imports the application before it forks, if it is told to."""
    for module in project.modules:
        constants = module.source.constants
        if not module.source.file.endswith(("gunicorn.conf.py", "gunicorn_conf.py")):
            continue
        preload = constants.get("preload_app")
        if preload is None or module.bindings.folder.value(preload) is not True:
            continue
        if {"post_fork", "post_worker_init"} & set(module.source.functions):
            continue
        eager = [each for other in project.modules for each in _eager(other)]
        for options in eager[:1]:
            yield Remark(
                message=f"preload_app=True, and {options.place.file}:{options.place.line} "
                "connects when it is imported: all workers use the same connections",
                place=module.source.place(preload),
                fix="dispose of the pool in post_fork, or connect at the first request",
            )


def _eager(module: Module) -> Iterator[PoolOptions]:
    """Return the pools of a file that connect when it is imported."""
    for call, options in module.pools.items():
        is_local = module.source.function_of(call) is not None
        if is_local or _forgets(options.kind) or not _keeps(options):
            continue
        opens = options.is_pooled_db and options.number("mincached")
        calls = module.source.calls()
        if opens or any(_uses_at_top(module, other, options) for other in calls):
            yield options


def _uses_at_top(module: Module, call: ast.Call, options: PoolOptions) -> bool:
    if module.source.function_of(call) is not None:
        return False
    used = _used(module, call)
    return used is not None and used.options is options
