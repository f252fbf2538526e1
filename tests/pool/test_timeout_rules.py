"""Why no connection came, by what a pool is like: the rules one by one, and what is told."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

import millpond
from fakes import OperationalError
from millpond import _explain, _stats
from millpond._explain import Wait, message_of, reason_of
from millpond._times import NO_TIMES, TimeStats

OTHER = 1
"""A thread that runs, and is not this one."""

# Uses that take a hundredth of a second.
BRISK = TimeStats.from_buckets({0.01: 1000}, 10.0, 0.01)


def connection(slot: int, **details: Any) -> millpond.ConnectionStats:
    """Give an idle connection, or whatever the details say."""
    state = "in use" if "held" in details else "idle"
    blank: dict[str, Any] = {
        "state": state,
        "age": 100.0,
        "uses": 1,
        "idle": None,
        "held": None,
        "holder": OTHER if state == "in use" else None,
        "latency": None,
        "site": None,
    }
    return millpond.ConnectionStats(slot=slot, **{**blank, **details})


def pool_of(
    *connections: millpond.ConnectionStats, max_size: int | None = None, **details: Any
) -> millpond.PoolStats:
    """Give the statistics of a pool with these connections."""
    nothing = _stats.merge("orders", (0, max_size or len(connections)), [])
    counted = _stats._count(connections)
    return replace(nothing, connections=connections, **counted, **details)


def held_for(*seconds: float) -> list[millpond.ConnectionStats]:
    """Give connections in use for so long."""
    return [connection(slot, held=held) for slot, held in enumerate(seconds)]


def why(stats: millpond.PoolStats, seconds: float = 5.0, **details: Any) -> str:
    """Give the reason of a timeout after five seconds."""
    running = frozenset({OTHER, threading.get_ident()})
    return reason_of(stats, Wait(seconds, **{"running": running, **details}))


class TestRules:
    """What the statistics say."""

    def test_connections_that_come_and_go_are_too_few(self) -> None:
        assert why(pool_of(*held_for(0.1, 2.4, 0.3), use_time=BRISK)) == "exhausted"

    def test_a_pool_without_anybody_in_it_is_just_exhausted(self) -> None:
        assert why(pool_of(max_size=0)) == "exhausted"

    def test_holders_that_keep_their_connections_for_half_of_the_wait_are_slow(self) -> None:
        assert why(pool_of(*held_for(2.6, 3.0, 0.1, 0.2))) == "slow_queries"
        assert why(pool_of(*held_for(2.6, 2.4, 0.1, 0.2))) == "exhausted"

    def test_who_does_not_wait_can_not_call_others_slow(self) -> None:
        assert why(pool_of(*held_for(0.05, 0.05)), seconds=0.0) == "exhausted"
        assert why(pool_of(*held_for(0.2, 0.2)), seconds=0.0) == "slow_queries"

    def test_one_holder_that_is_much_slower_than_all_others_may_be_a_leak(self) -> None:
        stats = pool_of(*held_for(300.0, 0.01, 0.01), use_time=BRISK)

        assert why(stats) == "leak_suspected"
        assert why(stats, seconds=400.0) == "exhausted"

    @pytest.mark.parametrize(
        "use_time",
        [NO_TIMES, TimeStats.from_buckets({0.01: 2}, 0.02, 0.01), TimeStats(9, 1, 60, 60, 60, 60)],
    )
    def test_it_is_none_where_nobody_knows_what_is_usual_or_that_is(
        self, use_time: TimeStats
    ) -> None:
        assert why(pool_of(*held_for(300.0, 0.01, 0.01), use_time=use_time)) == "exhausted"

    def test_a_use_under_a_second_is_no_leak(self) -> None:
        stats = pool_of(*held_for(0.9, 0.01, 0.01), use_time=BRISK)

        assert why(stats, seconds=0.5) == "exhausted"

    def test_all_that_leaked_one_after_the_other_are_leaks(self) -> None:
        assert why(pool_of(*held_for(900.0, 600.0, 60.0), use_time=BRISK)) == "leak_suspected"

    def test_all_that_stand_still_together_wait_for_something(self) -> None:
        assert why(pool_of(*held_for(61.0, 60.0, 60.0), use_time=BRISK)) == "slow_queries"

    def test_the_only_one_is_a_leak_if_it_is_unusual(self) -> None:
        assert why(pool_of(*held_for(60.0), use_time=BRISK)) == "leak_suspected"

    def test_the_threshold_says_what_a_leak_is(self) -> None:
        stats = pool_of(*held_for(3.0, 3.0), use_time=BRISK)

        assert why(stats, leak_threshold=2.0) == "leak_suspected"
        assert why(stats, leak_threshold=4.0) == "slow_queries"

    def test_what_a_thread_holds_that_has_ended_is_a_leak(self) -> None:
        ended = connection(0, held=0.2, holder=99)

        assert why(pool_of(ended, *held_for(0.2))) == "leak_suspected"
        assert why(pool_of(ended, *held_for(0.2)), running=None) == "exhausted"

    def test_a_thread_that_has_all_waits_for_itself(self) -> None:
        own = [connection(slot, held=60.0, holder=threading.get_ident()) for slot in range(2)]

        stats = pool_of(*own, use_time=BRISK)

        assert why(stats) == "exhausted"
        assert "this thread waits for itself" in message_of(stats, Wait(5.0), "exhausted")

    def test_a_task_may_wait_for_itself_too(self) -> None:
        stats = pool_of(connection(0, held=60.0, holder=4711), use_time=BRISK)

        assert why(stats, own=4711, running=frozenset({4711})) == "exhausted"
        assert "this task waits for itself" in message_of(stats, Wait(5.0, own=4711), "exhausted")
        assert why(stats, running=frozenset({4711})) == "leak_suspected"

    def test_who_did_not_wait_reads_no_microseconds(self) -> None:
        stats = pool_of(*held_for(0.1))

        assert " in 0 s: " in message_of(stats, Wait(7.64e-06), "exhausted")
        assert " in 0.00204 s: " in message_of(stats, Wait(0.00204), "exhausted")

    def test_a_database_is_down_when_there_is_room_and_the_last_attempt_failed(self) -> None:
        error = OperationalError("connection refused")

        assert why(pool_of(*held_for(9.0), max_size=2), error=error) == "database_down"
        assert why(pool_of(*held_for(0.1, 0.1)), error=error) == "exhausted"

    def test_a_pool_that_is_suspended_knows_nothing_of_the_database(self) -> None:
        error = OperationalError("refused, an hour ago")

        assert why(pool_of(connection(0), max_size=2), error=error, suspended=True) == "exhausted"

    def test_connecting_is_slow_when_there_is_room_and_attempts_are_under_way(self) -> None:
        opening = connection(1, state="connecting", age=4.0)

        assert why(pool_of(*held_for(0.1), opening)) == "connects_slow"
        assert why(pool_of(*held_for(0.1), connection(1, state="checking"))) == "connects_slow"
        assert why(pool_of(*held_for(0.1), connection(1))) == "exhausted"

    def test_who_was_overtaken_by_more_than_were_before_it_starved(self) -> None:
        stats = pool_of(*held_for(0.1, 0.1), waiting=2, waits=(6.0, 5.5))

        assert why(stats, overtaken=3) == "starved_by_priority"
        assert why(stats, overtaken=2) == "exhausted"

    def test_behind_a_long_queue_nobody_knows_whether_priority_was_to_blame(self) -> None:
        stats = pool_of(*held_for(0.1), waiting=50, waits=(9.0,) * _stats.MAX_WAITS)

        assert why(stats, overtaken=30) == "exhausted"

    @pytest.mark.parametrize("limit", ["max_size", "maxconnections"])
    @pytest.mark.parametrize("reason", sorted(_explain._ADVICE))
    def test_each_reason_has_an_advice_without_gaps(self, reason: str, limit: str) -> None:
        said = message_of(pool_of(*held_for(1.0)), Wait(5.0, 3, limit=limit), reason)

        assert "{" not in said
        assert len(said.splitlines()) == 3


class TestMessage:
    """What else is told."""

    def test_it_lists_who_else_waits(self) -> None:
        stats = pool_of(*held_for(1.0), waiting=7, waiting_high=2, waits=(4.0, 3.0, 2.0, 1.0))

        said = message_of(stats, Wait(5.0), "exhausted")

        assert "\n  7 callers wait, the first for 4 s, 3 s, 2 s; 2 of them with priority\n" in said

    def test_it_lists_the_connects_in_flight_the_oldest_first(self) -> None:
        opening = [connection(slot, state="connecting", age=float(slot)) for slot in range(1, 8)]

        said = message_of(pool_of(*opening), Wait(5.0), "connects_slow")

        assert "\n  connection 7 being opened for 7 s\n  connection 6 being opened for 6 s" in said
        assert "\n  and 2 more\n" in said

    def test_long_times_are_told_as_people_say_them(self) -> None:
        opening = connection(1, state="connecting", age=1234.5)
        stats = pool_of(*held_for(3600.4), opening, waiting=1, waits=(86400.0,))

        said = message_of(stats, Wait(999.6), "exhausted")

        for span in ("in 1000 s:", "at least 3600 s", "for 86400 s", "opened for 1234 s"):
            assert span in said

    def test_it_lists_no_more_holders_than_fit(self) -> None:
        said = message_of(pool_of(*held_for(*range(1, 9))), Wait(5.0), "exhausted")

        assert said.count("held for at least") == _explain.MAX_HOLDERS
        assert "and 3 more" in said
