"""`millpond bench` as a tuning workflow: baselines, one parameter varied at a time, the report."""

from __future__ import annotations

import json
import sys
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from browsers import ask_page
from millpond.cli._app import app
from millpond.cli._database import Database
from millpond.cli.bench import _html, _plots
from millpond.cli.bench._baseline import ROUNDS, compare_with, load
from millpond.cli.bench._compare import Outcome, Run, compare_all
from millpond.cli.bench._html import write_html
from millpond.cli.bench._measurement import Measurement, merge
from millpond.cli.bench._peers import MILLPOND, Handle, Peer
from millpond.cli.bench._recommend import recommend
from millpond.cli.bench._report import Report, Sweep
from millpond.cli.bench._vary import POOL_PARAMETERS, variation
from millpond.cli.bench._words import verdict_on
from millpond.cli.bench._workload import Workload

if TYPE_CHECKING:
    from collections.abc import Sequence

TINY = ("--seconds", "0.25", "--threads", "4", "--size", "2", "--hold", "0", "--peers", "none")
NOWHERE = Database(object, "stub", "nowhere")
MILLISECOND = 1_000_000


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)


def bench(*arguments: str) -> tuple[int, str]:
    """Run `millpond bench` in this process: its exit code, and all that it printed."""
    result = CliRunner().invoke(app, ["bench", *arguments])
    return result.exit_code, result.output


def measured(rate: float, wait: float = 0.0, errors: int = 0) -> Measurement:
    """Give a measurement of ten seconds with that many checkouts per second and that wait."""
    waits = array("q", [int(wait * 1e9)] * 10)
    return Measurement(10.0, [int(rate * 5), int(rate * 5)], waits, errors=errors)


def report_of(rates: Sequence[float], waits: Sequence[float]) -> Report:
    """Give a report of one run of millpond, with that throughput and wait in each round."""
    rounds = [measured(rate, wait) for rate, wait in zip(rates, waits, strict=True)]
    run = Run(Workload(), (Outcome(MILLPOND, merge(rounds)),))
    return Report(NOWHERE, (run,))


def sweep_of(parameter: str, rates: dict[Any, float]) -> Sweep:
    """Give a sweep in which each value has that throughput."""
    runs = [
        Run(Workload(), (Outcome(MILLPOND, merge([measured(rate)] * 2)),))
        for rate in rates.values()
    ]
    return Sweep(parameter, tuple(rates), tuple(runs))


def verdicts(then: Report, now: Report) -> dict[str, str]:
    """Compare two reports: the verdict on each figure."""
    return {each.figure: each.verdict for each in compare_with(then.as_dict(), now).changes}


def test_each_value_of_a_parameter_is_measured_and_printed_beside_the_others() -> None:
    code, printed = bench(*TINY, "--vary", "max_size=1,4")

    assert code == 0
    rows = [line.split() for line in printed.splitlines()]
    assert [row[0] for row in rows if row[-1:] == ["0"] and row[0].isdecimal()] == ["1", "4"]
    assert "max_size" in printed
    assert "Recommended: max_size=" in printed


def test_several_parameters_are_varied_one_after_the_other_and_keep_their_defaults() -> None:
    code, printed = bench(
        *TINY, "--vary", "threads=2,3", "--vary", "policy=fair,throughput", "--json"
    )

    threads, policy = json.loads(printed)["sweeps"]
    assert code == 0
    assert [run["workload"]["threads"] for run in threads["runs"]] == [2, 3]
    assert [run["workload"]["threads"] for run in policy["runs"]] == [4, 4]
    assert [run["workload"]["options"] for run in policy["runs"]] == [
        {"policy": "fair"},
        {"policy": "throughput"},
    ]
    for run in (*threads["runs"], *policy["runs"]):
        (pool,) = run["pools"]
        assert pool["checkouts"] > 0
        assert len(pool["rounds"]["p99"]) == ROUNDS
    # It is no parameter of a pool, so that there is nothing to recommend.
    assert threads["recommended"] is None
    assert policy["recommended"]["value"] in {"fair", "throughput"}


def test_timeouts_are_a_result_where_the_timeout_varies() -> None:
    code, printed = bench(
        *TINY[:-4], "--hold", "0.02", "--vary", "acquire_timeout=0,none", "--json"
    )

    (sweep,) = json.loads(printed)["sweeps"]
    without, with_patience = (run["pools"][0] for run in sweep["runs"])
    assert code == 0
    assert without["errors"] > 0
    assert "PoolTimeout" in without["error"]
    assert with_patience["errors"] == 0


