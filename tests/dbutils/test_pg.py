"""The pools of classic PyGreSQL connections: what DBUtils' own tests say nothing about."""

from __future__ import annotations

import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import fake_pg
from fake_pg import FakePg, InternalError, ProgrammingError
from helpers import Running, eventually, in_thread, remains, run_script, together

if TYPE_CHECKING:
    from millpond.dbutils.pooled_pg import PooledPg, PooledPgConnection
    from millpond.dbutils.steady_pg import SteadyPgConnection

pools = fake_pg.import_pools()
pooled_pg, steady_pg = pools.pooled_pg, pools.steady_pg

pytestmark = pytest.mark.freethreaded


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakePg:
    server = FakePg()
    monkeypatch.setattr(pools.steady_pg, "PgConnection", server.connect)
    monkeypatch.setattr(pools.simple_pooled_pg, "PgConnection", server.connect)
    return server


def make_pool(**options: Any) -> PooledPg:
    pool: PooledPg = pooled_pg.PooledPg(**options)
    return pool


def steady(**options: Any) -> SteadyPgConnection:
    connection: SteadyPgConnection = steady_pg.SteadyPgConnection(**options)
    return connection


def permits(pool: PooledPg) -> int:
    assert pool._connections is not None
    return pool._connections._value


# steady connections


def test_a_lost_connection_is_reset_before_it_is_used(server: FakePg) -> None:
    db = steady(setsession=["set x"], dbname="shop")
    db._con.lose()

    assert db.query("select 1") == "1"
    assert db._con.log == ["set x", "reset", "set x", "select 1"]
    assert server.opened[0].arguments == ((), {"dbname": "shop"})


def test_a_connection_that_is_lost_by_a_query_runs_it_again(server: FakePg) -> None:
    db = steady()
    server.opened[0].failures = [InternalError("select 1")]

    assert db.query("select 1") == "1"
    assert server.opened[0].log == ["reset", "select 1"]
    assert db._usage == 1


def test_a_query_that_is_wrong_is_not_repeated(server: FakePg) -> None:
    db = steady()
    server.opened[0].failures = [ProgrammingError("no such table")]

    with pytest.raises(ProgrammingError, match="no such table"):
        db.query("select 1")

    assert server.opened[0].log == []


def test_the_error_of_a_query_that_closed_its_connection_is_not_hidden(server: FakePg) -> None:
    db = steady()
    raw = server.opened[0]

    def query(command: str) -> str:
        raw.db = None
        raise InternalError(command)

    raw.query = query  # type: ignore[method-assign]

    with pytest.raises(InternalError, match="select 1"):
        db.query("select 1")


def test_in_a_transaction_nothing_is_replaced_and_nothing_repeated(server: FakePg) -> None:
    db = steady(maxusage=1)
    db.query("select 0")
    db.begin()
    db.query("select 1")
    server.opened[0].lose()

    with pytest.raises(InternalError):
        db.query("select 2")

    assert server.opened[0].log == ["select 0", "begin", "select 1"]
    assert db.query("select 3") == "3", "the transaction is over by that"


def test_a_block_commits_or_rolls_back(server: FakePg) -> None:
    db = steady()

    with db as entered:
        assert entered is db
    with pytest.raises(ProgrammingError), db:
        raise ProgrammingError

    assert server.opened[0].log == ["begin", "commit", "begin", "rollback"]


def test_a_worn_connection_is_reset(server: FakePg) -> None:
    db = steady(maxusage=2)

    for _ in range(3):
        db.get_tables()

    assert server.opened[0].log == ["get_tables", "get_tables", "reset", "get_tables"]
    assert db._usage == 1


def test_reopening_in_vain_ends_the_transaction(server: FakePg) -> None:
    db = steady()
    db.begin()
    server.failures = [InternalError("down")]

    db.reopen()

    assert server.opened[0].log == ["begin", "rollback"]
    assert not db._transaction


def test_a_connection_that_does_not_close_is_reset_in_a_transaction(server: FakePg) -> None:
    db = steady(closeable=False)

    db.close()
    assert server.opened[0].log == []
    db.begin()
    db.close()
    assert server.opened[0].log == ["begin", "reset"]


def test_a_connection_is_closed_once_and_comes_back_when_it_is_used(server: FakePg) -> None:
    db = steady()

    db.close()
    db.close()
    assert server.opened[0].log == ["close"]
    assert db.query("select 1") == "1"
    del db
    assert server.open_connections == []


