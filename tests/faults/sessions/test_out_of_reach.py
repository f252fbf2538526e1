"""Query timeouts where no cancellation gets through: the network is silent."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

import millpond
from helpers import eventually, in_thread
from millpond import _query
from proxy import proxy

if TYPE_CHECKING:
    from faults.sessions.bench import Bench

pytestmark = pytest.mark.slow

# A driver takes up to five seconds for a cancellation of its own.
SOON = 8.0


def test_a_statement_is_left_when_nothing_ends_it(
    served: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread comes free, the connection is replaced, and the next one is answered."""
    monkeypatch.setattr(_query, "LONGEST_CANCEL", 0.5)
    parts = urlsplit(served.case.url)
    if parts.hostname is None or parts.port is None:
        pytest.skip("the server is reached by a Unix socket, which has no wire")
    mark = f"mark_{time.monotonic_ns()}"
    with (
        proxy((parts.hostname, parts.port)) as wire,
        millpond.Pool(wire.url(served.case.url), max_size=1) as pool,
    ):

        def block() -> None:
            with pool.connection(query_timeout=1.0) as conn:
                served.case.rows(conn, f"{served.case.endless} /* {mark} */")

        running = in_thread(block)
        eventually(lambda: served.running(mark) == 1)
        wire.freeze()
        began = time.monotonic()
        error = running.error(20.0)

        assert isinstance(error, millpond.QueryTimeout)
        assert time.monotonic() - began < SOON
        assert pool._driver.is_disconnect(error.__cause__ or error)
        wire.cut(reset=True)
        wire.thaw()
        with pool.connection(timeout=20.0) as conn:
            assert served.value(conn, "SELECT 77") == 77
        assert pool.stats().in_use == 0
