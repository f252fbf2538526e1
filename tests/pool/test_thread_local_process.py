"""`ThreadLocalPool` and what happens to a whole process: fork, exit, signals, gevent."""

from __future__ import annotations

import os

import pytest

from helpers import lines_of

FORK = """
import gc, os, sys, threading, warnings
import millpond
from fakes import FakeDatabase
from helpers import eventually, in_thread

warnings.simplefilter("ignore", DeprecationWarning)
database = FakeDatabase()
pool = millpond.ThreadLocalPool(database.connect, max_size=4)

def used():
    with pool.connection() as connection:
        return connection

def in_child(work):
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            work()
            sys.stdout.flush()
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


@needs_fork
def test_a_forked_child_has_connections_of_its_own_and_closes_none_of_its_parent() -> None:
    printed = lines_of(
        FORK
        + """
used()
stay, there = threading.Event(), threading.Event()
def live():
    used(); there.set(); stay.wait()
thread = threading.Thread(target=live); thread.start(); there.wait()

def work():
    gc.collect()
    print("size", pool.stats().size)
    print("connection", used().number)
    pool.close()
    print("closed", [one.number for one in database.connections if one.closed])

print("exit", in_child(work))
print("parent", used().number, database.closes)
stay.set(); thread.join(); pool.close()
print("at last", database.closes)
"""
    )

    assert printed == [
        "size 0",
        "connection 3",
        "closed [3]",
        "exit 0",
        "parent 1 0",
        "at last 2",
    ]


@needs_fork
def test_a_block_that_is_open_at_a_fork_is_left_in_the_child_without_a_trace() -> None:
    printed = lines_of(
        FORK
        + """
def work():
    with pool.connection() as own, pool.connection() as same:
        print("own", own.number, same.number)
    lease.__exit__(None, None, None)
    pool.release(held)
    print("rollbacks", [one.number for one in database.connections], database.rollbacks)
    try:
        lease.__exit__(None, None, None)
    except millpond.PoolError as error:
        print("is not entered" in str(error))

held = pool.acquire()
lease = pool.connection()
lease.__enter__()
print("exit", in_child(work))
lease.__exit__(None, None, None)
pool.release(held)
print("parent", database.rollbacks, pool.stats().in_use)
"""
    )

    assert printed == ["own 2 2", "rollbacks [1, 2] 1", "True", "exit 0", "parent 1 0"]


def test_at_exit_the_connections_of_all_threads_are_closed() -> None:
    printed = lines_of("""
        import atexit, threading
        from fakes import FakeDatabase
        database = FakeDatabase()
        atexit.register(lambda: print("open", database.live, "closed", database.closes))
        import millpond

        pool = millpond.ThreadLocalPool(database.connect)
        there = threading.Event()

        def live():
            with pool.connection():
                pass
            there.set()
            threading.Event().wait()

        threading.Thread(target=live, daemon=True).start()
        there.wait()
        with pool.connection():
            pass
    """)

    assert printed == ["open 0 closed 2"]


def test_a_ctrl_c_ends_the_wait_and_loses_nothing() -> None:
    printed = lines_of("""
        import signal, threading
        import millpond
        from fakes import FakeDatabase
        from helpers import eventually

        signal.signal(signal.SIGINT, signal.default_int_handler)
        database = FakeDatabase()
        pool = millpond.ThreadLocalPool(database.connect, max_size=1, acquire_timeout=None)
        stay, there = threading.Event(), threading.Event()

        def live():
            with pool.connection():
                pass
            there.set()
            stay.wait()

        resident = threading.Thread(target=live)
        resident.start()
        there.wait()

        def interrupt():
            eventually(lambda: pool.stats().waiting)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

        threading.Thread(target=interrupt).start()
        try:
            pool.acquire()
        except KeyboardInterrupt:
            print("interrupted", pool.stats().waiting)
        stay.set()
        resident.join()
        with pool.connection() as connection:
            print("connection", connection.number)
    """)

    assert printed == ["interrupted 0", "connection 2"]


def test_a_greenlet_is_a_thread_for_gevent() -> None:
    pytest.importorskip("gevent")
    printed = lines_of("""
        from gevent import monkey
        monkey.patch_all()
        import gevent, threading
        import millpond
        from fakes import FakeDatabase
        from millpond import _workers

        database = FakeDatabase()
        pool = millpond.ThreadLocalPool(database.connect, max_size=5)
        had = []

        def work():
            with pool.connection() as outer:
                gevent.sleep(0)
                with pool.connection() as inner:
                    assert inner is outer
            had.append(outer.number)

        gevent.joinall([gevent.spawn(work) for _ in range(100)], raise_error=True)
        while database.live:
            gevent.sleep(0.001)
        print(len(set(had)), "connections, at most", database.peak_live)

        # A greenlet that ends when no worker is left: one is started in the event loop.
        _workers.IDLE_SECONDS = 0
        def late():
            work()
            while len(threading.enumerate()) > 2:
                gevent.sleep(0.001)
        greenlet = gevent.spawn(late)
        greenlet.join()
        del greenlet
        while database.live:
            gevent.sleep(0.001)
        print("closed", database.closes)
    """)

    assert printed == ["100 connections, at most 5", "closed 101"]
