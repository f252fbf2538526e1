"""Run DBUtils' own tests, unmodified, against millpond: ``python tests/dbutils/run_upstream.py``.

They come from the sdist on PyPI, into a temporary folder; nothing of them is in this repository.
With the GIL each of them has to pass. Without it DBUtils fails some of its own, and not the same
ones in each run, so there its own runs come first (DBUtils has to be installed): millpond may fail
no test function but those that DBUtils fails in one of them, with whatever parameters.

Ends with 0 if that is so, and with 1 and the reason if not.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Final

VERSION: Final = "3.2.0"
SHA256: Final = "dfe3f5eb6e383042d68ad07e4e9778b2abbcc4627a283f85efc8210319c075d2"
TESTS: Final = 320
# Of DBUtils, where its tests fail by chance: a second or two each.
RUNS: Final = 6

# What pytest ends with when all tests passed, and when some failed.
ENDED_BY_ITSELF: Final = {0, 1}

HERE: Final = Path(__file__).resolve().parent

Outcomes = dict[str, str]


class Failure(Exception):
    """The tests could not be run, or not all came out as they have to."""


def main() -> None:
    """Get the tests, run them, and judge."""
    parser = argparse.ArgumentParser(description="Run DBUtils' own tests against millpond.")
    parser.add_argument("--sdist", type=Path, help="dbutils-3.2.0.tar.gz, if pip is not to get it")
    parser.add_argument(
        "--compare", action="store_true", help="run DBUtils' own first, as without the GIL"
    )
    options = parser.parse_args()
    without_gil = not getattr(sys, "_is_gil_enabled", lambda: True)()
    try:
        with tempfile.TemporaryDirectory(prefix="millpond-upstream-") as folder:
            sdist = options.sdist or download(Path(folder))
            unpack_tests(sdist, Path(folder))
            compared = RUNS if options.compare or without_gil else 0
            theirs = [run(Path(folder), "dbutils", quiet=True) for _ in range(compared)]
            ours = run(Path(folder), "millpond")
        print(judge(ours, theirs))  # noqa: T201
    except Failure as failure:
        sys.exit(f"run_upstream.py: {failure}")


def download(folder: Path) -> Path:
    """Have pip get the sdist, which it checks before it builds the metadata."""
    requirement = folder / "requirement.txt"
    requirement.write_text(f"dbutils=={VERSION} --hash=sha256:{SHA256}\n", encoding="utf-8")
    # Not `--no-binary :all:`, by which pip would build setuptools as well, to build the metadata.
    command = ["pip", "download", "-q", "--no-deps", "--no-binary", "dbutils", "--require-hashes"]
    command += ["-r", str(requirement), "-d", str(folder)]
    if subprocess.run([sys.executable, "-m", *command], check=False).returncode:
        msg = f"pip cannot get the sdist of dbutils {VERSION}"
        raise Failure(msg)
    return folder / f"dbutils-{VERSION}.tar.gz"


def unpack_tests(sdist: Path, folder: Path) -> None:
    """Unpack the tests and nothing else: beside them, DBUtils itself would be what is imported."""
    found = hashlib.sha256(sdist.read_bytes()).hexdigest()
    if found != SHA256:
        msg = f"{sdist.name} is not the one of PyPI: its sha256 is {found}"
        raise Failure(msg)
    top = f"dbutils-{VERSION}/"
    with tarfile.open(sdist) as archive:
        for member in archive.getmembers():
            if member.name.startswith(f"{top}tests/"):
                member.name = member.name.removeprefix(top)
                archive.extract(member, folder, filter="data")


def run(folder: Path, subject: str, *, quiet: bool = False) -> Outcomes:
    """Run the tests in `folder` with `subject` as dbutils, and give the outcome of each."""
    outcomes = folder / f"{subject}.json"
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")
    }
    environment["PYTHONPATH"] = str(HERE)
    environment["UPSTREAM_SUBJECT"] = subject
    environment["UPSTREAM_OUTCOMES"] = str(outcomes)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "upstream_plugin",
        "-p",
        "no:cacheprovider",
    ]
    ended = subprocess.run(
        [*command, "--rootdir", str(folder), "tests"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE if quiet else None,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if ended.returncode not in ENDED_BY_ITSELF:
        msg = f"the run of {subject} ended with {ended.returncode}\n{ended.stdout or ''}"
        raise Failure(msg)
    results: Outcomes = json.loads(outcomes.read_text(encoding="utf-8"))
    return results


def judge(ours: Outcomes, theirs: list[Outcomes]) -> str:
    """Say in a line what came out, or raise what is wrong with it."""
    if len(ours) != TESTS:
        msg = f"{len(ours)} tests ran, and there are {TESTS}"
        raise Failure(msg)
    allowed = {function_of(name) for outcomes in theirs for name in failures(outcomes)}
    failed = failures(ours)
    wrong = sorted(name for name in failed if function_of(name) not in allowed)
    if wrong:
        names = "".join(f"\n  {name}" for name in wrong)
        msg = f"{len(wrong)} failed, which DBUtils does not fail:{names}"
        raise Failure(msg)
    functions = "function" if len(allowed) == 1 else "functions"
    beside = f"; DBUtils fails {len(allowed)} {functions} of its own here" if theirs else ""
    return f"DBUtils {VERSION}'s own tests: {TESTS - len(failed)} of {TESTS} pass{beside}"


def function_of(name: str) -> str:
    """Leave out the parameters of a test."""
    return name.partition("[")[0]


def failures(outcomes: Outcomes) -> set[str]:
    """Give the ids of the tests that did not pass."""
    return {name for name, outcome in outcomes.items() if outcome != "passed"}


if __name__ == "__main__":
    main()
