"""`install()`: what a program imports from DBUtils, under either of its names, is millpond's."""

from __future__ import annotations

import pytest

from helpers import lines_of, run_script

MODULES = {
    "pooled_db": "PooledDB",
    "steady_db": "SteadyDB",
    "persistent_db": "PersistentDB",
    "simple_pooled_db": "SimplePooledDB",
    "pooled_pg": "PooledPg",
    "steady_pg": "SteadyPg",
    "persistent_pg": "PersistentPg",
    "simple_pooled_pg": "SimplePooledPg",
}

# PyGreSQL's module as far as it has to be there to be imported.
WITH_PG = """
import sys, types
sys.modules["pg"] = types.ModuleType("pg")
sys.modules["pg"].DB = type("DB", (), {})
"""
# Some interpreters have DBUtils and some do not. Nobody finds it here.
WITHOUT_DBUTILS = """
import sys

class Hidden:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in {"dbutils", "DBUtils"}:
            raise ModuleNotFoundError(f"No module named {name!r}")

sys.meta_path.insert(0, Hidden)
"""
INSTALLED = """
import millpond.dbutils
millpond.dbutils.install()
"""


@pytest.mark.parametrize("preparation", ["", WITHOUT_DBUTILS], ids=["installed", "missing"])
@pytest.mark.parametrize(("now", "before"), MODULES.items())
def test_each_module_has_both_of_its_names(preparation: str, now: str, before: str) -> None:
    printed = lines_of(f"""{preparation}{WITH_PG}{INSTALLED}
import dbutils.{now}, DBUtils.{before}
import millpond.dbutils.{now}
from dbutils import {now} as one
from DBUtils import {before} as other
print(one is other is dbutils.{now} is DBUtils.{before} is millpond.dbutils.{now})
""")

    assert printed == ["True"]


def test_the_former_package_is_imported_in_both_of_the_ways_that_programs_do() -> None:
    printed = lines_of(f"""{INSTALLED}
from DBUtils.PooledDB import PooledDB as the_class
from DBUtils import PooledDB
print(PooledDB.PooledDB is the_class, the_class.__module__.partition(".")[0])
""")

    assert printed == ["True millpond"]


def test_the_modules_for_pygresql_need_it_only_when_they_are_imported() -> None:
    printed = lines_of(f"""{INSTALLED}
import sys
sys.modules["pg"] = None  # not installed
import dbutils, DBUtils, importlib.util
print([name for name in sys.modules if name.endswith(("_pg", "Pg"))])
print(importlib.util.find_spec("dbutils.pooled_pg").name)
try:
    import dbutils.pooled_pg
except ImportError as error:
    print(error.name)
""")

    assert printed == ["[]", "dbutils.pooled_pg", "pg"]


def test_installing_twice_changes_nothing() -> None:
    printed = lines_of(f"""{INSTALLED}
import sys, dbutils, DBUtils
before = dict(sys.modules), list(sys.meta_path)
millpond.dbutils.install()
millpond.dbutils.install(force=True)
print((dict(sys.modules), list(sys.meta_path)) == before)
""")

    assert printed == ["True"]


def test_many_threads_may_install_at_once() -> None:
    printed = lines_of("""
import sys
import millpond.dbutils
from helpers import together
before = len(sys.meta_path)
together(8, lambda _: millpond.dbutils.install())
print(len(sys.meta_path) - before, sys.modules["dbutils"].pooled_db.__name__)
""")

    assert printed == ["1 millpond.dbutils.pooled_db"]


def test_the_versions_are_those_of_the_dbutils_it_stands_for() -> None:
    printed = lines_of(f"""{INSTALLED}
import dbutils, DBUtils
from dbutils import pooled_db
print(dbutils.__version__, DBUtils.__version__)
print(pooled_db.__version__, pooled_db.PooledDB.version)
print(dbutils.__all__)
""")

    assert printed == ["3.2.0 3.2.0", "3.2.0 3.2.0", "['__version__']"]


