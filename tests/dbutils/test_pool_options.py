"""`pool_options` of `PooledDB`: which there are, and what waiting and lending do by them."""

from __future__ import annotations

import gc
import pickle
import threading
from typing import TYPE_CHECKING, Any

import pytest

import millpond
from fakes import OperationalError
from helpers import eventually, in_thread, remains, together
from millpond.dbutils import pooled_db
from millpond.dbutils.pooled_db import PooledDB, TooManyConnectionsError
from pooled import FakeModule, raw

if TYPE_CHECKING:
    from fakes import FakeDatabase
    from pooled import MakePooled

pytestmark = pytest.mark.freethreaded


# Which there are.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"idle_timout": 5},
            "'idle_timout' is unknown; known are acquire_timeout, .*'idle_timeout'",
        ),
        ({5: 5}, "pool_options: 5 is unknown"),
        ({"acquire_timeout": -1}, "acquire_timeout=-1: must be seconds .* not negative"),
        ({"idle_timeout": 0}, "idle_timeout=0: must be seconds .* above 0"),
        ({"max_lifetime": "1h"}, "max_lifetime='1h': must be seconds"),
        ({"max_uses": 0}, "max_uses=0: must be an int from 1"),
        ({"max_waiting": True}, "max_waiting=True: must be an int"),
        ({"validation_timeout": None}, "validation_timeout=None: must be seconds"),
        ({"name": ""}, "name='': must be a non-empty str"),
        ({"on_acquire": 5}, "on_acquire=5: must be a callable"),
        ([("name", "x")], "pool_options=<list>: must be a mapping of options"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_opened(
    driver: FakeDatabase, options: Any, message: str
) -> None:
    with pytest.raises(millpond.PoolConfigError, match=message):
        PooledDB(FakeModule(driver), 1, pool_options=options)

    assert driver.connects == 0


def test_none_changes_nothing(make_pooled: MakePooled) -> None:
    pool = make_pooled(pool_options={"idle_timeout": None, "acquire_timeout": None})

    assert pool._upkeep is None


def test_a_subclass_may_have_options_of_which_the_constructor_replaces_some(
    make_pooled: MakePooled,
) -> None:
    class Patient(PooledDB):
        pool_options = {"acquire_timeout": 0, "name": "patient", "max_uses": 5}  # noqa: RUF012

    pool = make_pooled(kind=Patient, pool_options={"name": "other", "max_uses": None})

    assert pool._checked_options.name == pool.stats().name == "other"
    assert pool._checked_options.acquire_timeout == 0
    assert pool._checked_options.max_uses is None


def test_a_bad_option_of_a_subclass_is_refused_as_well(make_pooled: MakePooled) -> None:
    class Wrong(PooledDB):
        pool_options = {"timeout": 5}  # noqa: RUF012

    with pytest.raises(millpond.PoolConfigError, match="'timeout' is unknown"):
        make_pooled(kind=Wrong)


def test_the_driver_gets_none_of_them(driver: FakeDatabase) -> None:
    given: list[Any] = []

    class Module(FakeModule):
        def connect(self, *args: Any, **kwargs: Any) -> Any:
            given.append((args, kwargs))
            return super().connect()

    pool = PooledDB(Module(driver), pool_options={"max_uses": 1}, host="db", timeout=3)
    pool.connection().close()

    assert given == [((), {"host": "db", "timeout": 3})]


# Waiting.


@pytest.mark.parametrize("blocking", [False, True])
def test_a_caller_waits_for_a_release_as_long_as_acquire_timeout(
    make_pooled: MakePooled, *, blocking: bool
) -> None:
    pool = make_pooled(maxconnections=1, blocking=blocking, pool_options={"acquire_timeout": 30})
    held = pool.connection()
    con = raw(held)
    waiter = in_thread(pool.connection)
    eventually(lambda: pool.stats().waiting)

    held.close()

    assert raw(waiter.result()) is con


@pytest.mark.parametrize("blocking", [False, True])
def test_a_timeout_is_an_error_of_both_worlds_and_says_who_has_what(
    make_pooled: MakePooled, *, blocking: bool
) -> None:
    pool = make_pooled(
        maxconnections=2,
        blocking=blocking,
        pool_options={"acquire_timeout": 0.02, "leak_threshold": 30, "name": "orders"},
    )
    mine, there, stay = pool.connection(), threading.Event(), threading.Event()

    def hold() -> None:
        theirs = pool.connection()
        there.set()
        stay.wait()
        theirs.close()

    thread = threading.Thread(target=hold, name="billing")
    thread.start()
    there.wait()
    with pytest.raises(TooManyConnectionsError) as caught:
        pool.connection()
    stay.set()
    thread.join()

    assert isinstance(caught.value, millpond.PoolTimeout)
    assert isinstance(caught.value, TimeoutError)
    said = str(caught.value)
    assert "couldn't acquire a connection from pool 'orders' in 0.0" in said
    assert "2 of 2 in use, 0 idle" in said
    assert "by this same thread, acquired at " + __file__ in said
    assert "by thread billing, acquired at " + __file__ in said
    assert "raise maxconnections or acquire_timeout" in said
    assert raw(mine)


def test_without_a_threshold_it_says_what_the_holder_does_right_now(
    make_pooled: MakePooled,
) -> None:
    pool = make_pooled(maxconnections=1, pool_options={"acquire_timeout": 0})
    there, stay = threading.Event(), threading.Event()

    def hold() -> None:
        held = pool.connection()
        there.set()
        stay.wait()
        held.close()

    holder = in_thread(hold)
    there.wait()
    with pytest.raises(
        millpond.PoolTimeout, match=r"held for at least .* by thread .*, now at .*:"
    ):
        pool.connection()

    stay.set()
    holder.result()


def test_zero_does_not_wait(make_pooled: MakePooled) -> None:
    pool = make_pooled(maxconnections=1, blocking=True, pool_options={"acquire_timeout": 0})
    held = pool.connection()

    with pytest.raises(millpond.PoolTimeout):
        pool.connection()

    held.close()
    pool.connection().close()


def test_a_caller_too_many_gets_an_error_of_both_worlds(make_pooled: MakePooled) -> None:
    pool = make_pooled(maxconnections=1, blocking=True, pool_options={"max_waiting": 1})
    held = pool.connection()
    waiter = in_thread(pool.connection)
    eventually(lambda: pool.stats().waiting)

    with pytest.raises(TooManyConnectionsError) as caught:
        pool.connection()

    assert isinstance(caught.value, millpond.PoolExhausted)
    assert "max_waiting=1: try again later" in str(caught.value)
    assert pool.stats().refused == 1
    held.close()
    waiter.result().close()


def test_whoever_waits_to_share_waits_no_longer(make_pooled: MakePooled) -> None:
    pool = make_pooled(
        maxshared=1, maxconnections=1, threadsafety=2, pool_options={"acquire_timeout": 0.02}
    )
    shared = pool.connection()
    shared._con._transaction = True

    with pytest.raises(pooled_db.AcquireTimeoutError):
        pool.connection()

    shared._con._transaction = False
    assert raw(pool.connection()) is raw(shared)


def test_without_options_nobody_waits_or_times_out_as_before(make_pooled: MakePooled) -> None:
    pool = make_pooled(maxconnections=1)
    held = pool.connection()

    with pytest.raises(TooManyConnectionsError) as caught:
        pool.connection()

    assert type(caught.value) is TooManyConnectionsError
    assert caught.value.args == ()
    held.close()


def test_the_errors_can_be_sent_to_another_process() -> None:
    for kind in (pooled_db.AcquireTimeoutError, pooled_db.TooManyWaitersError):
        copy = pickle.loads(pickle.dumps(kind("said")))

        assert type(copy) is kind
        assert str(copy) == "said"


# Hooks.


def test_hooks_are_called_with_each_connection_that_comes_and_goes(
    make_pooled: MakePooled, driver: FakeDatabase
) -> None:
    seen: list[Any] = []
    pool = make_pooled(
        pool_options={
            "on_acquire": lambda con: seen.append(("acquire", con._con)),
            "on_release": lambda con: seen.append(("release", con._con, driver.rollbacks)),
        }
    )

    con = raw(proxy := pool.connection())
    proxy.close()

    assert seen == [("acquire", con), ("release", con, 0)]
    assert driver.rollbacks == 1


def test_a_connection_whose_hook_fails_is_closed(
    make_pooled: MakePooled, driver: FakeDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    faults: list[Exception] = []

    def hook(_: object) -> None:
        if faults:
            raise faults.pop()

    pool = make_pooled(maxconnections=1, pool_options={"on_acquire": hook, "on_release": hook})
    faults.append(OperationalError("no"))
    with pytest.raises(OperationalError, match="no"):
        pool.connection()
    proxy = pool.connection()
    faults.append(OperationalError("neither"))
    proxy.close()

    assert driver.live == 0
    assert pool._connections == 0
    assert (
        "on_release failed, so the connection is closed: OperationalError: neither" in caplog.text
    )
    pool.connection().close()


# What stays as it was.


def test_dropping_the_proxy_gives_the_connection_back_at_once(make_pooled: MakePooled) -> None:
    pool = make_pooled(maxconnections=1, pool_options={"acquire_timeout": 0, "max_uses": 100})

    for _ in range(5):
        pool.connection()

    gc.collect()
    assert (pool._connections, len(pool._idle_cache)) == (0, 1)


def test_a_reset_that_is_interrupted_leaves_the_connection_with_its_holder(
    make_pooled: MakePooled, driver: FakeDatabase
) -> None:
    pool = make_pooled(maxconnections=1, pool_options={"acquire_timeout": 0})
    proxy = pool.connection()
    driver.fail_next(KeyboardInterrupt(), at="rollback")

    with pytest.raises(KeyboardInterrupt):
        proxy.close()
    assert [one.state for one in pool.stats().connections] == ["in use"]
    proxy.close()

    assert [one.state for one in pool.stats().connections] == ["idle"]
    assert pool._connections == 0


def test_subclasses_that_override_what_lends_and_caches_are_asked(
    make_pooled: MakePooled,
) -> None:
    calls: list[str] = []

    class Noting(PooledDB):
        def connection(self, shareable: bool = True) -> Any:  # noqa: FBT001, FBT002
            calls.append("connection")
            return super().connection(shareable)

        def cache(self, con: Any) -> None:
            calls.append("cache")
            super().cache(con)

        def steady_connection(self) -> Any:
            calls.append("steady")
            return super().steady_connection()

    pool = make_pooled(kind=Noting, pool_options={"max_uses": 1, "acquire_timeout": 1})
    for _ in range(2):
        pool.dedicated_connection().close()

    assert calls == ["connection", "steady", "cache"] * 2


def test_a_connection_that_a_subclass_drops_is_held_by_nobody(make_pooled: MakePooled) -> None:
    class Dropping(PooledDB):
        def cache(self, con: Any) -> None:
            con.close()
            self._connections -= 1

    pool = make_pooled(kind=Dropping, pool_options={"leak_threshold": 1})
    pool.connection().close()
    gc.collect()

    assert pool.stats().connections == ()


def test_many_threads_get_one_connection_each(
    make_pooled: MakePooled, driver: FakeDatabase, fast_switching: None
) -> None:
    del fast_switching
    pool = make_pooled(
        0,
        3,
        0,
        3,
        pool_options={"acquire_timeout": 30, "max_uses": 7, "idle_timeout": 600},
    )

    def work(number: int) -> None:
        for turn in range(100):
            proxy = pool.connection()
            with raw(proxy).held_by((number, turn)):
                pass
            proxy.close()

    together(8, work)

    assert driver.peak_live <= 3
    assert pool.stats().acquired == 800
    assert pool.stats().closed["uses"] == driver.closes
    assert remains(lambda: pool._connections == 0, 0.01)
