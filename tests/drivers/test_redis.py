"""redis-py: one connection for each client, and none that is made behind the pool's back."""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import millpond
from helpers import eventually, in_thread, interrupt
from millpond import drivers
from millpond.drivers import SessionOptions, TransactionStatus
from millpond.errors import PoolConfigError
from servers import accept_and_never_answer

if TYPE_CHECKING:
    from collections.abc import Iterator

redis = pytest.importorskip("redis")

PASSWORD = "hunter2"
KEY = "millpond:test"


@contextmanager
def opened(url: str, **options: Any) -> Iterator[tuple[Any, Any]]:
    """Open a client as a pool does."""
    asked = SessionOptions(**options)
    driver: Any = drivers.find(url, options=asked)
    client = driver.connect()
    try:
        drivers.refine(driver, client)
        driver.prepare(client, asked)
        yield driver, client
    finally:
        driver.close(client)


@pytest.fixture
def driver(redis_url: str) -> Any:
    return drivers.find(redis_url)


@pytest.fixture
def client(driver: Any) -> Iterator[Any]:
    client = driver.connect()
    client.delete(KEY)
    yield client
    driver.close(client)


@pytest.fixture
def other(redis_url: str) -> Iterator[Any]:
    """Give a client of redis-py's own, to look at the server with."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


def message_of(connect: Any, **arguments: Any) -> str:
    """Return what is said about arguments that are not valid."""
    with pytest.raises(PoolConfigError) as caught:
        drivers.find(connect, **arguments)
    return str(caught.value)


def connections(other: Any, name: str) -> list[Any]:
    """Return the server's entries for clients with a name."""
    return [one for one in other.client_list() if one["name"] == name]


@pytest.mark.parametrize("scheme", ["redis", "rediss", "unix"])
def test_each_scheme_of_redis_py_is_known(scheme: str) -> None:
    assert drivers.find(f"{scheme}://h/0").name == "redis"


def test_the_url_reaches_the_server(redis_url: str) -> None:
    url = redis_url.rpartition("/")[0]
    with opened(f"{url}/3?decode_responses=true&client_name=fromurl") as (_, client):
        assert client.client_info()["db"] == 3
        assert client.client_getname() in {"fromurl", b"fromurl"}


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (f"redis://u:{PASSWORD}@h/zero", "the path must be the number of a database"),
        (f"redis://u:{PASSWORD}@h:port/0", "the port must be a number"),
        (f"redis://:@12?{PASSWORD}@h/0", "behind the ? an @ must be percent-encoded"),
        (f"redis://u:{PASSWORD}@h/0?socket_timeout=soon", "Invalid value for 'socket_timeout'"),
        (f"redis://u:{PASSWORD}@h/0?colour=red", "unexpected keyword argument 'colour'"),
    ],
)
def test_a_bad_url_is_refused_with_what_is_wrong(url: str, message: str) -> None:
    assert message in message_of(url)
    assert PASSWORD not in message_of(url)


@given(st.lists(st.sampled_from([*":/?#@%&=[]+ é", "1", PASSWORD])))
def test_a_password_shows_in_no_message_and_no_repr(pieces: list[str]) -> None:
    try:
        found = drivers.find(f"redis://user:{''.join(pieces)}{PASSWORD}@host/0")
    except PoolConfigError as error:
        shown = f"{error!r} {error.__cause__!r}"
    else:
        shown = f"{found!r} {vars(found)!r}"

    assert PASSWORD not in shown


@pytest.mark.parametrize(
    "option", ["autocommit", "isolation_level", "read_only", "statement_timeout"]
)
def test_what_redis_does_not_have_is_refused(option: str) -> None:
    value = {"isolation_level": "serializable", "statement_timeout": 1.0}.get(option, True)
    chosen: dict[str, Any] = {option: value}
    options = SessionOptions(**chosen)

    assert f"{option}={value!r}: not possible" in message_of("redis://h/0", options=options)


def test_the_options_have_their_effect(redis_url: str, other: Any) -> None:
    options = {
        "application_name": "options",
        "keepalive": 77.0,
        "session": ("CLIENT NO-EVICT ON", f'SET {KEY} "two words"'),
        "socket_timeout": 0.3,
    }
    with opened(redis_url, **options) as (driver, client):
        assert "e" in connections(other, "options")[0]["flags"]
        assert other.get(KEY) == b"two words"
        with socket.socket(fileno=os.dup(driver.fileno(client))) as sock:
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 77
        with pytest.raises(redis.exceptions.TimeoutError) as caught:
            client.connection.send_command("BLPOP", "millpond:nothing", 0)
            client.connection.read_response()
        assert driver.is_disconnect(caught.value)


def test_pipelines_and_watch_use_the_one_connection(redis_url: str, other: Any) -> None:
    with opened(redis_url, application_name="single") as (driver, client):
        with client.pipeline() as pipe:
            pipe.watch(KEY)
            pipe.multi()
            pipe.set(KEY, 1).incr(KEY)
            assert pipe.execute() == [True, 2]
        assert client.transaction(lambda pipe: pipe.multi() or pipe.incr(KEY), KEY) == [3]
        with client.lock("millpond:lock", timeout=5):
            assert len(connections(other, "single")) == 1

        driver.reset(client)

        assert driver.transaction_status(client) is TransactionStatus.IDLE


