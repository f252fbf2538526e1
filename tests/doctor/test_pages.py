"""What the pages show is true: the code before has the fault, the code after has not."""

import re
import textwrap
from pathlib import Path
from typing import Final

import pytest

from millpond.doctor import RULES, Selection, examine, read_paths

# Their fault is in what calls the code that is shown, or it is no Python.
_ELSEWHERE: Final = {"MP001", "MP207", "MP209"}
CODES = [code for code in RULES if code < "MP3" and code not in _ELSEWHERE]

HEAD: Final = """
import asyncio, atexit, flask, multiprocessing, os, random, sqlite3, time
import millpond, psycopg2, pymysql, requests
from sqlalchemy import NullPool, QueuePool, StaticPool, create_engine
from sqlalchemy.ext.asyncio import create_async_engine
url = os.environ["URL"]
"""
DBUTILS: Final = "from dbutils.pooled_db import PooledDB\n"
POOLS: Final = """
pool = millpond.Pool(url, leak_threshold=9.0)
async_pool = millpond.AsyncPool(url, leak_threshold=9.0)
engine = create_engine(url, pool_pre_ping=True)
"""


def shown(code: str, word: str) -> str:
    """Return the code that a page shows before or after."""
    found = re.search(rf"^{word}:\n((?:    .*\n|\n)+)", f"{RULES[code].page}\n", re.MULTILINE)
    assert found is not None
    text = textwrap.dedent(found[1])
    if text.startswith("{"):  # an entry of Django's DATABASES
        text = f'DATABASES = {{"default": {text.strip()}}}'
    return text.replace(", ...", "").replace("..., ", "")


def programs(text: str) -> list[str]:
    """Return programs with some code: by itself, with pools, and in a function."""
    head = HEAD if "import PooledDB" in text else HEAD + DBUTILS
    inside = f"def work():\n{textwrap.indent(text, '    ')}"
    return [head + text, head + POOLS + text, head + POOLS + inside]


def finds(code: str, program: str, folder: Path) -> bool:
    (folder / "program.py").write_text(program, "utf-8")
    findings = examine(read_paths([folder]), Selection(select=(code, "MP001")))
    assert "MP001" not in {finding.code for finding in findings}, program
    return bool(findings)


@pytest.mark.parametrize("code", CODES)
def test_the_code_before_has_the_fault(code: str, tmp_path: Path) -> None:
    assert any(finds(code, program, tmp_path) for program in programs(shown(code, "Before")))


@pytest.mark.parametrize("code", CODES)
def test_the_code_after_has_it_no_more(code: str, tmp_path: Path) -> None:
    found = [finds(code, program, tmp_path) for program in programs(shown(code, "After"))]

    assert found == [False] * 3
