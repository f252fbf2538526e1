"""Cancellation at every moment, one after the other: for any coroutine function that uses a pool.

Every task of the loop runs under an eye that counts its suspensions. A run cancels one task at one
of them, and then the books of the pool have to balance; the next run cancels at the one after, and
so on until a run ends before its moment comes. A cancellation comes either right when the task
suspends, or at the worst moment: when what it waits for is there, and it has not gone on yet.
"""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import millpond
from async_fakes import AsyncFakeDatabase
from millpond._aio import _jobs, _loop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator

SUBJECT: Final = "subject"
# Far more than any coroutine of a pool suspends.
ENDLESS: Final = 500

Moment: TypeAlias = Literal["when it suspends", "when it is about to go on"]
MOMENTS: Final[tuple[Moment, ...]] = ("when it suspends", "when it is about to go on")

Pool: TypeAlias = "millpond.AsyncPool[Any]"


@dataclass
class Plan:
    """Which suspensions are cancelled.

    Args:
        at: Their numbers, from 1.
        of: Whose: ``"subject"``, or ``"millpond-"`` for all tasks of the pool together.
        moment: When.
    """

    at: tuple[int, ...]
    of: str = SUBJECT
    moment: Moment = MOMENTS[0]
    armed: bool = True
    count: int = 0
    fired: list[int] = field(default_factory=list)

    def suspended(self, task: asyncio.Task[Any], waits_for: object) -> None:
        """Learn that a task suspends, and cancel it if that is what is planned."""
        if not self.armed or not task.get_name().startswith(self.of):
            return
        self.count += 1
        if self.count not in self.at:
            return
        self.fired.append(self.count)
        if self.moment == MOMENTS[1] and isinstance(waits_for, asyncio.Future):
            # Called before the task's own callback, which was not added yet.
            waits_for.add_done_callback(lambda _: task.cancel())
        else:
            task.cancel()


class Watched:
    """A coroutine, awaited step by step."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], plan: Plan) -> None:
        self._coroutine = coroutine
        self._plan = plan

    def __await__(self) -> Generator[Any, Any, Any]:
        """Pass on what the coroutine waits for, and what comes of it."""
        steps = self._coroutine.__await__()
        go_on: Callable[[], Any] = lambda: steps.send(None)  # noqa: E731
        while True:
            try:
                waits_for = go_on()
            except StopIteration as end:
                return end.value
            task = asyncio.current_task()
            assert task is not None
            self._plan.suspended(task, waits_for)
            try:
                yield waits_for
            except BaseException as error:  # noqa: BLE001  it is the coroutine's
                go_on = lambda error=error: steps.throw(error)  # type: ignore[misc]  # noqa: E731
            else:
                go_on = lambda: steps.send(None)  # noqa: E731


def watch(loop: asyncio.AbstractEventLoop, plan: Plan) -> None:
    """Have all tasks that begin from now on watched."""

    async def awaited(coroutine: Coroutine[Any, Any, Any]) -> Any:
        return await Watched(coroutine, plan)

    def make(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        task = asyncio.Task(awaited(coroutine), loop=loop, **options)
        # Cancelled before its first step, it would complain that nobody has awaited it.
        task.add_done_callback(lambda _: coroutine.close())
        return task

    loop.set_task_factory(make)


def start(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None], *, name: str
) -> asyncio.Task[None]:
    """Start a task of a pool by the loop's factory, which the pool itself passes by."""
    return loop.create_task(work, name=name, context=Context())


@dataclass
class Scenario:
    """What is done with a pool while it is cancelled.

    Args:
        act: The coroutine function.
        options: Of the pool; a callable gives fresh ones.
        prepare: Awaited before, and not cancelled.
        release: Awaited after: what `prepare` has taken is given back.
        closes: Whether the pool may be closed by then.
        raises: What the scenario may raise beside `asyncio.CancelledError`.
    """

    act: Callable[[Pool, AsyncFakeDatabase], Awaitable[Any]]
    options: dict[str, Any] = field(default_factory=dict)
    prepare: Callable[[Pool, AsyncFakeDatabase], Awaitable[Any]] | None = None
    release: Callable[[Pool, AsyncFakeDatabase], Awaitable[Any]] | None = None
    closes: bool = False
    raises: tuple[type[Exception], ...] = ()


