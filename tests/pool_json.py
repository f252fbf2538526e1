"""A server that answers like millpond.web's ``/pool.json``, from real pools, or in worse ways."""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import millpond

CRITICAL = {
    "severity": "critical",
    "message": "utilization 1.00 is over 0.95",
    "metric": "utilization",
    "value": 1.0,
    "threshold": 0.95,
}


def document(*pools: millpond.Pool[Any], alerts: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    """Give what `/pool.json` says of these pools, each with the same alerts."""
    return {
        "millpond": "0",
        "pid": os.getpid(),
        "time": time.time(),
        "pools": [
            {
                "stats": {"time": time.time(), **pool.stats().to_dict()},
                "options": {"max_size": pool.stats().max_size, "connect": "sqlite:///app.db"},
                "health": {"healthy": not alerts, "alerts": list(alerts)},
            }
            for pool in pools
        ],
    }


class PoolJson:
    """A server on a port of its own.

    Attributes:
        url: Its address.
        where: Host and port of it.
        answer: Gives status and body of the next answer; to be replaced.
        headers: What its next answers have beside that.
        asked: The headers of each request.
    """

    def __init__(self, port: int, answer: Callable[[], tuple[int, bytes]]) -> None:
        self.where = f"127.0.0.1:{port}"
        self.url = f"http://{self.where}/pool.json"
        self.answer = answer
        self.headers: dict[str, str] = {}
        self.asked: list[dict[str, str]] = []


@contextmanager
def serve(tell: Callable[[], Any]) -> Iterator[PoolJson]:
    """Serve `tell()` as JSON for the length of a block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server_.asked.append({"path": self.path, **dict(self.headers.items())})
            status, body = server_.answer()
            self.send_response(status)
            for name, value in server_.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server_ = PoolJson(http.server_port, lambda: (200, json.dumps(tell()).encode()))
        thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server_
        finally:
            http.shutdown()
            thread.join()
