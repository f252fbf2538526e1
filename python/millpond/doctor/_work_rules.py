"""Rules about transactions, sessions and timeouts in the code that uses a pool."""

from __future__ import annotations

import ast
import re
from collections import Counter
from typing import TYPE_CHECKING, Final

from millpond.doctor._findings import Remark
from millpond.doctor._module import Module
from millpond.doctor._rules import Rules
from millpond.doctor._source import dotted, names_in, own_nodes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from millpond.doctor._acquire import Hold
    from millpond.doctor._options import PoolOptions

__all__ = ["RULES"]

RULES: Final = Rules(Module)

_WRITES: Final = re.compile(
    r"\s*(insert\s+into|update\s+\S+\s+set|delete\s+from|replace\s+into|merge\s+into)\b",
    re.IGNORECASE,
)
_ENDS: Final = re.compile(r"\s*(commit|end)\b", re.IGNORECASE)
_SETS: Final = re.compile(
    r"\s*set\s+(?!(?:constraints|global|local|password|persist\w*|transaction)\b)(session\s+)?(?P<name>\w+)",
    re.IGNORECASE,
)
_COMMITS: Final = frozenset({"autocommit", "begin", "commit", "execution_options", "transaction"})
_EXECUTES: Final = frozenset({"exec_driver_sql", "execute", "executemany"})
_TIMEOUTS: Final = frozenset(
    {
        "millpond.PoolExhausted",
        "millpond.PoolTimeout",
        "millpond.errors.PoolExhausted",
        "millpond.errors.PoolTimeout",
        "sqlalchemy.exc.TimeoutError",
        "dbutils.pooled_db.TooManyConnections",
        "dbutils.pooled_db.TooManyConnectionsError",
        "millpond.dbutils.pooled_db.TooManyConnections",
        "millpond.dbutils.pooled_db.TooManyConnectionsError",
    }
)
# What a loop waits for that has something else to do in each turn.
_PACES: Final = frozenset(
    {
        "accept",
        "anext",
        "basic_get",
        "blpop",
        "brpop",
        "get_message",
        "next",
        "poll",
        "receive",
        "recv",
        "sleep",
        "wait",
    }
)
_QUIET: Final = frozenset({"debug", "error", "exception", "info", "print", "warning"})


@RULES.add("MP208", "error", "what was written is rolled back")
def no_commit(module: Module) -> Iterator[Remark]:
    """A block writes, and ends without a commit.

    The pool rolls an open transaction back when the connection is returned, so the rows are gone,
    and no error is raised.

    At 3 a.m.: nothing; that is the trouble. At nine somebody asks where last night's orders are.

    Fix: `pool.transaction()`, which commits at the end and rolls back after an exception; with
    SQLAlchemy `engine.begin()`.

    Before:
        with pool.connection() as conn:
            conn.execute("INSERT INTO orders VALUES (1)")

    After:
        with pool.transaction() as conn:
            conn.execute("INSERT INTO orders VALUES (1)")
    """
    for hold in module.holds:
        if hold.acquisition.commits or not hold.name or _may_commit_each(hold.acquisition.pool):
            continue
        if hold.acquisition.style == "session":
            continue
        statement = next(
            (
                node
                for node, text in _statements(module, hold)
                if _WRITES.match(text) and not _is_of_old_sqlalchemy(hold, node)
            ),
            None,
        )
        if statement is not None and not _commits(module, hold):
            right = "begin()" if hold.acquisition.pool.is_sqlalchemy else "transaction()"
            is_dbutils = hold.acquisition.pool.is_pooled_db
            yield Remark(
                message=f"nothing commits what is written here, so the end of the block of line "
                f"{hold.block.lineno} rolls it back",
                place=module.source.place(statement),
                fix=f"{hold.name}.commit()" if is_dbutils else f"{right}, which commits at the end",
            )


def _statements(module: Module, hold: Hold) -> Iterator[tuple[ast.Call, str]]:
    """Return the statements that a block executes, as far as their text is known."""
    for node in hold.nodes():
        if (
            not isinstance(node, ast.Call)
            or not isinstance(node.func, ast.Attribute)
            or not node.args
        ):
            continue
        if node.func.attr in _EXECUTES and _is_of(hold, node.func.value):
            text = node.args[0]
            if isinstance(text, ast.Call) and text.args:  # sqlalchemy.text("...")
                text = text.args[0]
            folded = module.bindings.folder.option(text)
            value = folded.value if isinstance(folded.value, str) else _beginning(text)
            if value:
                yield node, value


