"""`millpond top`: what it shows of a process, of many, and of those that do not answer."""

from __future__ import annotations

import json
import socket
import sys
from email.message import Message
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

import pytest
from typer.testing import CliRunner

from helpers import eventually, remains
from millpond import web
from millpond.cli._app import app
from millpond.cli._pools import read_document
from millpond.cli._reading import take
from millpond.cli.top._feed import Feed
from millpond.cli.top._view import View
from millpond.doctor.ask import endpoint, reason
from pool_json import CRITICAL, PoolJson, document, serve
from servers import answer_without_end
from terminals import terminal
from top_views import HERE, drawn, view_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import millpond
    from helpers import MakePool


@pytest.fixture
def orders(make_pool: MakePool) -> millpond.Pool[Any]:
    """Make a pool of two connections, one of which is in use."""
    pool = make_pool(name="orders", max_size=2, leak_threshold=60.0)
    pool.acquire()
    return pool


@pytest.fixture
def server(orders: millpond.Pool[Any]) -> Iterator[PoolJson]:
    """Serve that pool."""
    with serve(lambda: document(orders)) as served:
        yield served


@pytest.fixture
def nobody() -> Iterator[str]:
    """Give host and port where a server listens that never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def top(*arguments: str) -> tuple[int, str]:
    """Run `millpond top` where there is no terminal: its exit code, and all that it printed."""
    result = CliRunner().invoke(app, ["top", *arguments])
    return result.exit_code, result.output


def test_once_prints_each_pool_with_what_it_does(server: PoolJson) -> None:
    code, printed = top(server.url, "--once")

    assert code == 0
    assert f"1 pool on {server.where}, 1 in use, 0 waiting" in printed
    (line,) = [line for line in printed.splitlines() if line.startswith("orders")]
    assert line.split()[1:5] == ["1+0/2", "0", "██", "50%"]


def test_host_and_port_are_enough(server: PoolJson) -> None:
    code, _ = top(server.where, "--once")

    assert code == 0
    assert server.asked[0]["path"] == "/pool.json"


@pytest.mark.parametrize("path", ["/millpond", "/millpond/", "/millpond/pool.json"])
def test_the_path_below_which_an_application_has_it_is_enough(server: PoolJson, path: str) -> None:
    top(f"{server.where}{path}", "--once")

    assert server.asked[0]["path"] == "/millpond/pool.json"


@pytest.mark.parametrize("width", [*range(80, 130), 200])
def test_a_window_of_any_width_has_room_for_names(width: int) -> None:
    name = "orders-primary"[: 13 if width < 121 else None]

    assert name in drawn([view_of(name)], View(), width, 24)


def test_a_server_that_does_not_answer_is_a_line_and_the_others_are_shown(
    server: PoolJson, nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("millpond.cli.top._command._TIMEOUT", 0.1)
    code, printed = top(server.where, nobody, "127.0.0.1:1")

    assert code == 1
    assert "orders" in printed
    assert f"! {nobody}  no answer in time" in printed
    assert "! 127.0.0.1:1  Connection refused" in printed


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (500, b"", "HTTP 500 Internal Server Error"),
        (401, b"", "HTTP 401 Unauthorized: http://user:password@host"),
        (200, b"<html>", "the answer is no JSON"),
        (200, b"\xff", "the answer is no JSON"),
        (200, b"[" * 100_000, "recursion"),
        (200, b"[]", "it has no list of pools"),
        (200, b'{"pools": [{}]}', "a pool has no number 'max_size'"),
        (200, b'{"pools": [7]}', "a pool has no number 'max_size'"),
        (200, b'{"pools": [{"stats": {"max_size": 1e999}}]}', "a pool has no number 'max_size'"),
        (200, b'{"pools": [{"stats": {"max_size": 1%s}}]}' % (b"0" * 400), "no number 'max_size'"),
    ],
)
def test_an_answer_that_is_none_is_told_on_one_line(
    server: PoolJson, status: int, body: bytes, said: str
) -> None:
    server.answer = lambda: (status, body)

    reading = take(endpoint(server.url), timeout=5.0)

    assert reading.pools == ()
    assert reading.error is not None
    assert said in reading.error
    assert "\n" not in reading.error


def test_alerts_are_told_below_the_pools(orders: millpond.Pool[Any]) -> None:
    with serve(lambda: document(orders, alerts=(CRITICAL,))) as served:
        _, printed = top(served.url)

    assert "! orders  critical: utilization 1.00 is over 0.95" in printed


def test_json_is_what_the_servers_said(server: PoolJson) -> None:
    code, printed = top(server.where, "127.0.0.1:1", "--json")

    answered, silent = json.loads(printed)
    assert code == 1
    assert answered["url"] == server.url
    assert answered["answer"]["pools"][0]["stats"]["name"] == "orders"
    assert (silent["answer"], silent["error"]) == (None, "Connection refused")


def test_a_name_and_a_password_are_sent_and_never_printed(server: PoolJson) -> None:
    for arguments in (["--once"], ["--json"]):
        _, printed = top(f"http://ops:gehe%40im@{server.where}", *arguments)
        assert "geheim" not in printed.replace("%40", "").replace("@", "")
        assert "ops" not in printed

    assert server.asked[0]["Authorization"] == "Basic b3BzOmdlaGVAaW0="


@pytest.mark.parametrize("url", ["ftp://a:geheim@host", "http://", "http://host:port", "file:///x"])
def test_a_url_that_can_not_be_one_is_refused_without_its_password(url: str) -> None:
    code, printed = top(url, "--once")

    assert code == 2
    assert "allowed: http://host:port/pool.json" in printed
    assert "geheim" not in printed


def test_a_name_and_a_password_are_for_nobody_else(server: PoolJson) -> None:
    with serve(dict) as other:
        other.answer = lambda: (302, b"")
        other.headers["Location"] = server.url
        to_another = take(endpoint(f"http://ops:geheim@{other.where}"), timeout=5.0)

        other.headers["Location"] = f"{other.url}/"
        take(endpoint(f"http://ops:geheim@{other.where}"), timeout=5.0)

    assert to_another.pools[0].name == "orders"
    assert "Authorization" not in server.asked[0]
    assert [each["path"] for each in other.asked[1:3]] == ["/pool.json", "/pool.json/"]
    assert all("Authorization" in each for each in other.asked)


def test_an_answer_that_never_ends_is_given_up() -> None:
    """Such as a stream of events, at a URL that was mistaken for the other."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    with answer_without_end(head, b": alive\n") as (host, port):
        reading = take(endpoint(f"{host}:{port}"), timeout=0.05)

    assert reading.error == "the answer has no end after 0.25 s"


