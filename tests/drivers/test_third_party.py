"""Drivers that others have installed, found by their entry point."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import pytest

from helpers import lines_of, run_script

if TYPE_CHECKING:
    from pathlib import Path

MYDB = """
class Connection:
    def __init__(self):
        self.said = []
    def commit(self):
        self.said.append("commit")
    def rollback(self):
        self.said.append("rollback")
    def close(self):
        self.said.append("close")
    def cursor(self):
        return self
    def execute(self, statement):
        self.said.append(statement)
    def fetchall(self):
        return [(1,)]

def connect():
    return Connection()
"""

ADAPTER = """
from millpond.drivers import Dbapi
import mydb

class MyDB(Dbapi):
    name = "mydb"
    supports = frozenset({"session"})

    @classmethod
    def from_url(cls, url, *, connect_kwargs=None, connect_timeout=None, **options):
        made = cls(mydb.connect, target=url)
        made.heard = sorted(options)
        return made
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Give a folder with a database's module, its adapter, and the metadata of both."""
    (tmp_path / "mydb.py").write_text(MYDB)
    (tmp_path / "mydb_millpond.py").write_text(ADAPTER)
    metadata = tmp_path / "mydb_millpond-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: mydb-millpond\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[millpond.drivers]\nmydb = mydb_millpond:MyDB\nbroken = no_such_module:Driver\n"
    )
    return tmp_path


def said(installed: Path, script: str) -> list[str]:
    """Return what a script prints that has the folder in its path."""
    setup = (
        f"import sys; sys.path.insert(0, {str(installed)!r}); from millpond import drivers, Pool"
    )
    return lines_of(f"{setup}\n{textwrap.dedent(script)}")


def test_its_url_scheme_is_its_name(installed: Path) -> None:
    script = """
        for url in ("mydb://host/name", "MyDB://host/name", "sql+mydb://host/name"):
            driver = drivers.find(url)
            print(driver.name, type(driver).__name__, driver.heard)
    """
    assert said(installed, script) == ["mydb MyDB []"] * 3


def test_it_is_named_among_the_known(installed: Path) -> None:
    script = """
        from millpond import PoolConfigError
        for arguments in ({"connect": "nosql://host"}, {"connect": object, "driver": "nosql"}):
            try:
                drivers.find(**arguments)
            except PoolConfigError as error:
                print("mydb" in str(error), "sqlite" in str(error))
    """
    assert said(installed, script) == ["True True"] * 2


def test_its_connections_are_recognised_and_it_can_be_named(installed: Path) -> None:
    script = """
        import mydb
        driver = drivers.find(mydb.connect)
        print(driver.name, drivers.refine(driver, driver.connect()).name)
        print(drivers.find(mydb.connect, driver="mydb").name)
    """
    assert said(installed, script) == ["dbapi mydb", "mydb"]


def test_a_pool_works_with_it(installed: Path) -> None:
    script = """
        with Pool("mydb://host/name", session="HELLO") as pool, pool.connection() as conn:
            print(pool._driver.heard, conn.said)
    """
    assert said(installed, script) == ["['options'] ['HELLO', 'close', 'commit']"]


def test_what_it_does_not_support_is_refused(installed: Path) -> None:
    script = """
        from millpond import PoolConfigError
        try:
            Pool("mydb://host/name", read_only=True)
        except PoolConfigError as error:
            print(error)
    """
    assert said(installed, script) == ["read_only=True: not possible with the driver mydb"]


def test_one_that_cannot_be_imported_is_an_error_of_the_configuration(installed: Path) -> None:
    script = """
        from millpond import PoolConfigError
        try:
            drivers.find("broken://host/name")
        except PoolConfigError as error:
            print(error)
    """
    (message,) = said(installed, script)

    assert message.startswith("the driver broken cannot be imported (No module named")


def test_ours_are_not_replaced_by_one_of_the_same_name(installed: Path) -> None:
    points = installed / "mydb_millpond-1.0.dist-info" / "entry_points.txt"
    points.write_text("[millpond.drivers]\nsqlite3 = mydb_millpond:MyDB\n")

    assert said(installed, "print(drivers.find('sqlite:///app.db').name)") == ["sqlite3"]


def test_nobody_elses_metadata_is_read_for_drivers_of_ours() -> None:
    script = """
        import sys
        from millpond import drivers
        from millpond.drivers._known import KNOWN
        drivers.find("sqlite:///app.db")
        assert KNOWN._found is None
    """
    assert run_script(script).returncode == 0
