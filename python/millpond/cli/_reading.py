"""One look at a server's ``/pool.json``."""

import json
import time
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any

from millpond.cli._pools import PoolView, read_document
from millpond.doctor.ask import Endpoint, fetch, reason

__all__ = ["Reading", "take"]


@dataclass(frozen=True)
class Reading:
    """What a server said when it was asked.

    Attributes:
        endpoint: Which one.
        time: When, by ``time.time()``.
        pools: Its pools.
        error: Why there are none, or ``None``.
        document: What it said, as it said it.
    """

    endpoint: Endpoint
    time: float
    pools: tuple[PoolView, ...] = ()
    error: str | None = None
    document: Any = field(default=None, repr=False)


def take(at: Endpoint, timeout: float, before: Reading | None = None) -> Reading:
    """Ask a server once; whatever goes wrong becomes the reading's error.

    Args:
        at: Which one.
        timeout: Seconds that it may let us wait, each time.
        before: The reading before, for rates.
    """
    earlier = {} if before is None else {pool.key: pool for pool in before.pools}
    try:
        document = json.loads(fetch(at, timeout))
        pools = read_document(document, at.url, at.where, earlier)
    except (OSError, ValueError, RecursionError, HTTPException) as error:
        return Reading(at, time.time(), error=reason(error))
    return Reading(at, time.time(), pools, document=document)
