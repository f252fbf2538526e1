import os
from contextlib import asynccontextmanager

import httpx
import millpond
from fastapi import FastAPI, Request
from millpond import presets


@asynccontextmanager
async def lifespan(app: FastAPI):
    async with millpond.AsyncPool(
        os.environ["DATABASE_URL"],
        **(presets.RECOMMENDED | {"max_lifetime": None}),
        min_size=2,
        max_size=20,
        leak_threshold=30.0,
    ) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/orders/{order_id}")
async def order(order_id: int, request: Request):
    async with request.app.state.pool.connection() as conn:
        return await conn.fetchrow("SELECT * FROM orders WHERE id = $1", order_id)


@app.post("/orders/{order_id}/pay")
async def pay(order_id: int, request: Request):
    async with request.app.state.pool.transaction() as conn:
        amount = await conn.fetchval("SELECT amount FROM orders WHERE id = $1", order_id)
        async with httpx.AsyncClient() as client:
            answer = await client.post("https://pay.example.org/charge", json={"amount": amount})
        await conn.execute("UPDATE orders SET paid = $1 WHERE id = $2", answer.json(), order_id)


@app.get("/rates")
async def rates(request: Request):
    conn = await request.app.state.pool.acquire()
    rows = await conn.fetch("SELECT * FROM rates")
    await request.app.state.pool.release(conn)
    return rows
