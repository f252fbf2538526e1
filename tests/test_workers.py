"""The worker threads of a pool, and the timer thread of all pools."""

from __future__ import annotations

import logging
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

import pytest

from helpers import eventually, threads_of
from millpond._timer import Timer
from millpond._workers import Workers

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def workers() -> Iterator[Workers]:
    made = Workers("orders", limit=2)
    yield made
    made.stop()
    made.join(10)
    assert threads_of("orders") == []


def test_there_is_no_thread_before_the_first_task(workers: Workers) -> None:
    assert threads_of("orders") == []

    done = threading.Event()
    workers.submit(done.set)

    assert done.wait(10)
    assert threads_of("orders") == ["millpond-orders-worker-1"]


def test_a_task_that_finds_all_threads_busy_gets_one_of_its_own(workers: Workers) -> None:
    started, second, gate = threading.Barrier(2), threading.Event(), threading.Event()
    workers.submit(lambda: [started.wait(10), gate.wait(10)])
    started.wait(10)

    workers.submit(second.set)

    assert second.wait(10)
    gate.set()


def test_more_tasks_than_threads_wait_for_their_turn(workers: Workers) -> None:
    gate, results = threading.Event(), SimpleQueue[int]()
    for _ in range(2):
        workers.submit(lambda: gate.wait(10))
    for number in range(5):
        workers.submit(lambda number=number: results.put(number))  # type: ignore[misc]

    assert len(threads_of("orders")) == 2
    assert results.empty()
    gate.set()

    assert sorted(results.get(timeout=10) for _ in range(5)) == [0, 1, 2, 3, 4]


def test_a_task_that_fails_is_logged_and_the_next_one_runs(
    workers: Workers, caplog: pytest.LogCaptureFixture
) -> None:
    done = threading.Event()

    def fail() -> None:
        msg = "nobody thought of this"
        raise ValueError(msg)

    for _ in range(3):
        workers.submit(fail)
    workers.submit(done.set)

    assert done.wait(10)
    eventually(lambda: len(caplog.records) == 3)
    assert "orders" in caplog.text


def test_after_the_stop_a_task_runs_where_it_is_submitted(workers: Workers) -> None:
    workers.stop()
    threads: list[threading.Thread] = []

    workers.submit(lambda: threads.append(threading.current_thread()))

    assert threads == [threading.current_thread()]


class Clockwork:
    """A pool for the timer: counts its turns, and says when it wants the next one."""

    def __init__(self, *answers: float | Exception | None) -> None:
        self.answers = list(answers)
        self.turns = SimpleQueue[int]()

    def _advance(self) -> float | None:
        self.turns.put(1)
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_the_timer_comes_back_when_it_was_told_to() -> None:
    timer, pool = Timer(), Clockwork(0.001, 0.001, None)

    timer.wake(pool)

    for _ in range(3):
        assert pool.turns.get(timeout=10) == 1
    timer.forget(pool)
    assert pool.turns.empty()


def test_a_pool_that_fails_does_not_leave_the_others_without_a_timer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.ERROR)
    timer, bad, good = Timer(), Clockwork(ValueError("no")), Clockwork()

    timer.wake(bad)
    assert bad.turns.get(timeout=10)
    timer.wake(good)

    assert good.turns.get(timeout=10)
    assert "no" in caplog.text
    timer.forget(bad)
    timer.forget(good)


def test_the_timer_keeps_no_pool_alive_and_ends_with_the_last() -> None:
    timer, pool = Timer(), Clockwork(None)
    timer.wake(pool)
    assert pool.turns.get(timeout=10)
    thread = timer._thread
    assert thread is not None

    del pool

    thread.join(10)
    assert not thread.is_alive()
