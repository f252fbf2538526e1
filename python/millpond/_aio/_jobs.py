"""What a task does with a job: open, validate, reset or close one connection.

As in `millpond._jobs`, a job says its own end to the core. A task may be cancelled: by its pool, as
its time is over, or with all others, as the loop ends. Neither costs a connection or a place.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from typing import TYPE_CHECKING, Any, TypeVar

from millpond import _jobs
from millpond._messages import one_line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from millpond._aio._work import LoopWork
    from millpond._core import Job

C = TypeVar("C")
T = TypeVar("T")

# After a cancellation that is not the pool's: the loop may be about to end.
PAUSE = 0.1


async def call(hook: Callable[..., T | Awaitable[T]], *args: object) -> T:
    """Call a hook, which may be a coroutine function or a plain one."""
    result = hook(*args)
    return await result if inspect.isawaitable(result) else result


async def run(pool: LoopWork[Any], job: Job) -> None:
    """Do a job."""
    await {"open": _open, "check": _check, "close": _close, "reset": _reset}[job.kind](pool, job)


async def _open(pool: LoopWork[C], job: Job) -> None:
    if not job.current:
        return
    started = time.perf_counter()
    try:
        connection: C = await pool._driver.connect()
    except asyncio.CancelledError:
        job.open_failed(PAUSE, True)  # noqa: FBT003  a function of the core
        raise
    except BaseException as error:  # noqa: BLE001  SystemExit in a connect() must not cost a slot
        _jobs.open_failed(pool, job, error, started)
        return
    try:
        _jobs.recognise(pool, connection)
        await _make_ready(pool, connection)
        traits = _jobs.traits_of(pool, connection)
    except asyncio.CancelledError:
        pool._driver.abort(connection)
        job.open_failed(PAUSE, True)  # noqa: FBT003
        raise
    except BaseException as error:  # noqa: BLE001
        await _farewell(pool, connection)
        _jobs.open_failed(pool, job, error, started)
        return
    if _jobs.fill(pool, job, connection, traits, started):
        pool.open[id(connection)] = connection
    else:
        await _farewell(pool, connection)


async def _make_ready(pool: LoopWork[C], connection: C) -> None:
    """Make a new session what all sessions are to be like."""
    config = pool._config
    await pool._driver.prepare(connection, config.session_options)
    if config.configure is not None:
        await call(config.configure, connection)


async def _check(pool: LoopWork[Any], job: Job) -> None:
    if not job.current:
        return
    started = time.perf_counter()
    why: str | None = "it says no"
    raised: BaseException | None = None
    try:
        if await _is_alive(pool, job.connection):
            why = None
    except asyncio.CancelledError:
        job.failed()
        raise
    except BaseException as error:  # noqa: BLE001
        why, raised = one_line(error), error
    _jobs.judge(pool, job, why, raised, time.perf_counter() - started)


async def _is_alive(pool: LoopWork[C], connection: C) -> bool:
    """Validate as the user said, or else as the driver does."""
    validate, driver = pool._config.validate, pool._driver
    if validate is None:
        await driver.ping(connection)
        return True
    if isinstance(validate, str):
        await driver.execute(connection, validate)
    elif await call(validate, connection) is False:
        return False
    # It may have begun a transaction, which is not the next borrower's.
    await driver.reset(connection)
    return True


async def _reset(pool: LoopWork[Any], job: Job) -> None:
    try:
        await reset(pool, job.connection)
    except asyncio.CancelledError:
        job.failed()
        raise
    except BaseException as error:  # noqa: BLE001  no error of who released it
        job.failed()
        pool._hook_failed("reset", error)
    else:
        job.was_reset()


async def reset(pool: LoopWork[C], connection: C) -> None:
    """Clean a connection for the next borrower, as the user said."""
    how, driver = pool._config.reset, pool._driver
    if how == "rollback":
        await driver.reset(connection)
    elif how == "session":
        await driver.reset_session(connection)
        await _make_ready(pool, connection)
    elif callable(how):
        await call(how, connection)


async def _close(pool: LoopWork[Any], job: Job) -> None:
    started = time.perf_counter()
    try:
        await _farewell(pool, job.connection)
    finally:
        pool.open.pop(id(job.connection), None)
        _jobs.closed(pool, job, started)


async def _farewell(pool: LoopWork[C], connection: C) -> None:
    """Close a connection, whatever that raises."""
    closers = (pool._config.on_close, pool._driver.close)
    try:
        for closer in filter(None, closers):
            try:
                await call(closer, connection)
            except (asyncio.CancelledError, GeneratorExit):
                raise
            except BaseException as error:  # noqa: BLE001  it is gone either way
                _jobs.close_failed(pool, error)
    finally:
        # Nothing to do after a close that worked; its socket must not outlive one that did not.
        pool._driver.abort(connection)