def test_a_pipeline_that_still_watches_poisons_nobody(driver: Any, client: Any) -> None:
    pipe = client.pipeline()
    pipe.watch(KEY)
    assert driver.transaction_status(client) is TransactionStatus.ACTIVE

    with pytest.raises(redis.ConnectionError, match="a pipeline or a subscription holds it"):
        driver.reset(client)
    pipe.reset()


def test_a_subscription_poisons_nobody(driver: Any, client: Any) -> None:
    subscription = client.pubsub()
    subscription.subscribe("millpond:channel")
    with pytest.raises(redis.ConnectionError, match="a pipeline or a subscription holds it"):
        driver.reset(client)

    subscription.close()
    client.ping()

    with pytest.raises(redis.ConnectionError, match="was closed in between"):
        driver.reset(client)


def test_a_connection_that_was_lost_is_neither_pinged_nor_released(
    driver: Any, client: Any, other: Any
) -> None:
    other.client_kill_filter(_id=client.client_id())
    eventually(lambda: driver.is_alive(client) is False)

    with pytest.raises(redis.ConnectionError) as caught:
        driver.ping(client)
    with pytest.raises(redis.ConnectionError, match="it is closed"):
        driver.reset(client)
    assert driver.is_disconnect(caught.value)
    with pytest.raises(redis.ConnectionError, match="closed"):
        driver.ping(client)


def test_a_command_is_not_repeated(redis_url: str, other: Any) -> None:
    with opened(redis_url) as (driver, client):
        other.client_kill_filter(_id=client.client_id())
        eventually(lambda: driver.is_alive(client) is False)

        with pytest.raises(redis.ConnectionError):
            client.incr(KEY)


def test_a_reply_that_was_interrupted_is_not_taken_for_the_next(driver: Any, client: Any) -> None:
    began = in_thread(interrupt, after=lambda: _blocked(driver))
    with pytest.raises(KeyboardInterrupt):
        client.blpop(["millpond:nothing"], timeout=20)
    began.result()

    with pytest.raises(redis.ConnectionError):
        driver.reset(client)


def _blocked(driver: Any) -> bool:
    beside = driver.connect()
    try:
        return any("b" in one["flags"] for one in beside.client_list())
    finally:
        driver.close(beside)


def test_a_session_is_reset(redis_url: str) -> None:
    with opened(redis_url, application_name="fresh") as (driver, client):
        descriptor = driver.fileno(client)
        client.execute_command("SELECT", 5)
        client.client_setname("stale")
        client.connection.send_command("MULTI")
        client.connection.read_response()

        driver.reset_session(client)

        assert client.set(KEY, 1)
        assert client.client_info()["db"] == 0
        assert client.client_getname() in {"fresh", b"fresh"}
        assert driver.fileno(client) == descriptor


def test_there_are_no_transactions_of_this_kind(redis_url: str) -> None:
    with (
        millpond.Pool(redis_url, max_size=1) as pool,
        pytest.raises(PoolConfigError, match=r"use client\.pipeline\(\)"),
        pool.transaction(),
    ):
        pass


def test_errors_have_their_meaning(driver: Any, client: Any) -> None:
    lost, refused = redis.ConnectionError(), redis.AuthenticationError()

    assert driver.is_disconnect(lost)
    assert driver.is_transient(lost)
    assert not driver.is_disconnect(refused)
    assert not driver.is_transient(refused)
    assert not driver.is_disconnect(redis.ResponseError())
    assert driver.is_retryable(redis.WatchError())
    assert driver.is_demoted(client, redis.ReadOnlyError())
    assert not driver.is_demoted(client, redis.ResponseError())


def test_an_error_of_the_pool_is_no_lost_connection(redis_url: str) -> None:
    with millpond.Pool(redis_url, max_size=1) as pool, pool.connection():
        with pytest.raises(redis.ConnectionError) as caught:
            pool.acquire(timeout=0)

        assert not pool._driver.is_disconnect(caught.value)


def test_a_server_that_never_answers_is_given_up_on() -> None:
    with accept_and_never_answer() as (host, port):
        driver = drivers.find(
            f"redis://{host}:{port}/0",
            connect_timeout=0.2,
            options=SessionOptions(socket_timeout=0.2),
        )

        with pytest.raises(redis.exceptions.TimeoutError) as caught:
            driver.connect()

        assert driver.is_transient(caught.value)


def test_the_client_of_a_callable_keeps_its_own_ways(redis_url: str) -> None:
    with (
        millpond.Pool(lambda: redis.Redis.from_url(redis_url), max_size=1) as pool,
        pool.connection() as client,
    ):
        assert pool._driver.name == "redis"
        assert client.ping()
        pool._driver.ping(client)
        assert pool._driver.transaction_status(client) is TransactionStatus.UNKNOWN


def test_a_pool_replaces_connections_that_were_killed(redis_url: str, other: Any) -> None:
    with millpond.Pool(redis_url, max_size=4) as pool:
        held = [pool.acquire() for _ in range(4)]
        numbers = [client.client_id() for client in held]
        for client in held:
            pool.release(client)
        for number in numbers:
            other.client_kill_filter(_id=number)
        eventually(lambda: not {int(one["id"]) for one in other.client_list()} & {*numbers})

        for _ in range(8):
            with pool.connection() as client:
                assert client.echo("77") == b"77"
