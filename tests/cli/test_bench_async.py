"""`millpond bench --async`: the same workload with tasks, and what it survives."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import threading
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from millpond.cli._app import app
from millpond.cli._database import Database
from millpond.cli.bench import _compare, _crew, _tasks
from millpond.cli.bench._async_peers import ASYNC_MILLPOND, ASYNC_PEERS
from millpond.cli.bench._compare import Outcome, compare
from millpond.cli.bench._peers import AsyncHandle, Peer
from millpond.cli.bench._workload import Workload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

TINY = ("--async", "--seconds", "0.2", "--tasks", "4", "--size", "2", "--hold", "0", "--json")
SHORT = Workload(threads=3, size=1, hold=0.0, seconds=0.1, query=None, tasks=True)
ALL = ["millpond", "millpond_asyncpg", "asyncpg", "psycopg_pool", "sqlalchemy", "aiosqlitepool"]


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setattr(_tasks, "GRACE", 0.1)
    monkeypatch.setattr(_crew, "GRACE", 0.1)


def bench(*arguments: str) -> tuple[int, str]:
    """Run `millpond bench` in this process: its exit code, and all that it printed."""
    result = CliRunner().invoke(app, ["bench", *arguments])
    return result.exit_code, result.output


async def nothing(*_arguments: object) -> None:
    """Do nothing, and never suspend."""


def stand_in(
    acquire: Callable[[], Awaitable[Any]], open_: Callable[[], Awaitable[object]] = nothing
) -> Peer:
    """Return a peer made of one coroutine function; it is as installed as pytest is."""

    async def open_peer(_database: Database, _size: int, _timeout: float) -> AsyncHandle:
        await open_()
        return AsyncHandle(None, acquire, nothing, nullcontext, nothing, nothing)

    return Peer("stand-in", "Stand-in", "pytest", open_peer)


def outcome_of(peer: Peer, workload: Workload = SHORT) -> Outcome:
    """Put one peer through a short workload."""
    (outcome,) = compare(Database(object, "stub", "nowhere"), workload, [peer]).outcomes
    return outcome


def after_the_warm_up(then: Callable[[], Awaitable[Any]]) -> Callable[[], Awaitable[Any]]:
    """Return an acquire that works once, and then does something else."""
    opened = iter([object()])

    async def acquire() -> Any:
        return next(opened, None) or await then()

    return acquire


def test_without_a_database_every_pool_for_sqlite_works_on_a_temporary_file() -> None:
    code, printed = bench(*TINY)

    report = json.loads(printed)
    (only,) = report["runs"]
    status = {pool["key"]: pool["status"] for pool in only["pools"]}
    assert code == 0
    assert report["database"] == "SQLite (a temporary file)"
    assert only["workload"] == {"tasks": 4, "size": 2, "hold": 0.0, "seconds": 0.2}
    assert list(status) == ALL
    assert status["millpond"] == "measured"
    for key in ("sqlalchemy", "aiosqlitepool"):
        assert status[key] in {"measured", "not installed"}
    assert set(status.values()) <= {"measured", "not installed", "left out"}
    for pool in only["pools"]:
        if pool["status"] == "measured":
            assert pool["checkouts"] > 0, pool
            assert pool["errors"] == pool["hung_tasks"] == 0, pool
            assert pool["wait"]["p50"] <= pool["wait"]["p99"] <= pool["wait"]["max"]


def test_on_postgresql_every_pool_is_measured(postgres_url: str) -> None:
    code, printed = bench(*TINY, "--db", postgres_url)

    (only,) = json.loads(printed)["runs"]
    status = {pool["key"]: pool["status"] for pool in only["pools"]}
    there = {key for key, each in status.items() if each != "not installed"} - {"aiosqlitepool"}
    assert code == 0
    assert {"millpond", "millpond_asyncpg", "asyncpg"} <= there
    assert {status[key] for key in there} == {"measured"}
    assert all(pool["errors"] == 0 for pool in only["pools"] if pool["status"] == "measured")


def test_the_table_speaks_of_tasks() -> None:
    _, printed = bench(*TINY[:-1], "--peers", "none")

    assert "4 tasks, 2 connections" in printed
    assert "fewest checkouts of a task" in printed


def test_tasks_can_be_varied() -> None:
    code, printed = bench(*TINY, "--vary", "tasks=2,3")

    (sweep,) = json.loads(printed)["sweeps"]
    assert code == 0
    assert [run["workload"]["tasks"] for run in sweep["runs"]] == [2, 3]


def test_a_peer_for_threads_is_none_for_tasks() -> None:
    code, printed = bench("--async", "--peers", "dbutils")

    assert code == 2
    assert f"all, none, {', '.join(ALL[1:])}" in printed


def test_without_aiosqlite_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "aiosqlite" else there(name)
    )

    code, printed = bench("--async")

    assert code == 2
    assert "pip install 'millpond[aiosqlite]'" in printed


def test_in_memory_each_connection_would_have_a_database_of_its_own() -> None:
    code, printed = bench(*TINY, "--db", "sqlite://")

    assert code == 2
    assert "allowed with --async: a file" in printed


def test_a_peer_without_what_it_needs_is_not_installed() -> None:
    peer = Peer("x", "X", "pytest", nothing, needs=("no-such-distribution",))

    assert peer.version is None


def test_the_keys_are_those_of_the_table() -> None:
    assert [peer.key for peer in (ASYNC_MILLPOND, *ASYNC_PEERS)] == ALL


def test_a_pool_that_raises_is_reported() -> None:
    async def fail() -> Any:
        message = "out of order"
        raise OSError(message)

    outcome = outcome_of(stand_in(after_the_warm_up(fail)))

    assert outcome.measurement is not None
    assert outcome.measurement.errors >= SHORT.threads
    assert outcome.measurement.checkouts == 0
    assert outcome.error == "OSError: out of order"


def test_a_pool_that_hangs_is_cancelled() -> None:
    cancelled = []

    async def hang() -> Any:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            # The loop, at its end, would cancel as well; but then nobody measures any more.
            coroutines = (task.get_coro() for task in asyncio.all_tasks())
            cancelled.append("main" in {getattr(each, "__name__", "") for each in coroutines})
            raise

    began = time.monotonic()
    outcome = outcome_of(stand_in(after_the_warm_up(hang)))

    assert time.monotonic() - began < 5
    assert cancelled == [True] * SHORT.threads
    assert outcome.measurement is not None
    assert outcome.measurement.hung == SHORT.threads
    assert (outcome.measurement.wait(0) or 0) >= SHORT.seconds


def test_who_holds_for_longer_than_there_is_time_has_not_hung() -> None:
    held = Workload(threads=2, size=2, hold=0.3, seconds=0.1, query=None, tasks=True)

    outcome = outcome_of(stand_in(after_the_warm_up(nothing)), held)

    assert outcome.measurement is not None
    assert outcome.measurement.hung == outcome.measurement.checkouts == 0


def test_a_pool_that_can_not_open_all_its_connections_is_closed() -> None:
    told: list[str] = []

    async def fail() -> Any:
        message = "too many connections"
        raise OSError(message)

    async def release(_conn: object) -> None:
        told.append("released")

    async def close() -> None:
        told.append("closed")

    async def open_peer(_database: Database, _size: int, _timeout: float) -> AsyncHandle:
        return AsyncHandle(None, after_the_warm_up(fail), release, nullcontext, close, nothing)

    outcome = outcome_of(
        Peer("x", "X", "pytest", open_peer), Workload(size=2, seconds=0.1, tasks=True)
    )

    assert outcome.error == "can't open its connections: OSError: too many connections"
    assert told == ["released", "closed"]


def test_who_is_served_after_the_end_is_not_counted() -> None:
    async def late() -> Any:
        # Real time, as that of the workload is.
        await asyncio.sleep(SHORT.seconds * 1.5)
        return object()

    outcome = outcome_of(stand_in(after_the_warm_up(late)))

    assert outcome.measurement is not None
    assert outcome.measurement.hung == outcome.measurement.checkouts == 0
    assert len(outcome.measurement.waits) == SHORT.threads


def test_a_pool_that_hangs_while_it_connects_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_compare, "_OPENING", 0.1)

    async def hang() -> None:
        await asyncio.Event().wait()

    outcome = outcome_of(stand_in(nothing, open_=hang))

    assert outcome.status == "failed"
    assert outcome.error == "can't open its connections: TimeoutError: no answer within 0.1 s"


def test_a_pool_that_blocks_the_loop_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_compare, "_OPENING", 0.1)
    over = threading.Event()

    async def block() -> Any:
        over.wait()

    outcome = outcome_of(stand_in(after_the_warm_up(block)))
    over.set()

    assert outcome.status == "failed"
    assert outcome.error is not None
    assert outcome.error.startswith("it blocked the event loop")
