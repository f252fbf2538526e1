"""The runner of DBUtils' own tests: it notices whose code they test, and what failed.

Here it runs a suite of three tests. That the real one passes is a step of `.ci/run`.
"""

from __future__ import annotations

import runpy
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from helpers import TESTS

if TYPE_CHECKING:
    from pathlib import Path

runner: dict[str, Any] = runpy.run_path(str(TESTS / "dbutils" / "run_upstream.py"))

SUITE = """
import dbutils
from dbutils.pooled_db import PooledDB, TooManyConnectionsError

def test_good(): assert PooledDB.version == dbutils.__version__
def test_bad(): assert issubclass(TooManyConnectionsError, KeyError)
def test_worse(fixture_that_is_not_there): pass
"""
# What somebody could do, in good faith, that has the real DBUtils tested.
UNDO = """
import sys
del sys.meta_path[0]
for name in [name for name in sys.modules if name.partition(".")[0] == "dbutils"]:
    del sys.modules[name]
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """Give a folder with a suite in it, as an unpacked sdist would."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "__init__.py").touch()
    (tmp_path / "tests" / "test_some.py").write_text(SUITE)
    return tmp_path


@pytest.mark.parametrize("subject", ["millpond", "dbutils"])
def test_the_outcome_of_each_test_is_told_by_its_id(suite: Path, subject: str) -> None:
    assert runner["run"](suite, subject, quiet=True) == {
        "tests/test_some.py::test_good": "passed",
        "tests/test_some.py::test_bad": "failed",
        "tests/test_some.py::test_worse": "failed",
    }


def test_the_run_is_ended_if_the_code_under_test_is_not_ours(suite: Path) -> None:
    (suite / "tests" / "__init__.py").write_text(UNDO)

    with pytest.raises(runner["Failure"]) as caught:
        runner["run"](suite, "millpond", quiet=True)

    assert "the run of millpond ended with 3" in str(caught.value)
    assert "tests.test_some.PooledDB is of dbutils.pooled_db" in str(caught.value)


def test_the_run_of_dbutils_is_ended_if_the_code_under_test_is_ours(suite: Path) -> None:
    (suite / "tests" / "__init__.py").write_text(
        "from millpond.dbutils import install\ninstall(force=True)\n"
    )

    with pytest.raises(runner["Failure"], match=r"PooledDB is of millpond"):
        runner["run"](suite, "dbutils", quiet=True)


def test_an_sdist_with_another_hash_is_refused(tmp_path: Path) -> None:
    sdist = tmp_path / "dbutils-3.2.0.tar.gz"
    with tarfile.open(sdist, "w:gz"):
        pass

    with pytest.raises(runner["Failure"], match=r"dbutils-3\.2\.0\.tar\.gz is not the one of PyPI"):
        runner["unpack_tests"](sdist, tmp_path)


def outcomes(failed: int) -> dict[str, str]:
    """Make outcomes of all tests, the first of which failed."""
    return {f"test_{n:03}": "failed" if n < failed else "passed" for n in range(320)}


def test_all_have_to_pass_with_the_gil() -> None:
    assert "320 of 320 pass" in runner["judge"](outcomes(failed=0), [])

    with pytest.raises(
        runner["Failure"], match="1 failed, which DBUtils does not fail:\n  test_000"
    ):
        runner["judge"](outcomes(failed=1), [])


def test_what_dbutils_fails_itself_may_fail() -> None:
    told = runner["judge"](outcomes(failed=1), [outcomes(failed=0), outcomes(failed=2)])

    assert told.endswith("319 of 320 pass; DBUtils fails 2 functions of its own here")
    with pytest.raises(
        runner["Failure"], match="1 failed, which DBUtils does not fail:\n  test_002"
    ):
        runner["judge"](outcomes(failed=3), [outcomes(failed=2)])


def test_parameters_with_which_a_test_fails_are_chance() -> None:
    ours, theirs = outcomes(failed=0), outcomes(failed=0)
    ours["test_000[2]"] = ours.pop("test_000").replace("passed", "failed")
    theirs["test_000[1]"] = theirs.pop("test_000").replace("passed", "failed")

    told = runner["judge"](ours, [theirs])

    assert told.endswith("319 of 320 pass; DBUtils fails 1 function of its own here")


def test_a_test_that_did_not_run_is_a_failure() -> None:
    with pytest.raises(runner["Failure"], match="319 tests ran, and there are 320"):
        runner["judge"](dict(list(outcomes(failed=0).items())[1:]), [])
