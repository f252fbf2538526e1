"""Fork: the child begins with an empty pool, and says nothing on its parent's sockets.

Every test forks in an interpreter of its own, so that pytest and its threads are never copied.
"""

from __future__ import annotations

import os
import textwrap

import pytest

from helpers import lines_of

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

PRELUDE = """
import gc, os, sys, threading, warnings
import millpond
from fakes import FakeDatabase
from helpers import eventually, in_thread, threads_of, waiting

# Forking with threads is what this is about.
warnings.simplefilter("ignore", DeprecationWarning)

def in_child(work):
    '''Run work() in a forked child, which ends as an interpreter does; give its exit code.'''
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            sys.stdout.flush()
            code = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


def printed_by(script: str) -> list[str]:
    """Run a script which can use `in_child(work)`, and give the lines it printed."""
    return lines_of(PRELUDE + textwrap.dedent(script))


def test_the_child_opens_connections_of_its_own() -> None:
    """Scenario 41."""
    printed = printed_by("""
        database = FakeDatabase()
        pool = millpond.Pool(database.connect, max_size=2)
        pool.release(pool.acquire())

        def work():
            print("size", pool.stats().size)
            print("connection", pool.acquire(timeout=5).number)

        print("exit", in_child(work))
        print("parent", pool.acquire(timeout=5).number, database.connects)
    """)

    assert printed == ["size 0", "connection 2", "exit 0", "parent 1 1"]


def test_the_child_never_closes_what_belongs_to_its_parent() -> None:
    """Scenario 41: neither when its pool is closed, nor when it is collected."""
    printed = printed_by("""
        database = FakeDatabase()
        pool = millpond.Pool(database.connect, max_size=4)
        idle, held = pool.acquire(), pool.acquire()
        idle.execute()
        held.execute()
        pool.release(idle)
        before = database.rollbacks

        def work():
            global pool
            pool.evict()
            pool.close()
            del pool
            gc.collect()
            print("closed", database.closes, "rolled back", database.rollbacks - before)

        print("exit", in_child(work))
    """)

    assert printed == ["closed 0 rolled back 0", "exit 0"]


def test_a_lease_from_before_the_fork_is_no_concern_of_the_childs_pool() -> None:
    """Scenario 41: the child leaves its parent's `with` block, and nothing is sent."""
    printed = printed_by("""
        database = FakeDatabase()
        pool = millpond.Pool(database.connect, max_size=1)

        with pool.connection() as connection:
            connection.execute()
            sys.stdout.flush()
            pid = os.fork()
            if pid:
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if pid == 0:
            print("child", database.rollbacks, database.closes, pool.stats().in_use)
            print("own", pool.acquire(timeout=5).number)
            sys.stdout.flush()
            os._exit(0)
        print("parent", code, database.rollbacks, database.closes, pool.stats().idle)
    """)

    assert printed == ["child 0 0 0", "own 2", "parent 0 1 0 1"]


def test_releasing_a_connection_from_before_the_fork_touches_nothing() -> None:
    printed = printed_by("""
        database = FakeDatabase()
        pool = millpond.Pool(database.connect, max_size=1)
        held = pool.acquire()

        def work():
            try:
                pool.release(held)
            except millpond.PoolError:
                pass
            print("child", database.rollbacks, database.closes, pool.stats().idle)
            print("own", pool.acquire(timeout=5) is not held)

        print("exit", in_child(work))
        pool.release(held)
        print("parent", pool.acquire(timeout=0) is held)
    """)

    assert printed == ["child 0 0 0", "own True", "exit 0", "parent True"]


