"""The endpoints as an ASGI application, alone, mounted, and around another."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import urllib.request
from typing import TYPE_CHECKING, Any

import fastapi
import pytest
import uvicorn

from helpers import eventually
from millpond.web import asgi_app

if TYPE_CHECKING:
    from collections.abc import Iterator

    from helpers import MakePool


def speak(application: Any, scope: dict[str, Any], *said: dict[str, Any]) -> list[dict[str, Any]]:
    """Say something to an application as a server does, and return what it says."""
    answers: list[dict[str, Any]] = []
    messages = iter(said)

    async def receive() -> dict[str, Any]:
        return next(messages)

    async def send(message: dict[str, Any]) -> None:
        answers.append(message)

    asyncio.run(application(scope, receive, send))
    return answers


def ask(application: Any, path: str, **more: Any) -> tuple[int, dict[bytes, bytes], bytes]:
    """Ask for a path."""
    scope = {"type": "http", "method": "GET", "path": path, "headers": [], **more}
    start, body = speak(application, scope)
    assert (start["type"], body["type"]) == ("http.response.start", "http.response.body")
    return start["status"], dict(start["headers"]), body["body"]


async def greet(scope: Any, _receive: Any, send: Any) -> None:
    """Be somebody's application."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})
    else:
        await send({"type": f"{scope['type']}.seen"})


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/metrics", "/pool.json"])
def test_alone_it_answers(make_pool: MakePool, path: str) -> None:
    status, headers, body = ask(asgi_app([make_pool()]), path)

    assert status == 200
    assert headers[b"content-length"] == str(len(body)).encode()
    assert all(name == name.lower() for name in headers)


def test_alone_other_paths_are_not_found() -> None:
    assert ask(asgi_app([]), "/other")[0] == 404
    assert ask(asgi_app([]), "/other", method="HEAD")[2] == b""


def test_alone_it_says_yes_to_the_server_that_begins_and_ends() -> None:
    said = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    answers = speak(asgi_app([]), {"type": "lifespan"}, *said)

    assert [answer["type"] for answer in answers] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]


def test_alone_it_has_no_websockets() -> None:
    (answer,) = speak(asgi_app([]), {"type": "websocket", "path": "/healthz"})

    assert answer["type"] == "websocket.close"


def test_the_format_of_the_metrics_is_negotiated() -> None:
    accept = [
        (b"host", b"x"),
        (b"accept", b"text/html"),
        (b"Accept", b"application/openmetrics-text; version=1.0.0"),
    ]

    _, headers, _ = ask(asgi_app([]), "/metrics", headers=accept)

    assert headers[b"content-type"].startswith(b"application/openmetrics-text")


def test_around_an_application_the_endpoints_are_below_a_path_of_their_own() -> None:
    application = asgi_app([], app=greet)

    assert ask(application, "/millpond/healthz")[2] == b"ok\n"
    assert b"<title>millpond" in ask(application, "/millpond/")[2]
    for path in ("/", "/healthz", "/other"):
        assert ask(application, path)[2] == b"hello"


def test_an_application_around_which_it_is_keeps_its_lifespan_and_its_websockets() -> None:
    application = asgi_app([], app=greet, path="")

    for kind in ("lifespan", "websocket"):
        assert speak(application, {"type": kind, "path": "/healthz"}) == [{"type": f"{kind}.seen"}]


@pytest.mark.parametrize("path", ["/healthz", "/mount/healthz"])
def test_below_a_mount_it_understands_both_ways_to_say_where_it_is(path: str) -> None:
    """By the specification the path has the mount's in it; it was not always so."""
    for root_path in ("/mount", "/mount/"):
        assert ask(asgi_app([]), path, root_path=root_path)[0] == 200
    assert b'data-base="/mount/"' in ask(asgi_app([]), "/mount/", root_path="/mount")[2]


@pytest.mark.parametrize("root_path", ["/m", "/metric"])
def test_a_mount_is_no_part_of_a_name(root_path: str) -> None:
    assert ask(asgi_app([]), "/metrics", root_path=root_path)[0] == 200


def test_mounted_at_the_root_it_is_where_it_always_is() -> None:
    assert ask(asgi_app([]), "/healthz", root_path="/")[0] == 200


@contextlib.contextmanager
def served(application: Any) -> Iterator[str]:
    """Run an application in uvicorn."""
    config = uvicorn.Config(application, port=0, log_level="error", ws="none", lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        eventually(lambda: server.started)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


def test_fastapi_can_have_it_mounted_and_around(make_pool: MakePool) -> None:
    inner = fastapi.FastAPI()
    inner.add_api_route("/hello", lambda: "hello")
    inner.mount("/mounted", asgi_app([make_pool(name="orders")]))

    with served(asgi_app([], app=inner)) as url:

        def get(path: str) -> str:
            with urllib.request.urlopen(url + path, timeout=10) as response:
                text: str = response.read().decode()
                return text

        assert get("/hello") == '"hello"'
        assert get("/mounted/healthz") == "ok\n"
        assert '"name": "orders"' in get("/mounted/pool.json")
        assert 'data-base="/mounted/"' in get("/mounted/")
        assert get("/millpond/readyz") == "ready\n"


def test_uvicorn_can_have_it_alone() -> None:
    with (
        served(asgi_app([])) as url,
        urllib.request.urlopen(f"{url}/healthz", timeout=10) as response,
    ):
        assert response.read() == b"ok\n"
