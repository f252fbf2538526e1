"""The differential test itself: it finds no difference where there is none, and each that there is.

Here DBUtils is compared with DBUtils, and with subclasses of its classes that do one thing wrong.
"""

from __future__ import annotations

import os
from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings

from differential.compare import parting, shortest, unexplained
from differential.differences import BY_ID, DIFFERENCES
from differential.implementations import DBUTILS
from differential.scripts import Script, Subject, scripts

steady_db = import_module("dbutils.steady_db")

_OPTIONS = settings(
    max_examples=2000,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("subject", ["PooledDB", "PersistentDB", "SteadyDB"])
def test_dbutils_agrees_with_itself(subject: Subject) -> None:
    @settings(_OPTIONS, max_examples=30, derandomize=os.environ.get("CI") == "true")
    @given(scripts(subject))
    def it_agrees(script: Script) -> None:
        found = parting(script, DBUTILS, DBUTILS)
        assert found is None, str(found)

    it_agrees()


Pool: Any = DBUTILS.PooledDB
Persistent: Any = DBUTILS.PersistentDB
Steady: Any = steady_db.SteadyDBConnection
Cursor: Any = steady_db.SteadyDBCursor


class LastInFirstOut(Pool):  # type: ignore[misc]
    def cache(self, con: Any) -> None:
        super().cache(con)
        if con in self._idle_cache:
            self._idle_cache.insert(0, self._idle_cache.pop())


class NoReset(Pool):  # type: ignore[misc]
    def cache(self, con: Any) -> None:
        wanted, self._reset = self._reset, False  # type: ignore[has-type]
        super().cache(con)
        self._reset = wanted


class ChecksWhatIsNew(Pool):  # type: ignore[misc]
    def steady_connection(self) -> Any:
        con = super().steady_connection()
        con._ping_check()
        return con


class CountsTwice(Pool):  # type: ignore[misc]
    def unshare(self, con: Any) -> None:
        super().unshare(con)
        self._connections -= con.shared == 0


class ChecksNothing(Persistent):  # type: ignore[misc]
    def connection(self, shareable: bool = False) -> Any:  # noqa: FBT001, FBT002
        del shareable
        if not hasattr(self.thread, "connection"):
            self.thread.connection = self.steady_connection()
        return self.thread.connection


class TransactionEndsLate(Steady):  # type: ignore[misc]
    def commit(self) -> None:
        wanted = self._transaction  # type: ignore[has-type]
        try:
            super().commit()
        except BaseException:
            self._transaction = wanted
            raise


class NeverWearsOut(Steady):  # type: ignore[misc]
    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        self._usage = 0
        return super().cursor(*args, **kwargs)


class GivesUpSooner(Cursor):  # type: ignore[misc]
    def _get_tough_method(self, name: str) -> Any:
        with self.no_failover():
            return super()._get_tough_method(name)

    def __getattr__(self, name: str) -> Any:
        if name != "executemany":
            return super().__getattr__(name)
        return getattr(self._cursor, name)  # an ordinary method


class ReadsItsArgumentsLate(Cursor):  # type: ignore[misc]
    def __init__(self, con: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(con, *args, **kwargs)
        self._args = ()


def with_cursors(made: Any) -> Any:
    """Make a steady connection whose cursors are of that class."""

    def cursor(self: Any, *args: Any, **kwargs: Any) -> Any:
        return made(self, *args, **kwargs)

    return type("SteadyDBConnection", (Steady,), {"cursor": cursor})


SABOTAGES: list[tuple[Subject, Any]] = [
    ("PooledDB", LastInFirstOut),
    ("PooledDB", NoReset),
    ("PooledDB", ChecksWhatIsNew),
    ("PooledDB", CountsTwice),
    ("PersistentDB", ChecksNothing),
    ("SteadyDB", TransactionEndsLate),
    ("SteadyDB", NeverWearsOut),
    ("SteadyDB", GivesUpSooner),
    ("SteadyDB", ReadsItsArgumentsLate),
]


@pytest.mark.parametrize(
    ("subject", "wrong"), SABOTAGES, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_sabotage_is_found_and_the_story_that_shows_it_is_short(
    subject: Subject, wrong: Any
) -> None:
    made = with_cursors(wrong) if issubclass(wrong, Cursor) else wrong
    # The name of a class is visible, and would be found first.
    made.__name__ = {"SteadyDB": "SteadyDBConnection"}.get(subject, subject)
    other = replace(DBUTILS, name=wrong.__name__, **{subject: made})

    story = find(
        scripts(subject),
        lambda script: unexplained(script, DBUTILS, other) is not None,
        settings=_OPTIONS,
    )

    short = shortest(story, DBUTILS, other)
    assert short is not None
    assert len(short.where.script.operations) <= 6, str(short)


def test_each_difference_has_an_id_and_says_everything() -> None:
    assert len(BY_ID) == len(DIFFERENCES)
    for difference in DIFFERENCES:
        assert difference.dbutils
        assert difference.millpond
        assert difference.why
