"""Exit: the interpreter ends soon and in silence, whatever the pools were doing."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from helpers import lines_of, run_script, script_command

# From the end of the main thread to the end of the process.
SECONDS_TO_EXIT = 2.0

PRELUDE = """
import sys, threading
import millpond
from fakes import FakeDatabase
from helpers import eventually, in_thread, waiting

database = FakeDatabase()
"""

SITUATIONS = {
    "idle connections": """
pool = millpond.Pool(database.connect, min_size=3)
pool.wait(timeout=5)
""",
    "connections in use": """
pool = millpond.Pool(database.connect)
held = pool.acquire()
lease = pool.connection()
lease.__enter__()
""",
    "waiters without a limit": """
pool = millpond.Pool(database.connect, max_size=1, acquire_timeout=None)
held = pool.acquire()
waiters = [waiting(pool) for _ in range(5)]
""",
    "busy daemon threads": """
pool = millpond.Pool(database.connect, max_size=2, acquire_timeout=None)

def borrow():
    while True:
        with pool.connection() as connection:
            connection.execute()

threads = [in_thread(borrow) for _ in range(4)]
eventually(lambda: database.executes > 200)
""",
    "a connect that hangs": """
gate = database.hang("connect")
pool = millpond.Pool(database.connect, min_size=1, connect_timeout=None)
eventually(lambda: gate.arrived == 1)
""",
    "a close that hangs": """
gate = database.hang("close")
pool = millpond.Pool(database.connect)
pool.discard(pool.acquire())
eventually(lambda: gate.arrived == 1)
""",
    "a database that is down": """
import logging
logging.disable()  # the pool says that it could not connect, as it should
database.down()
pool = millpond.Pool(database.connect, min_size=2)
eventually(lambda: database.attempts > 2)
""",
    "a closed pool": """
pool = millpond.Pool(database.connect, min_size=2)
pool.wait(timeout=5)
pool.close()
""",
    "a pool in a cycle": """
pool = millpond.Pool(database.connect, on_acquire=lambda connection: pool)
pool.release(pool.acquire())
sys.modules["kept"] = pool
""",
}


@pytest.mark.parametrize("situation", SITUATIONS.values(), ids=list(SITUATIONS))
def test_the_interpreter_ends_soon_and_without_a_word(situation: str) -> None:
    ready = 'print("ready", flush=True)\n'
    command, environment = script_command(PRELUDE + situation + ready)
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as script:
        assert script.stdout is not None
        line = script.stdout.readline()
        began = time.monotonic()
        _, complaints = script.communicate(timeout=20)
        took = time.monotonic() - began

    assert line == "ready\n", complaints
    assert complaints == ""
    assert script.returncode == 0
    assert took < SECONDS_TO_EXIT


def test_the_exit_code_is_the_programs_own() -> None:
    ended = run_script(PRELUDE + "pool = millpond.Pool(database.connect, min_size=1)\nsys.exit(3)")

    assert ended.returncode == 3
    assert ended.stderr == ""


def test_idle_connections_are_closed_when_the_interpreter_ends() -> None:
    printed = lines_of(
        """
import atexit
# Registered before millpond is imported, so it runs after whatever that registered.
atexit.register(lambda: print("live", database.live, flush=True))
"""
        + PRELUDE
        + """
pool = millpond.Pool(database.connect, min_size=2)
pool.wait(timeout=5)
print("open", database.live, flush=True)
"""
    )

    assert printed == ["open 2", "live 0"]


def test_a_thread_that_is_no_daemon_may_finish_its_work() -> None:
    printed = lines_of(
        PRELUDE
        + """
pool = millpond.Pool(database.connect, max_size=1)
started = threading.Event()
main = threading.main_thread()

def work():
    started.set()
    main.join()
    for _ in range(10):
        with pool.connection(timeout=5) as connection:
            connection.execute()
    print("executed", database.executes, flush=True)

threading.Thread(target=work).start()
started.wait(5)
"""
    )

    assert printed == ["executed 10"]


def test_a_second_interpreter_gets_a_clear_import_error() -> None:
    printed = lines_of("""
        import sys, textwrap
        import millpond

        source = textwrap.dedent('''
            try:
                import millpond
            except ImportError as error:
                print("ImportError:", error)
            else:
                print("imported")
        ''')
        if sys.version_info >= (3, 14):
            from concurrent import interpreters
            interpreters.create().exec(source)
        elif sys.version_info >= (3, 13):
            import _interpreters
            _interpreters.exec(_interpreters.create("legacy"), source)
        else:
            import _xxsubinterpreters
            _xxsubinterpreters.run_string(_xxsubinterpreters.create(), source)
    """)

    assert len(printed) == 1
    assert printed[0].startswith("ImportError: ")
    assert "subinterpreter" in printed[0]


@pytest.mark.skipif(sys.platform == "win32", reason="no signals between processes")
def test_a_main_thread_that_is_interrupted_ends_the_program() -> None:
    ended = run_script(
        PRELUDE
        + """
import os, signal
pool = millpond.Pool(database.connect, max_size=1, acquire_timeout=None)
held = pool.acquire()

def interrupt():
    eventually(lambda: pool.stats().waiting == 1)
    os.kill(os.getpid(), signal.SIGINT)

in_thread(interrupt)
pool.acquire()
"""
    )

    assert ended.returncode == -2
    assert ended.stderr.rstrip().endswith("KeyboardInterrupt")
