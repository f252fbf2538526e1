"""`millpond bench --save` and `--baseline`: what is worse, and which files are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from millpond.cli.bench import _html
from millpond.cli.bench._baseline import compare_with, load
from millpond.cli.bench._words import verdict_on
from tuning import TINY, bench, report_of

if TYPE_CHECKING:
    from millpond.cli.bench._report import Report


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)


def verdicts(then: Report, now: Report) -> dict[str, str]:
    """Compare two reports: the verdict on each figure."""
    return {each.figure: each.verdict for each in compare_with(then.as_dict(), now).changes}


def test_what_is_worse_in_every_round_is_worse() -> None:
    then = report_of([100, 101, 102, 103, 104], [0.010] * 5)

    slower = verdicts(then, report_of([80, 81, 82, 83, 84], [0.010] * 5))
    faster = verdicts(then, report_of([180, 181, 182, 183, 184], [0.005] * 5))

    assert slower["checkouts_per_second"] == "worse"
    assert slower["p99"] == "same"
    assert faster["checkouts_per_second"] == "better"
    assert faster["p99"] == "better"


@pytest.mark.parametrize(
    "rates",
    [
        # One round was as fast as one of the baseline's.
        [80, 81, 82, 83, 100],
        # All rounds were slower, but by less than anybody needs.
        [96, 97, 98, 99, 99],
    ],
)
def test_noise_is_not_worse(rates: list[float]) -> None:
    then = report_of([100, 101, 102, 103, 104], [0.0] * 5)

    assert set(verdicts(then, report_of(rates, [0.0] * 5)).values()) == {"same"}


def test_one_round_with_a_short_wait_makes_the_others_noise() -> None:
    then = report_of([100] * 5, [0.010, 0.011, 0.012, 0.013, 0.014])
    now = report_of([100] * 5, [0.014, 0.020, 0.021, 0.022, 0.023])
    longer = report_of([100] * 5, [0.015, 0.020, 0.021, 0.022, 0.023])

    assert verdicts(then, now)["p50"] == "same"
    assert verdicts(then, longer)["p50"] == "worse"


def test_a_microsecond_more_is_the_machine() -> None:
    then, now = (report_of([100] * 5, [wait] * 5) for wait in (1e-6, 3e-6))

    assert verdicts(then, now)["p50"] == "same"


def test_a_baseline_is_saved_and_compared_with(tmp_path: Path) -> None:
    file = tmp_path / "base.json"
    code, _ = bench(*TINY, "--save", str(file))
    saved = load(file)

    assert code == 0
    assert saved["options"]["threads"] == 4
    assert {"machine", "time", "millpond", "database"} <= saved.keys()

    # It was a hundred times faster in another life.
    for rounds in (pool["rounds"] for run in saved["runs"] for pool in run["pools"]):
        rounds["checkouts_per_second"] = [100 * r for r in rounds["checkouts_per_second"]]
    file.write_text(json.dumps(saved | {"machine": {**saved["machine"], "cores": 128}}))
    code, printed = bench(*TINY, "--baseline", str(file))

    assert code == 1
    (line,) = [line for line in printed.splitlines() if "checkouts/s" in line and "0.0" in line]
    assert line.split()[-1] == "worse"
    assert "Not the same cores: 128, now" in printed
    assert "figures are worse beyond noise" in printed


def test_a_run_is_like_itself() -> None:
    report = report_of([100, 101, 102, 103, 104], [0.01] * 5)

    comparison = compare_with(report.as_dict(), report)

    assert comparison.worse == ()
    assert comparison.differences == ()
    assert {change.ratio for change in comparison.changes} == {1.0}


def test_a_baseline_of_other_options_is_refused_with_its_own_before_anything_is_measured(
    tmp_path: Path,
) -> None:
    file = tmp_path / "base.json"
    bench(*TINY, "--save", str(file))

    code, printed = bench(*TINY, "--seconds", "3600", "--baseline", str(file))

    assert code == 2
    assert '"threads": 4' in printed
    assert '"seconds": 0.25' in printed


def test_without_a_pool_in_common_nothing_is_said_to_be_no_worse() -> None:
    then = report_of([100.0] * 5, [0.0] * 5).as_dict()
    for run in then["runs"]:
        run["pools"] = []

    comparison = compare_with(then, report_of([1.0] * 5, [0.0] * 5))

    assert comparison.changes == ()
    assert verdict_on(comparison).startswith("There is nothing to compare")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        "[" * 100_000,
        '{"format": 2, "runs": []}',
        '{"format": 1, "runs": 7}',
        '{"format": 1, "runs": [{}]}',
        '{"format": 1, "runs": [], "machine": []}',
        '{"format": 1, "runs": [{"workload": {}, "pools": [{}]}]}',
        '{"format": 1, "runs": [{"workload": {}, "pools": [{"key": "a", "rounds": [1]}]}]}',
        (
            '{"format": 1, "runs": [{"workload": {}, "pools": '
            '[{"key": "a", "rounds": {"p50": ["a"]}}]}]}'
        ),
    ],
)
def test_a_file_that_is_no_baseline_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "base.json"
    file.write_text(content)

    code, printed = bench(*TINY, "--baseline", str(file))

    assert code == 2
    assert str(file) in printed


@pytest.mark.parametrize("option", ["--save", "--html"])
def test_a_file_that_can_not_be_written_is_refused_before_anything_is_measured(
    tmp_path: Path, option: str
) -> None:
    code, printed = bench("--seconds", "3600", option, str(tmp_path / "no" / "file"))

    assert code == 2
    assert "allowed: a file in a folder that is there" in printed


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
@pytest.mark.parametrize("option", ["--save", "--html"])
def test_a_file_that_can_not_be_written_after_all_is_a_failure_without_a_traceback(
    option: str,
) -> None:
    code, printed = bench(*TINY, option, "/dev/full")

    assert code == 1
    assert "Error: can't write '/dev/full': No space left on device" in printed
    assert "How to read it" in printed, "what was measured is not lost"


def test_a_file_that_we_may_not_write_is_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)

    code, printed = bench("--seconds", "3600", "--save", str(tmp_path / "base.json"))

    assert code == 2
    assert "can't write" in printed


def test_a_baseline_is_not_replaced_by_a_report(tmp_path: Path) -> None:
    file = str(tmp_path / "file")

    code, printed = bench("--seconds", "3600", "--save", file, "--html", file)

    assert code == 2
    assert "allowed: another file" in printed


def test_without_the_extra_the_report_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_html, "_NEEDED", ("no_such_package",))

    code, printed = bench("--seconds", "3600", "--html", str(tmp_path / "report.html"))

    assert code == 2
    assert "pip install 'millpond[report]'" in printed
    assert "no_such_package" in printed


def test_a_baseline_has_no_password(tmp_path: Path, postgres_url: str) -> None:
    file = tmp_path / "base.json"
    joint = "&" if "?" in postgres_url else "?"
    bench(*TINY, "--db", f"{postgres_url}{joint}password=geheim", "--save", str(file))

    assert "***" in file.read_text()
    assert "geheim" not in file.read_text()
