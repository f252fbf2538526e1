"""What is read out of a program without running it, and what stays unknown."""

from pathlib import Path
from typing import Any

import pytest

from millpond.doctor import UNKNOWN, PoolOptions, read_paths


def pools_of(folder: Path, text: str) -> list[PoolOptions]:
    (folder / "program.py").write_text(text, "utf-8")
    return [each for each in read_paths([folder]) if isinstance(each, PoolOptions)]


def the_pool(folder: Path, text: str) -> PoolOptions:
    (pool,) = pools_of(folder, text)
    return pool


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("7", 7),
        ("-1", -1),
        ("2 * 60 + 0.5", 120.5),
        ("MINUTE // 4", 15),
        ("10 / 0", UNKNOWN),
        ("'x' * 10**9", UNKNOWN),
        ("None", None),
        ("not True", False),
        ("int('7')", 7),
        ("int('seven')", UNKNOWN),
        ("float(os.environ.get('TIMEOUT', '2.5'))", 2.5),
        ("int(os.getenv('SIZE', 8))", 8),
        ("os.environ.get('SIZE')", UNKNOWN),
        ("os.environ['SIZE']", UNKNOWN),
        ("CONFIG['size']", UNKNOWN),
        ("f'{MINUTE}s'", "60s"),
        ("f'{name}s'", UNKNOWN),
        ("[1, MINUTE]", [1, 60]),
        ("TWICE", UNKNOWN),
        ("CHANGED", UNKNOWN),
        ("ITSELF", UNKNOWN),
        ("LONGER", UNKNOWN),
        ("LONGER.format()", UNKNOWN),
        ("5 if debug else 50", UNKNOWN),
        ("compute()", UNKNOWN),
    ],
)
def test_constants_are_folded_and_all_else_is_unknown(
    tmp_path: Path, expression: str, value: Any
) -> None:
    program = f"""
import os
from millpond import Pool
MINUTE = 60
TWICE = 1
TWICE = 2
CHANGED = {{}}
CHANGED["x"] = 1
ITSELF = ITSELF
LONGER = LONGER + "x"
pool = Pool(url, option={expression})
"""
    assert the_pool(tmp_path, program).value("option") == value


def test_a_parameter_of_the_same_name_is_no_constant(tmp_path: Path) -> None:
    program = """
from millpond import Pool
size = 5
def make(size):
    return Pool(url, max_size=size)
"""
    assert the_pool(tmp_path, program).value("max_size") is UNKNOWN


@pytest.mark.parametrize(
    ("imports", "call"),
    [
        ("import millpond", "millpond.Pool"),
        ("import millpond as mp", "mp.Pool"),
        ("from millpond import Pool", "Pool"),
        ("from millpond import Pool as P", "P"),
        ("try:\n    from millpond import Pool\nexcept ImportError:\n    Pool = None", "Pool"),
        ("if TYPE_CHECKING:\n    from millpond import Pool", "Pool"),
        ("def f():\n    from os import Pool\nfrom millpond import Pool", "Pool"),
    ],
)
def test_a_pool_is_found_by_whatever_name_it_was_imported(
    tmp_path: Path, imports: str, call: str
) -> None:
    pool = the_pool(tmp_path, f"{imports}\npool = {call}(url, max_size=3)\n")

    assert (pool.kind, pool.name, pool.value("max_size")) == ("millpond.Pool", "pool", 3)


def test_a_function_has_what_is_imported_in_it_and_around_it(tmp_path: Path) -> None:
    program = """
import millpond
def outer():
    from millpond import Pool
    def inner():
        return Pool(url, name="inner")
    return millpond.Pool(url, name="outer")
"""
    assert {pool.value("name") for pool in pools_of(tmp_path, program)} == {"inner", "outer"}


@pytest.mark.parametrize(
    "program",
    [
        "from multiprocessing import Pool\npool = Pool(4)",
        "from millpond import Pool\nclass Pool: ...\npool = Pool(url)",
        "pool = millpond.Pool(url)",
        "from millpond import Pool\ndef make(Pool):\n    return Pool(4)",
        "from millpond import Pool\ndef make():\n    Pool = find()\n    return Pool(4)",
        "def one():\n    from millpond import Pool\ndef two():\n    return Pool(4)",
        "from millpond import Pool\ndef two():\n    from multiprocessing import Pool\n    Pool(4)",
    ],
)
def test_what_only_has_the_name_of_a_pool_is_none(tmp_path: Path, program: str) -> None:
    assert pools_of(tmp_path, program) == []


