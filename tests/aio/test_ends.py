"""Ends that come early: of a loop, a task, the program. Nothing complains, nothing is left."""

from __future__ import annotations

import asyncio
import textwrap
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

import millpond
from async_fakes import AsyncFakeDatabase
from async_loops import until
from async_scripts import PRELUDE, printed, run_strictly
from helpers import eventually
from millpond._aio import _engine

if TYPE_CHECKING:
    from collections.abc import Iterator

LOAD = """\
async def borrow(pool):
    try:
        while True:
            async with pool.connection() as conn:
                await conn.execute("SELECT 1")
    except millpond.PoolClosed:
        pass

async def main():
    pool = make(min_size=1, max_size=3)
    held = await pool.acquire()
    tasks = [asyncio.create_task(borrow(pool)) for _ in range(10)]
    while pool.stats().acquired < 50 or not pool.stats().waiting:
        await asyncio.sleep(0)
    print("under load", flush=True)
"""

ENDS = {
    "by itself": "",
    "with waiters that are forgotten": "    del tasks\n    gc.collect()\n",
    "with an error": '    raise SystemExit("enough")\n',
    "with the pool closed halfway": (
        "    asyncio.create_task(pool.close())\n    await asyncio.sleep(0)\n"
    ),
    "in the middle of a transaction": (
        "    global block\n    block = pool.transaction()\n    await block.__aenter__()\n"
    ),
}


def script(end: str, *, after: str = "") -> str:
    """Write a program that is under load when its loop ends."""
    run = "try:\n    asyncio.run(main())\nexcept SystemExit:\n    pass\n"
    return f"{PRELUDE}{LOAD}{end}\n{run}{after}"


@pytest.mark.parametrize("end", ENDS)
def test_a_loop_may_end_with_connections_in_use_and_waiters_queued(end: str) -> None:
    lines = printed(
        script(ENDS[end], after="gc.collect(); print(database.live, database.violations)")
    )

    assert lines == ["under load", "0 []"]


def test_control_c_ends_a_program_under_load() -> None:
    ended = run_strictly(
        script("    await asyncio.sleep(60)\n"), interrupt_after=lambda line: "load" in line
    )

    assert ended.stderr.rstrip().endswith("KeyboardInterrupt")
    for complaint in ("destroyed", "never awaited", "is closed", "ResourceWarning", "ignored"):
        assert complaint not in ended.stderr


def test_a_pool_is_used_by_one_run_after_the_other() -> None:
    database = AsyncFakeDatabase()
    pool = millpond.AsyncPool(database.aconnect, driver=database.driver(), max_size=2)

    async def use() -> int:
        async with pool.connection() as conn, pool.connection():
            await conn.execute()
            return int(conn.number)

    numbers = [asyncio.run(use()) for _ in range(20)]

    assert numbers == list(range(1, 41, 2))  # a connection is of its loop's
    assert database.live == 0
    assert (pool.stats().opened, pool.stats().size, pool.stats().in_use) == (40, 0, 0)
    asyncio.run(pool.close())


def test_what_a_loop_still_had_when_it_ended_is_counted_as_closed() -> None:
    database = AsyncFakeDatabase()
    pool = millpond.AsyncPool(database.aconnect, driver=database.driver(), max_size=3)

    async def leave_in_use() -> Any:
        _, idle, detached = [await pool.acquire() for _ in range(3)]
        await pool.release(idle)
        await pool.detach(detached)
        return detached

    detached = asyncio.run(leave_in_use())

    stats = pool.stats()
    assert (stats.opened, sum(stats.closed.values()), stats.size) == (3, 2, 0)
    assert database.open_connections == [detached]
    detached.close()


def test_a_task_group_that_fails_loses_nothing() -> None:
    async def main() -> None:
        database = AsyncFakeDatabase()
        async with millpond.AsyncPool(
            database.aconnect, driver=database.driver(), max_size=2
        ) as pool:

            async def work(number: int) -> None:
                async with pool.transaction() as conn:
                    await conn.execute()
                    if number == 5:
                        raise KeyError

            for _ in range(20):
                with pytest.raises(ExceptionGroup):
                    async with asyncio.TaskGroup() as group:
                        for number in range(10):
                            group.create_task(work(number))
                assert pool.stats().in_use == pool.stats().waiting == 0
            async with asyncio.timeout(5), pool.connection() as one, pool.connection() as other:
                assert not one.in_transaction
                assert not other.in_transaction
        assert database.live == 0
        assert database.violations == []

    asyncio.run(main())


