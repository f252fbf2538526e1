"""The rules about a load, and the pools that have to carry it."""

from __future__ import annotations

from typing import Any

import pytest

from doctor.patients import configured, findings, found
from millpond.doctor import UNKNOWN, PoolOptions, examine
from millpond.doctor.outside import Workload
from millpond.sizing import by_load

SQLALCHEMY = "sqlalchemy.create_engine"


def load(*pools: PoolOptions, **said: Any) -> Workload:
    """Return a load of 400 users, each of whom asks for 100 ms once in a second."""
    asked: dict[str, Any] = {"users": 400, "query_time": 0.1, "think_time": 0.9}
    return Workload(pools=pools, **(asked | said))


def test_the_load_follows_littles_law() -> None:
    one, four = load(), load(workers=4)

    assert (one.arrival_rate, one.load) == (400.0, 40.0)
    assert (four.arrival_rate, four.load) == (100.0, 10.0)
    needed = by_load(400.0, 0.1, 0.1, probability=0.95)
    assert one.sizing == needed
    assert needed.size > 40
    assert load(pattern="bursty").sizing.size > needed.size


def test_nobody_needs_two_connections() -> None:
    alone = load(users=3, query_time=10.0, think_time=0.0)

    assert alone.sizing.size == 3
    assert "each of its 3 users" in alone.sizing.reason


def test_without_a_pool_it_says_which_size_the_load_needs() -> None:
    finding = found("MP400", load())

    assert finding.severity == "info"
    assert finding.fix == f"max_size = {load().sizing.size} in each process"
    assert "400/s" in finding.message
    assert examine([load()]) == [finding]
    assert findings("MP400", load(configured())) == []


@pytest.mark.parametrize(
    ("pool", "name"),
    [
        (configured(max_size=40), "max_size"),
        (configured("dbutils.PooledDB", maxconnections=40), "maxconnections"),
        (configured(SQLALCHEMY, pool_size=30), "pool_size + max_overflow"),
    ],
)
def test_a_pool_with_fewer_than_are_in_use_has_a_queue_without_end(
    pool: PoolOptions, name: str
) -> None:
    needed = load().sizing.size

    finding = found("MP401", load(pool))

    assert finding.severity == "error"
    assert finding.message.endswith(f"{name} is 40: the queue never ends")
    assert finding.fix.startswith(f"{name} = {needed},")
    assert (finding.change is None) == pool.is_sqlalchemy


def test_a_pool_that_is_tight_makes_users_wait() -> None:
    needed = load().sizing.size

    finding = found("MP401", load(configured(max_size=needed - 1)))

    assert finding.severity == "warning"
    assert "one in twenty waits" in finding.message
    assert findings("MP401", load(configured(max_size=needed))) == []
    assert findings("MP401", load(configured(max_size=UNKNOWN))) == []
    assert findings("MP401", load(configured("dbutils.PooledDB"))) == []


def test_a_pool_that_is_far_too_large() -> None:
    needed = load().sizing.size

    finding = found("MP402", load(configured(max_size=4 * needed)))

    assert finding.fix == f"max_size = {2 * needed}, which is twice of what it needs"
    assert findings("MP402", load(configured(max_size=4 * needed - 1))) == []
    assert "has no limit" in found("MP402", load(configured("dbutils.PooledDB"))).message
    # Nine connections are no matter, for whomever.
    assert findings("MP402", load(configured(max_size=9), users=1)) == []


QUIET: dict[str, Any] = {"think_time": 60.0, "pattern": "bursty"}


def test_a_burst_finds_no_open_connections() -> None:
    pool = configured(max_size=20)
    wanted = load(pool, **QUIET).sizing.size

    finding = found("MP403", load(pool, **QUIET))

    assert finding.change is not None
    assert finding.change.after == f"pool = millpond.Pool(max_size=20, min_size={wanted})"
    assert findings("MP403", load(configured(min_size=wanted, max_size=20), **QUIET)) == []
    assert findings("MP403", load(pool, **(QUIET | {"pattern": "steady"}))) == []
    assert findings("MP403", load(configured(SQLALCHEMY), **QUIET)) == []
    # What is in use all the time is open.
    assert findings("MP403", load(pool, pattern="bursty")) == []


def test_a_burst_fills_a_queue_that_is_hopeless() -> None:
    pool = configured(max_size=10, acquire_timeout=1.0)

    finding = found("MP404", load(pool, pattern="bursty"))

    assert "400 users" in finding.message
    assert "110 are served within acquire_timeout = 1 s" in finding.message
    assert finding.fix.startswith("max_waiting=100,")
    assert findings("MP404", load(pool)) == []
    assert findings("MP404", load(pool, pattern="bursty", users=110)) == []
    for enough in (
        configured(max_size=10, acquire_timeout=1.0, max_waiting=100),
        configured(max_size=10, acquire_timeout=1.0, shed=True),
        configured(max_size=10, acquire_timeout=1.0, max_waiting=UNKNOWN),
        configured(max_size=10, acquire_timeout=None),
        configured(SQLALCHEMY, pool_timeout=1),
    ):
        assert findings("MP404", load(enough, pattern="bursty")) == []


def test_callers_give_up_before_anybody_can_have_finished() -> None:
    slow: dict[str, Any] = {"users": 4, "query_time": 3.0}

    finding = found("MP405", load(configured(acquire_timeout=1.0), **slow))

    assert finding.change is not None
    assert "acquire_timeout=15" in finding.change.after
    assert findings("MP405", load(configured(acquire_timeout=3.0), **slow)) == []
    # It never waits, and wants it so.
    assert findings("MP405", load(configured(acquire_timeout=0), **slow)) == []
    assert found("MP405", load(configured(SQLALCHEMY, pool_timeout=2), **slow)).fix.startswith(
        "pool_timeout=15"
    )


def test_users_are_gone_before_the_pool_gives_up() -> None:
    pool = configured(acquire_timeout=30.0)

    finding = found("MP406", load(pool, http_timeout=30.0))

    assert finding.fix == "acquire_timeout=5"
    assert findings("MP406", load(pool)) == []
    assert findings("MP406", load(pool, http_timeout=30.2)) == []
    forever = configured(acquire_timeout=None)
    assert "wait for ever" in found("MP406", load(forever, http_timeout=8.0)).message
    assert found("MP406", load(forever, http_timeout=8.0)).fix == "acquire_timeout=2"
