"""`PersistentDB`: a connection for each thread, closed with it, and never one of the parent's."""

from __future__ import annotations

import gc
import sys
import threading
from _threading_local import local
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

import fakes
from fakes import FakeDatabase
from helpers import eventually, in_thread, lines_of, together
from millpond.dbutils import persistent_db
from millpond.dbutils.persistent_db import NotSupportedError, PersistentDB

if TYPE_CHECKING:
    from fakes import FakeConnection

pytestmark = pytest.mark.freethreaded


class Driver(FakeDatabase):
    """The fake database as a DB-API 2 module, whose threads may share it but not connections."""

    threadsafety: int | None = 1
    OperationalError = fakes.OperationalError
    InterfaceError = fakes.InterfaceError
    InternalError = fakes.OperationalError


@pytest.fixture
def database() -> Driver:
    return Driver()


def raw(persist: PersistentDB) -> FakeConnection:
    connection: FakeConnection = persist.connection().dbapi_connection
    return connection


def test_a_thread_always_gets_its_own_connection(database: Driver) -> None:
    persist = PersistentDB(database)

    def work(_: int) -> tuple[Any, Any, Any]:
        return (
            persist.connection(),
            persist.connection(shareable=True),
            persist.dedicated_connection(),
        )

    served = together(8, work)

    assert all(one is two is three for one, two, three in served)
    assert len({one for one, _, _ in served}) == 8
    assert database.connects == 8


def test_a_connection_is_closed_when_its_thread_ends_though_somebody_keeps_the_thread(
    database: Driver,
) -> None:
    persist = PersistentDB(database)
    running = in_thread(lambda: raw(persist).number)

    running.result()
    running.thread.join()

    assert running.thread.ident is not None
    assert database.open_connections == []
    assert database.closes == 1


def test_the_connections_of_an_executor_are_closed_with_it(database: Driver) -> None:
    persist = PersistentDB(database)
    barrier = threading.Barrier(3)

    def work(_: int) -> int:
        barrier.wait(10)
        return raw(persist).number

    with ThreadPoolExecutor(3) as executor:
        numbers = list(executor.map(work, range(3)))
        assert len(database.open_connections) == 3

    assert len(set(numbers)) == 3
    eventually(lambda: not database.open_connections)


def test_the_end_of_another_thread_leaves_this_ones_connection_alone(database: Driver) -> None:
    persist = PersistentDB(database)
    mine = raw(persist)

    other = in_thread(lambda: raw(persist))
    other.result()
    other.thread.join()

    assert database.open_connections == [mine]
    assert raw(persist) is mine


def test_with_the_generator_go_the_connections_of_threads_that_still_run(database: Driver) -> None:
    holder = [PersistentDB(database)]
    connected, end = threading.Event(), threading.Event()

    def work() -> None:
        raw(holder[0])
        connected.set()
        end.wait(10)

    running = in_thread(work)
    assert connected.wait(10)
    raw(holder[0])
    assert len(database.open_connections) == 2

    holder.clear()
    gc.collect()
    assert database.open_connections == []
    end.set()
    running.result()


def test_what_is_done_to_the_thread_local_object_counts(database: Driver) -> None:
    persist = PersistentDB(database)
    first = persist.connection()
    assert persist.thread.connection is first

    del persist.thread.connection
    second = persist.connection()
    persist.thread.connection = first

    assert second is not first
    assert persist.connection() is first
    persist.thread = local()
    assert persist.connection() not in {first, second}


def test_the_thread_local_object_may_be_of_another_class(database: Driver) -> None:
    class Local(threading.local):
        greeting = "hello"

    persist = PersistentDB(database, threadlocal=Local)
    running = in_thread(lambda: (raw(persist), persist.thread.greeting))
    _, greeting = running.result()
    running.thread.join()

    assert type(persist.thread) is Local
    assert greeting == "hello"
    assert type(PersistentDB(database).thread) is persistent_db.local is local


def test_a_connection_is_checked_even_when_it_is_fresh(database: Driver) -> None:
    persist = PersistentDB(database)

    persist.connection()
    assert database.pings == 1
    persist.connection()
    assert database.pings == 2


def test_a_lost_connection_is_replaced_when_it_is_asked_for(database: Driver) -> None:
    persist = PersistentDB(database)
    lost = raw(persist)
    database.kill_all()

    assert raw(persist) is not lost
    assert database.connects == 2


def test_a_check_of_other_moments_leaves_asking_alone(database: Driver) -> None:
    persist = PersistentDB(database, ping=0)
    lost = raw(persist)
    database.kill_all()

    assert raw(persist) is lost
    assert database.pings == 0


def test_closing_only_rolls_back_what_was_begun(database: Driver) -> None:
    connection = PersistentDB(database).connection()

    connection.close()
    assert (database.rollbacks, database.closes) == (0, 0)
    connection.begin()
    connection.close()
    assert (database.rollbacks, database.closes) == (1, 0)


