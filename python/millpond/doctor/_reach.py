"""Which functions are called for each request, as far as names tell.

A handler is known by its decorator, its first parameter or its class. From there calls are followed
through the files of the project; not into functions that remember their result, nor past a test
such as ``if pool is None``.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Final, TypeAlias

from millpond.doctor._source import dotted, names_in, own_nodes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from millpond.doctor._module import Module
    from millpond.doctor._project import Project
    from millpond.doctor._source import Function

__all__ = [
    "FRAMEWORKS",
    "decorator_names",
    "is_guarded",
    "is_memoized",
    "per_request",
    "resolved",
    "why_handler",
]

Definition: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef

FRAMEWORKS: Final = (
    "aiohttp",
    "bottle",
    "django",
    "falcon",
    "fastapi",
    "flask",
    "litestar",
    "pyramid",
    "quart",
    "sanic",
    "starlette",
    "tornado",
)
"""The packages whose programs serve requests."""

_ROUTES: Final = frozenset(
    {
        "after_request",
        "api_route",
        "before_request",
        "delete",
        "errorhandler",
        "exception_handler",
        "get",
        "head",
        "middleware",
        "patch",
        "post",
        "put",
        "route",
        "teardown_appcontext",
        "teardown_request",
        "websocket",
        "websocket_route",
    }
)
_TASKS: Final = frozenset({"actor", "periodic_task", "shared_task", "task"})
_VIEWS: Final = frozenset(
    {
        "api_view",
        "csrf_exempt",
        "login_required",
        "require_GET",
        "require_POST",
        "require_http_methods",
        "view_config",
    }
)
_OF_A_REQUEST: Final = frozenset({"g", "request"})
_THERE: Final = (ast.Attribute, ast.Name, ast.Subscript)
_VERBS: Final = frozenset(
    {"delete", "dispatch", "get", "head", "on_get", "on_post", "patch", "post", "put"}
)
_VIEW_CLASSES: Final = (
    "APIView",
    "HTTPEndpoint",
    "RequestHandler",
    "Resource",
    "View",
    "ViewSet",
)
_MEMOS: Final = frozenset(
    {
        "cache",
        "cache_resource",
        "cached",
        "cached_property",
        "fixture",
        "lru_cache",
        "memoize",
        "once",
        "singleton",
        "worker_init",
        "worker_process_init",
    }
)
# What their decorators are called means something else: each of their tasks is a program, or a test
# that replaces something (`@patch`).
_OTHERS: Final = ("airflow", "dagster", "fabric", "invoke", "locust", "mock", "prefect", "unittest")
_SINGLETON: Final = re.compile("singleton|borg", re.IGNORECASE)
# By their parameters: Django, aiohttp and Starlette; WSGI; AWS Lambda.
_SIGNATURES: Final = (("request",), ("environ", "start_response"), ("event", "context"))


def why_handler(module: Module, function: Function) -> str:
    """Return by what a function shows that it is called for each request or task, else ``""``."""
    if isinstance(function, ast.Lambda) or is_memoized(function):
        return ""
    for decorator, name in zip(_decorators(function), decorator_names(function), strict=True):
        package = module.source.qualified(decorator).partition(".")[0]
        is_own = isinstance(decorator, ast.Name) and not package
        if is_own or package in _OTHERS:
            continue
        # `@app.get`, or `@get` of one of these.
        is_route = isinstance(decorator, ast.Attribute) or package in FRAMEWORKS
        if (name in _ROUTES and is_route) or name in _VIEWS:
            return "for each request"
        if name in _TASKS:
            return "for each task"
    owner = module.source.parents.get(function)
    names = [argument.arg for argument in function.args.args]
    if isinstance(owner, ast.ClassDef):
        names = names[1:]
        bases = [dotted(base) for base in owner.bases]
        if function.name in _VERBS and any(base.endswith(_VIEW_CLASSES) for base in bases):
            return "for each request"
    whole = [tuple(names), tuple(names[:1])]
    if any(each in _SIGNATURES for each in whole) and not function.name.startswith("test"):
        return "for each request"
    return "for each request" if function.name in module.dependencies else ""


def is_memoized(function: Function) -> bool:
    """Whether a function's body runs once, or its result is remembered."""
    return not isinstance(function, ast.Lambda) and any(
        name in _MEMOS for name in decorator_names(function)
    )


def is_guarded(module: Module, node: ast.AST) -> bool:
    """Whether something is only done if a test says so: ``if pool is None``, ``if not pool``.

    Or behind a test that ends the function with what is there: ``if pool: return pool``.

    What Flask keeps in ``g`` ends with the request, so a test of it guards nothing.
    """
    child = node
    for parent in module.source.ancestors(node):
        if isinstance(parent, (ast.If, ast.IfExp)) and _is_test_of(parent, child):
            return True
        if isinstance(parent, (ast.BoolOp, ast.ExceptHandler)):
            return True
        block = module.source.block_of(child)
        before = block[: block.index(child)] if isinstance(child, ast.stmt) and block else []
        if any(_returns_what_is_there(each, parent) for each in before):
            return True
        if isinstance(parent, (ast.FunctionDef, ast.AsyncFunctionDef)):
            return False
        child = parent
    return False


