"""What does a pool add to a real SELECT 1, over the same connection without one?

On a temporary SQLite file, and on PostgreSQL where MILLPOND_TEST_POSTGRES names one. PostgreSQL
twice: with autocommit there is nothing to undo afterwards; without it whoever uses a connection has
to end the transaction, so the raw one rolls back as well.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest

from _harness import MILLPOND, PSYCOPG_POOL, Contender, defaults
from conftest import Show
from millpond.cli._database import Database, database_from_url, select_one, temporary_sqlite

RAW = "raw connection"

_SERVER = "MILLPOND_TEST_POSTGRES"
_ROUNDS, _LOOPS = 15, 200


@dataclass(frozen=True)
class Setting:
    """A database and how its connections are opened."""

    kind: str
    autocommit: bool = False

    def __str__(self) -> str:
        """Return both, as a label."""
        return f"{self.kind}, autocommit" if self.autocommit else self.kind


SETTINGS = (Setting("sqlite"), Setting("postgresql", autocommit=True), Setting("postgresql"))


def missing(setting: Setting) -> str | None:
    """Say why ``setting`` can't be measured here, or return ``None``."""
    if setting.kind == "sqlite" or os.environ.get(_SERVER, "").startswith("postgres"):
        return None
    return f"{_SERVER} is not the URL of a server"


@cache
def seconds_per_select(setting: Setting) -> Mapping[str, float]:
    """Return the seconds per SELECT 1 of the raw connection and of each pool, the best of many.

    They take turns, so that whatever else the machine does hits all of them. Measured once.
    """
    with ExitStack() as stack:
        database = stack.enter_context(_database(setting))
        calls = {RAW: stack.enter_context(_raw(database, setting))}
        for contender in _contenders(setting, database):
            handle = stack.enter_context(contender.opened(1, database))
            calls[str(contender)] = partial(_pooled, handle.acquire, handle.release)
        return _best_of_each(calls)


def _pooled(acquire: Callable[[], Any], release: Callable[[Any], object]) -> None:
    conn = acquire()
    select_one(conn)
    release(conn)


@contextmanager
def _raw(database: Database, setting: Setting) -> Iterator[Callable[[], None]]:
    conn = database.connect()

    def select() -> None:
        select_one(conn)
        if not setting.autocommit:
            conn.rollback()

    yield select
    conn.close()


def _contenders(setting: Setting, database: Database) -> Iterator[Contender]:
    for contender in defaults():
        peer = contender.peer
        if not peer.fits(database):
            continue
        options: dict[str, object] = {}
        if setting.autocommit and peer is MILLPOND:
            options = {"connect_kwargs": {"autocommit": True}}
        if setting.autocommit and peer is PSYCOPG_POOL:
            options = {"kwargs": {"autocommit": True}}
        yield Contender(peer, options)


@contextmanager
def _database(setting: Setting) -> Iterator[Database]:
    if setting.kind == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield temporary_sqlite(Path(folder))
        return
    database = database_from_url(os.environ[_SERVER])
    connect: Callable[..., Any] = database.connect
    yield replace(database, connect=partial(connect, autocommit=setting.autocommit))


def _best_of_each(calls: Mapping[str, Callable[[], None]]) -> dict[str, float]:
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(_ROUNDS):
        for label, call in calls.items():
            started = time.perf_counter()
            for _ in range(_LOOPS):
                call()
            best[label] = min(best[label], (time.perf_counter() - started) / _LOOPS)
    return best


@pytest.mark.parametrize("label", [RAW, *map(str, defaults())])
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def bench_select(setting: Setting, label: str, show: Show) -> None:
    """SELECT 1 through each pool, beside the raw connection."""
    if reason := missing(setting):
        pytest.skip(reason)
    measured = seconds_per_select(setting)
    if label not in measured:
        pytest.skip(f"{label} is not installed, or talks to another database")
    show(measured.__getitem__, label, rounds=1)
