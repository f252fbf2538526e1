"""Each rule finds what it is for, and leaves alone what only looks like it."""

from pathlib import Path

import pytest

from doctor.samples import Sample, read_samples
from millpond.doctor import RULES, Selection, examine, read_paths

SAMPLES = read_samples()

# What is wrong with a server, a workload or a running process is in no file.
READ_FROM_FILES = [code for code in RULES if code < "MP3"]


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_a_rule_finds_its_samples_and_no_near_miss(sample: Sample, tmp_path: Path) -> None:
    sample.write(tmp_path)

    findings = examine(read_paths([tmp_path]), Selection(select=(sample.code,)))

    found = {
        (Path(each.file or "").relative_to(tmp_path).as_posix(), each.line) for each in findings
    }
    assert found == sample.expected, findings


@pytest.mark.parametrize(
    ("pool", "acquire", "severity"),
    [
        ("millpond.Pool(url)", "pool.acquire()", "error"),
        ("PooledDB(driver)", "pool.connection()", "warning"),
        ("create_engine(url)", "pool.connect()", "warning"),
        ("create_engine(url)", "Session(pool)", "warning"),
    ],
)
def test_what_the_garbage_collector_gives_back_is_no_error(
    pool: str, acquire: str, severity: str, tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text(
        "import millpond\n"
        "from dbutils.pooled_db import PooledDB\n"
        "from sqlalchemy import create_engine\n"
        "from sqlalchemy.orm import Session\n"
        f"pool = {pool}\n"
        f"def named():\n    conn = {acquire}\n    return conn.execute(query)\n"
        f"def unnamed():\n    return {acquire}.execute(query)\n"
    )

    findings = examine(read_paths([tmp_path]), Selection(select=("MP202",)))

    assert [(each.line, each.severity) for each in findings] == [(7, severity), (10, severity)]


def test_how_a_request_reaches_a_pool_is_told_step_by_step(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        "import millpond\n"
        "class Users:\n"
        "    def __init__(self):\n        self.open()\n"
        "    def open(self):\n        self.pool = millpond.Pool(url)\n"
        "def view(request):\n    return Users()\n"
    )

    (finding,) = examine(read_paths([tmp_path]), Selection(select=("MP201",)))

    assert finding.message.startswith(
        "view() is called for each request, and calls Users(), and calls Users.open(): "
    )


@pytest.mark.parametrize("code", READ_FROM_FILES)
def test_a_rule_has_a_sample_and_a_near_miss(code: str) -> None:
    of_this = [sample for sample in SAMPLES if sample.code == code]

    assert any(sample.is_bad and sample.expected for sample in of_this)
    assert any(not sample.is_bad and not sample.expected for sample in of_this)


@pytest.mark.parametrize("code", RULES)
def test_a_rule_has_a_page(code: str) -> None:
    page = RULES[code].page

    first, *others = page.split("\n\n")
    assert first.endswith(".")
    assert any(block.startswith("At 3 a.m.: ") for block in others)
    assert any(block.startswith("Fix: ") for block in others)
    assert any(block.startswith("Before:\n    ") for block in others)
    assert any(block.startswith("After:\n    ") for block in others)


@pytest.mark.parametrize("code", READ_FROM_FILES)
def test_the_code_of_a_page_fits_into_eighty_columns(code: str) -> None:
    lines = RULES[code].page.splitlines()

    assert [line for line in lines if line.startswith("    ") and len(line) > 80] == []


def test_there_are_more_than_thirty_rules() -> None:
    assert len(RULES) > 30
