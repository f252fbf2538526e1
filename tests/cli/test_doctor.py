"""`millpond doctor`: what it prints, what it refuses, and its exit codes."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from millpond.cli._app import app

Run = Callable[..., tuple[int, str]]

FIVE_FAULTS = Path(__file__).parents[1] / "doctor" / "projects" / "five_faults"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `millpond doctor` in this process: its exit code, and all that it printed."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")

    def invoke(*arguments: object) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["doctor", *map(str, arguments)])
        return result.exit_code, result.output

    return invoke


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(
        "import millpond\n"
        'pool = millpond.Pool("postgresql://app:hunter2@db.internal/app", acquire_timeout=None)\n'
    )
    return path


def test_findings_are_printed_with_place_evidence_and_change(
    run: Run, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(program.parent)

    code, output = run("program.py")

    assert code == 1
    assert "program.py:2  error MP105  acquiring waits without a limit" in output
    assert "acquire_timeout=None)\n" in output
    assert "acquire_timeout=5.0)\n" in output
    assert "1 error, 1 warning, 1 hint." in output
    assert "millpond doctor --explain MP105" in output
    assert "hunter2" not in output


def test_five_planted_faults_fit_into_eighty_columns(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(FIVE_FAULTS)

    code, output = run()

    assert code == 1
    assert "2 errors, 3 warnings." in output
    assert [line for line in output.splitlines() if len(line) > 80] == []


def test_json_has_the_findings_with_stable_keys(run: Run, program: Path) -> None:
    code, output = run(program, "--json", "--select", "MP105")

    (finding,) = json.loads(output)["findings"]
    assert code == 1
    assert set(finding) == {
        "change",
        "code",
        "evidence",
        "file",
        "fix",
        "line",
        "message",
        "severity",
        "title",
    }
    assert (finding["code"], finding["line"], finding["file"]) == ("MP105", 2, str(program))
    assert "***" in finding["evidence"]


def test_hints_alone_are_a_success(run: Run, program: Path) -> None:
    code, output = run(program, "--ignore", "MP105,mp112")

    assert code == 0
    assert "1 hint." in output


def test_nothing_to_complain_about(run: Run, tmp_path: Path) -> None:
    assert run(tmp_path) == (0, "Nothing to complain about.\n")


def test_without_a_path_it_is_the_current_folder(
    run: Run, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(program.parent)

    assert "program.py:2  error MP105" in run()[1]


def test_a_configuration_is_read_from_toml(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "any.toml"
    path.write_text('[pool]\nconnect = "postgresql://db/app"\nvalidation_interval = "none"\n')

    code, output = run("--config", path)

    assert code == 1
    assert f"{path}:3  warning MP101" in output
    assert "+ validation_interval = 30.0" in output


def test_a_rule_is_explained(run: Run) -> None:
    code, output = run("--explain", "mp209")

    assert code == 0
    assert output.startswith("MP209  warning  a second connection while the first one is held")
    assert "At 3 a.m.:" in output
    assert [line for line in output.splitlines() if len(line) > 80] == []


def test_all_rules_are_listed(run: Run) -> None:
    code, output = run("--explain", "all")

    assert code == 0
    assert len(output.splitlines()) > 30


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--explain", "MP999"), "there is no rule 'MP999'"),
        (("--select", "MP9999"), "select='MP9999': must be"),
        (("--ignore", "pool"), "ignore='POOL': must be"),
        (("nowhere",), "path='nowhere': must be a file or folder"),
        (("--config", "nowhere.toml"), "nowhere.toml: can't be read"),
    ],
)
def test_wrong_usage_is_told_from_findings(
    run: Run, arguments: tuple[str, ...], message: str
) -> None:
    code, output = run(*arguments)

    assert code == 2
    # A terminal breaks lines where it likes.
    assert message in " ".join(output.split())


def test_what_a_file_or_a_log_says_moves_no_cursor(run: Run, tmp_path: Path) -> None:
    path, log = tmp_path / "program.py", tmp_path / "app.log"
    path.write_text(
        "import millpond\n"
        'a = millpond.Pool("postgresql://db", name="\x1b[2J", acquire_timeout=None)\n'
        "if a:\n"
        '\tb = millpond.Pool("postgresql://db", name="\x1b[2J", max_size=200)\n'
    )
    log.write_text("GET /\x1b]0;title\x07 database is locked\n")

    _, output = run(path, "--errors", f"@{log}", "--ignore", "MP111")

    assert {"MP105", "MP117", "MP420"} <= set(output.split())
    assert "GET /?]0;title? database is locked" in output
    assert "\x1b" not in output
    assert "\x07" not in output
    assert "?b" not in output


def test_long_lines_are_cut_around_what_changes(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    long = ", ".join(f'application_name="{"x" * 20}"' for _ in range(1))
    path.write_text(
        "import millpond\n"
        f'pool = millpond.Pool("postgresql://a.long.name.of.a.host.example.org:5432/app", {long}, '
        "max_lifetime=None)\n"
    )

    _, output = run(path, "--select", "MP102")

    minus, plus = (line for line in output.splitlines() if line[4:6] in {"- ", "+ "})
    assert "max_lifetime=None" in minus
    assert "max_lifetime=3600.0" in plus
    assert max(len(minus), len(plus)) <= 80