def test_presets_and_mappings_give_options_and_what_is_unknown_hides_the_defaults(
    tmp_path: Path,
) -> None:
    program = """
import millpond
from millpond.presets import RECOMMENDED
known = millpond.Pool(url, **(RECOMMENDED | {"max_size": 3}), **dict(min_size=1))
hidden = millpond.Pool(url, **settings.POOL)
"""
    known, hidden = pools_of(tmp_path, program)

    names = ("acquire_timeout", "max_size", "min_size", "idle_timeout", "leak_threshold")
    assert [known.value(name) for name in names] == [1.0, 3, 1, 600.0, None]
    assert [hidden.value(name) for name in names] == [UNKNOWN] * 5


def test_positional_arguments_of_dbutils_have_their_names(tmp_path: Path) -> None:
    program = """
from DBUtils.PooledDB import PooledDB
pool = PooledDB(driver, 1, 2, 3, 4, True, 5, None, False, None, 7, "dsn")
"""
    pool = the_pool(tmp_path, program)

    names = [
        "mincached",
        "maxcached",
        "maxshared",
        "maxconnections",
        "blocking",
        "maxusage",
        "reset",
        "ping",
    ]
    assert [pool.value(name) for name in names] == [1, 2, 3, 4, True, 5, False, 7]


@pytest.mark.parametrize(
    ("url", "database"),
    [
        ('"postgresql+psycopg://db/app"', "postgresql"),
        ('f"mysql+pymysql://{user}:{password}@{host}/app"', "mysql"),
        ('"mysql://{}/app".format(host)', "mysql"),
        ('"mariadb://" + host', "mysql"),
        ('URL.create("sqlite", database="x")', "sqlite"),
        ('os.environ.get("URL", "sqlite:///x.db")', "sqlite"),
        ('os.environ["URL"]', ""),
    ],
)
def test_the_database_is_known_by_the_part_of_the_url_that_is(
    tmp_path: Path, url: str, database: str
) -> None:
    program = f"""
import os
from sqlalchemy import URL, create_engine
engine = create_engine({url})
"""
    assert the_pool(tmp_path, program).database == database


@pytest.mark.parametrize(
    ("arguments", "capacity"),
    [
        ("", 15),
        ("pool_size=2, max_overflow=3", 5),
        ("max_overflow=-1", float("inf")),
        ("pool_size=0", float("inf")),
        ("pool_size=size", None),
        ("poolclass=NullPool", None),
        ("**options", None),
    ],
)
def test_the_capacity_of_an_engine(tmp_path: Path, arguments: str, capacity: float | None) -> None:
    program = f"""
from sqlalchemy import NullPool, create_engine
engine = create_engine(url, {arguments})
"""
    assert the_pool(tmp_path, program).capacity == capacity


def test_an_option_is_at_its_own_line_and_a_change_is_of_that_line(tmp_path: Path) -> None:
    program = """
from millpond import Pool
pool = Pool(
    url,
    max_lifetime=None,  # for ever
)
"""
    pool = the_pool(tmp_path, program)
    change, added = pool.change("max_lifetime", "60.0"), pool.change("min_size", "1")

    assert pool.at("max_lifetime").line == 5
    assert change is not None
    assert change.after == "    max_lifetime=60.0,  # for ever"
    assert added is not None
    assert (added.before, added.after) == ("", "    min_size=1,")


@pytest.mark.parametrize(
    ("call", "after"),
    [
        ("Pool(url)", "pool = Pool(url, min_size=1)"),
        ("Pool(url, )", "pool = Pool(url, min_size=1)"),
        ("Pool(lambda: connect(1), max_size=2)", None),
    ],
)
def test_an_option_is_added_at_the_end_of_a_call(
    tmp_path: Path, call: str, after: str | None
) -> None:
    pool = the_pool(tmp_path, f"from millpond import Pool\npool = {call}\n")

    change = pool.change("min_size", "1")

    assert change is not None
    assert change.after == (after or f"pool = {call[:-1]}, min_size=1)")


def test_no_change_is_proposed_for_what_the_environment_says(tmp_path: Path) -> None:
    program = """
import os
from millpond import Pool
pool = Pool(url, max_size=int(os.environ.get("SIZE", 500)))
"""
    assert the_pool(tmp_path, program).change("max_size", "20") is None
