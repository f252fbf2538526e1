"""Redis through `AsyncPool`: whatever a borrower leaves behind, the next gets its own answer."""

from __future__ import annotations

import asyncio
import gc
import random
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

import millpond
from async_cancel import no_task_is_left

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytest.importorskip("redis")

pytestmark = pytest.mark.usefixtures("each_loop")

KEY = "millpond:through-pool"

Pool = millpond.AsyncPool[Any]


def play(url: str, act: Callable[[Pool], Awaitable[None]], **options: Any) -> None:
    """Do something with a pool; afterwards each of its connections answers what it is asked."""

    async def main() -> None:
        async with millpond.AsyncPool(url, **options) as pool:
            await act(pool)
            assert pool.stats().in_use == 0
            lent = await asyncio.gather(*(pool.acquire(timeout=20) for _ in range(pool.max_size)))
            for number, client in enumerate(lent):
                await ask(client, number)
                await pool.release(client)
        await no_task_is_left()

    asyncio.run(main())


async def ask(client: Any, number: int) -> None:
    """Ask something of which nobody else gets the answer."""
    assert await client.echo(str(number)) in {str(number), str(number).encode()}


def test_many_tasks_get_their_own_answers_whoever_is_cancelled(redis_url: str) -> None:
    async def act(pool: Pool) -> None:
        dice = random.Random(7)
        answered = 0

        async def work(number: int) -> None:
            nonlocal answered
            async with pool.connection(timeout=30) as client:
                await ask(client, number)
                async with client.pipeline(transaction=number % 2 == 0) as pipeline:
                    pipeline.echo(str(-number))
                    pipeline.echo("last")
                    assert [str(-number).encode(), b"last"] == await pipeline.execute()
            answered += 1

        tasks = [asyncio.create_task(work(number)) for number in range(1, 201)]
        for _ in range(60):
            await asyncio.sleep(dice.uniform(0, 0.001))
            dice.choice(tasks).cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)

        assert [one for one in ended if isinstance(one, Exception)] == []
        assert 140 <= answered < 200

    play(redis_url, act, max_size=4)


async def watching(client: Any) -> Any:
    pipeline = client.pipeline()
    await pipeline.watch(KEY)
    return pipeline


async def in_multi(client: Any) -> Any:
    pipeline = await watching(client)
    pipeline.multi()
    pipeline.echo("queued here")
    return pipeline


async def in_multi_on_the_server(client: Any) -> Any:
    pipeline = await watching(client)
    await pipeline.immediate_execute_command("MULTI")
    await pipeline.immediate_execute_command("ECHO", "queued there")
    return pipeline


async def subscribed(client: Any) -> Any:
    subscription = client.pubsub()
    await subscription.subscribe("millpond")
    return subscription


async def command_without_end(client: Any) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(client.blpop(KEY, timeout=60), 0.01)


async def pipeline_that_was_given_up(client: Any) -> Any:
    pipeline = client.pipeline(transaction=False)
    for number in range(20):
        pipeline.echo(f"given up {number}")
    with suppress(TimeoutError):
        await asyncio.wait_for(pipeline.execute(), 0)
    return pipeline


LEFT: list[Callable[[Any], Awaitable[Any]]] = [
    watching,
    in_multi,
    in_multi_on_the_server,
    subscribed,
    command_without_end,
    pipeline_that_was_given_up,
]


@pytest.mark.parametrize("reset", ["rollback", "session", "none"])
@pytest.mark.parametrize("leave", LEFT, ids=lambda leave: leave.__name__)
def test_the_next_borrower_gets_its_own_answers(
    redis_url: str, leave: Callable[[Any], Awaitable[Any]], reset: str
) -> None:
    """What is left is kept alive, or it may tidy up by itself; redis-py complains at its end."""
    kept: list[Any] = []

    async def act(pool: Pool) -> None:
        for number in range(3):
            async with pool.connection() as client:
                kept.append(await leave(client))
            for again in range(3):
                async with pool.connection(timeout=20) as client:
                    await ask(client, 10 * number + again)

    play(redis_url, act, max_size=1, reset=reset)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        kept.clear()
        gc.collect()


def test_a_session_within_multi_is_forgotten(redis_url: str) -> None:
    async def act(pool: Pool) -> None:
        async with pool.connection() as client:
            await client.execute_command("CLIENT", "SETNAME", "changed")
            await client.execute_command("MULTI")
            await client.execute_command("SET", KEY, "never")
        async with pool.connection() as again:
            assert again is client
            assert await again.get(KEY) is None
            assert await again.client_getname() in {None, ""}

    play(redis_url, act, max_size=1, reset="session")


@pytest.mark.parametrize("block", [False, True], ids=["a command", "one that waits"])
def test_a_command_may_be_cancelled_at_any_moment(
    redis_url: str,
    block: bool,  # noqa: FBT001  a parameter of the test
) -> None:
    async def act(pool: Pool) -> None:
        async def work() -> None:
            async with pool.connection(timeout=20) as client:
                if block:
                    await client.blpop(KEY, timeout=0.05)
                await client.echo("not for the next")

        for steps in range(40):
            task = asyncio.create_task(work())
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            async with pool.connection(timeout=20) as client:
                await ask(client, steps)

    play(redis_url, act, max_size=1)
