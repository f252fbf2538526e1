"""A pool in words: the keywords of a call, or a call."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Final

from millpond.doctor._module import Module
from millpond.doctor._source import Source
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from millpond.doctor._options import PoolOptions

__all__ = ["read_keywords"]

_FILE: Final = "--pool"
# Below the call, so that it is in the first line.
_IMPORTS: Final = """
import dbutils.pooled_db, millpond, sqlalchemy
from dbutils.pooled_db import PooledDB
from millpond import AsyncPool, Pool, presets
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine
"""


def read_keywords(text: str) -> PoolOptions:
    """Return the configuration that keywords give to a `millpond.Pool`.

    Args:
        text: Such as ``max_size=20, acquire_timeout=2.0``; or a call, such as
            ``create_engine(url, pool_size=20)``. It is read, and not run.

    Raises:
        PoolConfigError: It is neither.
    """
    line = " ".join(text.split())
    found = _pools(line if _is_call(line) else f"Pool({line})")
    if len(found) != 1:
        msg = (
            f"pool={text!r}: must be keywords of a pool, such as max_size=20, or a call, such as "
            "create_engine(url, pool_size=20)"
        )
        raise PoolConfigError(msg)
    return found[0]


def _is_call(line: str) -> bool:
    try:
        return isinstance(ast.parse(line, mode="eval").body, ast.Call)
    except (SyntaxError, ValueError):
        return False


def _pools(line: str) -> list[PoolOptions]:
    # Nothing but a call: no second statement, and no comment that hides the rest.
    if not _is_call(line):
        return []
    return list(Module(Source(_FILE, line + _IMPORTS)).pools.values())
