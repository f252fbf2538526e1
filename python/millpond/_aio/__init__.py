"""`millpond.AsyncPool`, for asyncio.

_pool           AsyncPool: options, acquire, release, close
_control        what is done to all engines at once; their coming and going
_transactions   transaction(), savepoint(), run()
_query          statements that take too long are cancelled
_budget         max_size, shared among the loops
_engine         one loop's engine: acquire, wait, release
_work           what the core gives an engine to do: tasks and deadlines
_jobs           what a task does: connect, validate, reset, close
_loop           how a loop is talked to, and how its end is heard
_options        the keywords of AsyncPool
"""

from millpond._aio._pool import AsyncPool

__all__ = ["AsyncPool"]
