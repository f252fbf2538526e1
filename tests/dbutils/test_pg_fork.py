"""The pools of classic PyGreSQL connections in the child of a fork."""

from __future__ import annotations

import os

import pytest

from helpers import lines_of

pytestmark = pytest.mark.freethreaded

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
FORK = """
import gc, os, sys, threading, traceback
import fake_pg
pools = fake_pg.import_pools()
server = fake_pg.FakePg()
pools.steady_pg.PgConnection = pools.simple_pooled_pg.PgConnection = server.connect

def in_child(work):
    child = os.fork()
    if child == 0:
        try:
            work()
            gc.collect()
            assert server.opened[0].log.count("close") == 0, server.opened[0].log
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""


@needs_fork
def test_the_pool_of_a_child_is_empty_and_has_all_its_places() -> None:
    lines = lines_of(f"""{FORK}
pool = pools.pooled_pg.PooledPg(mincached=1, maxconnections=2)
held = pool.connection()
held.begin()
other = pool.connection()
other.close()

def work():
    assert (pool._cache.qsize(), pool._connections._value) == (0, 2)
    one, two = pool.connection(), pool.connection()
    assert len(server.opened) == 4
    held.close()
    assert (pool._cache.qsize(), pool._connections._value) == (0, 0), "it was never counted here"
    one.close(), two.close()
    assert (pool._cache.qsize(), pool._connections._value) == (2, 2)
    held.reopen()
    held.close()
    assert (pool._cache.qsize(), pool._connections._value) == (2, 2)
    pool.close()
    assert [raw.log for raw in server.opened] == [["begin"], [], ["close"], ["close"]]

print(in_child(work))
print(held._con._con.log, pool._cache.qsize(), pool._connections._value)
""")

    assert lines == ["0", "['begin'] 1 1"]


@needs_fork
def test_a_steady_connection_connects_again_in_a_child() -> None:
    lines = lines_of(f"""{FORK}
db = pools.steady_pg.SteadyPgConnection(setsession=["set x"])
db.begin()

def work():
    assert db.query("select 1") == "1"
    assert server.opened[0].log == ["set x", "begin"]
    assert server.opened[1].log == ["set x", "select 1"]
    db.close()
    assert server.opened[1].log[-1] == "close"

print(in_child(work))
for use in (db.reset, db.reopen, db.rollback, db.close):
    print(in_child(use))
""")

    assert lines == ["0"] * 5


@needs_fork
@pytest.mark.parametrize("pool", ["persistent_pg.PersistentPg()", "simple_pooled_pg.PooledPg(1)"])
def test_the_other_pools_connect_again_in_a_child(pool: str) -> None:
    lines = lines_of(f"""{FORK}
pool = pools.{pool}
held = pool.connection()
raw = server.opened[0]

def work():
    mine = pool.connection()
    assert mine.query("select 1") == "1"
    assert raw.log == []
    held.close()
    mine.close()
    assert pool.connection().query("select 2") == "2"
    assert len(server.opened) == 2

print(in_child(work))
held.query("select 3")
print(raw.log)
""")

    assert lines == ["0", "['select 3']"]


def test_a_child_leaves_the_sessions_of_a_real_server_alone(postgres_url: str) -> None:
    pytest.importorskip("pg", reason="PyGreSQL is not installed")
    if not hasattr(os, "fork"):
        pytest.skip("no fork")
    lines = lines_of(f"""
import os
from millpond.dbutils.pooled_pg import PooledPg
pool = PooledPg(mincached=1, dbname={postgres_url!r})
held = pool.connection()
pid = held.query("SELECT pg_backend_pid()").single()
pool.connection().close()
child = os.fork()
if child == 0:
    assert pool.connection().query("SELECT pg_backend_pid()").single() != pid
    del held, pool
    raise SystemExit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(held.query("SELECT pg_backend_pid()").single() == pid)
print(*pool.connection().query("SELECT 1").single())
""")

    assert lines == ["0", "True", "1"]