def test_peers_are_varied_only_with_what_they_have() -> None:
    options = ("--vary", "max_size=1,2", "--vary", "max_uses=1,none", "--peers", "dbutils")
    _, printed = bench(*TINY, *options, "--json")

    sizes, uses = json.loads(printed)["sweeps"]
    assert [[pool["key"] for pool in run["pools"]] for run in sizes["runs"]] == [
        ["millpond", "dbutils"]
    ] * 2
    assert [[pool["key"] for pool in run["pools"]] for run in uses["runs"]] == [["millpond"]] * 2


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("max_size", "parameter=value,value,..."),
        ("max_size=", "parameter=value,value,..."),
        ("max_size=1,,2", "parameter=value,value,..."),
        ("max_size=0,1", "a whole number from 1 to 1000"),
        ("max_size=2.5", "a whole number from 1 to 1000"),
        ("hold_ms=nan", "a number from 0 to 60000"),
        ("threads=1,1", "up to 20 values, each once"),
        ("tasks=1,2", "max_size, threads, hold_ms, min_size, acquire_timeout"),
        ("nonsense=1", "max_size, threads, hold_ms, min_size, acquire_timeout"),
        ("name=a,b", "max_size, threads, hold_ms, min_size, acquire_timeout"),
        ("policy=unfair", "must be 'fair' or 'throughput'"),
        ("min_size=1,5", "min_size must not be above max_size"),
        ("validation_interval=-1", "validation_interval=-1"),
        ("validation_interval=soon", "validation_interval='soon'"),
        ("hold_ms=1,1.0", "up to 20 values, each once"),
        ("max_uses=none,None", "up to 20 values, each once"),
    ],
)
def test_what_can_not_be_varied_is_refused_with_what_can(text: str, allowed: str) -> None:
    code, printed = bench(*TINY, "--vary", text)

    assert code == 2
    assert text in printed
    assert allowed in printed


def test_to_hold_for_longer_than_a_round_is_refused(tmp_path: Path) -> None:
    code, printed = bench(*TINY, "--vary", "hold_ms=1,100")
    base_code, base_printed = bench(
        "--seconds", "2", "--hold", "0.5", "--save", str(tmp_path / "base")
    )

    assert (code, base_code) == (2, 2)
    assert "holding for 0.1 s is longer than --seconds in each of 5 rounds" in printed
    assert "allowed: 0 to 0.05 s" in printed
    assert "allowed: 0 to 0.4 s" in base_printed


def test_a_value_is_no_markup() -> None:
    _, printed = bench(*TINY, "--vary", "validate=SELECT '[/b]',SELECT '[red]'")

    assert "SELECT '[/b]'" in printed
    assert "SELECT '[red]'" in printed


def test_only_peers_that_have_the_parameter_can_be_asked_for() -> None:
    code, printed = bench(*TINY[:-2], "--vary", "policy=fair", "--peers", "all")

    assert code == 2
    assert "only millpond has policy; allowed: none" in printed


def test_every_plain_keyword_of_the_pool_can_be_varied() -> None:
    assert {"min_size", "policy", "validation_interval", "max_lifetime"} <= set(POOL_PARAMETERS)
    assert not {"configure", "name", "driver", "on_acquire", "max_size"} & set(POOL_PARAMETERS)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("max_uses=none,5", (None, 5)),
        ("acquire_timeout=0.5, 2", (0.5, 2)),
        ("shed=true,false", (True, False)),
        ("policy=fair", ("fair",)),
        # Not the same none.
        ("reset=none,rollback", ("none", "rollback")),
        # Not the same one: a second of silence.
        ("keepalive=true,1", (True, 1)),
    ],
)
def test_values_are_read_as_what_they_look_like(text: str, values: tuple[object, ...]) -> None:
    assert variation(text, Workload()).values == values


def test_in_rounds_all_take_turns_and_each_is_the_first_once() -> None:
    order: list[str] = []

    def peer(key: str) -> Peer:
        def open_(_database: Database, size: int, _timeout: float) -> Handle:
            order.append(f"{key}{size}")
            return Handle(None, object, lambda _conn: None, object, lambda: None)

        return Peer(key, key, "pytest", open_)

    workloads = [
        Workload(threads=1, size=size, hold=0.0, seconds=0.04, query=None) for size in (1, 2)
    ]
    runs = compare_all(NOWHERE, workloads, [peer("a"), peer("b")], rounds=2)

    assert order == ["a1", "b1", "a2", "b2", "b1", "a1", "b2", "a2"]
    for run in runs:
        assert [outcome.peer.key for outcome in run.outcomes] == ["a", "b"]
        for outcome in run.outcomes:
            assert outcome.measurement is not None
            first, second = outcome.measurement.rounds
            assert outcome.measurement.checkouts == first.checkouts + second.checkouts
            assert len(outcome.measurement.waits) == len(first.waits) + len(second.waits)


