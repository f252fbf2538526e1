"""Programs as people write them with DBUtils: they run unchanged, and do the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from databases import mysql_arguments
from helpers import TESTS, lines_of

if TYPE_CHECKING:
    from pathlib import Path

APPS = TESTS / "dbutils" / "apps"
WITH_DBUTILS = [sys.executable]
WITH_MILLPOND = [sys.executable, "-m", "millpond.dbutils"]


def output_of(command: list[str], *arguments: str, **environment: str) -> list[str]:
    """Run a program to its end, which has to be a good one, and give the lines it printed."""
    ended = subprocess.run(
        [*command, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def test_a_flask_application_answers_the_same_before_and_after_install(mysql_url: str) -> None:
    environment = {
        "GUESTBOOK_DATABASE": json.dumps(mysql_arguments(mysql_url)),
        "GUESTBOOK_TABLE": f"guestbook_{os.getpid()}",
    }

    before = output_of(WITH_DBUTILS, str(APPS / "guestbook.py"), **environment)
    after = output_of(WITH_MILLPOND, str(APPS / "guestbook.py"), **environment)

    entries = "[{'name': 'Ada', 'words': 'Grüße'}, {'name': 'Charles', 'words': 'engines'}]"
    assert before == [
        "(201, {'number': 1})",
        "(500, None)",
        "(201, {'number': 3})",
        f"(200, {entries})",
        "(500, {'code': 1146, 'error': 'ProgrammingError'})",
        "(200, {'idle': 0, 'lent': 1, 'limit': 5, 'zone': '+00:00'})",
        f'{{"(200, {entries})"}}',
        "200 5 1 True +00:00",
    ]
    assert after == before


def monitored(driver: str, arguments: dict[str, object]) -> None:
    printed = output_of(WITH_MILLPOND, str(APPS / "monitor.py"), driver, json.dumps(arguments))

    assert printed[:4] == [
        "new {'size': 10, 'checked out': 0, 'cached': 2, 'overflow': 0}",
        "warming {'size': 10, 'checked out': 5, 'cached': 0, 'overflow': 2}",
        "warm {'size': 10, 'checked out': 0, 'cached': 3, 'overflow': 0}",
        "measured 200 True",  # connection() and query() of each of the 100 threads
    ]
    after = json.loads(printed[4].removeprefix("after ").replace("'", '"'))
    assert 1 <= after.pop("cached") <= 3
    assert after == {"size": 10, "checked out": 0, "overflow": 0}
    assert printed[5] == "closed {'size': 10, 'checked out': 0, 'cached': 0, 'overflow': 0}"


def test_a_monitoring_script_runs_with_sqlite3(tmp_path: Path) -> None:
    monitored("sqlite3", {"database": str(tmp_path / "db"), "check_same_thread": False})


def test_a_monitoring_script_runs_with_pymysql(mysql_url: str) -> None:
    monitored("pymysql", mysql_arguments(mysql_url))


# The ways in which programs choose between DBUtils 1 and 2.
SWITCHES = {
    "try the new name": """
        try:
            from dbutils.pooled_db import PooledDB
        except ImportError:
            from DBUtils.PooledDB import PooledDB
    """,
    "try the former name": """
        try:
            from DBUtils.PooledDB import PooledDB
        except ImportError:
            from dbutils.pooled_db import PooledDB
    """,
    "module of the former name": """
        from DBUtils import PooledDB as module
        PooledDB = module.PooledDB
    """,
    "by version": """
        import dbutils
        from dbutils import pooled_db
        assert pooled_db.__version__.split(".") >= "0.9.3".split(".")
        assert tuple(map(int, dbutils.__version__.split("."))) >= (2, 0)
        PooledDB = pooled_db.PooledDB
    """,
    "find_spec": """
        from importlib import import_module
        from importlib.util import find_spec
        name = next(n for n in ("DBUtils.PooledDB", "dbutils.pooled_db") if find_spec(n))
        PooledDB = import_module(name).PooledDB
    """,
    "all names": """
        from dbutils.pooled_db import *
        from dbutils.pooled_db import InvalidConnection, TooManyConnections
        assert issubclass(TooManyConnections, PooledDBError)
        assert InvalidConnection is InvalidConnectionError
    """,
}


@pytest.mark.parametrize("switch", SWITCHES.values(), ids=SWITCHES)
def test_each_way_of_importing_gets_our_pool(switch: str) -> None:
    lines = "\n".join(line.removeprefix("        ") for line in switch.splitlines())
    printed = lines_of(f"""
import millpond.dbutils
millpond.dbutils.install()
{lines}
import sqlite3
pool = PooledDB(creator=sqlite3, maxconnections=2, database=":memory:")
with pool.connection() as connection:
    cursor = connection.cursor()
    cursor.execute("SELECT 40 + 2")
    print(PooledDB.__module__.partition(".")[0], cursor.fetchone())
""")

    assert printed == ["millpond (42,)"]


def test_web_py_returns_a_connection_by_forgetting_it() -> None:
    """Its `DB` keeps a connection in a thread's `ctx.db`, and ends with `del ctx.db`."""
    printed = lines_of("""
import millpond.dbutils
millpond.dbutils.install()
import sqlite3, threading
from dbutils.pooled_db import PooledDB

ctx = threading.local()
pool = PooledDB(creator=sqlite3, mincached=0, maxcached=0, maxshared=0, maxconnections=1,
                database=":memory:", check_same_thread=False)

def query(value):
    ctx.db = pool.connection()
    ctx.db.commit_hooks = []  # web.py keeps its own things on it
    cursor = ctx.db.cursor()
    cursor.execute("SELECT ?", (value,))
    found = cursor.fetchall()
    del cursor
    before = pool._connections
    del ctx.db
    return found, before, pool._connections, len(pool._idle_cache)

print(query(1))
print(query(2))
thread = threading.Thread(target=lambda: print(query(3)))
thread.start()
thread.join()

def leaves_it_to_the_end_of_the_thread():
    ctx.db = pool.connection()

thread = threading.Thread(target=leaves_it_to_the_end_of_the_thread)
thread.start()
thread.join()
print(pool._connections)
print(query(4))
""")

    assert printed == [*(f"([({n},)], 1, 0, 1)" for n in (1, 2, 3)), "0", "([(4,)], 1, 0, 1)"]


def test_a_cursor_of_a_forgotten_connection_still_works() -> None:
    printed = lines_of("""
import millpond.dbutils
millpond.dbutils.install()
import sqlite3
from dbutils.pooled_db import PooledDB

pool = PooledDB(sqlite3, 1, database=":memory:", check_same_thread=False)
cursor = pool.connection().cursor()
cursor.execute("SELECT 1")
print(cursor.fetchone(), pool._connections, len(pool._idle_cache))
""")

    assert printed == ["(1,) 0 1"]
