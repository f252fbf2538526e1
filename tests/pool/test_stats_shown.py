"""Statistics of several pools as one, as plain values, and as a table."""

from __future__ import annotations

import json
import math
import pickle
import time
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import pytest

import millpond
from helpers import waiting
from millpond import _stats_table
from millpond._stats import merge

if TYPE_CHECKING:
    from helpers import MakePool
    from millpond._core import ManualClock


class TestMerge:
    """Several pools as if they were one."""

    def test_counters_are_summed_and_extremes_are_extremes(
        self, make_pool: MakePool, clock: ManualClock
    ) -> None:
        one = make_pool(max_size=2, _clock=clock, _inline=True)
        two = make_pool(max_size=3, _clock=clock)
        clock.advance(5)
        held = [one.acquire(), two.acquire(), two.acquire(), two.acquire()]
        waiter = waiting(two)
        clock.advance(5)

        whole = merge("both", (1, 5), [one.stats(), two.stats()])

        assert (whole.name, whole.min_size, whole.max_size) == ("both", 1, 5)
        assert (whole.acquired, whole.in_use, whole.opened, whole.waiting) == (4, 4, 4, 1)
        assert (whole.longest_wait, whole.waits) == (5.0, (5.0,))
        assert whole.utilization == 0.8
        assert whole.open_time.count == 4
        assert [one.slot for one in whole.connections] == [0, 0, 1, 2]
        assert whole.mean_age == 5.0
        one.release(held[0])
        two.release(held[1])
        two.release(waiter.result())

    def test_one_is_itself(self, make_pool: MakePool) -> None:
        pool = make_pool(max_size=2, _inline=True)
        pool.release(pool.acquire())
        stats = pool.stats()

        whole = merge(stats.name, (0, 2), [stats]).to_dict()

        expected = stats.to_dict()
        for dictionary in (whole, expected):
            del dictionary["time"], dictionary["window"]
        assert diff(whole, expected) == []

    def test_none_is_an_empty_pool(self) -> None:
        whole = merge("nobody", (0, 0), [])

        assert (whole.size, whole.acquired, whole.closed) == (0, 0, {})
        assert (whole.mean_age, whole.failing, whole.last_error) == (None, None, None)
        assert json.dumps(whole.to_dict(), allow_nan=False)


def diff(one: Any, other: Any, path: str = "") -> list[str]:
    """Name what differs by more than rounding."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        return [name for key in one for name in diff(one[key], other[key], f"{path}.{key}")]
    if isinstance(one, list):
        pairs = zip(one, other, strict=True)
        return [name for pair in pairs for name in diff(*pair, f"{path}[]")]
    if isinstance(one, float) and isinstance(other, float):
        return [] if math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-8) else [path]
    return [] if one == other else [path]


def busy(make_pool: MakePool, clock: ManualClock) -> millpond.PoolStats:
    """Give the statistics of a pool in which everything has a value."""
    pool = make_pool(max_size=40, name="orders", leak_threshold=5.0, _clock=clock, _inline=True)
    for _ in range(30):
        pool.acquire()
        clock.advance(0.5)
    return pool.stats()


class TestShown:
    """As a table, and as plain values."""

    def test_everything_is_plain(self, make_pool: MakePool, clock: ManualClock) -> None:
        stats = busy(make_pool, clock)

        plain = stats.to_dict()

        assert json.loads(json.dumps(plain, allow_nan=False)) == plain
        assert list(plain) == [field.name for field in fields(stats)]
        assert list(plain["window"]) == [field.name for field in fields(stats.window)]
        assert plain["connections"][0]["site"][0] == __file__
        assert plain["open_time"]["buckets"][0][1] >= 1

    def test_the_keys_are_those_that_others_rely_on(self, make_pool: MakePool) -> None:
        plain = make_pool().stats().to_dict()

        assert set(plain) >= {"failure_rate", "utilization", "mean_age", "window", "time"}
        assert set(plain["window"]) == {
            *("seconds", "acquired", "queued", "timed_out", "failed", "opened", "open_failed"),
            *("closed", "checks_failed", "leaks", "failure_rate", "acquire_rate", "utilization"),
            *("wait_time", "use_time", "open_time"),
        }

    def test_changing_what_was_given_changes_nothing(self, make_pool: MakePool) -> None:
        stats = make_pool().stats()

        stats.to_dict()["closed"]["idle"] = 99

        assert stats.closed["idle"] == 0

    def test_a_copy_is_the_same(self, make_pool: MakePool, clock: ManualClock) -> None:
        stats = busy(make_pool, clock)

        assert pickle.loads(pickle.dumps(stats)) == stats

    def test_the_time_is_that_of_the_look(self, make_pool: MakePool) -> None:
        before = time.time()
        assert before <= make_pool().stats().time <= time.time()

    def test_a_table_fits_into_eighty_columns(
        self, make_pool: MakePool, clock: ManualClock
    ) -> None:
        table = str(busy(make_pool, clock))

        assert max(len(line) for line in table.splitlines()) <= 80
        assert len(table.splitlines()) < 60
        assert table.startswith("pool 'orders': 30 in use, 0 idle, 0 opening, 0 waiting\n")
        assert "30 in use" in table
        assert "and 10 more" in table
        line = next(line for line in table.splitlines() if "in use  " in line)
        name, place = line.split()[-2:]
        assert "MainThread".startswith(name)
        assert place.startswith("test_stats_shown.py:")
        assert place.rpartition(":")[2].isdigit()
        assert " 50%" not in table.splitlines()[0]
        assert "75% in use" in table

    def test_names_may_be_long_and_odd(self, make_pool: MakePool) -> None:
        stats = make_pool(name="checkout-" * 9).stats()
        held = millpond.ConnectionStats(0, "in use", 1.0, 1, None, 1.0, 7, None, None, "a\nb", 1)

        table = str(replace(stats, connections=(held,)))

        first, last = table.splitlines()[0], table.splitlines()[-1]
        assert first.startswith("pool 'checkout-checkout-")
        assert first.endswith("…: 0 in use, 0 idle, 0 opening, 0 waiting")
        assert len(first) == 80
        assert last.endswith("  a b")

    def test_an_empty_pool_has_a_table_too(self) -> None:
        assert "nobody" in str(merge("nobody", (0, 0), []))

    @pytest.mark.parametrize(
        ("seconds", "shown"),
        [
            (None, "-"),
            (0.0, "0 s"),
            (5e-9, "5 ns"),
            (1.5e-6, "1.5 us"),
            (0.0123, "12.3 ms"),
            (0.9996, "0.9996 s"),
            (0.0009999, "1 ms"),
            (59.99, "59.99 s"),
            (9_999.7, "2.778 h"),
            (36_000.0, "10 h"),
        ],
    )
    def test_a_duration_has_the_unit_that_fits(self, seconds: float | None, shown: str) -> None:
        assert _stats_table.seconds(seconds) == shown
