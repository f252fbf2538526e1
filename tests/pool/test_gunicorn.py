"""gunicorn: an application loaded before the fork serves from connections of each worker."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import textwrap
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from helpers import eventually, script_command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="gunicorn forks"),
    pytest.mark.skipif(importlib.util.find_spec("gunicorn") is None, reason="no gunicorn"),
]

APPLICATION = """
import os
import millpond

class Connection:
    def __init__(self):
        self.pid = os.getpid()

    def rollback(self):
        assert self.pid == os.getpid(), "a worker used its parent's connection"

    close = rollback

pool = millpond.Pool(Connection, min_size=1, max_size=2)
pool.wait()
with pool.connection() as connection:
    master = connection.pid

def app(environ, start_response):
    with pool.connection() as connection:
        own = connection.pid == os.getpid() != master
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {own}".encode()]
"""


@contextmanager
def gunicorn(folder: Path, worker: str) -> Iterator[subprocess.Popen[str]]:
    """Serve the application with two workers on a socket in that folder."""
    (folder / "application.py").write_text(textwrap.dedent(APPLICATION))
    _, environment = script_command("")
    environment["HOME"] = str(folder)  # where gunicorn puts its control socket
    options = ["--preload", "--workers", "2", "--worker-class", worker, "--bind", "unix:socket"]
    command = [sys.executable, "-m", "gunicorn", *options, "application:app"]
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as server:
        try:
            yield server
        finally:
            server.terminate()
            try:
                server.communicate(timeout=20)
            except subprocess.TimeoutExpired:
                server.kill()


def ask(path: Path) -> str:
    """Make one request, and give the body of the answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(10)
        client.connect(str(path))
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b" 200 OK" in head.splitlines()[0], answer
    return body.decode()


@pytest.mark.parametrize("worker", ["sync", "gthread"])
def test_each_worker_of_a_preloaded_application_opens_its_own_connections(
    tmp_path: Path, worker: str
) -> None:
    """Scenario 41."""
    path = tmp_path / "socket"
    answers: set[str] = set()

    with gunicorn(tmp_path, worker) as server:
        eventually(lambda: path.exists() or server.poll() is not None, timeout=20)

        def both_have_answered() -> bool:
            # The socket is there a moment before anybody listens.
            with suppress(ConnectionRefusedError):
                answers.add(ask(path))
            return len(answers) >= 2

        eventually(both_have_answered, timeout=20)
        server.send_signal(signal.SIGTERM)
        log, _ = server.communicate(timeout=20)

    assert len(answers) == 2
    assert all(answer.endswith(" True") for answer in answers)
    assert server.returncode == 0
    assert "Traceback" not in log
