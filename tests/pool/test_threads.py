"""Threads: many at once, on any build, and a connection in one hand at a time."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from helpers import in_thread, threads_of, together

if TYPE_CHECKING:
    from fakes import FakeDatabase
    from helpers import MakePool

pytestmark = pytest.mark.freethreaded


def test_the_interpreter_runs_without_the_gil_after_the_import() -> None:
    """The extension says that it needs no GIL; without that word the import turns it on again."""
    is_enabled = getattr(sys, "_is_gil_enabled", None)
    if is_enabled is None or "free-threading" not in sys.version:
        pytest.skip("this build always has the GIL")

    assert not is_enabled()


@pytest.mark.usefixtures("fast_switching")
@pytest.mark.parametrize("policy", ["fair", "throughput"])
@pytest.mark.parametrize("way", ["acquire", "connection"])
def test_a_connection_is_never_in_two_hands(
    make_pool: MakePool, driver: FakeDatabase, policy: str, way: str
) -> None:
    """Scenario 1; test_stress.py does the same for longer and with everything else going on."""
    pool = make_pool(max_size=5, policy=policy, reset="none", acquire_timeout=60)

    def work(number: int) -> int:
        for _ in range(400):
            if way == "connection":
                with pool.connection() as connection, connection.held_by(number):
                    pass
            else:
                connection = pool.acquire()
                with connection.held_by(number):
                    pass
                pool.release(connection)
        return 400

    done = sum(together(8, work))

    assert done == 3200
    assert driver.violations == []
    assert driver.peak_underway <= 5
    assert (pool.stats().in_use, pool.stats().waiting) == (0, 0)


@pytest.mark.usefixtures("fast_switching")
def test_try_acquire_in_a_race_gives_each_connection_to_one(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = make_pool(min_size=3, max_size=3)
    pool.wait(timeout=10)

    for _ in range(50):
        taken = [one for one in together(6, lambda _: pool.try_acquire()) if one is not None]
        assert len(taken) == len(set(taken)) <= 3
        assert len(taken) >= 1
        for connection in taken:
            pool.release(connection)

    assert driver.connects == 3


@pytest.mark.usefixtures("fast_switching")
def test_one_release_of_two_at_the_same_time_wins(make_pool: MakePool) -> None:
    pool = make_pool(max_size=2)

    for _ in range(50):
        connection = pool.acquire()

        def release(_number: int, connection: object = connection) -> bool:
            try:
                pool.release(connection)
            except Exception:  # noqa: BLE001  which error is test_release.py's business
                return False
            return True

        assert sum(together(3, release)) == 1
        assert (pool.stats().in_use, pool.stats().idle) == (0, 1)


def test_threads_that_come_and_go_leave_nothing_behind(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    pool = make_pool(max_size=2)

    for _ in range(100):
        connection = in_thread(pool.acquire).result()
        in_thread(pool.release, connection).result()

    assert driver.connects == 1
    assert len(threads_of(pool)) <= 2


@pytest.mark.usefixtures("fast_switching")
def test_a_thread_may_release_what_another_one_is_waiting_for(
    make_pool: MakePool, driver: FakeDatabase
) -> None:
    """Scenario 32: connections go round in a ring of threads."""
    pool = make_pool(max_size=2, acquire_timeout=60)

    with ThreadPoolExecutor(2) as releasers:

        def work(number: int) -> None:
            for _ in range(100):
                connection = pool.acquire()
                connection.enter(number)
                connection.leave(number)
                releasers.submit(pool.release, connection)

        together(4, work)

    assert driver.connects == 2
    assert pool.stats().idle == 2


@pytest.mark.usefixtures("fast_switching")
def test_two_pools_do_not_mix_up_their_connections(make_pool: MakePool) -> None:
    left, right = make_pool(max_size=2), make_pool(max_size=2)
    of_left: set[object] = set()
    of_right: set[object] = set()
    lock = threading.Lock()

    def work(_number: int) -> None:
        for _ in range(100):
            with left.connection() as one, right.connection() as other, lock:
                of_left.add(one)
                of_right.add(other)

    together(4, work)

    assert of_left.isdisjoint(of_right)
    assert len(of_left) <= 2
    assert len(of_right) <= 2
