"""`millpond doctor` about servers, loads, errors and running processes."""

from __future__ import annotations

import json
import os
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

import millpond
from doctor.roles import role
from millpond import web
from millpond.cli._app import app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from helpers import MakePool

    Run = Callable[..., tuple[int, str]]

FULL = "QueuePool limit of size 5 overflow 10 reached, connection timed out, timeout 30.00"


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run() -> Run:
    """Run `millpond doctor` in this process: its exit code, and all that it printed."""

    def invoke(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["doctor", *arguments], terminal_width=80)
        return result.exit_code, result.output

    return invoke


def codes(printed: str) -> list[str]:
    """Return the codes of what was found, as JSON."""
    return [finding["code"] for finding in json.loads(printed)["findings"]]


@contextmanager
def serving(document: object, authorization: str | None = None) -> Iterator[str]:
    """Give the URL of a process that answers with a document, to whom it is for."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_welcome = self.headers["Authorization"] == authorization
            body = json.dumps(document if is_welcome else {}).encode()
            self.send_response(200 if is_welcome else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with listening(Handler) as server:
        yield f"http://127.0.0.1:{server.server_port}/pool.json"


@contextmanager
def listening(handler: type[BaseHTTPRequestHandler]) -> Iterator[ThreadingHTTPServer]:
    """Give a server that answers so."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def document_of(pool: millpond.Pool[Any], **options: Any) -> dict[str, Any]:
    """Return what a process with one pool tells."""
    return {
        "millpond": millpond.__version__,
        "pid": os.getpid(),
        "pools": [{"stats": pool.stats().to_dict(), "options": options, "health": {}}],
    }


def test_a_password_is_not_taken_along_to_another_server(run: Run) -> None:
    asked: list[str | None] = []

    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers["Authorization"])
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class First(Other):
        def do_GET(self) -> None:
            asked.append(self.headers["Authorization"])
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{other.server_port}/pool.json")
            self.end_headers()

    with listening(Other) as other, listening(First) as first:
        code, _ = run("--process", f"http://me:secret@127.0.0.1:{first.server_port}/")

    assert code == 2
    assert asked == ["Basic bWU6c2VjcmV0", None]


def test_a_pool_in_words_is_measured_by_a_server(run: Run, postgres_url: str) -> None:
    code, printed = run("--server", postgres_url, "--pool", "max_size=50", "--workers", "4")

    assert code == 1
    assert "--pool:1  error MP301  the pools may open more" in printed
    assert "4 workers * max_size 50" in printed
    assert "Fix: max_size = 24 (96 in all workers)." in printed


def test_the_pools_of_a_file_are_measured_by_a_server(
    run: Run, postgres_url: str, tmp_path: Path
) -> None:
    (tmp_path / "db.py").write_text("import millpond\n\npool = millpond.Pool(max_size=500)\n")

    code, printed = run(str(tmp_path), "--server", postgres_url, "--select", "MP3", "--json")

    assert code == 1
    assert "MP301" in codes(printed)
    (finding,) = [one for one in json.loads(printed)["findings"] if one["code"] == "MP301"]
    assert finding["file"].endswith("db.py")
    assert finding["line"] == 3


def test_the_environment_names_the_server(
    run: Run, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, printed = run("--server", "env")
    assert code == 2
    assert "DATABASE_URL is not set" in printed

    monkeypatch.setenv("DATABASE_URL", postgres_url)
    assert "MP315" in codes(run("--server", "env", "--json")[1])


def test_a_server_that_is_well_is_nothing_to_complain_about(run: Run, postgres_url: str) -> None:
    with role(postgres_url, "SET statement_timeout = '20s'") as url:
        code, printed = run("--server", url, "--pool", "max_size=5, leak_threshold=30.0")

    assert (code, printed) == (0, "Nothing to complain about.\n")


def test_why_a_server_does_not_let_us_in_is_a_finding(run: Run, postgres_url: str) -> None:
    with role(postgres_url, "CONNECTION LIMIT 0") as url:
        code, printed = run("--server", url, "--json")

    assert code == 1
    assert codes(printed) == ["MP414"]

    code, printed = run("--server", "postgresql://app:secret@127.0.0.1:1/shop", "--json")
    assert code == 1
    assert codes(printed) == ["MP426"]
    assert "secret" not in printed


def test_a_server_of_a_kind_that_is_not_known_is_wrong_usage(run: Run) -> None:
    code, printed = run("--server", "oracle://app:secret@db/x")

    assert code == 2
    assert "PostgreSQL, MySQL, MariaDB or Redis" in printed
    assert "secret" not in printed


def test_users_and_the_time_of_a_query_become_a_size(run: Run) -> None:
    code, printed = run("--users", "400", "--query-ms", "100", "--think-ms", "900")

    assert code == 0
    assert "info MP400" in printed
    assert "40 in use on average" in printed
    assert "Fix: max_size = " in printed


def test_an_error_is_explained_by_the_load(run: Run) -> None:
    load = ("--users", "400", "--query-ms", "100", "--pattern", "bursty", "--workers", "2")

    code, printed = run(*load, "--errors", FULL, "--pool", "create_engine(url, pool_size=5)")

    assert code == 1
    assert "error MP411" in printed
    assert "error MP401" in printed
    assert "which is what the load needs" in " ".join(printed.split())


def test_a_log_is_read_from_a_file(run: Run, tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_text(f"fine\n{FULL}\n{FULL}\n", encoding="utf-8")

    code, printed = run("--errors", f"@{log}")

    assert code == 1
    assert f"{log}:2" in printed
    assert "2 lines of the log" in printed


def test_an_error_that_nobody_knows_is_no_finding(run: Run) -> None:
    assert run("--errors", "KeyError: 'x'") == (0, "Nothing to complain about.\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--users", "4"), "--users and --query-ms belong together"),
        (("--users", "0", "--query-ms", "4"), "allowed: a whole number from 1 to"),
        (("--users", "1000000000", "--query-ms", "1000000"), "connections on average"),
        (("--users", "4", "--query-ms", "4", "--pattern", "odd"), "'steady', 'bursty'"),
        (("--errors", "@/nowhere"), "must be a file that can be read"),
        (("--process", "/nowhere.json"), "must be the URL of a /pool.json, or a file"),
        (("--process", "http://127.0.0.1:1/pool.json"), "Connection refused"),
        (("--pool", "max_size="), "must be keywords of a pool"),
        (("--pool", "print(1)"), "must be keywords of a pool"),
        (("--pool", "exit()"), "must be keywords of a pool"),
    ],
)
def test_wrong_usage_is_said_to_be_so(run: Run, arguments: tuple[str, ...], said: str) -> None:
    code, printed = run(*arguments)

    assert code == 2
    assert said in " ".join(printed.split())


