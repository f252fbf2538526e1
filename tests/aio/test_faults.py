"""A bad day of PostgreSQL, as tests/faults has it for threads: killed, restarted, cut off."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

import millpond
import proxy
from async_cancel import no_task_is_left
from async_loops import until
from private_postgres import PrivatePostgres, private_postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.server, pytest.mark.slow]

NAME = "millpond-aio-faults"
# What is measured takes milliseconds; a machine that is busy with other tests takes longer.
SOON = 2.0

Pool = millpond.AsyncPool[Any]


@pytest.fixture(scope="module")
def shared_server() -> Iterator[PrivatePostgres]:
    """Run one server for all tests."""
    with private_postgres() as server:
        yield server


@pytest.fixture
def server(shared_server: PrivatePostgres) -> Iterator[PrivatePostgres]:
    """Give the server, which runs when the test begins, whatever the one before did."""
    yield shared_server
    shared_server.stop()
    shared_server.start()


@pytest.fixture(params=["psycopg", "asyncpg"])
def scheme(request: pytest.FixtureRequest) -> str:
    """Name a driver."""
    return f"postgresql+{request.param}"


def pool_at(url: str, scheme: str, **options: Any) -> Pool:
    """Make a pool whose sessions the server knows by name."""
    return millpond.AsyncPool(
        f"{scheme}://{url.partition('://')[2]}", application_name=NAME, **options
    )


async def fill(pool: Pool, count: int) -> None:
    """Open so many, and have them idle."""
    lent = await asyncio.gather(*(pool.acquire(timeout=30) for _ in range(count)))
    for conn in lent:
        await pool.release(conn)


async def ask(pool: Pool) -> None:
    """Make one request."""
    async with pool.connection(timeout=20) as conn:
        await conn.execute("SELECT 1")


class Load:
    """Tasks that ask all the time, and keep account."""

    def __init__(self, pool: Pool, tasks: int) -> None:
        self.answers: list[float] = []
        self.errors: Counter[str] = Counter()
        self._over = False
        self._tasks = [asyncio.create_task(self._work(pool)) for _ in range(tasks)]

    async def _work(self, pool: Pool) -> None:
        while not self._over:
            try:
                await ask(pool)
            except millpond.PoolError:
                raise
            except Exception as error:  # noqa: BLE001  a statement that had begun
                self.errors[type(error).__name__] += 1
            else:
                self.answers.append(time.perf_counter())
            await asyncio.sleep(0.001)

    async def answered_since(self, moment: float, count: int) -> None:
        """Wait until so many were answered."""
        await until(lambda: sum(one > moment for one in self.answers) >= count)

    async def end(self) -> None:
        """Have all come to their end."""
        self._over = True
        await asyncio.gather(*self._tasks)


@pytest.mark.parametrize("size", [8, 32, 128])
def test_the_next_request_succeeds_when_every_idle_backend_was_terminated(
    server: PrivatePostgres, scheme: str, size: int
) -> None:
    """Scenario 21."""

    async def main() -> None:
        async with pool_at(server.url, scheme, max_size=size) as pool:
            await fill(pool, size)
            assert server.terminate(NAME) == size
            began = time.perf_counter()

            await ask(pool)

            assert time.perf_counter() - began < SOON
            await until(lambda: sum(pool.stats().closed.values()) >= size)
            await fill(pool, size)
        await no_task_is_left()

    asyncio.run(main())


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
def test_a_restart_under_load_costs_what_had_begun(
    server: PrivatePostgres, scheme: str, how: signal.Signals
) -> None:
    async def main() -> None:
        async with pool_at(server.url, scheme, max_size=8) as pool:
            load = Load(pool, 16)
            await load.answered_since(0.0, 50)
            await asyncio.to_thread(server.stop, how)
            await asyncio.sleep(0.2)
            await asyncio.to_thread(server.start)
            up = time.perf_counter()

            await load.answered_since(up, 50)

            assert min(one for one in load.answers if one > up) - up < SOON
            await load.end()
            assert sum(load.errors.values()) <= 8, load.errors
            assert pool.stats().in_use == 0
            await fill(pool, 8)
        await no_task_is_left()

    asyncio.run(main())


@pytest.mark.parametrize("reset", [False, True])
def test_what_is_cut_under_load_is_replaced(
    server: PrivatePostgres,
    scheme: str,
    reset: bool,  # noqa: FBT001  a parameter of the test
) -> None:
    async def main() -> None:
        with proxy.proxy(server.address) as wire:
            async with pool_at(wire.url(server.url), scheme, max_size=4) as pool:
                load = Load(pool, 8)
                await load.answered_since(0.0, 20)
                for _ in range(3):
                    await asyncio.to_thread(wire.cut, reset=reset)
                    await load.answered_since(time.perf_counter(), 20)
                await load.end()
                assert sum(load.errors.values()) <= 12, load.errors
                await fill(pool, 4)
        await no_task_is_left()

    asyncio.run(main())


def test_a_frozen_connection_is_found_by_the_ping_and_cancelled(
    server: PrivatePostgres, scheme: str
) -> None:
    """Half open: nothing comes any more, and nobody says so."""

    async def main() -> None:
        with proxy.proxy(server.address) as wire:
            options = {"validation_interval": 0, "validation_timeout": 0.3, "max_size": 1}
            async with pool_at(wire.url(server.url), scheme, **options) as pool:
                await fill(pool, 1)
                await asyncio.to_thread(wire.freeze)
                asking = asyncio.create_task(ask(pool))
                await asyncio.sleep(0.5)
                await asyncio.to_thread(wire.thaw)

                async with asyncio.timeout(10):
                    await asking

                assert pool.stats().checks_failed == 1
        await no_task_is_left()

    asyncio.run(main())


def test_who_is_cancelled_while_nothing_answers_leaves_nothing_behind(
    server: PrivatePostgres, scheme: str
) -> None:
    async def main() -> None:
        with proxy.proxy(server.address) as wire:
            async with pool_at(wire.url(server.url), scheme, max_size=2) as pool:
                await fill(pool, 2)
                await asyncio.to_thread(wire.freeze)
                tasks = [asyncio.create_task(ask(pool)) for _ in range(6)]
                await asyncio.sleep(0.1)
                for task in tasks:
                    task.cancel()
                # Who waits for the pool goes at once; psycopg waits for the end of its statement.
                done, _ = await asyncio.wait(tasks, timeout=0.5)
                assert len(done) >= 4
                assert pool.stats().waiting == 0
                await asyncio.to_thread(wire.thaw)
                await asyncio.wait(tasks, timeout=20)
                assert all(task.cancelled() for task in tasks)
                await ask(pool)
                await fill(pool, 2)
        await no_task_is_left()

    asyncio.run(main())