def test_the_real_one_imported_before_is_an_error_that_names_who_has_it() -> None:
    printed = lines_of("""
import sys, types
import dbutils.pooled_db
app = sys.modules["app.db"] = types.ModuleType("app.db")
app.PooledDB = dbutils.pooled_db.PooledDB
before = dict(sys.modules)
import millpond.dbutils
try:
    millpond.dbutils.install()
except RuntimeError as error:
    print(error)
print(sys.modules["dbutils"] is before["dbutils"], sys.modules.get("DBUtils"))
""")

    message = (
        "dbutils, dbutils.pooled_db, dbutils.steady_db was imported before"
        " millpond.dbutils.install(); __main__, app.db would keep what it has of it: install before"
        " anything imports it, or run the program by python -m millpond.dbutils, or say force=True"
        " to take its place for later imports only"
    )
    assert printed == [message, "True None"]


def test_by_force_later_imports_are_ours_and_earlier_ones_keep_what_they_have() -> None:
    printed = lines_of("""
from dbutils.pooled_db import PooledDB as early
import millpond.dbutils
millpond.dbutils.install(force=True)
from dbutils.pooled_db import PooledDB as late
print(early.__module__, late.__module__.partition(".")[0], early is late)
""")

    assert printed == ["dbutils.pooled_db millpond False"]


def test_a_module_that_dbutils_does_not_have_is_not_found() -> None:
    for name in ("dbutils.pooled_dbs", "DBUtils.pooled_db", "dbutils.PooledDB", "dbutilities"):
        ended = run_script(f"{INSTALLED}\nimport {name}")

        assert ended.returncode == 1
        assert f"ModuleNotFoundError: No module named '{name}'" in ended.stderr


def test_specs_are_found_before_and_after_the_import() -> None:
    printed = lines_of(f"""{WITH_PG}{INSTALLED}
from importlib.util import find_spec
for name in ("dbutils", "DBUtils", "dbutils.pooled_db", "DBUtils.SteadyPg", "dbutils.pooled_dbs"):
    before = find_spec(name)
    if before:
        __import__(name)
    print(name, before and before.name, before and find_spec(name).name)
""")

    assert printed == [
        "dbutils dbutils dbutils",
        "DBUtils DBUtils DBUtils",
        "dbutils.pooled_db millpond.dbutils.pooled_db millpond.dbutils.pooled_db",
        "DBUtils.SteadyPg DBUtils.SteadyPg millpond.dbutils.steady_pg",
        "dbutils.pooled_dbs None None",
    ]


def test_packages_and_modules_can_be_reloaded() -> None:
    printed = lines_of(f"""{INSTALLED}
import importlib, sys
import dbutils.pooled_db, DBUtils
for module in (dbutils, DBUtils, dbutils.pooled_db, dbutils.persistent_db):
    print(importlib.reload(module) is module)
import millpond.dbutils.pooled_db
print(sys.modules["DBUtils.PooledDB"] is dbutils.pooled_db is millpond.dbutils.pooled_db)
""")

    assert printed == ["True"] * 5


def test_a_module_that_was_dropped_is_found_again() -> None:
    printed = lines_of(f"""{INSTALLED}
import sys
for name in [name for name in sys.modules if name.partition(".")[0] in ("dbutils", "DBUtils")]:
    del sys.modules[name]
import dbutils.pooled_db, DBUtils.PooledDB
import millpond.dbutils.pooled_db
print(dbutils.pooled_db is DBUtils.PooledDB is millpond.dbutils.pooled_db)
""")

    assert printed == ["True"]


def test_inspect_and_pickle_know_where_the_classes_are() -> None:
    printed = lines_of(f"""{INSTALLED}
import inspect, pickle
from dbutils import pooled_db, steady_db, persistent_db
print(inspect.getmodule(pooled_db.PooledDB) is pooled_db)
for error in (
    pooled_db.TooManyConnectionsError, pooled_db.InvalidConnection, pooled_db.NotSupportedError,
    steady_db.InvalidCursorError, persistent_db.NotSupportedError,
):
    copy = pickle.loads(pickle.dumps(error("one", 2)))
    print(type(copy) is error, copy.args == ("one", 2))
# A pickle that was written with DBUtils is read with millpond.
print(pickle.loads(b"cdbutils.pooled_db\\nPooledDBError\\n.") is pooled_db.PooledDBError)
""")

    assert printed == ["True", *["True True"] * 5, "True"]