@pytest.mark.parametrize("way", ["timeout", "wait_for"])
def test_a_limit_of_asyncio_ends_a_wait_and_a_block(way: str) -> None:
    async def limited(work: Any) -> None:
        if way == "wait_for":
            await asyncio.wait_for(work, 0.01)
        else:
            async with asyncio.timeout(0.01):
                await work

    async def hold(pool: millpond.AsyncPool[Any]) -> None:
        async with pool.connection() as conn:
            await conn.execute()
            await asyncio.Event().wait()

    async def main() -> None:
        database = AsyncFakeDatabase()
        pool = millpond.AsyncPool(database.aconnect, driver=database.driver(), max_size=1)
        with pytest.raises(TimeoutError):
            await limited(hold(pool))
        conn = await pool.acquire(timeout=5)
        assert not conn.in_transaction
        with pytest.raises(TimeoutError) as caught:
            await limited(pool.acquire())
        assert not isinstance(caught.value, millpond.PoolTimeout)
        assert pool.stats().waiting == 0
        await pool.release(conn)
        await pool.close()
        assert database.live == 0

    asyncio.run(main())


LEFT = """\
async def in_a_block(pool):
    async with pool.connection() as conn:
        await conn.execute()
        while True:
            yield conn
            await asyncio.sleep(0)

async def by_hand(pool):
    conn = await pool.acquire()
    try:
        await conn.execute()
        yield conn
    finally:
        await pool.release(conn)

kept = []

async def main():
    pool = make(max_size=9)
    if {idle}:
        async with pool.connection(), pool.connection():
            pass
    for _ in range(8):
        kept.append({block}(pool))
        await anext(kept[-1])
    {slow}

asyncio.run(main())
gc.collect()
print(database.live, database.violations)
"""


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("idle", [False, True])
@pytest.mark.parametrize("block", ["in_a_block", "by_hand"])
def test_a_loop_may_end_before_the_generators_that_use_its_connections(
    *, block: str, idle: bool, slow: bool
) -> None:
    """It closes them in any order, that of the pool among them."""
    pause = "database.pause = lambda at: asyncio.sleep(0.02)" if slow else "pass"
    source = LEFT.format(block=block, idle=idle, slow=pause)

    assert printed(PRELUDE + source) == ["0 []"]


@pytest.mark.parametrize("way", ["release", "discard", "block"])
def test_who_gives_back_when_its_loop_ends_may_come_after_the_pool(way: str) -> None:
    async def main() -> None:
        database = AsyncFakeDatabase()
        pool = millpond.AsyncPool(database.aconnect, driver=database.driver(), max_size=1)
        block = pool.connection()
        conn = await (block.__aenter__() if way == "block" else pool.acquire())
        await conn.execute()
        (engine,) = pool._all()

        async def give_back() -> None:
            if way == "block":
                await block.__aexit__(None, None, None)
            else:
                await getattr(pool, way)(conn)

        await asyncio.gather(engine._leave(), give_back())

        assert database.live == 0
        assert database.violations == []
        assert sum(pool.stats().closed.values()) == 1
        await pool.close()

    asyncio.run(main())


def test_a_reset_that_hangs_when_its_loop_ends_is_given_up_and_the_connection_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_engine, "LEAVE_SECONDS", 0.02)

    async def main() -> None:
        database = AsyncFakeDatabase()
        pool = millpond.AsyncPool(database.aconnect, driver=database.driver(), max_size=1)
        conn = await pool.acquire()
        await conn.execute()
        gate = database.hang("rollback")
        releasing = asyncio.create_task(pool.release(conn))
        await until(lambda: gate.arrived)
        (engine,) = pool._all()

        await engine._leave()

        assert engine._tasks == set()
        assert database.live == 0
        await releasing
        await pool.close()

    asyncio.run(main())


@pytest.fixture
def application(postgres_url: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """Give a name by which a server knows the sessions of one test; none may be left."""
    name = f"millpond-{abs(hash(request.node.name))}"
    yield name
    with psycopg.connect(postgres_url, autocommit=True) as conn:
        count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
        eventually(lambda: conn.execute(count, [name]).fetchone() == (0,))


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
@pytest.mark.parametrize("how", ["end", "SIGINT"])
def test_real_sessions_end_with_their_loop(
    postgres_url: str, application: str, driver: str, how: str
) -> None:
    url = postgres_url.replace("postgresql://", f"postgresql+{driver}://", 1)
    source = textwrap.dedent(f"""\
        import asyncio, gc
        import millpond

        async def borrow(pool):
            while True:
                async with pool.transaction() as conn:
                    await conn.execute("SELECT pg_sleep(0.001)")

        async def main():
            pool = millpond.AsyncPool({url!r}, max_size=4, application_name={application!r})
            held = await pool.acquire()
            tasks = [asyncio.create_task(borrow(pool)) for _ in range(20)]
            while pool.stats().acquired < 30:
                await asyncio.sleep(0.001)
            print("under load", flush=True)
            await asyncio.sleep({60 if how == "SIGINT" else 0})

        asyncio.run(main())
        gc.collect()
    """)
    interrupt = (lambda line: "load" in line) if how == "SIGINT" else None

    ended = run_strictly(source, interrupt_after=interrupt)

    if how == "SIGINT":
        assert ended.stderr.rstrip().endswith("KeyboardInterrupt")
    else:
        assert (ended.returncode, ended.stderr) == (0, "")
    for complaint in ("destroyed", "never awaited", "is closed", "Warning", "ignored"):
        assert complaint not in ended.stderr
