"""Bad input: refused with the parameter, the value and what is allowed; the pool stays whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import millpond
from helpers import eventually, in_thread

if TYPE_CHECKING:
    from fakes import FakeConnection, FakeDatabase
    from helpers import MakePool

NAN = float("nan")
INFINITY = float("inf")


def wrong(name: str, values: list[object]) -> list[Any]:
    """Give one test case for each value, named for what it is."""
    return [pytest.param(name, value, id=f"{name}={value!r:.20}") for value in values]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *wrong("min_size", [-1, 1.5, "1", None, True, NAN]),
        *wrong("max_size", [0, -1, 1.5, "10", None, False, 10**9]),
        *wrong("acquire_timeout", [-0.1, "5", NAN, INFINITY, True, object()]),
        *wrong("connect_timeout", [-1, 0, "5", NAN, INFINITY]),
        *wrong("idle_timeout", [-1, "600", NAN, [600]]),
        *wrong("max_lifetime", [-1, 0, "3600", NAN]),
        *wrong("max_uses", [0, -1, 1.5, "many"]),
        *wrong("max_waiting", [-1, 1.5, "few"]),
        *wrong("validation_interval", [-1, "30", NAN]),
        *wrong("validation_timeout", [-1, 0, None, "5", NAN]),
        *wrong("leak_threshold", [-1, 0, "1", NAN]),
        *wrong("reset", ["commit", "", None, 1]),
        *wrong("policy", ["lifo", None, 1]),
        *wrong("name", ["", 1, b"orders"]),
        *wrong("driver", ["", 1]),
        *wrong("connect_kwargs", ["password=secret", [1]]),
        *wrong("configure", ["SET x", 1]),
        *wrong("validate", [True, "", " "]),
        *wrong("max_connecting", [0, -1, 1.5, "many"]),
        *wrong("fail_fast_after", [-1, "5", NAN]),
        *wrong("max_latency", [-1, 0, "1", NAN]),
        *wrong("on_acquire", [1]),
        *wrong("on_release", ["no"]),
        *wrong("on_close", [object()]),
    ],
)
def test_a_wrong_value_is_refused_with_its_name(
    make_pool: MakePool, driver: FakeDatabase, name: str, value: object
) -> None:
    with pytest.raises(millpond.PoolConfigError, match=f"^{name}"):
        make_pool(**{name: value})

    assert driver.attempts == 0


@pytest.mark.parametrize(
    ("options", "first", "second"),
    [
        ({"min_size": 5, "max_size": 4}, "min_size", "max_size"),
        ({"validation_timeout": 3.0, "acquire_timeout": 2.0}, "validation_timeout", "acquire_tim"),
    ],
)
def test_values_that_contradict_each_other_are_refused_with_both_names(
    make_pool: MakePool, options: dict[str, Any], first: str, second: str
) -> None:
    with pytest.raises(millpond.PoolConfigError, match=f"{first}.*{second}"):
        make_pool(**options)


def test_the_message_tells_the_value_and_what_is_allowed(make_pool: MakePool) -> None:
    with pytest.raises(millpond.PoolConfigError) as caught:
        make_pool(max_size=0)

    assert "max_size=0" in str(caught.value)
    assert "from 1" in str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("connect", [None, 1, b"postgresql://", object(), ["x"]])
def test_what_cannot_connect_is_refused(connect: Any) -> None:
    with pytest.raises(millpond.PoolConfigError, match="connect"):
        millpond.Pool(connect)


def test_a_url_of_an_unknown_kind_is_refused_without_showing_its_password() -> None:
    with pytest.raises(millpond.PoolConfigError, match="gopher") as caught:
        millpond.Pool("gopher://me:secret@localhost/db")

    assert "secret" not in str(caught.value)


def test_an_unknown_option_is_refused(make_pool: MakePool) -> None:
    with pytest.raises(TypeError, match="pool_size"):
        make_pool(pool_size=5)


def test_options_are_for_keywords_only(driver: FakeDatabase) -> None:
    with pytest.raises(TypeError):
        millpond.Pool(driver.connect, 5)  # type: ignore[call-arg]

    assert driver.attempts == 0


def test_the_message_tells_what_no_timeout_means_there(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1)
    acquire = "use None for the pool's acquire_timeout, and math.inf for no limit$"

    with pytest.raises(millpond.PoolConfigError, match=acquire):
        pool.acquire(timeout=NAN)
    with pytest.raises(millpond.PoolConfigError, match=r"use None for no limit$"):
        pool.wait(timeout=NAN)
    with pytest.raises(millpond.PoolConfigError, match=r"use None for 5 seconds$"):
        pool.close(timeout=NAN)


@pytest.mark.parametrize("timeout", [-1, NAN, "1", object(), True])
def test_a_wrong_timeout_is_refused_and_takes_no_connection(
    make_pool: MakePool, timeout: Any
) -> None:
    pool = make_pool(max_size=1)
    pool.release(pool.acquire())

    with pytest.raises((millpond.PoolConfigError, TypeError), match="timeout"):
        pool.acquire(timeout=timeout)
    with pytest.raises((millpond.PoolConfigError, TypeError), match="timeout"):
        pool.connection(timeout=timeout).__enter__()
    with pytest.raises((millpond.PoolConfigError, TypeError), match="timeout"):
        pool.wait(timeout=timeout)
    with pytest.raises((millpond.PoolConfigError, TypeError), match="timeout"):
        pool.close(timeout=timeout)

    assert pool.stats().idle == 1
    assert not pool.closed


def test_acquiring_in_a_connect_of_the_full_pool_is_an_error_and_no_deadlock(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    """Scenario 43: the connect that would have to serve it is the one that asks."""
    tries = iter(range(100))

    def connect() -> FakeConnection:
        if next(tries) == 0:
            pool.acquire(timeout=30)
        return driver.connect()

    pool = make_pool(connect, max_size=1)
    error = in_thread(pool.acquire, timeout=30).error(timeout=5)

    assert isinstance(error, millpond.PoolError)
    assert not isinstance(error, millpond.PoolTimeout)
    assert "connect" in str(error)
    assert pool.acquire(timeout=10) is driver.connections[0]


def test_acquiring_in_configure_of_the_full_pool_is_an_error_and_no_deadlock(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    """Scenario 43."""
    tries = iter(range(100))

    def configure(_connection: FakeConnection) -> None:
        if next(tries) == 0:
            pool.acquire(timeout=30)

    pool = make_pool(max_size=1, configure=configure)
    error = in_thread(pool.acquire, timeout=30).error(timeout=5)

    assert isinstance(error, millpond.PoolError)
    assert not isinstance(error, millpond.PoolTimeout)
    assert pool.acquire(timeout=10) is driver.connections[1]
    eventually(lambda: driver.live == 1)


def test_a_connect_that_gives_nothing_is_an_error(make_pool: MakePool) -> None:
    pool = make_pool(lambda: None, max_size=1)

    with pytest.raises((millpond.PoolError, TypeError), match="connect"):
        pool.acquire(timeout=5)

    assert pool.stats().in_use == 0


def test_a_connect_that_gives_the_same_connection_twice_is_an_error(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    """Two slots with one connection would be one connection in two hands."""
    only = driver.connect()
    pool = make_pool(lambda: only, max_size=2)
    held = pool.acquire()

    with pytest.raises(millpond.PoolError):
        pool.acquire(timeout=0.5)

    assert held is only
    assert not only.closed
