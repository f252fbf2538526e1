"""The same script on DBUtils and on us: the same calls of the driver, the same answers.

When a statement failed for good, DBUtils' error knows itself by the frames of its traceback, and
keeps the cursor until the garbage collector runs; ours goes at once. So here the collector runs
after each error of DBUtils, and at no other time.
"""

from __future__ import annotations

import gc
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from differential.player import collections_on_demand
from millpond.dbutils import steady_db as ours
from traced import (
    Connection,
    InterfaceError,
    InternalError,
    OperationalError,
    PingableConnection,
    ProgrammingError,
    TracedDriver,
)

if TYPE_CHECKING:
    from collections.abc import Callable

theirs = pytest.importorskip("dbutils.steady_db")

Step = tuple["Callable[..., object]", tuple[Any, ...]]

METHODS = ["execute", "executemany", "executescript", "callproc", "executeFOO", "callBAR"]
POINTS = ["connect", "cursor", "commit", "rollback", "close", "ping", "setinputsizes", *METHODS[:4]]
ERRORS = [OperationalError, InterfaceError, InternalError, ProgrammingError, ValueError]
ERRORS += [AttributeError, TypeError]


class Driver(TracedDriver):
    """One whose connections may have a ping."""

    connection: type[Connection]

    def connect(self, *args: Any, **kwargs: Any) -> Connection:
        """Open a connection."""
        connection = super().connect(*args, **kwargs)
        connection.__class__ = self.connection
        return connection


class Play:
    """A steady connection of one of the two modules, its cursor, and what was seen so far."""

    def __init__(self, module: Any, connection: type[Connection], options: dict[str, Any]) -> None:
        self.driver = Driver()
        self.driver.connection = connection
        self.seen: list[object] = []
        self.collects = module is theirs
        self.isfatal = options["isfatal"]
        if self.isfatal is not None:
            options = {**options, "isfatal": self.asked}
        self.con = module.connect(self.driver, **options)
        self.cursor = self.con.cursor()

    def asked(self, error: BaseException) -> object:
        """Be the callable that tells whether an error is fatal."""
        self.driver.trace.append(f"isfatal({error})")
        return self.isfatal

    def take(self, step: Step) -> None:
        """Take a step, and see what there is to see."""
        action, arguments = step
        try:
            self.seen.append(action(self, *arguments))
            failed = False
        except Exception as error:  # noqa: BLE001  whatever it is, it has to be the same
            self.seen.append(chain(error))
            failed = True
        if failed and self.collects:
            gc.collect()
        con, cursor = self.con, self.cursor
        self.seen += [con._con.name, con._usage, con._transaction, con._closed, con._ping]
        self.seen += [cursor._cursor.name, cursor._closed, cursor._inputsizes, cursor._outputsizes]
        self.seen.append(self.driver.take())


def chain(error: BaseException | None) -> list[str]:
    """Give an error and its contexts, without addresses."""
    if error is None:
        return []
    return [type(error).__name__, re.sub("<.*>", "", str(error)), *chain(error.__context__)]


def fail(play: Play, point: str, error: type[Exception], times: int) -> None:
    play.driver.fail(point, *(error(f"{point} {number}") for number in range(times)))


def call(play: Play, name: str, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
    return getattr(play.cursor, name)(*args, **kwargs)


def call_once(play: Play, name: str) -> object:
    with play.cursor.no_failover():
        return getattr(play.cursor, name)()


def make_cursor(play: Play, *args: object) -> None:
    play.cursor = play.con.cursor(*args)


def close_cursor(play: Play) -> None:
    play.cursor.close()


def set_sizes(play: Play) -> None:
    play.cursor.setinputsizes([1])
    play.cursor.setoutputsize(2, 3)


def on_connection(play: Play, name: str, *args: object) -> object:
    return getattr(play.con, name)(*args)


def steps() -> st.SearchStrategy[Step]:
    """Give all the steps there are."""
    arguments = st.sampled_from([(), ("x",), ("x", 1, 2), (1, 2, 3, 4)])
    keywords = st.sampled_from([{}, {"a": 1}])
    names = st.sampled_from(METHODS)
    plain = st.sampled_from(["begin", "commit", "rollback", "cancel", "close", "_close"])
    check = st.sampled_from([(), (2,), (7,), (1, False)]).map(lambda args: ("_ping_check", *args))
    reset = st.sampled_from([(), (True,), (False,)]).map(lambda args: ("_reset", *args))
    failure = st.tuples(st.sampled_from(POINTS), st.sampled_from(ERRORS), st.integers(1, 3))
    return st.one_of(
        st.tuples(st.just(fail), failure),
        st.tuples(st.just(call), st.tuples(names, arguments, keywords)),
        st.tuples(st.just(call_once), st.tuples(names)),
        st.tuples(st.just(make_cursor), st.sampled_from([(), ("named",)])),
        st.tuples(st.sampled_from([set_sizes, close_cursor]), st.just(())),
        st.tuples(st.just(on_connection), st.one_of(st.tuples(plain), check, reset)),
    )


OPTIONS = st.fixed_dictionaries(
    {
        "maxusage": st.sampled_from([None, 0, 1, 2, 3]),
        "setsession": st.sampled_from([None, ["set a"]]),
        "failures": st.sampled_from([None, OperationalError, (OperationalError, InternalError)]),
        "ping": st.sampled_from([*range(8), None, True, "select 1", (7, "select 1")]),
        "closeable": st.booleans(),
        "isfatal": st.sampled_from([None, True, False]),
    }
)


def test_a_failed_statement_does_not_keep_its_cursor_until_the_next_collection() -> None:
    """The difference `failed-statements-let-go`."""
    options = {"ping": 0, "isfatal": None}
    with collections_on_demand():
        for module, last in ((theirs, ["c1.cursor()"]), (ours, ["c1.cursor()", "c1.k1.close()"])):
            play = Play(module, Connection, options)
            fail(play, "execute", OperationalError, 3)
            with pytest.raises(OperationalError):
                play.cursor.execute()
            play.driver.take()

            make_cursor(play)

            assert play.driver.take() == last


@settings(max_examples=300, deadline=None)
@given(
    options=OPTIONS,
    connection=st.sampled_from([Connection, PingableConnection]),
    script=st.lists(steps(), max_size=20),
)
def test_both_do_the_same(
    options: dict[str, Any], connection: type[Connection], script: list[Step]
) -> None:
    with collections_on_demand():
        plays = [Play(module, connection, options) for module in (theirs, ours)]
        for step in script:
            for play in plays:
                play.take(step)
            assert plays[1].seen == plays[0].seen
