"""A plugin for the pytest that runs DBUtils' own tests: which code they test, and what came out.

`run_upstream.py` loads it by ``-p``, with two variables:

* ``UPSTREAM_SUBJECT``: ``millpond`` installs millpond in the place of DBUtils, and any other class
  or function that a test has of DBUtils, or of millpond for ``dbutils``, ends the run;
* ``UPSTREAM_OUTCOMES``: the JSON file for the outcome of each test, by its id.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

SUBJECT = os.environ["UPSTREAM_SUBJECT"]
FAMILY = {"dbutils", "DBUtils", "millpond"}

if SUBJECT == "millpond":
    from millpond.dbutils import install

    install()

outcomes: dict[str, str] = {}


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse to run tests of anything else than the subject."""
    modules = {
        item.module.__name__: item.module for item in session.items if hasattr(item, "module")
    }
    tested = dict(of_the_family(modules))
    wrong = {name: home for name, home in tested.items() if home.partition(".")[0] != SUBJECT}
    if wrong or not tested:
        told = ", ".join(f"{name} is of {home}" for name, home in sorted(wrong.items()))
        pytest.exit(f"not all of what is tested is {SUBJECT}'s: {told or 'nothing'}", returncode=3)
    print(f"\n{len(tested)} classes and functions under test, all of {SUBJECT}")  # noqa: T201


def of_the_family(modules: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Name what the test modules, and the modules named dbutils, have and where it is defined."""
    named = {name: module for name, module in sys.modules.items() if name.startswith("dbutils.")}
    for name, module in {**modules, **named}.items():
        for key, value in list(vars(module).items()):
            home = getattr(value, "__module__", None)
            if isinstance(home, str) and home.partition(".")[0] in FAMILY:
                yield f"{name}.{key}", home


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note the outcome of a test: that of its call, unless its fixtures failed."""
    if report.when == "call" or report.failed or report.skipped:
        outcomes[report.nodeid] = report.outcome


def pytest_sessionfinish() -> None:
    """Write the outcomes."""
    Path(os.environ["UPSTREAM_OUTCOMES"]).write_text(json.dumps(outcomes), encoding="utf-8")