def _is_of_old_sqlalchemy(hold: Hold, call: ast.Call) -> bool:
    """Whether it is ``execute("...")``: what takes a plain text also commits by itself."""
    is_plain = isinstance(call.args[0], (ast.BinOp, ast.Constant, ast.JoinedStr, ast.Name))
    is_execute = dotted(call.func) == f"{hold.name}.execute"
    is_engine = hold.acquisition.pool.is_sqlalchemy
    is_dbapi = dotted(hold.acquisition.call.func).endswith(".raw_connection")
    return is_engine and is_execute and is_plain and not is_dbapi


def _beginning(node: ast.expr) -> str:
    if isinstance(node, ast.JoinedStr) and node.values and isinstance(node.values[0], ast.Constant):
        # What follows is unknown, but it is something.
        first = node.values[0].value
        return f"{first}x set" if isinstance(first, str) else ""
    return ""


def _is_of(hold: Hold, node: ast.expr) -> bool:
    """Whether something is executed by a block's connection, or by a cursor of it."""
    if isinstance(node, ast.Call):
        node = node.func.value if isinstance(node.func, ast.Attribute) else node
    name = dotted(node)
    if name == hold.name:
        return True
    return any(
        hold.name in names_in(value)
        for each in own_nodes(hold.block)
        for value in _values_of(each, name)
    )


def _values_of(node: ast.AST, name: str) -> Sequence[ast.expr]:
    if isinstance(node, ast.Assign):
        return [node.value] if any(dotted(target) == name for target in node.targets) else []
    if isinstance(node, ast.withitem) and node.optional_vars is not None:
        return [node.context_expr] if dotted(node.optional_vars) == name else []
    return []


def _commits(module: Module, hold: Hold) -> bool:
    """Whether a block may commit: by itself, or by somebody who is given the connection."""
    for node in own_nodes(*hold.block.items, *hold.block.body):
        if isinstance(node, ast.Attribute) and node.attr in _COMMITS:
            return True
        if isinstance(node, ast.Attribute) and _is_rehearsal(module, node):
            return True
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and _ENDS.match(node.value)
        ):
            return True
        if isinstance(node, ast.withitem) and dotted(node.context_expr) == hold.name:
            return True
        if isinstance(node, (ast.Call, ast.Return, ast.Yield)) and _passes_on(module, node, hold):
            return True
    return False


def _is_rehearsal(module: Module, node: ast.Attribute) -> bool:
    """Whether it is a rollback that is not for an error, and so what is meant."""
    return node.attr == "rollback" and not any(
        isinstance(parent, ast.ExceptHandler) for parent in module.source.ancestors(node)
    )


def _passes_on(module: Module, node: ast.Call | ast.Return | ast.Yield, hold: Hold) -> bool:
    """Whether a connection is passed to a function, or to whoever is in a ``yield``."""
    if not isinstance(node, ast.Call):
        return node.value is not None and hold.name in names_in(node.value)
    given = [*node.args, *(word.value for word in node.keywords)]
    is_closing = module.source.qualified(node.func).startswith("contextlib.")
    return not is_closing and any(dotted(each) == hold.name for each in given)


def _may_commit_each(pool: PoolOptions) -> bool:
    """Whether each statement is, or may be, a transaction of its own."""
    if not pool.complete:
        return True
    every = (*pool.options.items(), *pool.creator_options.items())
    for name, option in every:
        if name in {"configure", "init_command", "session", "setsession"}:
            return True
        if (
            name in {"autocommit", "isolation_level", "execution_options"}
            and option.value is not False
        ):
            return True
    reset = pool.value("reset")
    # What a callable does is unknown, and without a reset nothing is rolled back.
    if pool.is_millpond and reset not in ("rollback", "session"):
        return True
    # A connect that can't be looked into may switch autocommit on.
    return (
        not pool.has_url and not pool.creator and not pool.is_sqlalchemy and not pool.given("dsn")
    )