def test_what_a_server_says_can_not_move_the_cursor() -> None:
    pool = view_of("or\x1b[2Jders\n", last_error="\x1b]0;x\x07")
    error = HTTPError(HERE.url, 500, "\x1b[2J", Message(), None)

    assert pool.name == "or?[2Jders?"
    assert "\x1b" not in str(pool.stats)
    assert reason(error) == "HTTP 500 ?[2J"


@pytest.mark.parametrize("name", ["orders[eu]", "[/b]", "a:key:b"])
def test_a_name_is_no_markup(make_pool: MakePool, name: str) -> None:
    with serve(lambda: document(make_pool(name=name))) as served:
        code, printed = top(served.url)

    assert code == 0
    assert any(line.startswith(name) for line in printed.splitlines())


def test_numbers_that_are_none_are_left_out() -> None:
    """`json` reads them, from other languages' JSON too: 1e999, Infinity and NaN."""
    infinite, huge = float("inf"), 10**400
    held = [{"slot": 0, "state": "in use", "held": infinite, "age": huge, "uses": huge}]
    pool = view_of(acquired=huge, window={"acquired": infinite}, connections=held)

    assert (pool.wait_mean, pool.stats["acquired"]) == (None, None)
    assert "in use" in drawn([pool], View(selected=pool.key, detail=True), height=24)


