"""multiprocessing: every process has connections of its own, however it was started."""

from __future__ import annotations

import multiprocessing
import sys

import pytest

from helpers import lines_of

SHARED = """
import os, sys, warnings
import multiprocessing
import millpond

warnings.simplefilter("ignore", DeprecationWarning)

class Connection:
    '''A connection that knows which process opened it, and complains about any other.'''

    def __init__(self):
        self.pid = os.getpid()

    def execute(self):
        assert self.pid == os.getpid(), "used in a process that did not open it"
        return self.pid

    def rollback(self):
        self.execute()

    def close(self):
        self.execute()

pool = millpond.Pool(Connection, max_size=2)

def work(_number=0):
    with pool.connection(timeout=10) as connection:
        return connection.execute() == os.getpid()
"""


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork"
)
@pytest.mark.skipif(sys.platform == "darwin", reason="fork is not safe with Apple's libraries")
def test_forked_workers_have_connections_of_their_own() -> None:
    """Scenario 41."""
    printed = lines_of(
        SHARED
        + """
assert work()
with multiprocessing.get_context("fork").Pool(2) as workers:
    print(all(workers.map(work, range(20))))
    workers.close()
    workers.join()
print(work())
"""
    )

    assert printed == ["True", "True"]


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork"
)
@pytest.mark.skipif(sys.platform == "darwin", reason="fork is not safe with Apple's libraries")
def test_a_forked_process_ends_by_itself_with_its_pool_in_use() -> None:
    """Scenario 41: exit handlers and finalizers run in the child."""
    printed = lines_of(
        SHARED
        + """
held = pool.acquire()

def child():
    global mine
    assert work()
    mine = pool.acquire(timeout=10)

process = multiprocessing.get_context("fork").Process(target=child)
process.start()
process.join(10)
print(process.exitcode)
held.execute()
pool.release(held)
print(work())
"""
    )

    assert printed == ["0", "True"]


@pytest.mark.parametrize("what", ["pool", "pool.connection()"])
def test_a_pool_cannot_be_pickled_and_says_so(what: str) -> None:
    """A copy for a spawned process would open as many connections again."""
    printed = lines_of(
        SHARED
        + f"""
import pickle
try:
    pickle.dumps({what})
except TypeError as error:
    print("pickle" in str(error))
"""
    )

    assert printed == ["True"]
