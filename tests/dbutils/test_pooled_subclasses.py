"""Subclasses of `PooledDB` and of its proxies: whatever they override is what is called."""

from __future__ import annotations

from typing import Any, Self

import pytest

from helpers import eventually, in_thread
from millpond.dbutils import __version__, pooled_db
from millpond.dbutils.pooled_db import (
    InvalidConnectionError,
    PooledDB,
    PooledDedicatedDBConnection,
    PooledSharedDBConnection,
    TooManyConnectionsError,
)
from traced import TracedDriver


class Noting(PooledDB):
    """Another signature, attributes before `super().__init__()`, and every hook overridden."""

    def __new__(cls, *_: Any, **__: Any) -> Self:
        return super().__new__(cls)

    def __init__(self, driver: Any, *, name: str, **options: Any) -> None:
        self.name = name
        self.hooks: list[str] = []
        super().__init__(driver, **options)

    def steady_connection(self) -> Any:
        self.hooks.append("steady_connection")
        return super().steady_connection()

    def connection(self, shareable: bool = True) -> Any:  # noqa: FBT001, FBT002
        self.hooks.append(f"connection({shareable})")
        return super().connection(shareable)

    def dedicated_connection(self) -> Any:
        self.hooks.append("dedicated_connection")
        return super().dedicated_connection()

    def cache(self, con: Any) -> None:
        self.hooks.append("cache")
        super().cache(con)

    def unshare(self, con: Any) -> None:
        self.hooks.append("unshare")
        super().unshare(con)

    def close(self) -> None:
        self.hooks.append("close")
        super().close()

    def take(self) -> list[str]:
        taken, self.hooks = self.hooks, []
        return taken


def test_what_a_subclass_overrides_is_called() -> None:
    pool = Noting(TracedDriver(threadsafety=2), name="mine", mincached=1, maxshared=1)
    opening = ["dedicated_connection", "connection(False)", "steady_connection", "cache"]
    assert (pool.name, pool.take()) == ("mine", opening)

    with pool.connection():
        pass
    assert pool.take() == ["connection(True)", "unshare", "cache"]

    lent = pool.connection(shareable=False)
    del lent
    assert pool.take() == ["connection(False)", "cache"]

    hooks = pool.hooks
    del pool
    assert hooks == ["close"]


def test_what_is_set_on_an_instance_or_the_class_is_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = PooledDB(TracedDriver())
    seen: list[str] = []
    cache, open_steady = pool.cache, pool.steady_connection
    pool.cache = lambda con: [seen.append("cache"), cache(con)]  # type: ignore[method-assign,assignment,func-returns-value]
    pool.steady_connection = lambda: seen.append("open") or open_steady()  # type: ignore[method-assign,func-returns-value]
    pool.connection().close()
    assert seen == ["open", "cache"]

    con = pool._idle_cache[0]
    con._ping_check = lambda: seen.append("ping")
    con._reset = lambda force: seen.append(f"reset({force})")
    pool._reset = "perhaps"
    pool.connection().close()
    assert seen[2:] == ["ping", "cache", "reset(perhaps)"]

    monkeypatch.setattr(PooledDB, "connection", lambda self, shareable: (self, shareable))
    assert pool.dedicated_connection() == (pool, False)


class Bounded(PooledDB):
    """Waits as its users know it from DBUtils: with the pool's lock, and a patience of its own."""

    patience = 3

    def _wait_lock(self) -> None:
        if not self.patience:
            raise TimeoutError
        self.patience -= 1
        self.waited = True
        self._lock.wait(10)


def test_a_subclass_may_wait_in_its_own_way() -> None:
    pool = Bounded(TracedDriver(), maxconnections=1)
    held = pool.connection()
    waiting = in_thread(pool.connection)
    eventually(lambda: hasattr(pool, "waited"))

    held.close()

    lent = waiting.result()
    assert pool._connections == 1
    pool.patience = 0
    with pytest.raises(TimeoutError):
        pool.connection()
    lent.close()
    assert pool._connections == 0


