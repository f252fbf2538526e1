"""Stories with five threads on one to three connections, told by DBUtils and by millpond."""

from __future__ import annotations

import os
from itertools import zip_longest

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings

from differential.crew import Crew, CrewScript, crew_scripts, tell
from differential.fake_driver import FakeDriver, Kind
from differential.implementations import DBUTILS, MILLPOND, Implementation

EXAMPLES = int(os.environ.get("MILLPOND_DIFFERENTIAL_EXAMPLES", "60"))
OPTIONS = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=os.environ.get("CI") == "true",
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@settings(OPTIONS)
@given(crew_scripts())
def test_threads_that_wait_for_each_other_get_the_same(script: CrewScript) -> None:
    for theirs, ours in zip_longest(tell(script, DBUTILS), tell(script, MILLPOND)):
        assert ours == theirs


@settings(OPTIONS, max_examples=20)
@given(crew_scripts())
def test_dbutils_tells_a_story_with_threads_the_same_way_each_time(script: CrewScript) -> None:
    assert tell(script, DBUTILS) == tell(script, DBUTILS)


def test_the_stories_are_about_waiting() -> None:
    """In some of them three threads wait at once, and all of them are served."""

    def three_wait(script: CrewScript) -> bool:
        return any(sum(waits) >= 3 for _, _, waits, *_ in tell(script, MILLPOND))

    script = find(crew_scripts(), three_wait, settings=settings(OPTIONS, max_examples=500))

    *_, last = tell(script, MILLPOND)
    assert not any(last[2])


def test_a_pool_that_serves_the_latest_first_is_found() -> None:
    class LatestFirst(DBUTILS.PooledDB):  # type: ignore[misc,name-defined]
        def cache(self, con: object) -> None:
            self._lock._waiters.reverse()
            super().cache(con)
            self._lock._waiters.reverse()

    other = type(DBUTILS)("dbutils", LatestFirst, DBUTILS.PersistentDB, DBUTILS.SteadyDB)
    script = CrewScript(
        {"maxconnections": 1},
        (("borrow", 0), ("borrow", 1), ("borrow", 2), ("close", 0)),
    )

    assert tell(script, DBUTILS) == tell(script, DBUTILS)
    assert tell(script, other) != tell(script, DBUTILS)


@pytest.mark.parametrize("implementation", [DBUTILS, MILLPOND], ids=lambda one: one.name)
def test_the_last_one_gets_what_the_first_one_had(implementation: Implementation) -> None:
    script = CrewScript(
        {"maxconnections": 1},
        tuple(("borrow", who) for who in range(5)) + tuple(("close", who) for who in range(4)),
    )

    steps = tell(script, implementation)

    assert [held for _, _, _, held, *_ in steps[5:10]] == [
        [[0] if who == number else [] for who in range(5)] for number in range(5)
    ]


def test_a_wait_in_vain_costs_a_place_in_dbutils_only() -> None:
    """The difference `first-come-first-served`, without a race."""

    def second_served(implementation: Implementation) -> int:
        with FakeDriver(Kind()) as driver:
            crew = Crew(CrewScript({"maxconnections": 2}, ()), implementation, driver)
            for who in range(4):
                crew.perform("borrow", who)
                crew.settle()
            crew.pool._maxconnections = 1
            for who in (0, 1):  # the first of these two places is not given to anybody
                crew.perform("close", who)
                crew.settle()
            served = next(who for who in (2, 3) if not crew.sailors[who].busy)
            assert len(list(crew.go_home())) == 3
            return served

    assert second_served(DBUTILS) == 3
    assert second_served(MILLPOND) == 2


def test_a_higher_limit_serves_who_waits_in_millpond_only() -> None:
    """The difference `raise-serves-waiters`."""

    def still_waiting(implementation: Implementation) -> int:
        with FakeDriver(Kind()) as driver:
            crew = Crew(CrewScript({"maxconnections": 1}, ()), implementation, driver)
            for who in range(3):
                crew.perform("borrow", who)
                crew.settle()
            crew.pool._maxconnections = 2
            crew.settle()
            waiting = crew.waiting()
            assert len(list(crew.go_home())) == 4
            return waiting

    assert still_waiting(DBUTILS) == 2
    assert still_waiting(MILLPOND) == 1