@pytest.mark.parametrize("alerts", [7, None, {"severity": "error"}, ["all is well"]])
def test_alerts_of_another_form_are_none(alerts: object) -> None:
    told = {"stats": view_of().stats, "health": {"alerts": alerts}}

    (pool,) = read_document({"pools": [told]}, HERE.url, HERE.where, {})

    assert pool.alerts == ()


def test_a_feed_goes_on_after_an_error(server: PoolJson) -> None:
    sound = server.answer
    server.answer = lambda: (503, b"")
    feed = Feed(endpoint(server.url), 0.01, 5.0, lambda: None)

    eventually(lambda: feed.latest().error == "HTTP 503 Service Unavailable")
    server.answer = sound
    eventually(lambda: feed.latest().pools)

    feed.stop()
    assert feed.latest().pools[0].name == "orders"


def test_a_feed_says_how_long_there_was_no_answer(nobody: str) -> None:
    feed = Feed(endpoint(nobody), 0.01, 0.02, lambda: None)
    eventually(lambda: feed.latest().error == "no answer in time")
    feed.stop()

    eventually(lambda: feed.latest().error == "no answer for 0 s")


def test_it_shows_what_millpond_web_serves(orders: millpond.Pool[Any]) -> None:
    with web.serve(pools=[orders]) as served:
        code, printed = top(f"127.0.0.1:{served.port}")
        reading = take(endpoint(f"127.0.0.1:{served.port}"), timeout=5.0)

    (pool,) = reading.pools
    assert code == 0
    assert "orders" in printed
    assert (pool.name, pool.in_use, pool.max_size, pool.timed_out) == ("orders", 1, 2, 0)
    assert pool.rate is not None
    assert pool.options["max_size"] == 2
    (used,) = [each for each in pool.stats["connections"] if each["state"] == "in use"]
    assert used["site"][0].endswith("test_top.py")
    in_detail = drawn([pool], View(selected=pool.key, detail=True), 120, 24)
    assert "test_top.py" in in_detail
    assert "MainThread" in in_detail


def test_in_a_terminal_keys_sort_choose_open_pause_and_quit(
    orders: millpond.Pool[Any], make_pool: MakePool
) -> None:
    reports = make_pool(name="reports", max_size=5)
    command = [sys.executable, "-m", "millpond", "top", "--interval", "0.1"]
    with (
        serve(lambda: document(orders, alerts=(CRITICAL,))) as first,
        serve(lambda: document(reports)) as second,
        terminal([*command, first.where, second.where, "127.0.0.1:1"]) as screen,
    ):
        screen.shows("pool▾", "orders", "reports", "127.0.0.1:1  Connection refused", "q  quit")
        assert "\x1b[7m" in screen.screen(colours=True)

        screen.keys("4")
        screen.shows("queue▾")
        screen.keys("1", "Down", "Enter")
        screen.shows("reports  " + second.where, "0 in use of 5", "esc  back")
        # Alone: Escape with an arrow behind it is another key.
        screen.keys("Escape")
        screen.shows("use+idle")
        screen.keys("Up", "Enter")
        screen.shows("orders  " + first.where, "test_top.py", "held")
        screen.keys("Left", "p")
        screen.shows("paused", "1+0/2")

        second_connection = orders.acquire()
        # Real time: that of five answers, in another process.
        assert remains(lambda: "1+0/2" in screen.screen(), 0.5)
        screen.keys("p")
        screen.shows("2+0/2")
        screen.resize(120, 30)
        screen.shows("alerts", "pid", "2 + 0 / 2")

        screen.keys("q")
        screen.shows("ended: 0")
        assert "use+idle" not in screen.screen(), "the screen is as it was before"
        orders.release(second_connection)


def test_in_a_terminal_ctrl_c_ends_it_quietly(server: PoolJson) -> None:
    command = [sys.executable, "-m", "millpond", "top", server.where]
    with terminal(command) as screen:
        screen.shows("orders")
        screen.keys("C-c")
        screen.shows("ended: 0")
        assert "Traceback" not in screen.screen()
