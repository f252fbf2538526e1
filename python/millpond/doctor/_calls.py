"""Calls that make a pool, and the options that they give it."""

from __future__ import annotations

import ast
import itertools
import re
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from millpond._config import PoolConfig
from millpond.doctor._options import Kind, Option, PoolOptions
from millpond.doctor._source import dotted, own_nodes, targets_of, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from millpond.doctor._fold import Folder
    from millpond.doctor._source import Function, Source

__all__ = ["DEFAULTS", "pool_of_call"]


class _Maker(NamedTuple):
    """What a call makes, and what its positional arguments are called."""

    kind: Kind
    parameters: tuple[str, ...]


_POOLED: Final = (
    "creator mincached maxcached maxshared maxconnections blocking maxusage setsession reset "
    "failures ping"
)
_PERSISTENT: Final = "creator maxusage setsession failures ping closeable threadlocal"

_MILLPOND: Final[dict[str, Any]] = {
    each.name: each.default for each in fields(PoolConfig) if each.name != "session"
}
_DBUTILS: Final = {
    "mincached": 0,
    "maxcached": 0,
    "maxshared": 0,
    "maxconnections": 0,
    "blocking": False,
    "maxusage": None,
    "reset": True,
    "ping": 1,
}
_ENGINE: Final = {
    "pool_size": 5,
    "max_overflow": 10,
    "pool_timeout": 30.0,
    "pool_recycle": -1,
    "pool_pre_ping": False,
    "pool_reset_on_return": "rollback",
}

DEFAULTS: Final[Mapping[Kind, Mapping[str, Any]]] = {
    "millpond.Pool": _MILLPOND,
    "millpond.AsyncPool": _MILLPOND,
    "millpond.ThreadLocalPool": _MILLPOND,
    "dbutils.PooledDB": _DBUTILS,
    "millpond.dbutils.PooledDB": _DBUTILS,
    "dbutils.PersistentDB": {"maxusage": None, "ping": 1},
    "millpond.dbutils.PersistentDB": {"maxusage": None, "ping": 1},
    "sqlalchemy.create_engine": _ENGINE,
    "sqlalchemy.create_async_engine": _ENGINE,
    "django": {"CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": False},
}
"""What applies to an option that is not given."""


_REPEATS: Final = (
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.Lambda,
)
# `os.environ["DATABASE_URL"]`, `settings.db_dsn`
_URL_NAME: Final = re.compile(r"environ\b|getenv\b|ur[il]\b|dsn\b", re.IGNORECASE)


def _makers() -> dict[str, _Maker]:
    found: dict[str, _Maker] = {}
    for kind in ("Pool", "AsyncPool", "ThreadLocalPool"):
        found[f"millpond.{kind}"] = _Maker(cast("Kind", f"millpond.{kind}"), ("connect",))
    for word, old, parameters in (
        ("PooledDB", "pooled_db", _POOLED),
        ("PersistentDB", "persistent_db", _PERSISTENT),
    ):
        names = tuple(parameters.split())
        ours = _Maker(cast("Kind", f"millpond.dbutils.{word}"), names)
        theirs = _Maker(cast("Kind", f"dbutils.{word}"), names)
        found |= dict.fromkeys((f"millpond.dbutils.{old}.{word}", f"millpond.dbutils.{word}"), ours)
        found |= dict.fromkeys((f"dbutils.{old}.{word}", f"DBUtils.{word}.{word}"), theirs)
    sync = _Maker("sqlalchemy.create_engine", ("url",))
    found |= dict.fromkeys(
        ("sqlalchemy.create_engine", "sqlalchemy.engine.create_engine", "sqlmodel.create_engine"),
        sync,
    )
    asynchronous = _Maker("sqlalchemy.create_async_engine", ("url",))
    found["sqlalchemy.ext.asyncio.create_async_engine"] = asynchronous
    found["sqlalchemy.ext.asyncio.engine.create_async_engine"] = asynchronous
    return found


_MAKERS: Final = _makers()


def pool_of_call(source: Source, folder: Folder, call: ast.Call) -> PoolOptions | None:
    """Return the configuration that a call gives to the pool that it makes.

    Returns:
        ``None`` if it makes none that is known.
    """
    maker = _MAKERS.get(source.qualified(call.func))
    if maker is None:
        return None
    options, complete = _arguments(folder, call, maker.parameters)
    creator, creator_options = _creator(source, folder, options, call)
    return PoolOptions(
        kind=maker.kind,
        options=options,
        defaults=DEFAULTS[maker.kind],
        place=source.place(call),
        complete=complete,
        has_url=_has_url(folder, call),
        is_local=source.function_of(call) is not None,
        is_temporary=_is_temporary(source, call),
        name=_name(source, call),
        insertion=source.insertion(call),
        creator=creator,
        creator_options=creator_options,
    )


