"""Whole projects, each in a style of its own, have the findings that they should have and no other.

`projects/*/findings.txt` lists them: ``file:line code``.
"""

from pathlib import Path

import pytest

from millpond.doctor import examine, read_paths

PROJECTS = Path(__file__).parent / "projects"
NAMES = sorted(path.parent.name for path in PROJECTS.glob("*/findings.txt"))


@pytest.mark.parametrize("name", NAMES)
def test_a_project_has_exactly_the_findings_that_are_listed(name: str) -> None:
    root = PROJECTS / name

    findings = examine(read_paths([root]))

    found = [
        f"{Path(each.file or '').relative_to(root).as_posix()}:{each.line} {each.code}"
        for each in findings
    ]
    assert sorted(found) == sorted((root / "findings.txt").read_text("utf-8").splitlines())


def test_there_are_ten_projects_and_the_one_with_five_faults() -> None:
    assert len(NAMES) == 11
    assert "five_faults" in NAMES
