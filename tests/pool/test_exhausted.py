"""What a pool does when its limits are reached: wait, raise, ask the user, or foresee it."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest

import millpond
from helpers import in_thread, waiting

if TYPE_CHECKING:
    from helpers import MakePool


class Degraded:
    """What an application can do without a connection."""


def test_raise_refuses_at_once(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1, on_exhausted="raise", acquire_timeout=None)
    held = pool.acquire()  # it may be opened, so nothing is exhausted

    with pytest.raises(
        millpond.PoolExhausted, match="no connection that is free, and on_exhausted="
    ):
        pool.acquire()

    pool.release(held)
    assert pool.acquire() is held
    pool.release(held)


def test_a_callable_gets_the_error_and_gives_what_the_caller_gets(make_pool: MakePool) -> None:
    seen: list[BaseException] = []
    degraded = Degraded()

    def stand_in(error: BaseException) -> Degraded:
        seen.append(error)
        return degraded

    pool = make_pool(max_size=1, on_exhausted=stand_in)
    held = pool.acquire()

    with pool.connection(timeout=0) as conn:
        assert conn is degraded
    assert pool.acquire(timeout=0) is degraded

    assert [type(error).__name__ for error in seen] == ["PoolTimeout", "PoolTimeout"]
    pool.release(held)
    assert pool.stats().idle == 1


def test_what_stands_in_is_released_like_a_connection_and_once(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1, on_exhausted=lambda _: Degraded())
    held = pool.acquire()
    stand_in = pool.acquire(timeout=0)
    gone = weakref.ref(stand_in)

    pool.release(stand_in)

    with pytest.raises(millpond.PoolError, match="no connection of pool"):
        pool.release(stand_in)
    del stand_in
    gc.collect()
    assert gone() is None
    pool.release(held)


def test_what_the_callable_raises_is_what_the_caller_sees(make_pool: MakePool) -> None:
    def refuse(_error: BaseException) -> None:
        message = "503"
        raise LookupError(message)

    pool = make_pool(max_size=1, max_waiting=0, on_exhausted=refuse)
    held = pool.acquire()

    with pytest.raises(LookupError, match="503"):
        pool.acquire()

    pool.release(held)


def test_the_callable_is_not_asked_about_a_closed_pool(make_pool: MakePool) -> None:
    pool = make_pool(on_exhausted=lambda _: pytest.fail("nothing is exhausted"))
    pool.close()

    with pytest.raises(millpond.PoolClosed):
        pool.acquire()


def test_try_acquire_has_an_answer_of_its_own(make_pool: MakePool) -> None:
    pool = make_pool(max_size=1, on_exhausted=lambda _: Degraded())
    held = pool.acquire()

    assert pool.try_acquire() is None

    pool.release(held)


@pytest.mark.parametrize("on_exhausted", ["drop", None, 1])
def test_there_are_three_things_to_do(make_pool: MakePool, on_exhausted: Any) -> None:
    with pytest.raises(millpond.PoolConfigError, match="must be 'wait' or 'raise' or a callable"):
        make_pool(on_exhausted=on_exhausted)


def test_nobody_waits_who_may_only_raise(make_pool: MakePool) -> None:
    with pytest.raises(millpond.PoolConfigError, match="max_waiting=3"):
        make_pool(on_exhausted="raise", max_waiting=3)


class TestShedding:
    """Whoever can't make it hears so at once."""

    @pytest.fixture
    def busy(self, make_pool: MakePool, clock: millpond._core.ManualClock) -> millpond.Pool[Any]:
        """Give a pool that serves one caller a second, with three more in the queue."""
        pool = make_pool(max_size=1, shed=True, acquire_timeout=60.0, _clock=clock)
        held = pool.acquire()
        first, *_ = [waiting(pool) for _ in range(4)]
        clock.advance(1.0)
        pool.release(held)
        assert first.result() is held
        return pool

    def test_a_caller_is_refused_who_would_wait_too_long(self, busy: millpond.Pool[Any]) -> None:
        with pytest.raises(millpond.PoolTimeout, match="3 callers waiting already") as caught:
            busy.acquire(timeout=3.5)

        assert isinstance(caught.value, TimeoutError)
        assert busy.stats().refused == 1

    def test_a_caller_with_the_time_or_the_priority_waits(self, busy: millpond.Pool[Any]) -> None:
        patient = waiting(busy, timeout=4.5)
        urgent = waiting(busy, timeout=1.5, priority="high")

        assert not patient.done
        assert not urgent.done
        busy.close(timeout=0)
        assert isinstance(patient.error(), millpond.PoolClosed)
        assert isinstance(urgent.error(), millpond.PoolClosed)

    def test_nobody_is_refused_by_default(
        self, make_pool: MakePool, clock: millpond._core.ManualClock
    ) -> None:
        pool = make_pool(max_size=1, _clock=clock)
        held = pool.acquire()
        first, second = waiting(pool), waiting(pool)
        clock.advance(1.0)
        pool.release(held)
        first.result()

        running = in_thread(pool.acquire, timeout=0)

        assert "1 being opened" not in str(running.error())
        assert isinstance(running.error(), millpond.PoolTimeout)
        assert not second.done
        pool.close(timeout=0)
