"""The README's examples run, as a newcomer would run them."""

from __future__ import annotations

import inspect
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import millpond
import millpond.web

if TYPE_CHECKING:
    from collections.abc import Iterator

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


COMMANDS = re.findall(r"^(millpond .*?)(?: +#.*)?$", README, re.MULTILINE)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[str]:
    """Serve the page of a pool, and give its address."""
    pool = millpond.Pool(f"sqlite:///{tmp_path}/watched.db", max_size=1, name="watched")
    with pool, millpond.web.serve(0) as server:
        yield f"http://127.0.0.1:{server.port}"


@pytest.mark.server
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_readme_works(
    command: str, postgres_url: str, watched: str, tmp_path: Path
) -> None:
    folder = tmp_path / "src"
    folder.mkdir()
    (folder / "app.py").write_text(FAULTY, encoding="utf-8")
    words = shlex.split(command.replace("$DATABASE_URL", postgres_url))[1:]
    words = [watched if word == "http://localhost:9100" else word for word in words]
    if words[0] == "bench":
        words += ["--seconds", "0.2"]

    ended = subprocess.run(
        [sys.executable, "-m", "millpond", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    finds = words[0] == "doctor" and "--explain" not in words
    assert ended.returncode == (1 if finds else 0), ended.stdout + ended.stderr
    assert ended.stdout
    if "--html" in words:
        assert (tmp_path / "report.html").stat().st_size > 10_000


FAULTY = """
import millpond


def handle(request):
    pool = millpond.Pool("postgresql://localhost/app")
    with pool.connection() as conn:
        return conn.execute("SELECT 1").fetchone()
"""


def test_the_readme_has_commands() -> None:
    assert {command.split()[1] for command in COMMANDS} == {"bench", "doctor", "size", "top"}


def test_each_argument_that_the_readme_names_exists() -> None:
    pool = millpond.Pool
    functions: list[Any] = [
        pool.__init__,
        pool.acquire,
        pool.connection,
        pool.transaction,
        pool.run,
    ]
    known = {name for each in functions for name in inspect.signature(each).parameters}
    table = README.partition("## What a pool does")[2].partition("When it has")[0]

    named = set(re.findall(r"\b([a-z_]+)=", table))

    assert named
    assert named <= known