@pytest.mark.parametrize("maxusage", ["2", 2.5, [1]])
def test_a_limit_that_is_no_integer_is_refused(server: FakePg, maxusage: Any) -> None:
    with pytest.raises(TypeError, match=r"^'maxusage' must be an integer value\.$"):
        steady(maxusage=maxusage)

    assert server.opened == []


def test_a_connection_that_could_not_be_opened_has_nothing_to_give(server: FakePg) -> None:
    class Steady(steady_pg.SteadyPgConnection):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            pass

    with pytest.raises(steady_pg.InvalidConnectionError) as caught:
        Steady().query("select 1")
    assert caught.value.args == ()
    assert server.opened == []


# pools


def test_a_connect_that_fails_costs_no_place(server: FakePg) -> None:
    pool = make_pool(maxconnections=1)
    for error in (InternalError("down"), KeyboardInterrupt()):
        server.failures = [error]
        with pytest.raises(type(error)):
            pool.connection()

    assert permits(pool) == 1
    with pool.connection(), pytest.raises(pooled_pg.TooManyConnectionsError):
        pool.connection()


@pytest.mark.parametrize("error", [InternalError("down"), KeyboardInterrupt()])
def test_a_rollback_that_fails_costs_no_place(server: FakePg, error: BaseException) -> None:
    pool = make_pool(maxconnections=1, reset=pooled_pg.RESET_ALWAYS_ROLLBACK)
    db = pool.connection()
    server.opened[0].failures = [error]

    if isinstance(error, Exception):
        db.close()
    else:
        with pytest.raises(type(error)):
            db.close()
        assert server.open_connections == [], "its state is unknown"

    assert permits(pool) == 1
    assert pool.connection().query("select 1") == "1"


@pytest.mark.parametrize(
    ("reset", "begun", "log"),
    [
        (None, 0, []),
        (None, 1, ["begin", "rollback"]),
        (0, 1, ["begin", "rollback"]),
        (1, 0, ["rollback"]),
        (2, 1, ["begin", "reset"]),
    ],
)
def test_a_connection_that_comes_back_is_reset(
    server: FakePg, reset: int | None, begun: int, log: list[str]
) -> None:
    pool = make_pool(reset=reset)
    db = pool.connection()
    if begun:
        db.begin()

    db.close()

    assert server.opened[0].log == log


def test_idle_connections_are_reused_in_the_order_in_which_they_came_back(server: FakePg) -> None:
    pool = make_pool(mincached=3)
    taken = [pool.connection() for _ in range(3)]

    assert [db._con and db._con._con for db in taken] == server.opened[::-1]


def test_what_is_over_the_limit_of_idle_ones_is_closed(server: FakePg) -> None:
    pool = make_pool(maxcached=1)

    for db in [pool.connection(), pool.connection()]:
        db.close()

    assert len(server.open_connections) == 1
    pool.close()
    assert server.open_connections == []
    assert pool.connection().query("select 1") == "1"


def test_more_connections_at_the_start_than_there_may_be_are_an_error_and_no_hang(
    server: FakePg,
) -> None:
    with pytest.raises(pooled_pg.TooManyConnectionsError) as caught:
        make_pool(mincached=3, maxconnections=2, blocking=True)

    assert str(caught.value) == "mincached=3 is more than maxconnections=2"
    assert server.opened == []


def test_a_connection_goes_back_when_nobody_has_it_any_more(server: FakePg) -> None:
    pool = make_pool(maxconnections=1)

    assert pool.connection().query("select 1") == "1"

    assert permits(pool) == 1
    assert len(server.open_connections) == 1


def test_a_closed_connection_has_nothing_and_may_be_reopened(server: FakePg) -> None:
    pool = make_pool(maxconnections=1)
    db = pool.connection()

    db.close()
    db.close()
    assert (db._con, permits(pool)) == (None, 1)
    with pytest.raises(pooled_pg.InvalidConnectionError):
        db.query("select 1")
    db.reopen()
    assert (db.query("select 1"), permits(pool)) == ("1", 0)
    db.reopen()
    assert server.opened[0].log == ["select 1", "reopen"]


def test_threads_that_close_one_connection_give_it_back_once(server: FakePg) -> None:
    pool = make_pool(maxconnections=1)
    for _ in range(200):
        db = pool.connection()
        together(2, lambda _, db=db: db.close())  # type: ignore[misc]

    assert permits(pool) == 1
    assert pool._cache.qsize() == len(server.opened) == 1


