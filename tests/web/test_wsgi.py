"""The endpoints as a WSGI application, alone, mounted, and around another."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import flask
import pytest
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from millpond.web import wsgi_app

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from helpers import MakePool


def ask(application: WSGIApplication, path: str, **environ: str) -> tuple[str, Any, bytes]:
    """Ask as a server does, under the eyes of the standard library's checker."""
    request: dict[str, Any] = {}
    setup_testing_defaults(request)
    request |= {"PATH_INFO": path, "QUERY_STRING": "", **environ}
    answer: list[Any] = []

    def start_response(status: str, headers: Any, *_: Any) -> Any:
        answer[:] = [status, dict(headers)]

    body = validator(application)(request, start_response)
    try:
        return answer[0], answer[1], b"".join(body)
    finally:
        body.close()  # type: ignore[attr-defined]  # the checker's has it


def greet(_: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """Be somebody's application."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/metrics", "/pool.json"])
def test_alone_it_answers_by_the_rules(make_pool: MakePool, path: str) -> None:
    application = wsgi_app([make_pool()])

    status, headers, body = ask(application, path)

    assert status == "200 OK"
    assert headers["Content-Length"] == str(len(body))


def test_who_is_not_ready_says_so_in_the_status_line(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    held = pool.acquire()

    status, _, _ = ask(wsgi_app([pool]), "/readyz")

    assert status == "503 Service Unavailable"
    pool.release(held)


def test_alone_other_paths_are_not_found() -> None:
    assert ask(wsgi_app([]), "/other")[0] == "404 Not Found"


def test_a_head_and_a_post_are_answered_by_the_rules() -> None:
    status, _, body = ask(wsgi_app([]), "/healthz", REQUEST_METHOD="HEAD")
    assert (status, body) == ("200 OK", b"")

    status, _, body = ask(wsgi_app([]), "/other", REQUEST_METHOD="HEAD")
    assert (status, body) == ("404 Not Found", b"")

    assert ask(wsgi_app([]), "/healthz", REQUEST_METHOD="POST")[0] == "405 Method Not Allowed"


def test_the_format_of_the_metrics_is_negotiated() -> None:
    accept = "application/openmetrics-text; version=1.0.0"

    _, headers, _ = ask(wsgi_app([]), "/metrics", HTTP_ACCEPT=accept)

    assert headers["Content-Type"].startswith("application/openmetrics-text")


def test_around_an_application_the_endpoints_are_below_a_path_of_their_own() -> None:
    application = wsgi_app([], app=greet)

    assert ask(application, "/millpond/healthz")[2] == b"ok\n"
    assert b"<title>millpond" in ask(application, "/millpond/")[2]
    for path in ("/", "/healthz", "/other"):
        assert ask(application, path)[2] == b"hello"


def test_around_an_application_without_a_path_its_own_page_stays() -> None:
    application = wsgi_app([], app=greet, path="")

    assert ask(application, "/healthz")[2] == b"ok\n"
    assert ask(application, "/")[2] == b"hello"


@pytest.mark.parametrize(("script_name", "base"), [("", "/"), ("/", "/"), ("/m/", "/m/")])
def test_the_page_knows_where_it_is_however_that_is_said(script_name: str, base: str) -> None:
    environ: dict[str, Any] = {"SCRIPT_NAME": script_name, "PATH_INFO": "/"}
    setup_testing_defaults(environ)

    (page,) = wsgi_app([])(environ, lambda *_: lambda _: None)

    assert f'data-base="{base}"' in page.decode()


def test_flask_can_have_it_around_and_mounted(make_pool: MakePool) -> None:
    app = flask.Flask("shop")
    app.add_url_rule("/", view_func=lambda: "shop")
    app.wsgi_app = wsgi_app([make_pool(name="orders")], app=app.wsgi_app)  # type: ignore[method-assign, assignment]
    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/mounted": wsgi_app([])})  # type: ignore[method-assign]
    client = app.test_client()

    assert client.get("/").text == "shop"
    told = json.loads(client.get("/millpond/pool.json").text)
    assert [one["stats"]["name"] for one in told["pools"]] == ["orders"]
    assert client.get("/mounted/readyz").text == "ready\n"
    assert 'data-base="/mounted/"' in client.get("/mounted/").text