@RULES.add("MP213", "warning", "a full pool is tried again at once")
def no_backoff(module: Module) -> Iterator[Remark]:
    """A loop catches the pool's timeout and tries again without a pause.

    Whoever times out goes back into the queue at once, so the queue never gets shorter and the
    pool never recovers. With `PoolExhausted`, which comes at once, the loop keeps a core busy.

    At 3 a.m.: the database has been well again for an hour, and the service is still down, at 100 %
    CPU.

    Fix: fail, and let the caller decide; or wait, longer each time and with some randomness, and
    not for ever.

    Before:
        while True:
            try:
                return work()
            except millpond.PoolTimeout:
                continue

    After:
        for attempt in range(3):
            try:
                return work()
            except millpond.PoolTimeout:
                time.sleep(random.uniform(0, 2**attempt))
    """
    for node in module.source.nodes:
        if not isinstance(node, ast.ExceptHandler) or node.type is None:
            continue
        kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        caught = next((kind for kind in kinds if module.source.qualified(kind) in _TIMEOUTS), None)
        if caught is not None and _is_in_while(module, node) and all(map(_does_nothing, node.body)):
            yield Remark(
                message=f"{dotted(caught)} is caught, and the loop goes on at once",
                place=module.source.place(node),
                fix="wait before the next attempt, longer each time, and give up in the end",
            )


def _is_in_while(module: Module, handler: ast.ExceptHandler) -> bool:
    """Whether an endless loop is around a handler, and does not pause itself."""
    for parent in module.source.ancestors(handler):
        if isinstance(parent, (ast.FunctionDef, ast.AsyncFunctionDef, ast.For, ast.AsyncFor)):
            return False
        if isinstance(parent, ast.While):
            calls = (node for node in own_nodes(*parent.body) if isinstance(node, ast.Call))
            return not any(map(_paces, calls))
    return False


def _paces(call: ast.Call) -> bool:
    """Whether a call may wait: for time to pass, or for the next piece of work."""
    name = dotted(call.func).rpartition(".")[2]
    # `queue.get(True, 5)`, unlike `settings.get("name")`.
    has_key = any(
        not isinstance(each, ast.Constant) or isinstance(each.value, str) for each in call.args
    )
    return name in _PACES or (name == "get" and not has_key)


def _does_nothing(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        return dotted(statement.value.func).rpartition(".")[2] in _QUIET
    is_counter = isinstance(statement, ast.AugAssign)
    return is_counter or isinstance(statement, (ast.Pass, ast.Continue))


@RULES.add("MP215", "warning", "a setting of the session is left to the next user")
def session_left_behind(module: Module) -> Iterator[Remark]:
    """A block changes the session, and the pool does not change it back.

    A return rolls back the transaction. `SET` outlives it: the next user has another `search_path`,
    another role or another time zone, depending on which connection it gets.

    At 3 a.m.: a report runs with the role of the administrator; or a query finds no table, once in
    ten times.

    Fix: `SET LOCAL`, which ends with the transaction; or set it for all connections
    (`session="SET ..."`); or `reset="session"`, which costs a round trip with each return.

    Before:
        with pool.connection() as conn:
            conn.execute("SET search_path TO tenant_7")

    After:
        with pool.transaction() as conn:
            conn.execute("SET LOCAL search_path TO tenant_7")
    """
    for hold in module.holds:
        pool = hold.acquisition.pool
        if pool.is_sqlalchemy or not pool.complete or not hold.name:
            continue
        if pool.is_millpond and pool.value("reset") not in ("rollback", "none"):
            continue
        statements = list(_statements(module, hold))
        if any(re.match(r"\s*(reset|discard)\b", text, re.IGNORECASE) for _, text in statements):
            continue
        if any(name in pool.options for name in ("on_release", "on_acquire")):
            continue
        changes = [_SETS.match(text) for _, text in statements]
        names = Counter(change["name"].lower() for change in changes if change)
        for (node, text), change in zip(statements, changes, strict=True):
            # What is set twice is changed back.
            if change and names[change["name"].lower()] == 1:
                yield Remark(
                    message=f"{' '.join(text.split()[:2])} stays when the connection is returned, "
                    "and is the next user's",
                    place=module.source.place(node),
                    fix='SET LOCAL, or session= for all connections, or reset="session"',
                )
                break
