"""The same stories told by DBUtils and by millpond: what the driver sees, and what users see.

The stories are made up by hypothesis, from every option of a pool with usual and odd values,
drivers of all kinds that fail at any call, and everything that can be done with connections and
cursors. The two agree in each step, except for the differences in `differential/differences.py`.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, event, given, settings

from differential.compare import both_tellings, parting
from differential.differences import BY_ID, DIFFERENCES, Difference
from differential.implementations import DBUTILS, MILLPOND
from differential.scripts import Script, Subject, scripts

EXAMPLES = int(os.environ.get("MILLPOND_DIFFERENTIAL_EXAMPLES", "100"))


@pytest.mark.parametrize("subject", ["PooledDB", "PersistentDB", "SteadyDB"])
def test_dbutils_and_millpond_tell_the_same_story(subject: Subject) -> None:
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=os.environ.get("CI") == "true",
        phases=[Phase.explicit, Phase.reuse, Phase.generate],  # `shortest` shrinks
        suppress_health_check=list(HealthCheck),
    )
    @given(scripts(subject))
    def they_agree(script: Script) -> None:
        found = parting(script, DBUTILS, MILLPOND)
        if found is not None:
            assert found.difference, both_tellings(found, DBUTILS, MILLPOND)
            event(found.difference.id)

    they_agree()


def test_an_interrupt_while_a_lost_connection_is_replaced_keeps_no_connection_in_a_cycle() -> None:
    """Found by the stories: it was closed when the collector next ran, and not at once."""
    script = Script(
        operations=(
            ("connection", False),
            ("fail", "rollback", ("operational",)),
            ("fail", "close", ("interrupted",)),
            ("drop", 0),
        )
    )

    found = parting(script, DBUTILS, MILLPOND)

    assert found is not None
    assert found.where.ours.events == found.where.theirs.events
    assert found.where.ours.events[-1] == ("close", 0)
    assert found.difference is BY_ID["interrupted-finalizer"], str(found)


# The shortest story for each of the differences that a story can show.
STORIES = {
    "close-counts-once": Script(
        operations=(("connection", True), ("close the pool",), ("close", 0)),
        options={"maxshared": 1},
    ),
    "limit-holds-for-shared": Script(
        operations=(("connection", False), ("connection", True), ("connection", True)),
        options={"maxshared": 2, "maxconnections": 2},
    ),
    "maxshared-none": Script(options={"maxshared": None, "maxconnections": 1}),
    "maxshared-negative": Script(operations=(("connection", True),), options={"maxshared": -1}),
    "counts-in-flight": Script(operations=(("fail", "connect", ("look",)), ("dedicated",))),
    "constructor-never-hangs": Script(
        options={"mincached": 2, "maxconnections": 1, "blocking": True}
    ),
    "limits-are-numbers": Script(options={"mincached": "2", "maxcached": "3"}),
    "close-takes-what-is-there": Script(
        operations=(("fail", "close", ("borrow",)), ("close the pool",)),
        options={"mincached": 1},
    ),
    "maxcached-holds": Script(
        operations=(("fail", "rollback", ("borrow",)), ("dedicated",), ("close", 0)),
        options={"maxcached": 1},
    ),
    "interrupted-finalizer": Script(
        operations=(("fail", "rollback", ("interrupted",)), ("dedicated",), ("drop", 0)),
    ),
    "interrupted-share": Script(
        operations=(
            ("fail", "ping", ("interrupted",)),
            ("connection", True),
            ("chain",),
        ),
        options={"maxshared": 1},
    ),
}


@pytest.mark.parametrize(
    "difference", [one for one in DIFFERENCES if one.explains], ids=lambda d: d.id
)
def test_each_difference_is_one_that_a_story_shows(difference: Difference) -> None:
    found = parting(STORIES[difference.id], DBUTILS, MILLPOND)

    assert found is not None
    assert found.difference is difference, str(found)
