"""`millpond.AsyncPool`, for asyncio.

_pool           AsyncPool: options, sizes, close; one engine for each event loop
_lease          the block ``async with pool.connection()``
_transactions   transaction(), savepoint(), run()
_budget         max_size, shared among the loops
_engine         one loop's engine: acquire, wait, release
_query          statements that take too long are cancelled
_jobs           what a task does: connect, validate, reset, close
_loop           what is done in a loop, and when it ends
"""

from millpond._aio._pool import AsyncPool

__all__ = ["AsyncPool"]
