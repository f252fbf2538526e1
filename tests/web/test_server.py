"""`millpond.web.serve()`: the endpoints without a web framework."""

from __future__ import annotations

import socket
import threading
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

import millpond
from helpers import PATIENCE, in_thread, lines_of, together
from millpond.web import _server, serve

if TYPE_CHECKING:
    from helpers import MakePool


def get(url: str) -> tuple[int, bytes]:
    """Fetch something over HTTP."""
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def serving() -> list[threading.Thread]:
    """Return the threads of servers."""
    return [thread for thread in threading.enumerate() if thread.name == "millpond-web"]


def test_it_answers_until_it_is_closed(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    with serve(pools=[pool]) as server:
        assert server.url == f"http://127.0.0.1:{server.port}/"
        assert [thread.daemon for thread in serving()] == [True]
        assert get(server.url + "healthz") == (200, b"ok\n")
        held = pool.acquire()
        assert get(server.url + "readyz")[0] == 503
        assert get(server.url + "nothing")[0] == 404
        pool.release(held)

    assert serving() == []
    with pytest.raises(urllib.error.URLError):
        get(server.url + "healthz")
    server.close()


def test_a_visitor_who_says_nothing_holds_up_nobody() -> None:
    with serve(pools=[]) as server, socket.create_connection(("127.0.0.1", server.port)):
        assert get(server.url + "healthz") == (200, b"ok\n")


def test_several_are_answered_at_once(make_pool: MakePool) -> None:
    with serve(pools=[make_pool()]) as server:
        answers = together(8, lambda _: get(server.url + "pool.json")[0])

    assert answers == [200] * 8


def test_it_can_listen_on_an_address_of_version_6() -> None:
    try:
        server = serve(host="::1", pools=[])
    except OSError as error:
        pytest.skip(f"no IPv6: {error}")
    with server:
        assert get(server.url + "healthz") == (200, b"ok\n")


def test_it_says_nothing_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with serve(pools=[]) as server:
        get(server.url + "healthz")

    assert capsys.readouterr() == ("", "")


def test_a_visitor_who_says_nothing_is_given_up_quietly(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_server._Handler, "timeout", 0.01)

    with serve(pools=[]) as server, socket.create_connection(("127.0.0.1", server.port)) as visitor:
        visitor.settimeout(PATIENCE)
        assert visitor.recv(1) == b""

    assert capsys.readouterr() == ("", "")


def test_a_port_that_is_taken_is_an_error() -> None:
    with serve(pools=[]) as server, pytest.raises(OSError, match="in use"):
        serve(server.port)


@pytest.mark.parametrize("port", [-1, 65_536, "9100", None, True])
def test_a_port_that_is_none_is_refused(port: Any) -> None:
    with pytest.raises(millpond.PoolConfigError, match="port="):
        serve(port)


def test_closing_from_several_threads_ends_it_once() -> None:
    server = serve(pools=[])

    for closing in [in_thread(server.close) for _ in range(4)]:
        closing.result()

    assert serving() == []


def test_it_does_not_keep_the_interpreter_up() -> None:
    script = """
        import millpond.web

        millpond.web.serve()
        print("done")
    """

    assert lines_of(script) == ["done"]