def test_a_subclass_that_waits_in_its_own_way_shares_too() -> None:
    pool = Bounded(TracedDriver(threadsafety=2), maxshared=1, maxconnections=1)
    held = pool.connection()
    held.begin()
    waiting = in_thread(pool.connection)
    eventually(lambda: hasattr(pool, "waited"))

    held.commit()

    assert waiting.result()._con is held._con


def test_a_wait_that_is_set_on_an_instance_is_called() -> None:
    pool = PooledDB(TracedDriver(), maxconnections=1, blocking=True)
    held = pool.connection()

    def refuse() -> None:
        raise TooManyConnectionsError("mine")  # noqa: EM101

    pool._wait_lock = refuse  # type: ignore[method-assign]
    with pytest.raises(TooManyConnectionsError, match="mine"):
        pool.connection()
    assert held._con is not None


class Proxy(PooledDedicatedDBConnection):
    """Sees every attribute that its class has not, and closes in its own way."""

    def __init__(self, pool: Any, con: Any, seen: list[str]) -> None:
        super().__init__(pool, con)
        self.seen = seen

    def __getattr__(self, name: str) -> Any:
        self.seen.append(name)
        return super().__getattr__(name)

    def close(self) -> None:
        self.seen.append("close")
        super().close()


def proxy_of(pool: PooledDB) -> Proxy:
    pool._force_permit()
    return Proxy(pool, pool.steady_connection(), [])


def test_a_subclass_of_a_proxy_sees_every_attribute() -> None:
    pool = PooledDB(TracedDriver())
    proxy = proxy_of(pool)

    proxy.cursor().execute("select 1")
    assert proxy._usage == 1
    assert not hasattr(proxy, "nothing")

    assert proxy.seen == ["cursor", "_usage", "nothing"]
    seen = proxy.seen
    del proxy
    assert seen[3:] == ["close"]
    assert (pool._connections, len(pool._idle_cache)) == (0, 1)


def test_a_plain_subclass_of_a_proxy_is_as_the_proxy() -> None:
    class Plain(PooledDedicatedDBConnection):
        """Nothing of its own but a method."""

        def answer(self) -> int:
            return 42

    pool = PooledDB(TracedDriver())
    with Plain(pool, pool.steady_connection()) as proxy:
        assert proxy.answer() == 42
        assert proxy.cursor().execute("select 1") == "c1.k1 executed"
        assert proxy._usage == 1
    with pytest.raises(InvalidConnectionError):
        hasattr(proxy, "anything")


def test_a_shared_proxy_of_a_subclass_wakes_as_well() -> None:
    class Lively(PooledSharedDBConnection):
        def __getattr__(self, name: str) -> Any:
            return super().__getattr__(name)

    pool = PooledDB(TracedDriver(threadsafety=2), maxshared=1, blocking=True)
    held = pool.connection()
    lively = Lively(pool, held._shared_con)
    lively.begin()
    waiting = in_thread(pool.connection)

    lively.commit()

    assert waiting.result()._con is held._con
    pool._shared_cache[0].share()


def test_every_class_says_which_version_it_stands_for() -> None:
    names = ("PooledDB", "PooledDedicatedDBConnection", "PooledSharedDBConnection")
    versions = {getattr(pooled_db, name).version for name in names}

    assert versions == {__version__}


def test_the_figures_of_monitoring_scripts_are_there_and_free_for_other_use() -> None:
    pool = PooledDB(TracedDriver(), maxcached=2, maxconnections=5)
    lent = [pool.connection() for _ in range(3)]
    assert (pool._checkedout, pool._cached, pool._overflow) == (3, 0, 1)
    lent.clear()
    assert (pool._checkedout, pool._cached, pool._overflow) == (0, 2, 0)

    pool._overflow = "mine"
    assert pool._overflow == "mine"
