"""Greenlets that wait for a connection of a `PooledDB` let others run."""

from __future__ import annotations

import pytest

from helpers import lines_of

pytest.importorskip("gevent")


def test_a_hundred_greenlets_share_five_connections() -> None:
    printed = lines_of("""
        from gevent import monkey
        monkey.patch_all()
        import gevent
        from millpond.dbutils.pooled_db import PooledDB
        from traced import TracedDriver

        driver = TracedDriver()
        pool = PooledDB(driver, maxconnections=5, blocking=True)
        served, most = [], []

        def use(number):
            with pool.connection():
                served.append(number)
                most.append(pool._connections)
                gevent.sleep(0)

        gevent.joinall([gevent.spawn(use, number) for number in range(100)], raise_error=True)
        print(served == list(range(100)), max(most), len(driver.connections))
        print(pool._connections, pool._tally()["waiting"], pool._tally()["queued"])
    """)

    assert printed == ["True 5 5", "0 0 95"]


def test_greenlets_that_share_wait_for_the_end_of_a_transaction() -> None:
    printed = lines_of("""
        from gevent import monkey
        monkey.patch_all()
        import gevent
        from millpond.dbutils.pooled_db import PooledDB
        from traced import TracedDriver

        pool = PooledDB(TracedDriver(2), maxshared=1, maxconnections=2, blocking=True)
        busy = pool.connection()
        busy.begin()
        other = pool.dedicated_connection()
        wanting = [gevent.spawn(pool.connection, shareable) for shareable in (True, False, True)]
        gevent.sleep(0)
        print([one.ready() for one in wanting])
        other.close()
        gevent.sleep(0.01)
        print([one.ready() for one in wanting])
        busy.commit()
        gevent.joinall(wanting, timeout=10, raise_error=True)
        print([one.ready() for one in wanting], pool._connections)
    """)

    assert printed == ["[False, False, False]", "[False, True, False]", "[True, True, True] 2"]


def test_a_greenlet_that_is_killed_while_it_waits_loses_nothing() -> None:
    printed = lines_of("""
        from gevent import monkey
        monkey.patch_all()
        import gevent
        from millpond.dbutils.pooled_db import PooledDB
        from traced import TracedDriver

        pool = PooledDB(TracedDriver(), maxconnections=1, blocking=True)
        held = pool.connection()
        first, second = [gevent.spawn(pool.connection) for _ in range(2)]
        gevent.sleep(0)
        first.kill(block=False)
        held.close()  # the permit is the first one's, which will not live to know it
        print(second.get(timeout=10)._con is not None, pool._connections)
        print(first.dead, pool._tally()["waiting"], pool._tally()["acquired"])
    """)

    assert printed == ["True 1", "True 0 3"]
