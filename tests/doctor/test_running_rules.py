"""The rules about pools at work, on what such pools tell."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from doctor.patients import findings, found
from doctor.running import WHERE, telling, with_stats
from helpers import eventually, pass_time, waiting
from millpond import PoolError
from millpond.doctor import examine
from millpond.doctor.outside import Fleet, RunningPool
from millpond.doctor.outside._load import size_for

if TYPE_CHECKING:
    import millpond
    from fakes import FakeDatabase
    from helpers import MakePool
    from millpond._core import ManualClock


@pytest.fixture
def pool(make_pool: MakePool, clock: ManualClock) -> millpond.Pool[Any]:
    """Give a pool whose time stands still."""
    return make_pool(name="orders", max_size=4, _clock=clock, _inline=True, leak_threshold=None)


@pytest.fixture
def well(pool: millpond.Pool[Any], clock: ManualClock) -> RunningPool:
    """Give what a pool tells that is well: a hundred acquires of 0.1 s, one after the other."""
    use(pool, clock, 100)
    return telling(pool)


def use(pool: millpond.Pool[Any], clock: ManualClock, times: int, seconds: float = 0.1) -> None:
    """Use connections, one after the other."""
    for _ in range(times):
        held = pool.acquire()
        pass_time(pool, clock, seconds)
        pool.release(held)
        pool.stats()


def test_a_pool_that_is_well_has_no_findings(well: RunningPool) -> None:
    assert well.number("window", "acquired") == 100
    assert examine([well, Fleet((well, well))]) == []


def test_a_new_pool_has_no_findings(make_pool: MakePool) -> None:
    assert examine([telling(make_pool())]) == []


def test_a_pool_without_reserve(pool: millpond.Pool[Any], clock: ManualClock) -> None:
    held = [pool.acquire() for _ in range(3)]
    use(pool, clock, 60, seconds=1.0)
    for conn in held:
        pool.release(conn)

    told = telling(pool)
    finding = found("MP501", told)

    assert finding.severity == "error"
    share = f"{told.number('window', 'utilization'):.0%}"
    assert f"pool 'orders': {share} of max_size = 4 were in use" in finding.message
    assert "acquires/s, held" in finding.evidence
    assert finding.file == "10.0.0.5:8000"
    # What four uses took is no measure.
    assert finding.fix == "hold connections for a shorter time, or raise max_size"


@pytest.mark.parametrize(("utilization", "severity"), [(0.96, "error"), (0.9, "warning")])
def test_how_full_is_how_bad(well: RunningPool, utilization: float, severity: str) -> None:
    full = with_stats(well, window__utilization=utilization)

    assert found("MP501", full).severity == severity
    assert findings("MP501", with_stats(well, window__utilization=0.84)) == []
    assert findings("MP501", with_stats(well, window__utilization=0.85))
    assert found("MP501", with_stats(well, window__utilization=0.95)).severity == "error"
    # Somebody who looks twice in a second after the start.
    assert findings("MP501", with_stats(full, window__acquired=3)) == []


def test_the_size_is_that_of_the_measured_load(well: RunningPool) -> None:
    busy = with_stats(well, window__utilization=0.99, window__acquired=1000, window__seconds=10.0)
    busy = with_stats(busy, use_time__count=20)
    needed = size_for(busy.stats)
    assert needed is not None
    assert needed > 10

    assert found("MP501", busy).fix.startswith(f"max_size = {needed}, if the server has them")
    assert "by its load the pool needs" in found("MP501", with_stats(busy, max_size=50)).fix


def test_callers_wait(well: RunningPool) -> None:
    waits = with_stats(well, window__wait_time__count=90, window__wait_time__sum=11.0)

    finding = found("MP502", waits)

    assert "an acquire took 0.11 s on average" in finding.message
    assert "90 of 100 waited" in finding.message
    assert findings("MP502", with_stats(waits, window__wait_time__sum=9.9)) == []
    # They are open, and yet callers wait.
    unknown = with_stats(waits, window__open_time__mean=None, window__utilization=0.3)
    assert "min_size" not in found("MP502", unknown).fix
    cold = with_stats(waits, window__open_time__mean=0.5, window__utilization=0.3)
    assert found("MP502", cold).fix.startswith("min_size = 4, as connections take 0.5 s to open")


def test_callers_get_no_connection(pool: millpond.Pool[Any], clock: ManualClock) -> None:
    use(pool, clock, 50)
    held = [pool.acquire() for _ in range(4)]
    for _ in range(2):
        with pytest.raises(PoolError):
            pool.acquire(timeout=0)
    for conn in held:
        pool.release(conn)

    finding = found("MP503", telling(pool))

    assert "2 of 56 acquires failed over the last minute (4%), 2 of them by timeout" in (
        finding.message
    )
    assert finding.fix.startswith("leak_threshold=30.0, to learn who")
    traced = RunningPool(WHERE, telling(pool).stats, {"leak_threshold": 30.0})
    assert "MP504" in found("MP503", traced).fix
    one_in_a_hundred = {"window__failed": 1, "window__acquired": 99}
    assert findings("MP503", with_stats(telling(pool), **one_in_a_hundred)) == []


def test_a_connection_that_is_held_for_very_long(make_pool: MakePool, clock: ManualClock) -> None:
    pool = make_pool(name="orders", _clock=clock, _inline=True, leak_threshold=10.0)
    held = pool.acquire()
    pass_time(pool, clock, 9.0)
    assert findings("MP504", telling(pool, leak_threshold=10.0)) == []
    pass_time(pool, clock, 2.0)
    told = telling(pool, leak_threshold=10.0)
    pool.release(held)

    finding = found("MP504", told)

    assert "1 connection held for more than 10 s" in finding.message
    assert "connection 0 held for 11 s by MainThread, acquired at" in finding.evidence
    assert f"{__file__}:" in finding.fix
    assert findings("MP504", telling(pool, leak_threshold=10.0)) == []
    assert found("MP515", told).message.startswith("pool 'orders': 1 leak reported")


def test_without_a_threshold_a_minute_is_long(pool: millpond.Pool[Any], clock: ManualClock) -> None:
    held = pool.acquire()
    pass_time(pool, clock, 59.0)
    assert findings("MP504", telling(pool)) == []
    pass_time(pool, clock, 1.5)
    told = telling(pool)
    pool.release(held)

    finding = found("MP504", told)

    assert "leak_threshold=30.0" in finding.fix
    assert finding.severity == "warning"
    assert findings("MP515", told) == []


def test_validations_that_fail(well: RunningPool) -> None:
    failing = with_stats(well, checks=400, checks_failed=5)

    finding = found("MP505", RunningPool(WHERE, failing.stats, {"validation_interval": 60.0}))

    assert "5 of 400 validations failed" in finding.message
    assert finding.fix.startswith("validation_interval=30, keepalive=60.0")
    assert findings("MP505", with_stats(well, checks=500, checks_failed=5)) == []
    assert findings("MP505", with_stats(well, checks=4, checks_failed=4)) == []


def test_connecting_that_fails(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    pool = make_pool(name="orders", _clock=clock, _inline=True, fail_fast_after=0)
    assert findings("MP506", telling(pool)) == []
    driver.down(ConnectionRefusedError("postgresql://app:s3cret@db: no route"))
    with pytest.raises(PoolError):
        pool.acquire(timeout=0.05)
    told = telling(pool)

    finding = found("MP506", told)

    assert finding.severity == "error"
    assert "no route" in finding.evidence
    assert "s3cret" not in repr(finding)
    again = with_stats(told, failing=None, last_error=None, window__open_failed=2)
    assert found("MP506", again).severity == "warning"


def test_connections_that_are_cut(make_pool: MakePool, postgres_url: str) -> None:
    name = f"doctor {os.getpid()}"
    pool = make_pool(postgres_url, name="orders", min_size=5, max_size=5, application_name=name)
    pool.wait(timeout=10)
    mine = "FROM pg_stat_activity WHERE application_name = %s"
    with psycopg.connect(postgres_url) as admin:
        ended = admin.execute(f"SELECT pg_terminate_backend(pid, 5000) {mine}".encode(), (name,))
        assert ended.fetchall() == [(True,)] * 5
    for conn in [pool.acquire() for _ in range(5)]:
        pool.release(conn)
    eventually(lambda: sum(telling(pool).closed.values()) == 5)
    told = telling(pool, max_lifetime=3600.0)

    finding = found("MP507", told)

    assert "were found dead" in finding.message
    assert "max_lifetime = 3600 s" in finding.evidence
    assert findings("MP507", with_stats(told, closed={"dead": 5, "lifetime": 6})) == []
    assert findings("MP507", with_stats(told, closed={"dead": 4})) == []
    # What was closed on purpose does not count on either side.
    assert found("MP507", with_stats(told, closed={"invalid": 9, "closed": 99})).code == "MP507"


def test_a_pool_that_is_larger_than_was_ever_needed(well: RunningPool) -> None:
    large = with_stats(well, max_size=100, acquired=5000, opened=8)

    assert found("MP508", large).fix == "max_size = 12, if the busy days were among them"
    assert findings("MP508", with_stats(large, opened=41)) == []
    assert findings("MP508", with_stats(large, acquired=999)) == []
    assert findings("MP508", with_stats(large, max_size=9, opened=1)) == []
    assert found("MP508", with_stats(large, min_size=20)).fix.startswith("max_size = 20,")


def test_connections_that_come_and_go(make_pool: MakePool, clock: ManualClock) -> None:
    pool = make_pool(name="orders", _clock=clock, _inline=True, max_uses=2)
    use(pool, clock, 20)
    told = telling(pool)
    assert told.number("window", "opened") == 10

    finding = found("MP509", told)

    assert "10 connections were opened for 20 acquires" in finding.message
    assert "uses" in finding.evidence
    assert finding.fix.startswith("max_uses = None")
    assert findings("MP509", with_stats(told, window__acquired=100)) == []
    # A pool that grows closes nothing.
    assert findings("MP509", with_stats(told, window__closed=0)) == []


def test_what_closes_them_is_what_to_change(well: RunningPool) -> None:
    churn = {"window__opened": 50, "window__closed": 50}

    idle = with_stats(well, closed={"idle": 40, "lifetime": 10}, **churn)
    dead = with_stats(well, closed={"dead": 40}, **churn)

    assert found("MP509", idle).fix.startswith("idle_timeout = 600")
    assert "MP507" in found("MP509", dead).fix


def test_processes_with_different_options(well: RunningPool) -> None:
    one = RunningPool("http://a/pool.json", well.stats, {"max_size": 4, "min_size": 0})
    same = RunningPool("http://b/pool.json", well.stats, {"max_size": 4, "min_size": 0})
    other = RunningPool("http://c/pool.json", well.stats, {"max_size": 8, "min_size": 0})

    finding = found("MP510", Fleet((one, same, other)))

    assert finding.evidence == "max_size: 4 at a, 8 at c"
    assert finding.file == "c"
    assert findings("MP510", Fleet((one, same))) == []
    # Two pools of one process may share a name.
    twin = RunningPool("http://a/pool.json", well.stats, {"max_size": 8})
    assert findings("MP510", Fleet((one, twin))) == []


def test_uses_that_take_nearly_as_long_as_they_may(well: RunningPool) -> None:
    slow = with_stats(well, use_time__p99=20.0)

    told = RunningPool(WHERE, slow.stats, {"statement_timeout": 25.0})

    assert "p99 of the time of use is 20 s" in found("MP511", told).message
    assert findings("MP511", with_stats(told, use_time__p99=19.9)) == []
    assert findings("MP511", slow) == []


def test_callers_without_priority_starve(make_pool: MakePool) -> None:
    pool = make_pool(name="orders", max_size=1)
    held = pool.acquire()
    waiters = [waiting(pool), waiting(pool, priority="high")]
    told = telling(pool)
    pool.release(held)
    for waiter in reversed(waiters):
        pool.release(waiter.result())
    assert (told.number("waiting"), told.number("waiting_high")) == (2, 1)

    starving = with_stats(told, longest_wait=9.0, window__wait_time__max=4.0)

    assert "somebody has waited 9 s" in found("MP512", starving).message
    assert findings("MP512", with_stats(starving, longest_wait=8.0)) == []
    assert findings("MP512", with_stats(starving, waiting_high=0)) == []
    assert findings("MP512", with_stats(starving, waiting=1)) == []


def test_connections_that_take_long_to_open(well: RunningPool) -> None:
    slow = with_stats(well, open_time__p95=1.1)

    assert found("MP513", slow).fix.startswith("min_size = 2, so that nobody waits")
    assert findings("MP513", with_stats(well, open_time__p95=1.0)) == []
    short = {"connect_timeout": 0.5}
    half = RunningPool(WHERE, with_stats(well, open_time__p95=0.3).stats, short)
    assert "connect_timeout = 0.5 s" in found("MP513", half).message
    assert findings("MP513", with_stats(half, open_time__p95=0.25)) == []


def test_a_pool_that_refuses_callers(make_pool: MakePool) -> None:
    pool = make_pool(name="orders", max_size=1, max_waiting=0)
    held = pool.acquire()
    for _ in range(5):
        with pytest.raises(PoolError):
            pool.acquire()
    pool.release(held)
    told = telling(pool, max_waiting=0, acquire_timeout=5.0)

    finding = found("MP514", told)

    assert "5 callers were refused, of 6; max_waiting = 0" in finding.message
    known = with_stats(told, use_time__mean=0.02, max_size=10)
    assert found("MP514", known).fix.startswith("max_waiting = 2500:")
    # It takes as many as it can serve.
    enough = RunningPool(WHERE, known.stats, {"max_waiting": 2500, "acquire_timeout": 5.0})
    assert "max_waiting" not in found("MP514", enough).fix
    unlimited = RunningPool(WHERE, known.stats, {"acquire_timeout": 5.0})
    assert "max_waiting" not in found("MP514", unlimited).fix
    unused = with_stats(told, use_time__mean=None)
    assert "max_waiting" not in found("MP514", unused).fix
    assert findings("MP514", with_stats(told, acquired=495)) == []
    assert findings("MP514", with_stats(told, refused=4)) == []


def test_borrowers_that_leave_connections_unusable(
    make_pool: MakePool, driver: FakeDatabase, clock: ManualClock
) -> None:
    pool = make_pool(name="orders", _clock=clock, _inline=True, max_size=1)
    for _ in range(5):
        conn = pool.acquire()
        driver.fail_next(OSError("rows are unread"), at="rollback")
        pool.release(conn)
    told = telling(pool)

    finding = found("MP516", told)

    assert "5 of 5 connections that were closed had been left unusable" in finding.message
    assert finding.evidence == "5 reset"
    assert "query_timeout" in finding.fix
    assert findings("MP516", with_stats(told, closed={"reset": 5, "idle": 21})) == []
    assert findings("MP516", with_stats(told, closed={"reset": 4})) == []
    assert found("MP516", with_stats(told, closed={"leaked": 5})).fix == "release in a with block"


def test_statistics_of_another_version_are_no_error() -> None:
    odd: dict[str, Any] = {"name": 7, "max_size": "many", "window": None, "connections": [None, {}]}
    odd |= {"closed": {"dead": None}, "use_time": 3}

    assert examine([RunningPool(WHERE, odd, {"statement_timeout": "5s"})]) == []
