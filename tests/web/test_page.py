"""The page for people, in a real browser."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import pytest

from browsers import browser
from helpers import eventually, pass_time
from millpond.web import serve
from observing import break_down

if TYPE_CHECKING:
    from collections.abc import Iterator

    from browsers import Browser
    from fakes import FakeDatabase
    from helpers import MakePool
    from millpond._core import ManualClock

pytestmark = pytest.mark.slow

HOSTILE = "<img src=x onerror='document.title=1'> & \"co\""


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    """Give a browser's window."""
    with browser() as opened:
        yield opened


def shows(window: Browser, *expected: str, selector: str = "body") -> bool:
    """Say whether a reader sees all that."""
    seen = window.text(selector)
    return all(one in seen for one in expected)


def test_it_shows_sizes_holders_and_options(
    make_pool: MakePool, clock: ManualClock, window: Browser
) -> None:
    pool = make_pool(name="orders", max_size=4, leak_threshold=60.0, _clock=clock, _inline=True)
    idle, held = pool.acquire(), pool.acquire()
    pool.release(idle)
    pass_time(pool, clock, 7.0)

    with serve(pools=[pool]) as server:
        window.open(server.url)
        eventually(lambda: shows(window, "orders", "1 in use", "1 idle", "0 to 4 allowed"))

        assert shows(window, "healthy", selector=".badge")
        holders = window.text(".holders tbody")
        assert "7 s" in holders
        assert threading.current_thread().name in holders
        assert "test_page.py" in holders
        window.run("document.querySelector('details').open = true")
        assert shows(window, '"max_size": 4', selector="pre")
    pool.release(held)


def test_it_refreshes_itself_and_keeps_open_what_was_opened(
    make_pool: MakePool, window: Browser
) -> None:
    pool = make_pool(name="orders", max_size=4)
    with serve(pools=[pool]) as server:
        window.open(server.url)
        eventually(lambda: shows(window, "0 in use"))
        window.run("document.querySelector('details').open = true")

        held = pool.acquire()

        eventually(lambda: shows(window, "1 in use"))
        assert window.run("return document.querySelector('details').open") is True
        pool.release(held)


def test_it_shows_an_outage(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock, window: Browser
) -> None:
    pool = make_pool(name="orders", fail_fast_after=5.0, _clock=clock)
    break_down(pool, driver, clock)

    with serve(pools=[pool]) as server:
        window.open(server.url)

        eventually(lambda: shows(window, "unhealthy", selector=".badge"))
        assert shows(
            window,
            "no attempt to connect has succeeded for",
            "OperationalError: connection refused",
            selector=".alerts .error:last-of-type, .alerts",
        )
        assert window.run("return document.title") == "⚠ millpond"


def test_names_are_shown_as_they_are_and_do_nothing(make_pool: MakePool, window: Browser) -> None:
    pool = make_pool(name=HOSTILE)

    with serve(pools=[pool]) as server:
        window.open(server.url)
        eventually(lambda: window.text("h2") == HOSTILE)

        assert window.run("return document.title") == "millpond"
        assert window.run("return document.images.length") == 0


def test_it_asks_nobody_but_its_own_host_and_breaks_no_rule_of_its_own(
    make_pool: MakePool, window: Browser
) -> None:
    window.complaints()
    with serve(pools=[make_pool(name="orders")]) as server:
        window.open(server.url)
        eventually(lambda: shows(window, "orders"))

        names = window.run("return performance.getEntriesByType('resource').map(one => one.name)")

        assert set(names) == {f"{server.url}pool.json"}
        assert window.complaints() == []


def test_a_process_that_is_gone_is_noticed(make_pool: MakePool, window: Browser) -> None:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(serve(pools=[make_pool(name="orders")]))
        window.open(server.url)
        eventually(lambda: shows(window, "orders"))

    eventually(lambda: shows(window, "not answering", selector="#trouble"))
    assert shows(window, "orders")


def test_a_process_without_pools_says_so(window: Browser) -> None:
    with serve(pools=[]) as server:
        window.open(server.url)

        eventually(lambda: shows(window, "This process has no pools."))