def _arguments(
    folder: Folder, call: ast.Call, parameters: tuple[str, ...]
) -> tuple[dict[str, Option], bool]:
    options: dict[str, Option] = {}
    complete = True
    for number, node in enumerate(call.args):
        if isinstance(node, ast.Starred):
            complete = False
            break
        name = parameters[number] if number < len(parameters) else str(number)
        options[name] = folder.option(node)
    for word in call.keywords:
        if word.arg is not None:
            options[word.arg] = folder.option(word.value)
            continue
        spread = folder.value(word.value)
        if not isinstance(spread, dict):
            complete = False
            continue
        at = folder.option(word.value, from_preset=True)
        options |= _spread(folder, word.value, spread, at)
    return options, complete


def _spread(
    folder: Folder, node: ast.expr, values: dict[Any, Any], at: Option
) -> dict[str, Option]:
    """Return the options of a ``**mapping``, each with its own line if it is written out."""
    literal = folder.literal(node)
    found = {}
    for name, value in values.items():
        entry = literal.get(name)
        option = folder.option(entry) if entry is not None else None
        found[str(name)] = option or Option(value, at.place, from_preset=True)
    return found


def _creator(
    source: Source, folder: Folder, options: Mapping[str, Option], call: ast.Call
) -> tuple[str, dict[str, Option]]:
    """Return what connects, and with which arguments."""
    words = {word.arg: word.value for word in call.keywords}
    node = words.get("creator") or words.get("connect") or (call.args[0] if call.args else None)
    if isinstance(node, ast.Call):
        if source.qualified(node.func) != "functools.partial" or not node.args:
            return "", {}
        arguments, _ = _arguments(folder, ast.Call(node.func, node.args[1:], node.keywords), ())
        return source.qualified(node.args[0]), arguments
    if isinstance(node, ast.Name) and node.id in source.functions:
        node = _returned(source.functions[node.id])
    if isinstance(node, ast.Lambda):
        node = node.body
    if isinstance(node, ast.Await):
        node = node.value
    if isinstance(node, ast.Call):
        arguments, _ = _arguments(folder, node, ())
        return source.qualified(node.func), arguments
    name = source.qualified(node) if node is not None else ""
    return name, {key: option for key, option in options.items() if key not in _DBUTILS}


def _returned(function: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.expr | None:
    last = function.body[-1]
    return last.value if isinstance(last, ast.Return) else None


def _has_url(folder: Folder, call: ast.Call) -> bool:
    """Whether the first argument is a URL, by its text or by what it is called."""
    if not call.args or isinstance(call.args[0], (ast.Lambda, ast.Starred)):
        return False
    node = folder.written_out(call.args[0])
    is_named = bool(_URL_NAME.search(text_of(node)) or _URL_NAME.search(text_of(call.args[0])))
    return is_named or "://" in folder.option(node).known_url


def _is_temporary(source: Source, call: ast.Call) -> bool:
    """Whether the function that makes a pool also closes it, or nobody else ever has it.

    A generator may live for long in between.
    """
    function, name = source.function_of(call), _name(source, call)
    if function is None or not name or not isinstance(function.body, list):
        return False
    nodes = list(own_nodes(*function.body))
    closes = any(
        isinstance(node, ast.Attribute)
        and node.attr in {"close", "dispose"}
        and dotted(node.value) == name
        for node in nodes
    )
    ends = closes or _is_its_own(source, function, name)
    return ends and not any(isinstance(node, (ast.Yield, ast.YieldFrom)) for node in nodes)


def _is_its_own(source: Source, function: Function, name: str) -> bool:
    """Whether all that a function does with a variable is to call its methods, and in no loop."""
    uses = [
        node
        for node in ast.walk(function)
        if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load)
    ]
    is_local = name not in source.globals_of(function)
    return is_local and bool(uses) and all(_is_method_of(source, function, node) for node in uses)


def _is_method_of(source: Source, function: Function, node: ast.Name) -> bool:
    if not isinstance(source.parents[node], ast.Attribute):
        return False
    around = itertools.takewhile(lambda parent: parent is not function, source.ancestors(node))
    return not any(isinstance(parent, _REPEATS) for parent in around)


def _name(source: Source, call: ast.Call) -> str:
    for parent in source.ancestors(call):
        if isinstance(parent, ast.stmt):
            names = targets_of(parent)
            return names[0].id if names else ""
    return ""