def test_a_closeable_connection_is_closed_and_comes_back(database: Driver) -> None:
    persist = PersistentDB(database, closeable=True)
    closed = raw(persist)

    persist.connection().close()
    assert closed.closed

    assert raw(persist) is not closed


def test_a_steady_connection_belongs_to_no_thread(database: Driver) -> None:
    persist = PersistentDB(database)

    assert persist.steady_connection() is not persist.steady_connection()
    assert not hasattr(persist.thread, "connection")


def test_a_subclass_may_connect_in_its_own_way(database: Driver) -> None:
    class Persistent(PersistentDB):
        def steady_connection(self) -> Any:
            made.append(super().steady_connection())
            return made[-1]

    made: list[Any] = []
    persist = Persistent(database)

    assert persist.connection() is persist.connection() is made[0]
    assert len(made) == 1


@pytest.mark.parametrize("level", [0, None])
def test_a_driver_whose_threads_may_not_share_it_is_refused(
    database: Driver, level: int | None
) -> None:
    database.threadsafety = level

    with pytest.raises(NotSupportedError, match=r"^Database module is not thread-safe\.$"):
        PersistentDB(database)


def test_a_function_whose_connections_are_not_safe_is_refused_when_it_connects(
    database: Driver,
) -> None:
    def connect() -> Any:
        return database.connect()

    persist = PersistentDB(connect, failures=fakes.OperationalError)
    connect.threadsafety = 0  # type: ignore[attr-defined]

    with pytest.raises(NotSupportedError):
        persist.connection()
    gc.collect()

    assert not hasattr(persist.thread, "connection")
    assert database.open_connections == []


def test_a_connect_that_fails_leaves_nothing_behind(database: Driver) -> None:
    persist = PersistentDB(database)
    database.fail_next(fakes.OperationalError("down"))

    with pytest.raises(fakes.OperationalError, match="down"):
        persist.connection()

    assert persist.connection() is persist.connection()


FORK = '''
import gc, os, sys, threading
sys.path.insert(0, {tests!r})
from dbutils_driver import Driver
from millpond.dbutils.persistent_db import PersistentDB

def in_child(work):
    """Run work() in a forked child, and say how it ended."""
    child = os.fork()
    if child == 0:
        try:
            work()
            gc.collect()
            os._exit(0)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
'''


@pytest.fixture
def fork(tmp_path: Any) -> str:
    """Give what a script about forks begins with."""
    (tmp_path / "dbutils_driver.py").write_text(
        "import fakes\n"
        "class Driver(fakes.FakeDatabase):\n"
        "    threadsafety = 1\n"
        "    OperationalError = InterfaceError = InternalError = fakes.OperationalError\n",
        encoding="utf-8",
    )
    return FORK.format(tests=str(tmp_path))


needs_fork = pytest.mark.skipif(sys.platform == "win32", reason="no fork")


@needs_fork
def test_a_forked_child_has_a_connection_of_its_own_and_closes_none_of_the_parents(
    fork: str,
) -> None:
    lines = lines_of(f"""{fork}
database = Driver()
persist = PersistentDB(database)
mine = persist.connection().dbapi_connection

def work():
    assert persist.connection().dbapi_connection is not mine
    assert database.connects == 2
    assert not mine.closed and database.closes == 0
    del persist.thread.connection
    gc.collect()
    assert database.closes == 1, "its own is closed"
    assert not mine.closed

print(in_child(work))
print(persist.connection().dbapi_connection is mine, database.closes)
""")

    assert lines == ["0", "True 0"]


@needs_fork
@pytest.mark.parametrize("threadlocal", ["None", "threading.local"])
def test_the_connections_of_the_parents_other_threads_are_left_alone(
    fork: str, threadlocal: str
) -> None:
    lines = lines_of(f"""{fork}
database = Driver()
persist = PersistentDB(database, threadlocal={threadlocal})
connected, end = threading.Event(), threading.Event()

def run():
    persist.connection()
    connected.set()
    end.wait()

threading.Thread(target=run).start()
connected.wait()

def work():
    global persist
    del persist
    gc.collect()
    assert database.closes == 0
    assert len(database.open_connections) == 1

print(in_child(work))
end.set()
""")

    assert lines == ["0"]


@needs_fork
def test_a_child_does_not_wait_for_a_thread_of_the_parent(fork: str) -> None:
    lines = lines_of(f"""{fork}
persist = PersistentDB(Driver())
persist.connection()
lock = object.__getattribute__(persist.thread, "_local__impl").locallock
held, end = threading.Event(), threading.Event()

def run():
    with lock:
        held.set()
        end.wait()

threading.Thread(target=run).start()
held.wait()
print(in_child(persist.connection))
end.set()
""")

    assert lines == ["0"]
