"""A statement that its borrower gave up, swallowing the cancellation, with resets switched off."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import millpond

# Long enough to be interrupted, and short enough for the thread of the connection to end.
SLOW = """
WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 3000000)
SELECT max(n) FROM numbers
"""


@pytest.mark.parametrize("reset", ["none", "rollback"])
def test_a_connection_that_is_still_at_work_is_not_lent_to_the_next(
    tmp_path: Path, reset: str
) -> None:
    async def give_up(pool: millpond.AsyncPool[Any]) -> Any:
        async with pool.connection() as conn:
            with suppress(TimeoutError):
                await asyncio.wait_for(conn.execute(SLOW), 0.01)
            return conn

    async def main() -> None:
        async with millpond.AsyncPool(
            f"sqlite:///{tmp_path}/app.db", max_size=1, reset=reset
        ) as pool:
            first = await give_up(pool)

            async with pool.connection() as second:
                rows = await second.execute_fetchall("SELECT 42")

            assert second is not first
            assert [tuple(row) for row in rows] == [(42,)]
            assert pool.stats().closed["discarded"] == 1

    asyncio.run(main())
