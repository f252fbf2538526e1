"""A web service as people write them: FastAPI, and one pool for the process."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from psycopg import AsyncConnection

import millpond

pool: millpond.AsyncPool[AsyncConnection] = millpond.AsyncPool(
    os.environ["DATABASE_URL"], max_size=5, application_name="millpond-guestbook"
)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Close the pool when the server stops."""
    async with pool:
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/slow")
async def slow() -> int:
    """Hold a connection for a while."""
    async with pool.connection() as conn:
        cursor = await conn.execute("SELECT 1 FROM pg_sleep(0.02)")
        row = await cursor.fetchone()
    return int(row[0]) if row else 0


@app.post("/entries")
async def sign(text: str) -> int:
    """Write in a transaction, and read back in the same."""
    async with pool.transaction() as conn:
        await conn.execute("CREATE TEMP TABLE IF NOT EXISTS entries (text text) ON COMMIT DROP")
        await conn.execute("INSERT INTO entries VALUES (%s)", [text])
        cursor = await conn.execute("SELECT count(*) FROM entries")
        row = await cursor.fetchone()
    return int(row[0]) if row else 0


@app.get("/stats")
async def stats() -> dict[str, int]:
    """Say how the pool is."""
    now = pool.stats()
    return {"in_use": now.in_use, "size": now.size, "acquired": now.acquired}
