import asyncio
import os

import millpond
from aiohttp import web


async def connect(app):
    app["pool"] = millpond.Pool(os.environ["DATABASE_URL"], max_size=200, leak_threshold=30.0)
    yield
    app["pool"].close()


async def users(request):
    with request.app["pool"].connection() as conn:
        rows = conn.execute("SELECT name FROM users").fetchall()
    return web.json_response([name for (name,) in rows])


def count(pool):
    with pool.connection() as conn:
        return conn.execute("SELECT COUNT(*) FROM users").fetchone()[0]


async def total(request):
    return web.json_response(await asyncio.to_thread(count, request.app["pool"]))


def make_app():
    app = web.Application()
    app.cleanup_ctx.append(connect)
    app.add_routes([web.get("/users", users), web.get("/total", total)])
    return app


if __name__ == "__main__":
    web.run_app(make_app())