def _is_test_of(condition: ast.If | ast.IfExp, child: ast.AST) -> bool:
    """Whether a part of a condition depends on its test, and that is about no request."""
    return child is not condition.test and not _OF_A_REQUEST & names_in(condition.test)


def _returns_what_is_there(statement: ast.stmt, parent: ast.AST) -> bool:
    """Whether it is ``if pool is not None: return pool``, or in a constructor ``if self.pool:``.

    Or ``try: return pools[name]``, or one of these in a ``with`` block.
    """
    if isinstance(statement, (ast.AsyncWith, ast.With)):
        return any(_returns_what_is_there(each, statement) for each in statement.body)
    last = statement.body[-1] if isinstance(statement, (ast.If, ast.Try)) else None
    if not isinstance(last, ast.Return):
        return False
    there = names_in(last.value) if isinstance(last.value, _THERE) else set()
    if not isinstance(statement, ast.If):
        return bool(there - _OF_A_REQUEST)
    tested = names_in(statement.test)
    is_constructor = last.value is None and getattr(parent, "name", "") == "__init__"
    is_there = bool(tested & there) or (is_constructor and "self" in tested)
    return is_there and not tested & _OF_A_REQUEST


def per_request(project: Project) -> dict[Definition, str]:
    """Return the functions that are called for each request, with how that is known."""
    found: dict[Definition, str] = {}
    waiting: list[tuple[Module, Definition, str]] = []
    for module in project.modules:
        for function in _definitions(module):
            why = why_handler(module, function)
            if why:
                waiting.append((module, function, f"{function.name}() is called {why}"))
    while waiting:
        module, function, why = waiting.pop()
        if function in found:
            continue
        found[function] = why
        waiting += [
            (where, called, f"{why}, and calls {_title(where, called)}")
            for where, called in _called(project, module, function)
            if called not in found
        ]
    return found


def _definitions(module: Module) -> Iterator[Definition]:
    for node in module.source.nodes:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def _title(module: Module, function: Definition) -> str:
    owner = module.source.parents.get(function)
    if not isinstance(owner, ast.ClassDef):
        return f"{function.name}()"
    return f"{owner.name}()" if function.name == "__init__" else f"{owner.name}.{function.name}()"


def _called(
    project: Project, module: Module, function: Definition
) -> Iterator[tuple[Module, Definition]]:
    for node in own_nodes(*function.body):
        if isinstance(node, ast.Call) and not is_guarded(module, node):
            for where, called in resolved(project, module, node.func):
                if not is_memoized(called):
                    yield where, called


def resolved(
    project: Project, module: Module, node: ast.expr
) -> Iterator[tuple[Module, Definition]]:
    """Return the function that an expression refers to, in whatever file, as far as is known."""
    if isinstance(node, ast.Name) and node.id not in module.source.imports:
        yield from _at_top(module, node.id)
    elif isinstance(node, ast.Attribute) and dotted(node.value) == "self":
        owner = module.source.class_of(node)
        yield from ((module, each) for each in _methods(owner) if each.name == node.attr)
    else:
        owner_name, _, name = module.source.qualified(node).rpartition(".")
        other = project.module(owner_name)
        if other is not None:
            yield from _at_top(other, name)


def _at_top(module: Module, name: str) -> Iterator[tuple[Module, Definition]]:
    """Return a function at the top level, or the constructor of a class there."""
    if name in module.source.functions:
        yield module, module.source.functions[name]
    for node in module.source.tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name and not _is_made_once(node):
            yield from ((module, each) for each in _methods(node) if each.name == "__init__")


def _is_made_once(owner: ast.ClassDef) -> bool:
    """Whether a class may give the same instance again: by its metaclass, bases or decorators."""
    if any(word.arg == "metaclass" and "ABC" not in dotted(word.value) for word in owner.keywords):
        return True
    names = [*decorator_names(owner), *(dotted(base) for base in owner.bases)]
    return any(name in _MEMOS or _SINGLETON.search(name) for name in names)


def _methods(owner: ast.ClassDef | None) -> Iterator[Definition]:
    for node in owner.body if owner is not None else ():
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def decorator_names(decorated: Definition | ast.ClassDef) -> list[str]:
    """Return the last names of the decorators of a function or class."""
    return [dotted(each).rpartition(".")[2] for each in _decorators(decorated)]


def _decorators(decorated: Definition | ast.ClassDef) -> list[ast.expr]:
    """Return what decorates a function or class, without arguments."""
    every = decorated.decorator_list
    return [each.func if isinstance(each, ast.Call) else each for each in every]
