"""`millpond bench`: what it prints, what it refuses, and what it survives."""

import json
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from millpond.cli._app import app
from millpond.cli._database import Database, database_from_url, redact
from millpond.cli.bench import _compare, _crew
from millpond.cli.bench._compare import Outcome, compare, compare_all
from millpond.cli.bench._peers import Handle, Peer
from millpond.cli.bench._words import troubles
from millpond.cli.bench._workload import Measurement, Workload

TINY = ("--seconds", "0.2", "--threads", "4", "--size", "2", "--hold", "0")
SHORT = Workload(threads=3, size=1, hold=0.0, seconds=0.1, query=None)
ALL = ["millpond", "dbutils", "sqlalchemy", "psycopg_pool"]

Run = Callable[..., tuple[int, str]]


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)


@pytest.fixture
def run() -> Run:
    """Run `millpond bench` in this process: its exit code, and all that it printed."""

    def invoke(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["bench", *arguments])
        return result.exit_code, result.output

    return invoke


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Return an event that comes when the test is over, so that hanging threads end with it."""
    # Only where something hangs: on a busy machine, those who are well may need the whole time.
    monkeypatch.setattr(_crew, "GRACE", 0.1)
    event = threading.Event()
    yield event
    event.set()


def stand_in(acquire: Callable[[], Any], open_: Callable[[], object] = lambda: None) -> Peer:
    """Return a peer made of one function; it is as installed as pytest is."""

    def open_peer(_database: Database, _size: int, _timeout: float) -> Handle:
        open_()
        return Handle(None, acquire, lambda _conn: None, nullcontext, lambda: None)

    return Peer("stand-in", "Stand-in", "pytest", open_peer)


def outcome_of(peer: Peer, database: Database | None = None) -> Outcome:
    """Put one peer through a short workload."""
    nowhere = Database(object, "stub", "nowhere")
    (outcome,) = compare(database or nowhere, SHORT, [peer]).outcomes
    return outcome


def measured(counts: list[int], waits: list[int]) -> Measurement:
    """Return what was measured in one second."""
    return Measurement(1.0, counts, array("q", waits))


def test_without_a_database_every_pool_works_on_a_temporary_file(run: Run) -> None:
    code, printed = run(*TINY, "--json")

    report = json.loads(printed)
    (only,) = report["runs"]
    assert code == 0
    assert report["database"] == "SQLite (a temporary file)"
    assert only["workload"] == {"threads": 4, "size": 2, "hold": 0.0, "seconds": 0.2}
    assert [pool["key"] for pool in only["pools"]] == ALL
    for pool in only["pools"]:
        if pool["status"] == "measured":
            assert pool["checkouts"] > 0, pool
            assert pool["errors"] == pool["hung_threads"] == 0, pool
            assert pool["wait"]["p50"] <= pool["wait"]["p99"] <= pool["wait"]["max"]


def test_every_pool_works_in_memory_too(run: Run) -> None:
    code, printed = run(*TINY, "--json", "--db", "sqlite://")

    (only,) = json.loads(printed)["runs"]
    assert code == 0
    assert {pool["status"] for pool in only["pools"]} <= {"measured", "not installed", "left out"}


def test_the_command_prints_json_and_nothing_else() -> None:
    command = [sys.executable, "-m", "millpond", "bench", *TINY, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)

    ours = json.loads(done.stdout)["runs"][0]["pools"][0]
    assert ours["name"] == "millpond"
    assert ours["checkouts"] > 0
    assert ours["errors"] == 0
    assert done.stderr == ""


def test_the_table_explains_itself(run: Run) -> None:
    code, printed = run(*TINY)

    assert code == 0
    for words in ("4 threads, 2 connections", "checkouts/s", "p95", "fair  ", "How to read it:"):
        assert words in printed


def test_the_table_says_who_was_left_out(run: Run) -> None:
    _, printed = run(*TINY, "--peers", "psycopg_pool")

    assert "psycopg_pool: " in printed
    assert "DBUtils" not in printed


def test_no_peers_leaves_millpond_alone(run: Run) -> None:
    _, printed = run(*TINY, "--peers", "none", "--json")

    (only,) = json.loads(printed)["runs"]
    assert [pool["key"] for pool in only["pools"]] == ["millpond"]


def test_unless_told_how_long_to_hold_it_also_runs_without(run: Run) -> None:
    _, printed = run("--seconds", "0.1", "--peers", "none", "--json")

    assert [one["workload"]["hold"] for one in json.loads(printed)["runs"]] == [0.01, 0.0]


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("--threads", "0", "a whole number from 1 to 1000"),
        ("--threads", "2.5", "a whole number from 1 to 1000"),
        ("--size", "many", "a whole number from 1 to 1000"),
        ("--hold", "-1", "a number from 0 to 60"),
        ("--hold", "3", "0 to 2"),
        ("--seconds", "nan", "a number from 0.05 to 3600"),
        ("--seconds", "inf", "a number from 0.05 to 3600"),
        ("--peers", "hikari", "all, none, dbutils, sqlalchemy, psycopg_pool"),
        ("--db", "mysql://localhost/app", "postgresql://user@host/database"),
        ("--db", "sqlite:///not-there.db", "an existing file"),
    ],
)
def test_a_bad_option_is_named_with_its_value_and_what_is_allowed(
    run: Run, option: str, value: str, allowed: str
) -> None:
    code, printed = run(option, value)

    assert code == 2
    assert option in printed
    assert value in printed
    assert allowed in printed


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://app:geheim@127.0.0.1:1/app",
        "postgres://app:geheim@127.0.0.1:1/app",
        "postgresql://app:g%65heim@127.0.0.1:1/app",
        "postgresql://app:ge@geheim@127.0.0.1:1/app",
        "postgresql://app@corp:geheim@127.0.0.1:1/app",
        "postgresql://app:geheim/#@127.0.0.1:1/app",
        "postgresql://127.0.0.1:1/app?user=app&password=geheim",
        "postgresql://app:geheim@[::1/app",
        "mysql://app:geheim@localhost/app",
        "app:geheim@localhost/app",
    ],
)
def test_a_password_is_never_printed(run: Run, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    from_option = run("--db", url)
    monkeypatch.setenv("DATABASE_URL", url)
    from_environment = run("--json")

    for code, printed in (from_option, from_environment):
        assert code != 0
        assert "DATABASE_URL" in printed
        assert "geheim" not in printed
        assert "g%65heim" not in printed
        assert "***" in printed


def test_a_url_without_a_password_is_printed_as_it_is() -> None:
    assert redact("postgresql://app@db:5432/app?x=1") == "postgresql://app@db:5432/app?x=1"


def test_database_url_names_the_database(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "mine.db"
    file.touch()
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{file}")

    _, printed = run(*TINY, "--json", "--peers", "none")

    assert json.loads(printed)["database"] == f"sqlite:///{file}"


def test_an_error_of_the_driver_loses_the_password_too() -> None:
    pytest.importorskip("psycopg")
    database = database_from_url("postgresql://app:geheim@nowhere/app")

    outcome = outcome_of(stand_in(_raise("password geheim is wrong\nfor app")), database)

    assert outcome.status == "failed"
    assert outcome.error is not None
    assert outcome.error.endswith("password *** is wrong for app")


def test_a_pool_that_raises_is_reported() -> None:
    opened = iter([object()])

    def acquire() -> object:
        # The first is the warm-up's.
        return next(opened, None) or _raise("out of order")()

    outcome = outcome_of(stand_in(acquire))

    assert outcome.status == "measured"
    assert outcome.measurement is not None
    assert outcome.measurement.errors >= SHORT.threads
    assert outcome.measurement.checkouts == 0
    assert outcome.measurement.fairness is None
    assert outcome.error == "OSError: out of order"


def test_a_pool_that_hangs_is_left_behind(never: threading.Event) -> None:
    opened = iter([object()])

    def acquire() -> object:
        return next(opened, None) or never.wait()

    began = time.monotonic()
    outcome = outcome_of(stand_in(acquire))

    assert time.monotonic() - began < 5
    assert outcome.measurement is not None
    assert outcome.measurement.hung == SHORT.threads
    # Those who still wait have waited at least since everybody was told to stop.
    assert (outcome.measurement.wait(0) or 0) >= SHORT.seconds
    assert not outcome.is_clean


def test_a_pool_that_hangs_while_it_connects_is_left_behind(
    never: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_compare, "_OPENING", 0.1)

    outcome = outcome_of(stand_in(object, open_=never.wait))

    assert outcome.status == "failed"
    assert outcome.error == "can't open its connections: TimeoutError: no answer within 0.1 s"


def test_who_holds_for_longer_than_there_is_time_has_not_hung(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_crew, "GRACE", 0.05)
    nowhere = Database(object, "stub", "nowhere")
    workload = Workload(threads=2, size=2, hold=0.3, seconds=0.1, query=None)

    (outcome,) = compare(nowhere, workload, [stand_in(object)]).outcomes

    assert outcome.measurement is not None
    assert outcome.measurement.hung == 0
    # None of them had ended: two would be twenty per second, of seven that there can be.
    assert outcome.measurement.checkouts == 0


def test_a_pool_that_can_not_open_all_its_connections_is_closed() -> None:
    told: list[str] = []
    opened = iter([object()])

    def open_peer(_database: Database, _size: int, _timeout: float) -> Handle:
        return Handle(
            None,
            lambda: next(opened, None) or _raise("too many connections")(),
            lambda _conn: told.append("released"),
            nullcontext,
            lambda: told.append("closed"),
        )

    nowhere, workload = Database(object, "stub", "nowhere"), Workload(size=2, seconds=0.1)
    (outcome,) = compare(nowhere, workload, [Peer("x", "X", "pytest", open_peer)]).outcomes

    assert outcome.status == "failed"
    assert outcome.error == "can't open its connections: OSError: too many connections"
    assert told == ["released", "closed"]


def test_a_round_that_came_to_nothing_is_told() -> None:
    rounds = iter([_nothing, _raise("down"), _nothing])

    def open_() -> None:
        next(rounds)()

    nowhere = Database(object, "stub", "nowhere")
    (run,) = compare_all(nowhere, [SHORT], [stand_in(object, open_)], rounds=3)

    assert run.outcomes[0].status == "measured"
    assert not run.outcomes[0].is_clean
    assert troubles([run]) == ["Stand-in: can't open its connections: OSError: down"]


def test_a_broken_pool_does_not_stop_the_others() -> None:
    broken, sound = stand_in(_raise("broken")), stand_in(object)

    both = compare(Database(object, "stub", "nowhere"), SHORT, [broken, sound])

    assert [outcome.status for outcome in both.outcomes] == ["failed", "measured"]


def test_a_peer_that_is_not_installed_is_listed() -> None:
    absent = Peer("absent", "Absent", "no-such-distribution", _raise("never opened"))

    assert outcome_of(absent).status == "not installed"


def test_a_peer_for_another_database_is_left_out() -> None:
    other = Peer("other", "Other", "pytest", _raise("never opened"), only="postgresql")

    assert outcome_of(other).status == "left out"


def test_fairness_is_the_fewest_checkouts_over_the_most() -> None:
    assert measured([1, 150, 200], []).fairness == 1 / 200


def test_waits_are_read_off_the_sorted_list() -> None:
    hundred = measured([100], [nanoseconds * 1_000_000 for nanoseconds in range(1, 101)])

    assert [hundred.wait(share) for share in (0.5, 0.99, 1)] == [0.05, 0.099, 0.1]
    assert measured([0], []).wait(0.5) is None


def test_a_workload_knows_what_is_possible() -> None:
    workload = Workload(threads=24, size=4, hold=0.01)

    assert workload.ceiling == 400
    assert workload.fair_wait == 0.05


def test_without_the_extra_the_command_says_what_to_install() -> None:
    code = "import sys; sys.modules['typer'] = None; from millpond.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 2
    assert "pip install 'millpond[cli]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_on_postgresql_every_pool_is_measured(run: Run, postgres_url: str) -> None:
    code, printed = run(*TINY, "--json", "--db", postgres_url)

    (only,) = json.loads(printed)["runs"]
    pools = only["pools"]
    assert code == 0
    assert {pool["status"] for pool in pools} <= {"measured", "not installed"}
    assert all(pool["errors"] == 0 for pool in pools if pool["status"] == "measured")


def _nothing() -> None:
    pass


def _raise(said: str) -> Callable[..., Any]:
    def acquire(*_arguments: object) -> Any:
        raise OSError(said)

    return acquire
