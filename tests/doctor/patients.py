"""Configurations of pools as the doctor reads them, and what it finds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from millpond.doctor import UNKNOWN, Finding, Selection, examine
from millpond.doctor._django import databases_of
from millpond.doctor._module import Module
from millpond.doctor._source import Source

if TYPE_CHECKING:
    from millpond.doctor import PoolOptions

FILE: Final = "shop/db.py"
LINE: Final = 7

_BEFORE: Final = """\
import os
import millpond
import dbutils.pooled_db
import sqlalchemy
import psycopg

"""
_CALLS: Final = {"dbutils.PooledDB": "dbutils.pooled_db.PooledDB"}


def configured(kind: str = "millpond.Pool", /, **options: Any) -> PoolOptions:
    """Return the configuration that a call gives, in line 7 of a file.

    Args:
        kind: As in `PoolOptions`.
        options: Its keywords; `UNKNOWN` is what the doctor can't know.
    """
    words = {
        name: "os.environ['IT']" if value is UNKNOWN else _source_of(value)
        for name, value in options.items()
    }
    if kind == "django":
        entry = "".join(f', "{name}": {value}' for name, value in words.items())
        text = f'DATABASES = {{"default": {{"ENGINE": "django.db.backends.postgresql"{entry}}}}}'
        source = Source(FILE, f"{_BEFORE}{text}\n", "shop.db")
        (found,) = databases_of(source, Module(source).bindings.folder)
        return found
    call = _CALLS.get(kind, kind)
    text = f"pool = {call}({', '.join(f'{name}={value}' for name, value in words.items())})"
    (found,) = Module(Source(FILE, f"{_BEFORE}{text}\n", "shop.db")).pools.values()
    return found


def _source_of(value: object) -> str:
    is_infinite = isinstance(value, float) and math.isinf(value)
    return f"float('{value}')" if is_infinite else repr(value)


def findings(code: str, *subjects: object) -> list[Finding]:
    """Return what one rule, or all whose code begins so, find."""
    return examine(subjects, Selection((code,)))


def found(code: str, *subjects: object) -> Finding:
    """Return the one thing that one rule finds."""
    (finding,) = findings(code, *subjects)
    assert finding.code == code
    assert finding.fix
    return finding