@pytest.mark.parametrize(
    ("values", "each", "expected"),
    [
        # The smallest of those that are as good as the best.
        ((5, 10, 20), (measured(50), measured(97), measured(100)), 10),
        # The order on the command line does not matter.
        ((20, 10, 5), (measured(100), measured(97), measured(50)), 10),
        # All the same.
        ((5, 10), (measured(100), measured(100)), 5),
        # As much gets through, but people wait: 20 ms are over 5 % of two clients' 20 ms.
        ((5, 10), (measured(100, 0.02), measured(100, 0.0)), 10),
        ((5, 10), (measured(100, 0.0009), measured(100, 0.0)), 5),
        # Errors are worse than anything.
        ((1, 2), (measured(200, errors=500), measured(100)), 2),
        # No limit is the largest.
        ((None, 60.0), (measured(100), measured(100)), 60.0),
        # What was not measured is not recommended.
        ((1, 2), (None, measured(1)), 2),
        # Words have no order but the one they came in.
        (("b", "a"), (measured(100), measured(100)), "b"),
        # More throughput for longer waits: a sentence says so.
        (("fair", "throughput"), (measured(50), measured(100, 1.0)), "throughput"),
    ],
)
def test_the_smallest_value_as_good_as_the_best_is_recommended(
    values: tuple[object, ...], each: tuple[Measurement | None, ...], expected: object
) -> None:
    found = recommend("parameter", values, each)

    assert found is not None
    assert found.value == expected
    assert f"parameter={expected if expected is not None else 'none'}"[:11] in found.reason


@pytest.mark.parametrize(
    ("longest", "is_told"), [(0.02, True), (0.0009, False)], ids=["they wait", "nobody waits"]
)
def test_if_the_largest_is_the_best_larger_ones_may_be_better(
    longest: float, *, is_told: bool
) -> None:
    found = recommend("max_size", (5, 10), (measured(50, 0.03), measured(100, longest)))

    assert found is not None
    assert found.value == 10
    assert ("try larger ones" in found.reason) is is_told


def test_one_value_is_no_choice() -> None:
    assert recommend("max_size", (5,), (measured(1),)) is None


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


def test_the_report_is_one_page_that_a_browser_shows_as_it_was_meant(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    options = ("--vary", "max_size=1,2,4", "--vary", "reset=none", "--peers", "dbutils")
    code, _ = bench(*TINY, *options, "--html", str(file))
    bars, lines = "svg", "section:first-of-type svg"
    seen = ask_page(
        file,
        f"""{{
            fetched: performance.getEntriesByType('resource').map(each => each.name),
            plots: [...document.querySelectorAll('{bars}')].map(
                each => [each.clientWidth, each.clientHeight]),
            words: document.querySelector('{lines}').textContent,
            rows: [...document.querySelectorAll('section:first-of-type tbody tr')].map(
                each => each.cells[0].innerText),
            best: document.querySelectorAll('tr.best').length,
            wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
            text: document.body.innerText,
        }}""",
    )

    assert code == 0
    assert seen["fetched"] == []
    assert len(seen["plots"]) == 5
    ((width, height),) = {tuple(size) for size in seen["plots"]}
    assert width > 300
    assert height > 150
    assert "checkouts per second" in seen["words"]
    assert seen["rows"] == ["1", "2", "4"] * 2
    assert seen["best"] == 1
    assert seen["wide"] == 0
    assert "Recommended: max_size=" in seen["text"]
    assert sys.version.split()[0] in seen["text"]


def test_dollars_are_no_formula_and_without_a_connection_there_is_still_a_plot() -> None:
    nothing = Measurement(1.0, [0, 0], array("q"), errors=9)
    sweep = sweep_of("validate", {r"SELECT $\nonsense{$": 1.0, "SELECT 2": 2.0})
    runs = [Run(Workload(), (Outcome(MILLPOND, merge([nothing] * 2)),))] * 2

    assert r"SELECT $\nonsense{$" in "".join(_plots.lines(sweep))
    assert len(_plots.lines(Sweep("max_size", (1, 2), tuple(runs)))) == 2


def test_in_a_narrow_window_the_report_does_not_scroll_sideways(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    then = report_of([100, 101, 102, 103, 104], [0.010] * 5)
    now = report_of([80, 81, 82, 83, 84], [0.010] * 5)
    both = Report(NOWHERE, now.runs, (sweep_of("max_size", {5: 10.0, 10: 20.0}),))
    write_html(file, both, compare_with(then.as_dict(), now))

    seen = ask_page(
        file,
        """{
            wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
            worse: [...document.querySelectorAll('tr.worse')].map(each => each.innerText),
            colour: getComputedStyle(document.querySelector('tr.worse td:last-child')).color,
        }""",
        width=500,
    )

    assert seen["wide"] == 0
    assert [text.split()[1] for text in seen["worse"]] == ["checkouts/s"]
    assert seen["colour"] == "rgb(179, 38, 30)"


def test_the_report_names_no_other_server_and_runs_no_script(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    report = report_of([100.0], [0.0])
    evil = Database(object, "stub", "<script>alert(1)</script>")
    write_html(file, Report(evil, report.runs, (sweep_of("policy", {"a": 1.0, "b": 2.0}),)))

    text = file.read_text()

    assert "&lt;script&gt;alert(1)" in text
    for word in ("<script", "<link", "<img", "<iframe", "@import", "url(http", 'src="', "<!ENTITY"):
        assert word not in text
    # Names of XML, which nobody asks for.
    assert text.count("http") == text.count('"http://www.w3.org/')