def test_a_running_process_is_asked(run: Run, make_pool: MakePool) -> None:
    pool = make_pool(name="orders", max_size=1, max_waiting=0)
    held = pool.acquire()
    for _ in range(5):
        with pytest.raises(millpond.PoolError):
            pool.acquire()
    document = document_of(pool, max_size=1, max_waiting=0, leak_threshold=30.0)
    pool.release(held)

    with serving(document) as url:
        code, printed = run("--process", url)

    assert code == 1
    host = url.removeprefix("http://").removesuffix("/pool.json")
    assert f"{host}  warning MP514  the pool refuses callers" in printed
    assert "pool 'orders': 5 callers were refused" in printed


def test_a_name_and_a_password_are_sent_to_a_process_and_never_printed(
    run: Run, make_pool: MakePool
) -> None:
    document = document_of(make_pool(name="orders"), max_size=1)

    with serving(document, "Basic b3BzOmdlaGVAaW0=") as url:
        known = run("--process", url.replace("://", "://ops:gehe%40im@"))
        unknown = run("--process", url.replace("://", "://ops:geheim@"))

    assert known[0] != 2
    assert unknown[0] == 2
    assert "HTTP 401 Unauthorized" in unknown[1]
    for _, printed in (known, unknown):
        assert "geheim" not in printed
        assert "gehe%40im" not in printed


def test_millponds_own_pages_are_understood(
    run: Run, make_pool: MakePool, postgres_url: str
) -> None:
    pool = make_pool(
        postgres_url.replace("@", ":s3cret@"),
        name="orders",
        max_size=500,
        acquire_timeout=0.01,
        validation_interval=None,
        leak_threshold=30.0,
    )
    for _ in range(6):  # each finds what the one before has left
        conn = pool.acquire(timeout=5)
        conn.close()
        pool.release(conn)

    with web.serve(pools=[pool]) as server:
        asked = ("--process", f"{server.url}pool.json", "--server", postgres_url, "--json")
        code, printed = run(*asked)

    assert code == 1
    assert {"MP101", "MP117", "MP301", "MP306"} <= set(codes(printed))
    assert any(code in {"MP507", "MP509", "MP516"} for code in codes(printed))
    assert "s3cret" not in printed


def test_its_configuration_is_examined_too(run: Run, make_pool: MakePool, tmp_path: Path) -> None:
    file = tmp_path / "pool.json"
    told = document_of(make_pool(), max_size=10, validation_interval=None, leak_threshold=30.0)
    file.write_text(json.dumps(told), encoding="utf-8")

    code, printed = run("--process", str(file), "--json")

    assert code == 1
    assert codes(printed) == ["MP101"]


def test_the_processes_of_a_fleet_are_added_up(
    run: Run, make_pool: MakePool, postgres_url: str
) -> None:
    told = document_of(make_pool(max_size=50), max_size=50)
    only = ("--select", "MP301", "--server", postgres_url)

    with serving(told) as one, serving(told) as other:
        both = run("--process", one, "--process", other, *only)[1]
        alone = run("--process", one, *only)[1]
        counted = run("--process", one, "--workers", "2", *only)[1]

    assert "100 connections (max_size 50 + max_size 50)" in " ".join(both.split())
    assert alone == "Nothing to complain about.\n"
    assert "100 connections (2 workers * max_size 50)" in counted


def test_processes_that_differ_are_told(run: Run, make_pool: MakePool) -> None:
    pool = make_pool(name="orders")

    with serving(document_of(pool, max_size=5)) as one, serving(document_of(pool)) as other:
        quiet = run("--process", one, "--process", other, "--select", "MP510")
    with (
        serving(document_of(pool, max_size=5)) as one,
        serving(document_of(pool, max_size=6)) as other,
    ):
        code, printed = run("--process", one, "--process", other, "--select", "MP510")

    assert quiet[0] == 0
    assert code == 1
    one, other = (url.split("/")[2] for url in (one, other))
    assert f"max_size: 5 at {one}, 6 at {other}" in printed


@pytest.mark.parametrize("document", [[], {"pools": 3}, {"pools": [{"stats": {}}]}, "x", None])
def test_something_else_than_a_process_is_wrong_usage(run: Run, document: object) -> None:
    with serving(document) as url:
        code, printed = run("--process", url)

    assert code == 2
    assert "must be the /pool.json of millpond.web" in " ".join(printed.split())
