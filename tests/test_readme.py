"""The README's examples run, as a newcomer would run them."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import millpond

README = Path(__file__).parent.parent.joinpath("README.md").read_text("utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def test_the_readme_has_examples() -> None:
    assert len(EXAMPLES) >= 2
    assert len([line for line in EXAMPLES[0].splitlines() if line.strip()]) <= 14


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.split("\n")[2][:40])
def test_an_example_of_the_readme_runs_without_a_warning(example: str, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", example]

    ended = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False
    )

    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""


def test_each_argument_that_the_readme_names_exists() -> None:
    pool = millpond.Pool
    functions = [pool.__init__, pool.acquire, pool.connection, pool.transaction, pool.run]
    known = {name for each in functions for name in inspect.signature(each).parameters}
    table = README.partition("## What a pool does")[2].partition("When it has")[0]

    named = set(re.findall(r"\b([a-z_]+)=", table))

    assert named
    assert named <= known
