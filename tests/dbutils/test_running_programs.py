"""``python -m millpond.dbutils app.py``: a program runs as python runs it, and has our pools."""

from __future__ import annotations

import signal
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

from helpers import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

# What a program can see of the way in which it was started.
LOOK_AROUND = """
import sys, __main__
assert __main__.__dict__ is globals()
print(sys.argv, sys.path[0], __name__)
for name, value in sorted(globals().items()):
    if name not in ("__main__", "sys"):
        shown = repr(value).partition(" object at ")[0]
        print(name, shown)
"""
WITH = [sys.executable, "-m", "millpond.dbutils"]
WITHOUT = [sys.executable]


def run(command: list[str], folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder with the same program as a script, a module, a package and a zip file."""
    for place in (
        tmp_path / "app.py",
        tmp_path / "sub" / "app.py",
        tmp_path / "package" / "__main__.py",
    ):
        place.parent.mkdir(exist_ok=True)
        place.write_text(LOOK_AROUND)
    (tmp_path / "package" / "__init__.py").touch()
    (tmp_path / "link.py").symlink_to(tmp_path / "sub" / "app.py")
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
        archive.writestr("__main__.py", LOOK_AROUND)
    return tmp_path


FILES = ["app.py", "sub/app.py", "./sub/../app.py", "link.py", "package", "app.zip"]
PROGRAMS = [*([file] for file in FILES), ["-m", "app"], ["-m", "package"], ["-c", LOOK_AROUND]]
# With the safe path -P the folder is not on the path, so -m would find none of the modules.
SAFE = [["-P", *program] for program in PROGRAMS if program[0] != "-m"]


@pytest.mark.parametrize("program", PROGRAMS + SAFE, ids=lambda program: " ".join(program)[:16])
def test_a_program_sees_what_it_sees_under_python(folder: Path, program: list[str]) -> None:
    safe, program = program[: program[0] == "-P"], program[program[0] == "-P" :]
    arguments = [*program, "one", "--two", "-h", ""]

    ours = run([sys.executable, *safe, "-m", "millpond.dbutils"], folder, *arguments)
    theirs = run([sys.executable, *safe], folder, *arguments)

    assert theirs.returncode == 0, theirs.stderr
    assert ours.stderr == ""
    assert ours.stdout.splitlines() == theirs.stdout.splitlines()


@pytest.mark.parametrize(
    "program", [["program.py"], ["-m", "program"], ["-c", "import program"]], ids=lambda p: p[0]
)
def test_it_has_our_classes(tmp_path: Path, program: list[str]) -> None:
    (tmp_path / "program.py").write_text(
        "from dbutils.pooled_db import PooledDB\n"
        "from DBUtils.PooledDB import PooledDB as before\n"
        "print(PooledDB.__module__.partition('.')[0], before is PooledDB)\n"
    )

    assert run(WITH, tmp_path, *program).stdout == "millpond True\n"


@pytest.mark.parametrize(
    ("ending", "code", "last_line"),
    [
        ("raise SystemExit(7)", 7, ""),
        ("raise SystemExit('words')", 1, "words"),
        ("raise ValueError('words')", 1, "ValueError: words"),
        ("import os; os._exit(9)", 9, ""),
        ("raise KeyboardInterrupt", -signal.SIGINT, "KeyboardInterrupt"),
        ("this is no python", 1, "SyntaxError: invalid syntax"),
    ],
)
@pytest.mark.parametrize("how", [["end.py"], ["-m", "end"]], ids=["script", "module"])
def test_errors_and_exit_codes_pass_through(
    tmp_path: Path, how: list[str], ending: str, code: int, last_line: str
) -> None:
    (tmp_path / "end.py").write_text(f"{ending}\n")

    ended = run(WITH, tmp_path, *how)

    assert ended.returncode == code
    assert (ended.stderr.splitlines() or [""])[-1] == last_line


@pytest.mark.parametrize("program", [["missing.py"], ["-m", "missing"], ["-m", "package"], ["."]])
def test_what_cannot_be_run_is_told_in_pythons_words(tmp_path: Path, program: list[str]) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()

    ours, theirs = run(WITH, tmp_path, *program), run(WITHOUT, tmp_path, *program)

    assert theirs.returncode != 0
    assert (ours.returncode, ours.stderr) == (theirs.returncode, theirs.stderr)


def test_main_is_still_the_program_after_its_last_line(tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text(
        "import atexit, pickle\n"
        "class Thing: pass\n"
        "atexit.register(lambda: print(type(pickle.loads(pickle.dumps(Thing()))) is Thing))\n"
    )

    for program in (["late.py"], ["-m", "late"]):
        assert run(WITH, tmp_path, *program).stdout == "True\n"


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_is_shown(tmp_path: Path, option: str) -> None:
    ended = run(WITH, tmp_path, option)

    assert ended.returncode == 0
    assert ended.stdout.startswith("usage: python -m millpond.dbutils [-h] (FILE | -m MODULE | -c")


@pytest.mark.parametrize("arguments", [[], ["-m"], ["-c"], ["-x", "app.py"], ["-"]])
def test_without_a_program_the_usage_is_an_error(tmp_path: Path, arguments: list[str]) -> None:
    ended = run(WITH, tmp_path, *arguments)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("usage: python -m millpond.dbutils")
