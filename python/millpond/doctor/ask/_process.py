"""A running process, by its ``/pool.json``; or the file into which somebody has saved it."""

from __future__ import annotations

import json
from http.client import HTTPException
from pathlib import Path
from typing import Final

from millpond.doctor.ask._pool_json import MOST_BYTES, endpoint, fetch, reason
from millpond.doctor.outside import RunningPool, read_document
from millpond.drivers import redact
from millpond.errors import PoolConfigError

__all__ = ["ask_process"]

_TIMEOUT: Final = 5.0


def ask_process(source: str) -> list[RunningPool]:
    """Return the pools of a process.

    Args:
        source: The URL of its ``/pool.json``, or the name of a file.

    Raises:
        PoolConfigError: Nobody answers, there is no such file, or it has something else.
    """
    where = redact(source)
    try:
        is_url = source.startswith(("http://", "https://"))
        document = json.loads(fetch(endpoint(source), _TIMEOUT) if is_url else _read(source))
    except (OSError, ValueError, HTTPException, RecursionError) as error:
        msg = f"process={where!r}: must be the URL of a /pool.json, or a file: {reason(error)}"
        raise PoolConfigError(msg) from None
    return read_document(document, where)


def _read(name: str) -> bytes:
    with Path(name).open("rb") as file:
        return file.read(MOST_BYTES)
