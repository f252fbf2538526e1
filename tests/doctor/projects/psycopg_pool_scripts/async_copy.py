import asyncio

import asyncpg


async def main():
    async with asyncpg.create_pool("postgresql://localhost/app", max_inactive_connection_lifetime=0) as pool:
        async with pool.acquire() as conn:
            await asyncio.sleep(1)
            await conn.execute("DELETE FROM archive")


asyncio.run(main())