def test_no_lock_is_stuck_however_busy_the_parent_was() -> None:
    """Scenario 41: forks in the middle of everything."""
    printed = printed_by("""
        database = FakeDatabase()
        pool = millpond.Pool(database.connect, max_size=3, acquire_timeout=60)
        over = threading.Event()

        def borrow():
            while not over.is_set():
                with pool.connection() as connection:
                    connection.ping()

        def churn():
            while not over.is_set():
                pool.discard(pool.acquire())

        threads = [in_thread(borrow) for _ in range(4)] + [in_thread(churn)]

        # FakeDatabase has locks of its own, which a fork may find taken: the child uses another.
        class Connection:
            def rollback(self): pass
            def close(self): pass

        safe = millpond.Pool(Connection, max_size=1)
        other = [in_thread(lambda: [safe.release(safe.acquire()) for _ in range(10**9)])]

        def work():
            for _ in range(5):
                safe.release(safe.acquire(timeout=5))
            pool.stats(), repr(pool)
            safe.close()
            os._exit(0)

        print({in_child(work) for _ in range(20)})
        over.set()
        for thread in threads:
            thread.result()
        print(database.violations, pool.stats().in_use)
        os._exit(0 if not sys.stdout.flush() else 1)
    """)

    assert printed == ["{0}", "[] 0"]


def test_waiters_of_the_parent_do_not_wait_in_the_child() -> None:
    printed = printed_by("""
        database = FakeDatabase()
        pool = millpond.Pool(database.connect, max_size=1, acquire_timeout=60)
        held = pool.acquire()
        waiter = waiting(pool)

        def work():
            print("waiting", pool.stats().waiting)
            pool.release(pool.acquire(timeout=5))
            print("idle", pool.stats().idle)

        print("exit", in_child(work))
        pool.release(held)
        print("parent", waiter.result() is held)
    """)

    assert printed == ["waiting 0", "idle 1", "exit 0", "parent True"]


def test_a_connect_that_was_under_way_comes_to_its_end_in_the_parent_only() -> None:
    printed = printed_by("""
        database = FakeDatabase()
        gate = database.hang("connect", times=1)
        pool = millpond.Pool(database.connect, max_size=1, acquire_timeout=60)
        waiter = waiting(pool)
        eventually(lambda: gate.arrived == 1)

        def work():
            print("child", pool.acquire(timeout=5).number)

        print("exit", in_child(work))
        gate.release()
        print("parent", waiter.result().number, database.connects)
    """)

    assert printed == ["child 1", "exit 0", "parent 1 1"]


def test_the_child_fills_its_own_min_size_and_has_its_own_workers() -> None:
    printed = printed_by("""
        database = FakeDatabase()
        pool = millpond.Pool(database.connect, min_size=2, name="orders")
        pool.wait(timeout=5)

        def work():
            pool.release(pool.acquire(timeout=5))
            pool.wait(timeout=5)
            print("idle", pool.stats().idle, "workers", len(threads_of(pool)) > 0)
            pool.close()
            print("left", threads_of(pool))

        print("exit", in_child(work))
        print("parent", pool.stats().idle, database.closes)
    """)

    assert printed == ["idle 2 workers True", "left []", "exit 0", "parent 2 0"]


def test_a_grandchild_is_a_child_too() -> None:
    printed = printed_by("""
        database = FakeDatabase()
        pool = millpond.Pool(database.connect)
        pool.release(pool.acquire())

        def grandchild():
            print("grandchild", pool.acquire(timeout=5).number)

        def child():
            print("child", pool.acquire(timeout=5).number)
            print("exit", in_child(grandchild))

        print("exit", in_child(child))
    """)

    assert printed == ["child 2", "grandchild 3", "exit 0", "exit 0"]


def test_a_child_that_ends_as_usual_sends_no_farewell_on_its_parents_connection(
    postgres_url: str,
) -> None:
    """Scenario 41: a real driver would end the parent's session when its object is finalized."""
    printed = printed_by(f"""
        import psycopg

        pool = millpond.Pool({postgres_url!r}, max_size=2)
        with pool.connection() as connection:
            before = connection.info.backend_pid
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            with pool.connection(timeout=10) as connection:
                print("own", connection.info.backend_pid != before)
            sys.exit(0)  # and not os._exit(): finalizers and atexit have their say
        print("exit", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        with pool.connection() as connection:
            connection.execute("SELECT 1")
            print("same", connection.info.backend_pid == before)
        pool.close()
    """)

    assert printed == ["own True", "exit 0", "same True"]