def sweep(scenario: Scenario, *, of: str = SUBJECT, moment: Moment = MOMENTS[0]) -> int:
    """Run a scenario once for each suspension, which is cancelled. Return how many there are."""
    for number in range(1, ENDLESS):
        if not run(scenario, Plan((number,), of, moment)):
            gc.collect()  # what was forgotten complains now
            return number - 1
    raise AssertionError(scenario)


def sweep_twice(scenario: Scenario, *, moment: Moment = MOMENTS[0]) -> int:
    """Cancel at each suspension, and again at each that comes after. Return the number of pairs."""
    pairs = 0
    for first in range(1, ENDLESS):
        for second in range(first + 1, ENDLESS):
            fired = run(scenario, Plan((first, second), SUBJECT, moment))
            pairs += len(fired) == 2
            if not fired:
                gc.collect()
                return pairs
            if len(fired) == 1:
                break
    raise AssertionError(scenario)


def sweep_level(scenario: Scenario, *, moment: Moment = MOMENTS[0]) -> None:
    """Cancel at each suspension, and from then on at every one: as the cancel scopes of AnyIO."""
    for first in range(1, ENDLESS):
        if not run(scenario, Plan(tuple(range(first, ENDLESS)), SUBJECT, moment)):
            gc.collect()
            return
    raise AssertionError(scenario)


def run(scenario: Scenario, plan: Plan) -> list[int]:
    """Run a scenario, and see that the pool is as good as new. Return what was cancelled."""
    troubles: list[dict[str, Any]] = []
    before = _jobs.PAUSE, _loop.start
    _jobs.PAUSE, _loop.start = 0.001, start

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: troubles.append(context))
        watch(loop, plan)
        await _once(scenario, plan)

    try:
        asyncio.run(main())
    except BaseException as error:
        error.add_note(f"cancelled {plan.of} at {plan.fired}, {plan.moment}")
        raise
    finally:
        _jobs.PAUSE, _loop.start = before
    assert troubles == [], plan
    return plan.fired


async def _once(scenario: Scenario, plan: Plan) -> None:
    plan.armed = False
    database = AsyncFakeDatabase()
    options = {"max_size": 2, "driver": database.driver(), **scenario.options}
    pool = millpond.AsyncPool(database.aconnect, **options)
    if scenario.prepare is not None:
        await scenario.prepare(pool, database)
    plan.armed = True

    async def subject() -> None:
        await scenario.act(pool, database)

    task = asyncio.create_task(subject(), name=SUBJECT)
    await asyncio.wait([task], timeout=20)
    plan.armed = False
    assert task.done(), "it hangs"
    _judge(task, scenario, plan)
    if scenario.release is not None:
        await scenario.release(pool, database)
    if not pool.closed:
        await is_as_good_as_new(pool)
    else:
        assert scenario.closes
    await pool.close()
    await no_task_is_left()
    assert database.live == 0, [one for one in database.connections if not one.closed]
    assert database.violations == []


def _judge(task: asyncio.Task[Any], scenario: Scenario, plan: Plan) -> None:
    """See that a task ended by its own cancellation, and by nobody else's."""
    if task.cancelled():
        assert plan.fired, "it was never cancelled"
        assert plan.of == SUBJECT, "the cancellation of a task of the pool is none of its callers"
        return
    error = task.exception()
    if error is not None and not isinstance(error, scenario.raises):
        raise error


async def is_as_good_as_new(pool: Pool) -> None:
    """See that nothing was lost: all of `max_size` can be lent at once, all clean, and no more."""
    stats = pool.stats()
    assert (stats.in_use, stats.waiting) == (0, 0), stats
    async with asyncio.timeout(10):
        lent = await asyncio.gather(*(pool.acquire(timeout=5) for _ in range(pool.max_size)))
    assert len(set(lent)) == pool.max_size
    assert await pool.try_acquire() is None
    for number, conn in enumerate(lent):
        with conn.held_by(f"owner {number}"):
            assert not conn.busy, f"{conn} is in the middle of a statement"
            assert not conn.in_transaction, f"{conn} has a transaction open"
            await conn.execute("SELECT 1")
    for conn in lent:
        await pool.release(conn)
    assert pool.stats().in_use == 0


async def no_task_is_left() -> None:
    """See that all tasks but this one come to their end."""
    me = asyncio.current_task()
    for _ in range(200):
        left = [task for task in asyncio.all_tasks() if task is not me]
        if not left:
            return
        with suppress(TimeoutError):
            await asyncio.sleep(0 if _ < 100 else 0.01)
    raise AssertionError(left)
