"""`millpond size`: what it asks, computes, prints and refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from typer.testing import CliRunner

import millpond
from millpond import sizing
from millpond.cli._app import app
from millpond.cli.size import _facts
from millpond.doctor.outside._server import Bouncer, Limit, ServerFacts
from pool_json import document, serve
from servers import accept_and_never_answer, nobody_listening
from terminals import terminal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from helpers import MakePool

    Run = Callable[..., tuple[int, str]]

LOAD = ("--rate", "200", "--query-ms", "20", "--target-wait", "5")


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)


@pytest.fixture
def run() -> Run:
    """Run `millpond size` in this process: its exit code, and all that it printed."""

    def invoke(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["size", *arguments], env={"COLUMNS": "80"})
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result.exit_code, result.output

    return invoke


def answer(run: Run, *arguments: str) -> dict[str, Any]:
    """Return what the command says as JSON."""
    code, printed = run("--json", *arguments)
    assert code == 0, printed
    told: dict[str, Any] = json.loads(printed)
    return told


def test_without_a_database_it_goes_by_the_cores_of_this_process(run: Run) -> None:
    told = answer(run)

    assert told["recommendation"]["size"] == 2 * sizing.available_cores()
    assert told["recommendation"]["decided_by"] == "cpu"
    assert told["server"] is None
    assert told["sizes"]["load"] == {
        "size": None,
        "reason": "needs --rate and --query-ms, or --pool-json",
        "inputs": {},
    }


@pytest.mark.parametrize(
    ("options", "size"),
    [
        (("--cores", "8"), 16),
        (("--cores", "8", "--blocking"), 32),
        (("--cores", "8", "--async"), 80),
        (("--cores", "8", "--blocking", "--query-ms", "10", "--target-ms", "50"), 16),
        (("--cores", "8", "--workers", "4"), 4),
        ((*LOAD, "--cores", "8"), 6),
        ((*LOAD, "--percentile", "99"), 9),
    ],
)
def test_the_options_are_those_of_the_formulas(
    run: Run, options: tuple[str, ...], size: int
) -> None:
    assert answer(run, *options)["recommendation"]["size"] == size


def test_the_table_has_a_reason_for_every_size_and_fits_into_80_columns(
    run: Run, postgres_url: str
) -> None:
    code, printed = run("--db", postgres_url, *LOAD, "--workers", "3", "--max-size", "50")

    assert code == 0
    # But for an address, which has no place to break it.
    assert all(len(line) <= 80 for line in printed.splitlines() if "://" not in line)
    words = " ".join(printed.split())
    for said in (
        "why for each of 3 workers",
        "200/s * 20 ms = 4 in use on average",
        "3 * 50 = 150",
        "max_size=6 for each of 3 workers, by load: the fewest connections that meet the target",
    ):
        assert said in words


def test_a_terminal_of_80_columns_shows_it_whole() -> None:
    command = [sys.executable, "-m", "millpond", "size", *LOAD, "--cores", "1"]
    with terminal(command) as screen:
        screen.shows("max_size=6, by load", "queries slow each other", "ended: 0")
        shown = screen.screen()

    lines = [line.strip() for line in shown.splitlines()]
    assert lines[1].split() == ["by", "max_size", "why"]
    assert any(line.startswith("cpu ") for line in lines)


def test_postgresql_tells_its_limits(run: Run, postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as conn:
        row = conn.execute(
            "SELECT current_setting('max_connections')::int, "
            "current_setting('superuser_reserved_connections')::int"
        ).fetchone()
        assert row is not None
        told = answer(run, "--db", postgres_url, "--workers", "2", "--memory", "1G")

    server, sizes = told["server"], told["sizes"]
    assert (server["max_connections"], server["reserved"]) == row
    assert server["sessions"] >= 1
    assert sizes["server"]["size"] == (row[0] - row[1]) // 2
    each = server["memory"]["estimate"]
    assert sizes["memory"]["size"] == sizing.by_memory(2**30, each).size // 2
    assert sizes["memory"]["inputs"]["per_connection"] == each
    assert sizes["memory measured"]["size"] >= 1


def test_mysql_tells_its_limits(run: Run, mysql_url: str) -> None:
    told = answer(run, "--db", mysql_url, "--reserve", "20")

    most = told["server"]["max_connections"]
    assert told["sizes"]["server"]["size"] == most - 20
    assert told["server"]["memory"]["settings"]["sort_buffer_size"] > 0


def test_redis_tells_its_limit_and_no_memory(run: Run, redis_url: str) -> None:
    told = answer(run, "--db", redis_url)

    assert told["server"]["max_connections"] == told["sizes"]["server"]["size"]
    assert told["server"]["limit"] == "maxclients"
    assert told["sizes"]["memory"] == {
        "size": None,
        "reason": "of no account here",
        "inputs": {},
    }


def test_sqlite_is_told_about_its_journal(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "app.db"
    with millpond.Pool(f"sqlite:///{file}", max_size=1) as pool, pool.transaction() as conn:
        conn.execute("CREATE TABLE a (b)")

    told = answer(run, "--db", f"sqlite:///{file}")

    assert "one connection writes at a time" in told["server"]["notes"][0]
    assert "journal_mode=delete" in told["server"]["notes"][1]
    assert told["sizes"]["server"]["reason"] == "has no limit"


def test_the_environment_names_the_server(
    run: Run, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", redis_url)

    assert answer(run)["server"]["title"].startswith("redis ")


def test_a_running_process_tells_its_load(run: Run, make_pool: MakePool) -> None:
    pool = make_pool(max_size=2, name="web")
    for _ in range(200):
        with pool.connection():
            pass
    with serve(lambda: document(pool)) as process:
        told = answer(run, "--pool-json", process.url)
        short = answer(run, "--pool-json", process.where)

    assert told["recommendation"]["decided_by"] == "load"
    assert "measured: 200 acquires in" in told["sizes"]["load"]["reason"]
    assert short["recommendation"]["decided_by"] == "load"


def test_of_several_pools_one_has_to_be_named(run: Run, make_pool: MakePool) -> None:
    pools = [make_pool(name="first"), make_pool(name="second")]
    for pool in pools:
        with pool.connection():
            pass
    with serve(lambda: document(*pools)) as process:
        code, printed = run("--pool-json", process.url)
        told = answer(run, "--pool-json", process.url, "--pool", "second")

    assert code == 2
    assert "which are 'first', 'second'" in printed
    assert told["recommendation"]["decided_by"] == "load"


def test_a_pool_that_nobody_used_has_no_load(run: Run, make_pool: MakePool) -> None:
    with serve(lambda: document(make_pool(name="idle"))) as process:
        code, printed = run("--pool-json", process.url)

    assert code == 2
    assert "stats=<idle>: must be of a pool that was in use" in printed


def test_a_load_of_another_form_is_named(run: Run, make_pool: MakePool) -> None:
    told = document(make_pool(name="odd"))
    told["pools"][0]["stats"]["window"] |= {"acquired": "1", "timed_out": "x"}

    with serve(lambda: told) as process:
        code, printed = run("--pool-json", process.url)

    assert code == 2
    assert "stats: must be a PoolStats or its to_dict()" in printed


def test_what_is_no_pool_json_is_no_answer(run: Run) -> None:
    with serve(lambda: {"hello": "world"}) as process:
        code, printed = run("--pool-json", process.url)

    assert code == 1
    assert "Error: no answer, from '--pool-json'" in printed


def test_more_workers_than_connections_is_a_failure(run: Run, postgres_url: str) -> None:
    code, printed = run("--db", postgres_url, "--workers", "100000")

    assert code == 1
    assert "there are not enough connections for all workers" in printed


SECRET = "geheim"


def test_a_server_that_is_not_there_is_a_failure_without_a_password(run: Run) -> None:
    with nobody_listening() as (host, port):
        code, printed = run("--db", f"postgresql://user:{SECRET}@{host}:{port}/app")

    assert code == 1
    assert printed.startswith("Error: no answer, from '--db' (or DATABASE_URL): postgresql://user")
    assert SECRET not in printed


def test_a_server_that_never_answers_is_given_up(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_facts, "_PATIENCE", 0.1)
    with accept_and_never_answer() as (host, port):
        code, printed = run("--db", f"redis://:{SECRET}@{host}:{port}/0")

    assert code == 1
    assert "TimeoutError: no answer within 0.1 s" in printed
    assert SECRET not in printed


def test_a_process_that_is_not_there_is_a_failure_without_a_password(run: Run) -> None:
    with nobody_listening() as (host, port):
        code, printed = run("--pool-json", f"http://admin:{SECRET}@{host}:{port}/pool.json")

    assert code == 1
    assert "refused" in printed
    assert SECRET not in printed


def test_a_url_with_a_password_is_shown_without_it(run: Run, postgres_url: str) -> None:
    # The server trusts whoever comes from here, and wants no password.
    userinfo, _, where = postgres_url.partition("://")[2].partition("@")
    user = userinfo.partition(":")[0]
    with_secret = f"postgresql://{user}:{SECRET}@{where}"

    for options in ((), ("--json",)):
        code, printed = run("--db", with_secret, *options)
        assert code == 0
        assert f"{user}:***@" in printed
        assert SECRET not in printed


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--cores", "0"), "0 is not allowed; allowed: a whole number from 1 to 10000"),
        (("--rate", "nan"), "nan is not allowed; allowed: a number from"),
        (("--percentile", "100"), "100 is not allowed; allowed: a number from 1 to 99.999"),
        (("--memory", "much"), "much is not allowed; allowed: bytes, or a number with K, M, G"),
        (("--memory", "-1G"), "-1G is not allowed"),
        (("--memory", "1e30"), "1e30 is not allowed; allowed: bytes, or a number with K, M, G"),
        (("--target-ms", "50"), "'--target-ms': it says nothing without --query-ms"),
        (("--pool", "web"), "'--pool': it says nothing without --pool-json"),
        (("--db", "oracle://scott@host/x"), "must be the URL of a PostgreSQL, MySQL, MariaDB or"),
        (("--db", "sqlite:///no/such/file.db"), "there is no file"),
        (("--pool-json", "ftp://host/pool.json"), "allowed: http://host:port/pool.json"),
        (("--rate", "1e8", "--query-ms", "1e9"), "connections on average; must be below 100000"),
    ],
)
def test_wrong_usage_is_named_with_what_is_allowed(
    run: Run, options: tuple[str, ...], said: str
) -> None:
    code, printed = run(*options)

    assert code == 2
    assert said in " ".join(printed.split())


@pytest.mark.parametrize(
    ("text", "size"), [("1024", 1024), ("64k", 65_536), ("1.5G", 1_610_612_736), ("2MiB", 2**21)]
)
def test_memory_is_read_with_its_unit(run: Run, postgres_url: str, text: str, size: int) -> None:
    told = answer(run, "--db", postgres_url, "--memory", text)

    assert told["sizes"]["memory"]["inputs"]["available"] == size


def test_the_command_prints_json_and_nothing_else() -> None:
    command = [sys.executable, "-m", "millpond", "size", "--json", *LOAD]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)

    assert json.loads(done.stdout)["recommendation"]["size"] == 6
    assert done.stderr == ""


def room_of(**facts: Any) -> _facts.Room | None:
    """Return the room that a server has."""
    return _facts._room(ServerFacts(kind="postgresql", version="17", where="here", **facts))


def test_the_limit_of_our_own_role_counts_if_it_is_lower() -> None:
    few, many = Limit("role app", 20, "ALTER"), Limit("database app", 300, "ALTER")

    assert room_of(max_connections=100, reserved=3) == _facts.Room(100, 3, "max_connections")
    low = room_of(max_connections=100, reserved=3, limits=(many, few))
    assert low == _facts.Room(20, 0, "limit of role app")
    assert room_of(max_connections=100, limits=(many,)) == _facts.Room(100, 0, "max_connections")


def test_behind_a_pooler_that_shares_sessions_its_clients_count() -> None:
    shared = Bouncer(product="PgBouncer 1.22", mode="transaction", how="", max_clients=1000)
    bound = Bouncer(product="PgBouncer 1.22", mode="session", how="", max_clients=1000)

    behind = room_of(max_connections=100, bouncer=shared)
    assert behind == _facts.Room(1000, 0, "clients of PgBouncer 1.22")
    assert room_of(max_connections=100, bouncer=bound) == _facts.Room(100, 0, "max_connections")


def test_a_machine_without_memory_left_has_the_other_sizes(
    run: Run, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizing, "available_memory", lambda: 0)

    told = answer(run, "--db", postgres_url)

    assert told["sizes"]["memory"]["size"] is None
    assert "none is left here" in told["sizes"]["memory"]["reason"]
    assert told["recommendation"]["size"] > 0


def test_a_server_elsewhere_has_memory_only_if_we_are_told(
    run: Run, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("millpond.doctor.ask._target.Target.is_local", lambda *_: False)

    told = answer(run, "--db", postgres_url)
    given = answer(run, "--db", postgres_url, "--memory", "1G")

    assert told["sizes"]["memory"]["reason"] == (
        "needs --memory, as the server is on another machine"
    )
    assert given["sizes"]["memory"]["size"] > 4
