"""redis-py for asyncio: one connection for each client, and none made behind the pool's back."""

from __future__ import annotations

import asyncio
import gc
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from async_loops import until
from drivers.aio.cancelling import cancelled_at
from drivers.aio.cases import LOOPS, connections, let_the_loop_look, opened, start_in
from helpers import eventually
from millpond.drivers import SessionOptions, TransactionStatus, aio
from millpond.drivers.aio import AsyncDriver
from millpond.errors import PoolConfigError
from servers import nobody_listening

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

redis = pytest.importorskip("redis")

KEY = "millpond:aio"
MANY = 60


@pytest.fixture(params=LOOPS)
def start(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Give what runs a coroutine in an event loop of its own."""
    return partial(start_in, request.param)


@asynccontextmanager
async def session(connect: Any, **options: Any) -> AsyncIterator[tuple[Any, Any]]:
    """Open a client as a pool does."""
    driver, client = await opened(connect, **options)
    try:
        yield driver, client
    finally:
        await driver.close(client)


def status_of(driver: Any, client: Any) -> TransactionStatus:
    """Return the status, which goes with what `is_clean` says."""
    status: TransactionStatus = driver.transaction_status(client)
    assert driver.is_clean(client) is (status is TransactionStatus.IDLE)
    return status


def test_the_driver_follows_the_protocol(redis_url: str, start: Any) -> None:
    async def body() -> None:
        async with session(redis_url) as (driver, client):
            assert isinstance(driver, AsyncDriver)
            assert driver.name == "redis"
            assert driver.fileno(client) == -1
            assert driver.needs_is_alive
            assert driver.is_alive(client) is True
            assert status_of(driver, client) is TransactionStatus.IDLE

    start(body())


def test_everything_uses_one_connection(redis_url: str, start: Any) -> None:
    async def body() -> None:
        async with session(redis_url, application_name="aio-one") as (driver, client):
            await client.set(KEY, 1)
            async with client.pipeline(transaction=True) as pipeline:
                pipeline.incr(KEY)
                pipeline.incr(KEY)
                assert await pipeline.execute() == [2, 3]
            await client.delete(KEY)
            clients = await client.client_list()
            assert len([one for one in clients if one["name"] == "aio-one"]) == 1
            assert driver.is_clean(client)

    start(body())


def test_options_reach_the_server(redis_url: str, start: Any) -> None:
    async def body() -> None:
        options: dict[str, Any] = {"application_name": "aio", "socket_timeout": 2.0}
        async with session(redis_url, session=(f"SET {KEY} 'a b'",), **options) as (_, client):
            assert await client.client_getname() in {"aio", b"aio"}
            assert await client.get(KEY) == b"a b"
            await client.delete(KEY)

    start(body())


@pytest.mark.parametrize("option", ["autocommit", "read_only", "statement_timeout"])
def test_what_redis_does_not_have_is_refused(redis_url: str, option: str) -> None:
    chosen: dict[str, Any] = {option: 1.0 if option == "statement_timeout" else True}
    with pytest.raises(PoolConfigError, match=f"^{option}=.*: not possible with the driver redis"):
        aio.find(redis_url, options=SessionOptions(**chosen))


def test_there_are_no_transactions(redis_url: str, start: Any) -> None:
    async def body() -> None:
        async with session(redis_url) as (driver, client):
            with pytest.raises(PoolConfigError, match=r"client\.pipeline"):
                await driver.begin(client)
            with pytest.raises(NotImplementedError):
                await driver.cancel(client)
            await driver.commit(client)
            await driver.rollback(client)

    start(body())


def test_a_pipeline_that_holds_the_connection_is_active(redis_url: str, start: Any) -> None:
    async def body() -> None:
        async with session(redis_url) as (driver, client):
            pipeline = client.pipeline()
            await pipeline.watch(KEY)
            assert status_of(driver, client) is TransactionStatus.ACTIVE
            with pytest.raises(redis.ConnectionError, match="a pipeline or a subscription holds"):
                await driver.reset(client)

            await pipeline.reset()
            await driver.reset(client)
            assert status_of(driver, client) is TransactionStatus.IDLE

    start(body())


def test_a_command_that_another_task_awaits_is_active(redis_url: str, start: Any) -> None:
    async def body() -> None:
        async with session(redis_url) as (driver, client):
            running = asyncio.ensure_future(client.blpop(KEY, timeout=60))
            await until(lambda: status_of(driver, client) is TransactionStatus.ACTIVE)
            with redis.Redis.from_url(redis_url) as other:
                other.rpush(KEY, "ends it")
            await running
            assert status_of(driver, client) is TransactionStatus.IDLE

    start(body())


def test_a_connection_that_was_made_anew_is_refused(redis_url: str, start: Any) -> None:
    async def body() -> None:
        async with session(redis_url) as (driver, client):
            await client.connection.disconnect()
            await client.ping()  # redis-py connects again without a word

            assert status_of(driver, client) is TransactionStatus.UNKNOWN
            assert driver.is_alive(client) is False
            for verb in (driver.reset, driver.ping):
                with pytest.raises(redis.ConnectionError, match="closed"):
                    await verb(client)

    start(body())


def test_a_connection_that_the_server_closed_is_seen(redis_url: str, start: Any) -> None:
    async def body(*, wait: bool) -> None:
        async with session(redis_url) as (driver, client):
            number = await client.client_id()
            with redis.Redis.from_url(redis_url) as other:
                other.client_kill_filter(_id=number)
            eventually(lambda: driver.is_alive(client) is False)
            if wait:
                await let_the_loop_look()
            assert driver.is_alive(client) is False
            with pytest.raises(redis.ConnectionError) as caught:
                await driver.ping(client)
            assert driver.is_disconnect(caught.value)

    start(body(wait=False))
    start(body(wait=True))


def test_a_session_is_reset(redis_url: str, start: Any) -> None:
    async def body() -> None:
        async with session(f"{redis_url.rpartition('/')[0]}/3") as (driver, client):
            await client.execute_command("CLIENT", "SETNAME", "changed")
            await client.execute_command("SELECT", 5)
            await client.execute_command("MULTI")

            await driver.reset_session(client)

            assert (await client.client_info())["db"] == 3
            assert await client.client_getname() in {None, ""}
            assert driver.is_clean(client)

    start(body())


@pytest.mark.parametrize("delay", [0.0, 0.02], ids=["at once", "a moment later"])
def test_nobody_gets_the_answer_to_another_question(
    redis_url: str, start: Any, delay: float
) -> None:
    async def pipelined(client: Any) -> None:
        async with client.pipeline() as pipeline:
            await pipeline.watch(KEY)
            pipeline.multi()
            pipeline.echo("pipelined")
            await pipeline.execute()

    async def subscribed(client: Any) -> None:
        async with client.pubsub() as pubsub:
            await pubsub.subscribe("millpond")
            await pubsub.get_message(timeout=0.05)

    actions: list[Callable[[Any, Any], Coroutine[Any, Any, Any]]] = [
        lambda _, client: client.echo("wrong"),
        lambda _, client: client.blpop(KEY, timeout=0.1),
        lambda _, client: pipelined(client),
        lambda _, client: subscribed(client),
        lambda driver, client: driver.ping(client),
        lambda driver, client: driver.reset_session(client),
        lambda driver, client: driver.execute(client, "ECHO wrong"),
    ]

    async def sweep(action: Any) -> None:
        for at in range(MANY):
            async with session(redis_url) as (driver, client):
                done = await cancelled_at(action(driver, client), at, delay)
                if status_of(driver, client) is TransactionStatus.IDLE:
                    for word in ("one", "two"):
                        assert await client.echo(word) in {word, word.encode()}
                    await driver.ping(client)
            if not done.cancelled:
                return
        pytest.fail(f"more than {MANY} suspensions")

    for action in actions:
        start(sweep(action))


def test_connecting_that_is_cancelled_leaves_no_socket(redis_url: str, start: Any) -> None:
    before = connections()
    driver: Any = aio.find(redis_url, options=SessionOptions(application_name="aio"))
    made: list[Any] = []

    async def connect() -> None:
        made.append(await driver.connect())

    async def sweep(delay: float) -> None:
        for at in range(MANY):
            done = await cancelled_at(connect(), at, delay)
            while made:
                await driver.close(made.pop())
            if not done.cancelled:
                return
        pytest.fail(f"more than {MANY} suspensions")

    for delay in (0.0, 0.001):
        start(sweep(delay))

    assert connections() == before


def test_a_server_that_is_not_there_is_worth_another_attempt(start: Any) -> None:
    async def body(url: str) -> None:
        driver = aio.find(url, connect_timeout=5.0)
        with pytest.raises(redis.ConnectionError) as caught:
            await driver.connect()
        assert driver.is_transient(caught.value)

    with nobody_listening() as (host, port):
        start(body(f"redis://{host}:{port}/0"))


@pytest.mark.parametrize("closed", [False, True], ids=["open loop", "closed loop"])
def test_a_connection_is_dropped_at_once(
    redis_url: str, *, closed: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    before = connections()

    async def opened_by_nobody() -> tuple[Any, Any]:
        driver: Any = aio.find(redis_url)
        client = await driver.connect()
        if not closed:
            driver.abort(client)
            await asyncio.sleep(0)
        return driver, client

    driver, client = asyncio.run(opened_by_nobody())
    driver.abort(client)

    assert not driver.is_clean(client)
    assert driver.is_alive(client) is False
    eventually(lambda: connections() == before)
    del client
    gc.collect()
    assert capfd.readouterr().err == ""


def test_a_client_of_a_callable_cares_for_itself(redis_url: str, start: Any) -> None:
    from redis.asyncio import Redis  # noqa: PLC0415

    async def body() -> None:
        async with session(lambda: Redis.from_url(redis_url)) as (driver, client):
            assert driver.name == "redis"
            await client.set(KEY, 1)
            await client.delete(KEY)
            assert driver.is_clean(client)
            await driver.reset(client)
            await driver.ping(client)
            assert driver.is_alive(client) is None

    start(body())