def test_threads_that_reopen_one_connection_take_one(server: FakePg) -> None:
    pool = make_pool(maxconnections=2)
    for _ in range(200):
        db = pool.connection()
        db.close()
        together(2, lambda _, db=db: db.reopen())  # type: ignore[misc]
        assert permits(pool) == 1
        db.close()

    assert permits(pool) == 2
    assert len(server.opened) <= 2


def test_never_more_connections_than_allowed_and_each_in_one_hand(server: FakePg) -> None:
    pool = make_pool(maxconnections=3, blocking=True)

    def work(_: int) -> None:
        for _ in range(100):
            with pool.connection() as db:
                raw = db._con and db._con._con
                assert raw not in used
                used.append(raw)
                db.query("select 1")
                used.remove(raw)

    used: list[Any] = []
    together(8, work)

    assert permits(pool) == 3
    assert len(server.opened) <= 3


def test_who_waits_is_served_by_a_return(server: FakePg) -> None:
    pool = make_pool(maxconnections=1, blocking=True)
    db = pool.connection()
    waiter: Running[PooledPgConnection] = in_thread(pool.connection)
    assert remains(lambda: not waiter.done)

    db.close()

    assert waiter.result().query("select 1") == "1"
    assert len(server.opened) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="no signals between processes")
def test_a_wait_is_ended_by_a_signal(server: FakePg) -> None:
    class Interrupted(Exception):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    pool = make_pool(maxconnections=1, blocking=True)
    db = pool.connection()
    before = signal.signal(signal.SIGUSR1, interrupt)
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(0.05, signal.pthread_kill, (main, signal.SIGUSR1))
    timer.start()
    try:
        with pytest.raises(Interrupted):
            pool.connection()
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)

    db.close()
    assert permits(pool) == 1
    assert len(server.opened) == 1


# a connection for each thread


def test_the_connection_of_a_thread_is_closed_when_it_ends(server: FakePg) -> None:
    persist = pools.persistent_pg.PersistentPg(dbname="shop")

    def work(_: int) -> bool:
        return persist.connection() is persist.connection()

    running = in_thread(work, 0)
    assert running.result()
    running.thread.join()
    eventually(lambda: not server.open_connections)
    persist.connection().close()

    assert len(server.opened) == 2
    assert len(server.open_connections) == 1, "closing it is ignored"


# simple pools


def test_a_simple_pool_opens_all_and_hands_them_out_in_turn(server: FakePg) -> None:
    pool = pools.simple_pooled_pg.PooledPg(2, dbname="shop")
    assert len(server.opened) == 2

    one, two = pool.connection(), pool.connection()
    waiter = in_thread(pool.connection)
    assert remains(lambda: not waiter.done)
    one.close()
    one.close()

    assert waiter.result()._con is server.opened[0]
    assert two._con is server.opened[1]
    assert pool._queue.empty()


# the driver


def test_without_pygresql_the_import_says_what_to_install() -> None:
    ended = run_script("""
import sys
sys.modules["pg"] = None
import millpond.dbutils
import millpond.dbutils.persistent_db
import millpond.dbutils.pooled_pg
""")

    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: No module named 'pg': the pools for classic PyGreSQL connections"
        " need PyGreSQL; install it by `pip install PyGreSQL`"
    )


@pytest.mark.parametrize(
    ("pool", "options"),
    [("pooled_pg.PooledPg", {"maxconnections": 2}), ("persistent_pg.PersistentPg", {})],
)
def test_a_killed_session_is_replaced_on_a_real_server(
    postgres_url: str, pool: str, options: dict[str, Any]
) -> None:
    pytest.importorskip("pg", reason="PyGreSQL is not installed")
    module, _, name = pool.partition(".")
    made = getattr(getattr(pools, module), name)(
        setsession=["SET application_name TO millpond"], dbname=postgres_url, **options
    )
    db = made.connection()
    (pid,) = db.query("SELECT pg_backend_pid()").one()

    killer = steady(dbname=postgres_url)
    killer.query("SELECT pg_terminate_backend($1, 5000)", [pid])

    name, now = db.query("SELECT current_setting('application_name'), pg_backend_pid()").one()
    assert (name, now == pid) == ("millpond", False)
    with db._con if hasattr(db, "_pool") else db as begun:
        begun.query("CREATE TEMPORARY TABLE t (i int)")
        assert begun.insert("t", i=1) == {"i": 1}
    assert db.query("SELECT i FROM t").getresult() == [(1,)]
