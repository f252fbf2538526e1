"""What `millpond top` makes of readings: rates, columns, sorting and the detail."""

from __future__ import annotations

from typing import Any

import pytest

from millpond.cli._pools import Key, quantile, read_document
from millpond.cli.top._columns import COLUMNS, bar, columns_in
from millpond.cli.top._detail import age
from millpond.cli.top._view import View
from top_views import HERE, drawn, view_of


def test_the_rate_is_that_since_the_reading_before() -> None:
    first = view_of(acquired=100, time=10.0, window={"acquire_rate": 3.0})

    def rate(pid: int, acquired: int = 150, at: float = 12.0) -> float | None:
        told = {"stats": {**first.stats, "acquired": acquired, "time": at}}
        before = {first.key: first}
        (second,) = read_document({"pid": pid, "pools": [told]}, HERE.url, HERE.where, before)
        return second.rate

    assert first.rate == 3.0
    assert rate(pid=1) == 25.0
    # A new process counts from zero, and so does a pool that was made anew.
    assert rate(pid=2) == 3.0
    assert rate(pid=1, acquired=50) == 3.0
    # The same moment again: somebody keeps the answers.
    assert rate(pid=1, at=10.0) == 3.0


def test_waits_are_those_of_all_acquires_not_only_of_those_that_queued() -> None:
    waits = {"sum": 1.0, "mean": 0.1, "p99": 0.4, "max": 0.35, "buckets": [[0.1, 9], [0.4, 1]]}

    rare = view_of(window={"acquired": 2000, "wait_time": waits})
    usual = view_of(window={"acquired": 10, "wait_time": waits})

    assert (rare.wait_mean, rare.wait_p99) == (0.0005, 0.0)
    # No bucket's bound says more than the longest.
    assert (usual.wait_mean, usual.wait_p99) == (0.1, 0.35)


@pytest.mark.parametrize(
    ("share", "zeros", "expected"),
    [(0.5, 0, 1.0), (0.51, 0, 2.0), (1.0, 0, 4.0), (0.5, 8, 0.0), (0.9, 8, 2.0)],
)
def test_a_quantile_is_the_bound_of_the_bucket_it_falls_into(
    share: float, zeros: int, expected: float
) -> None:
    assert quantile([(1.0, 4), (2.0, 3), (4.0, 1)], share, zeros) == expected


def test_without_durations_there_is_no_quantile() -> None:
    assert quantile([], 0.99) is None


def test_two_pools_of_the_same_name_are_two() -> None:
    told = {"stats": view_of().stats}
    pools = read_document({"pools": [told, told]}, HERE.url, HERE.where, {})

    assert [pool.key for pool in pools] == [
        Key(HERE.url, "orders", 0),
        Key(HERE.url, "orders", 1),
    ]


@pytest.mark.parametrize("width", [40, 80, 100, 120, 200])
def test_no_line_is_wider_than_the_window(width: int) -> None:
    names = ["a-pool-with-a-very-long-name-indeed", "b"]
    huge = {"acquire_rate": 1.23e7, "acquired": 10**9, "timed_out": 9999, "failed": 9999}
    pools = [view_of(name, window=huge, max_size=1000, in_use=1000, idle=0) for name in names]

    lines = drawn(pools, View(), width).splitlines()
    in_detail = drawn(pools, View(selected=pools[0].key, detail=True), width, 24).splitlines()

    assert all(len(line) <= width for line in lines + in_detail)
    assert len(lines) == 4
    assert "12.3M" in lines[2] or width == 40


@pytest.mark.parametrize(
    ("rate", "shown"),
    [(0.0, "0"), (1.25, "1.2"), (9999.4, "9999"), (12_345.0, "12.3k"), (5.25e6, "5250k")],
)
def test_a_rate_is_short(rate: float, shown: str) -> None:
    (text,) = [each.text for each in COLUMNS if each.title == "acq/s"]

    assert text(view_of(window={"acquire_rate": rate}), 80) == shown


