"""Where a ``/pool.json`` is, how to get it, and why there was none, in words.

Nothing here lets a password out.
"""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from millpond.drivers import redact
from millpond.errors import PoolConfigError

__all__ = ["MOST_BYTES", "Endpoint", "endpoint", "fetch", "printable", "reason"]

MOST_BYTES: Final = 16 * 2**20
"""Bytes of an answer that are read; a pool with a thousand connections has about 300,000."""

_PART: Final = 2**16
_MOST_WAITS: Final = 5
_UNAUTHORIZED: Final = 401


@dataclass(frozen=True)
class Endpoint:
    """Where a ``/pool.json`` is.

    Attributes:
        url: Its address, without a name and a password.
        where: Host and port.
        authorization: The header with the name and the password, or ``None``.
    """

    url: str
    where: str
    authorization: str | None = field(default=None, repr=False)


def endpoint(text: str) -> Endpoint:
    """Return the endpoint that ``text`` names: a URL, that of its folder, or host and port of one.

    Raises:
        PoolConfigError: It can't be one. The message has no password.
    """
    full = text if "://" in text else f"http://{text}"
    shown = redact(full) if full == text else redact(full).removeprefix("http://")
    problem = f"{shown!r} is not supported; allowed: http://host:port/pool.json, host:port"
    try:
        parts = urlsplit(full)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise PoolConfigError(problem) from None
    if parts.scheme not in {"http", "https"} or not host:
        raise PoolConfigError(problem)
    name = f"[{host}]" if ":" in host else host
    where = name if port is None else f"{name}:{port}"
    # As a browser has the page for people: without what only a program asks for.
    path = parts.path if parts.path.endswith(".json") else f"{parts.path.rstrip('/')}/pool.json"
    return Endpoint(
        urlunsplit((parts.scheme, where, path, parts.query, "")),
        where,
        _basic(parts.username, parts.password),
    )


def fetch(at: Endpoint, timeout: float) -> bytes:
    """Return what a server answers.

    Args:
        at: Which one.
        timeout: Seconds that it may let us wait, each time; in all it may take five times as long.

    Raises:
        OSError: It did not answer, or with an error.
        HTTPException: It does not speak HTTP.
        ValueError: The answer is too long, or takes too long.
    """
    headers = {"Accept": "application/json"}
    if at.authorization is not None:
        headers["Authorization"] = at.authorization
    request = Request(at.url, headers=headers)  # noqa: S310 - http, see endpoint()
    deadline = time.monotonic() + _MOST_WAITS * timeout
    body = bytearray()
    with build_opener(_Redirects).open(request, timeout=timeout) as answer:
        # Not all at once: each byte may keep us waiting, and a stream of events never ends.
        while part := answer.read1(_PART):
            body += part
            if len(body) > MOST_BYTES:
                msg = f"the answer is longer than {MOST_BYTES // 2**20} MiB"
                raise ValueError(msg)
            if time.monotonic() > deadline:
                msg = f"the answer has no end after {_MOST_WAITS * timeout:g} s"
                raise ValueError(msg)
    return bytes(body)


def reason(error: Exception) -> str:
    """Say on one line why there is no document."""
    if isinstance(error, HTTPError):
        error.close()
        hint = ": http://user:password@host" if error.code == _UNAUTHORIZED else ""
        return printable(f"HTTP {error.code} {error.reason}{hint}")
    if isinstance(error, URLError):
        error = error.reason if isinstance(error.reason, Exception) else error
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return "the answer is no JSON"
    told = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return printable(" ".join(told.split())) or type(error).__name__


def printable(text: str) -> str:
    """Take out of a text from elsewhere what would move a terminal's cursor."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


class _Redirects(HTTPRedirectHandler):
    """Sends a name and a password only to where they were meant for, or there by https."""

    def redirect_request(self, req: Request, *args: Any) -> Request | None:  # noqa: ANN401
        found = super().redirect_request(req, *args)
        if found is not None:
            old, new = urlsplit(req.full_url), urlsplit(found.full_url)
            if new.netloc != old.netloc or new.scheme not in {old.scheme, "https"}:
                found.remove_header("Authorization")
        return found


def _basic(user: str | None, password: str | None) -> str | None:
    if user is None:
        return None
    pair = f"{unquote(user)}:{unquote(password or '')}"
    return "Basic " + base64.b64encode(pair.encode()).decode("ascii")
