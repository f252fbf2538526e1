"""`millpond bench` as a tuning workflow: one parameter varied at a time, and the report."""

from __future__ import annotations

import json
import sys
from array import array
from typing import TYPE_CHECKING, Any

import pytest

from browsers import ask_page
from millpond.cli._database import Database
from millpond.cli.bench import _plots
from millpond.cli.bench._baseline import ROUNDS, compare_with
from millpond.cli.bench._compare import Outcome, Run, compare_all
from millpond.cli.bench._html import write_html
from millpond.cli.bench._measurement import Measurement, merge
from millpond.cli.bench._peers import MILLPOND, Handle, Peer
from millpond.cli.bench._recommend import recommend
from millpond.cli.bench._report import Report, Sweep
from millpond.cli.bench._vary import POOL_PARAMETERS, variation
from millpond.cli.bench._workload import Workload
from tuning import NOWHERE, TINY, bench, measured, report_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)


def sweep_of(parameter: str, rates: dict[Any, float]) -> Sweep:
    """Give a sweep in which each value has that throughput."""
    runs = [
        Run(Workload(), (Outcome(MILLPOND, merge([measured(rate)] * 2)),))
        for rate in rates.values()
    ]
    return Sweep(parameter, tuple(rates), tuple(runs))


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