def test_what_is_new_in_a_wide_window_is_not_in_a_narrow_one() -> None:
    titles = {
        width: [COLUMNS[place].title for place in columns_in(width, 1)] for width in (80, 120)
    }

    assert {"pid", "alerts", "server"} == set(titles[120]) - set(titles[80])


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.0, "    "), (0.5, "██  "), (0.53, "██▏ "), (1.0, "████"), (9, "████")],
)
def test_a_bar_is_as_long_as_its_share(share: float, expected: str) -> None:
    assert bar(share, 4) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (None, "-"),
        (0.02, "20 ms"),
        (4.21, "4.21 s"),
        (0.9997, "1000 ms"),
        (192, "3m 12s"),
        (7260, "2h 1m"),
        (1e5, "1d 3h"),
    ],
)
def test_an_age_is_short(seconds: float | None, expected: str) -> None:
    assert age(seconds) == expected


def test_keys_sort_by_a_column_and_turn_it_round() -> None:
    pools = [view_of("a", waiting=1), view_of("b", waiting=3), view_of("c", waiting=2)]
    shown = columns_in(80, 1)
    view = View()

    def names_after(*keys: str) -> str:
        for key in keys:
            view.press(key, pools, shown)
        return "".join(pool.name for pool in view.arrange(pools))

    assert names_after() == "abc"
    assert names_after("3") == "bca"
    assert names_after("3") == "acb"
    assert names_after("r") == "bca"
    assert names_after("1") == "abc"
    assert names_after("s", "s") == "bca"
    assert names_after("S", "S") == "abc"
    # No such column in this window.
    assert names_after("0") == "abc"


def test_the_cursor_stays_on_its_pool_while_they_change_places() -> None:
    busy, idle = view_of("busy", waiting=9), view_of("idle")
    view, shown = View(), columns_in(80, 1)
    view.arrange([busy, idle])

    view.press("down", [busy, idle], shown)
    view.press("3", [busy, idle], shown)
    view.press("r", [busy, idle], shown)

    assert view.selected == idle.key
    view.press("up", [busy, idle], shown)
    assert view.selected == idle.key


def test_enter_shows_a_pool_and_escape_the_list() -> None:
    pools = [view_of("a"), view_of("b")]
    view, shown = View(), columns_in(80, 1)
    view.arrange(pools)

    view.press("down", pools, shown)
    view.press("enter", pools, shown)
    assert drawn(pools, view, height=24).splitlines()[1].startswith("b  here:80, process 1")
    # Gone while it is looked at.
    assert "b is gone" in drawn(pools[:1], view, height=24)
    view.press("escape", pools, shown)
    assert "use+idle" in drawn(pools, view, height=24)


def test_the_detail_lists_who_holds_what_the_longest_first() -> None:
    def connection(slot: int, held: float | None, **more: Any) -> dict[str, Any]:
        state = "idle" if held is None else "in use"
        return {"slot": slot, "state": state, "age": 60, "uses": 5, "held": held, **more}

    pool = view_of(
        connections=[
            connection(0, None),
            connection(1, 1.0, holder=77),
            connection(2, 30.0, holder=1, holder_name="request-7", site=["/app/views.py", 12, "f"]),
        ],
        closed={"idle": 3, "lifetime": 0},
        last_error="OSError: connection refused",
    )

    text = drawn([pool], View(selected=pool.key, detail=True), height=24)

    rows = [line.split() for line in text.splitlines() if " in use " in line or " idle " in line]
    assert rows[-3:] == [
        ["2", "in", "use", "1m", "0s", "5", "30", "s", "request-7", "/app/views.py:12", "f"],
        ["1", "in", "use", "1m", "0s", "5", "1", "s", "thread", "77"],
        ["0", "idle", "1m", "0s", "5"],
    ]
    assert "closed      3 idle\n" in text.replace(" " * 60, "")
    assert "OSError: connection refused" in text


def test_more_than_the_window_holds_can_be_scrolled_to() -> None:
    slots = [{"slot": slot, "state": "idle", "age": 1, "uses": 0} for slot in range(50)]
    pool = view_of(connections=slots)
    view = View(selected=pool.key, detail=True)

    first = drawn([pool], view, height=24)
    view.press("end", [pool], columns_in(80, 1))
    last = drawn([pool], view, height=24)

    assert len(first.splitlines()) <= 24
    assert "   0 idle" in first
    assert "  49 idle" not in first
    assert "  49 idle" in last


def test_the_chosen_pool_is_on_the_screen_even_if_not_all_are() -> None:
    pools = [view_of(f"pool-{number:02}") for number in range(50)]
    view = View()
    view.arrange(pools)
    view.press("end", pools, columns_in(80, 1))

    text = drawn(pools, view, height=12)

    assert len(text.splitlines()) <= 12
    assert "pool-49" in text
