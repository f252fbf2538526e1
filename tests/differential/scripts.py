"""What hypothesis makes up: a kind of driver, the arguments of a pool, and a list of operations.

All of it is plain data, so a script that shows a difference can be read, and pasted into a test.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from hypothesis import strategies as st

from differential.fake_driver import ERRORS, Creator, Kind, Ping

if TYPE_CHECKING:
    from collections.abc import Iterator

Subject = Literal["PooledDB", "PersistentDB", "SteadyDB"]
Operation = tuple[Any, ...]


@dataclass(frozen=True)
class Script:
    """One story, to be told by each implementation.

    Attributes:
        kind: The driver.
        subject: What is made of it.
        options: The keyword arguments of the subject. The names of `STAND_INS` stand for what only
            a driver can give.
        connect: The positional arguments and the keywords for the driver.
        hooked: Whether it is a subclass that overrides every method which the pool calls itself.
        operations: What then happens, one after the other. They name connections and cursors by
            numbers, counted back from the latest.
    """

    subject: Subject = "PooledDB"
    operations: tuple[Operation, ...] = ()
    kind: Kind = field(default_factory=Kind)
    options: dict[str, Any] = field(default_factory=dict)
    connect: dict[str, Any] = field(default_factory=dict)
    hooked: bool = False


# Options whose value is made for each run, by its name here.
STAND_INS: Final = (
    "<pinger>",
    "<OperationalError>",
    "<ProgrammingError>",
    "<SpokenError>",
    "<fatal>",
    "<harmless>",
)

KINDS: Final = st.builds(
    Kind,
    creator=st.sampled_from(["module"] * 10 + list(Creator.__args__)),  # type: ignore[attr-defined]
    threadsafety=st.sampled_from([2, 2, 2, 1, 1, 1, 1, 3, 0, None]),
    ping=st.sampled_from(list(Ping.__args__)),  # type: ignore[attr-defined]
    begins=st.booleans(),
    cancels=st.booleans(),
    iterates=st.booleans(),
    counts=st.sampled_from([False, False, False, True]),
)


def usually(usual: tuple[object, ...], odd: tuple[object, ...]) -> st.SearchStrategy[Any]:
    """Give one of the usual values, and an odd one now and then."""
    return st.sampled_from([*usual * 15, *odd])


_TWO_FAILURES: Final = tuple(
    (f"<{first}>", "<OperationalError>") for first in ("ProgrammingError", "SpokenError")
)
_STEADY_OPTIONS: Final = {
    "maxusage": usually((None, 0, 1, 2, 3), (-1, True, 1.5, "2")),
    "setsession": usually((None, [], ["set a"], ("set a", "set b")), ("ab", 7)),
    "failures": usually(
        (None, "<OperationalError>", ("<OperationalError>",)),
        ((), ["<OperationalError>"], int, 3, "text", Exception, "<SpokenError>", *_TWO_FAILURES),
    ),
    "ping": usually(
        (1, 0, 2, 4, 7, 3, "select 1", "<pinger>", (4, "select 1"), (7, "<pinger>")),
        (None, True, -1, 8, 1.5, [1], (1, 2, 3), (1, 5), (None, "<pinger>"), ("x", None), ()),
    ),
    "isfatal": usually((None, "<fatal>", "<harmless>"), ("text", 0, False)),
}
_POOL_OPTIONS: Final = {
    "mincached": usually((0, 1, 2, 3), (None, -1, 1.5, "2")),
    "maxcached": usually((0, 1, 2, 3), (None, -1, 1.5, "3")),
    "maxshared": usually((0, 1, 2), (None, -1, 1.5, "1")),
    "maxconnections": usually((0, 1, 2, 3), (None, -1, 2.5, "5")),
    "blocking": usually((False, True), (None, 0, "yes")),
    "reset": usually((True, False), (None, 1, 0, "yes")),
}
_PERSISTENT_OPTIONS: Final = {"closeable": st.booleans()}
OPTIONS: Final[dict[Subject, dict[str, st.SearchStrategy[Any]]]] = {
    "PooledDB": _POOL_OPTIONS | _STEADY_OPTIONS,
    "PersistentDB": _PERSISTENT_OPTIONS | _STEADY_OPTIONS,
    "SteadyDB": _PERSISTENT_OPTIONS | _STEADY_OPTIONS,
}

_one: Final = st.integers(0, 3)
_arguments: Final = st.sampled_from([(), ("one",), ("one", 2)])
_WHAT_FAILS: Final = (
    "connect", "ping", "pinger", "cursor", "execute", "executemany", "callproc", "fetchone",
    "commit", "rollback", "begin", "cancel", "close", "cursor.close", "setinputsizes",
)  # fmt: skip
_faults: Final = st.lists(
    st.sampled_from(["operational"] * 6 + ["", "", "false", *ERRORS, "zero", "none", "text"]),
    min_size=1,
    max_size=4,
).map(tuple)
_ACTIONS: Final = ("borrow", "close the pool", "look")
_NAMES: Final = (
    "_con", "_usage", "_transaction", "_closed", "_maxusage", "_ping", "_setsession_sql",
    "dbapi_connection", "dbapi", "threadsafety", "nonsense", "execute", "autocommit", "number",
)  # fmt: skip
_CURSOR_NAMES: Final = (
    "_con", "_cursor", "_closed", "_args", "_kwargs", "description", "dbapi_cursor", "number",
    "nonsense", "execute_nonsense", "fetchmany", "connection", "arraysize", "callproc",
)  # fmt: skip

# As often as it takes to get to the end of the failover.
_FAILOVERS: Final = st.sampled_from(
    [(fault,) * count for fault in ("operational", "interface") for count in (1, 2, 2, 3)]
    + [("operational", "operational", last) for last in ("programming", "interface", "value")]
)

_ON_CONNECTIONS: Final = [
    st.tuples(st.just("fail"), st.sampled_from(["commit", "rollback", "connect"]), _FAILOVERS),
    *[st.tuples(st.just("cursor"), _one, _arguments, st.sampled_from([{}, {}, {"kind": "dict"}]))]
    * 4,
    *[st.tuples(st.just("close"), _one)] * 3,
    *[st.tuples(st.just("drop"), _one)] * 3,
    *[st.tuples(st.just("begin"), _one, _arguments)] * 2,
    st.tuples(st.sampled_from(["commit", "rollback", "cancel"]), _one),
    st.tuples(st.sampled_from(["with", "with error", "closed twice"]), _one),
    st.tuples(st.just("ping"), _one, st.sampled_from([(), (False,), ("host", 1)])),
    st.tuples(st.just("ping_check"), _one, st.integers(0, 7), st.booleans()),
    st.tuples(st.just("reset"), _one, st.booleans()),
    st.tuples(st.sampled_from(["get", "has"]), _one, st.sampled_from(_NAMES)),
    st.tuples(st.just("set"), _one, st.sampled_from(["autocommit", "_usage", "execute"]), _one),
    st.tuples(st.just("kill"), _one),
    st.tuples(st.just("set kwargs"), _one),
]
_ON_CURSORS: Final = [
    *[st.tuples(st.just("execute"), _one, st.just("execute"), _arguments)] * 6,
    st.tuples(
        st.just("execute"),
        _one,
        st.sampled_from(["executemany", "execute_fast", "callproc", "callfunc"]),
        _arguments,
    ),
    st.tuples(st.just("execute without failover"), _one, _arguments),
    st.tuples(st.just("fetch"), _one),
    st.tuples(st.sampled_from(["iterate", "next", "with cursor", "close cursor"]), _one),
    *[st.tuples(st.just("drop cursor"), _one)] * 2,
    *[st.tuples(st.just("fail"), st.sampled_from(["execute", "execute", "cursor"]), _FAILOVERS)]
    * 5,
    st.tuples(st.just("sizes"), _one, st.sampled_from([[1, 2], [], None])),
    st.tuples(st.just("output size"), _one, st.sampled_from([(1,), (2, 0), (3, None)])),
    st.tuples(
        st.sampled_from(["get of cursor", "has of cursor"]), _one, st.sampled_from(_CURSOR_NAMES)
    ),
    st.tuples(st.just("set of cursor"), _one, st.sampled_from(["arraysize", "_args"]), _arguments),
]
_ON_THE_DRIVER: Final = [
    *[st.tuples(st.just("fail"), st.sampled_from(_WHAT_FAILS), _faults)] * 5,
]
_ON_POOLS: Final = [
    *[st.tuples(st.just("connection"), st.booleans())] * 5,
    st.tuples(st.sampled_from(["dedicated", "steady", "chain", "close the pool"])),
    st.tuples(
        st.just("set of pool"),
        st.sampled_from(["_maxconnections", "_maxcached", "_reset", "_ping", "_maxusage"]),
        st.integers(0, 3),
    ),
    st.tuples(
        st.just("fail"),
        st.sampled_from(["connect", "rollback", "ping", "close"]),
        st.sampled_from([(action,) for action in _ACTIONS]),
    ),
]
_ON_PERSISTENT: Final = [
    *[st.tuples(st.just("connection"), st.booleans())] * 5,
    st.tuples(st.sampled_from(["dedicated", "steady", "chain"])),
]
_ON_SUBJECTS: Final[dict[Subject, list[st.SearchStrategy[Operation]]]] = {
    "PooledDB": _ON_POOLS * 3,
    "PersistentDB": _ON_PERSISTENT * 2,
    "SteadyDB": [],
}
# What can be done, by whether there is a connection and a cursor to do it with.
OPERATIONS: Final[dict[tuple[Subject, bool, bool], list[st.SearchStrategy[Operation]]]] = {
    (subject, connected, cursor): [
        *operations,
        *(_ON_CONNECTIONS if connected else []),
        *(_ON_CURSORS * 2 if cursor else []),
        *_ON_THE_DRIVER,
    ]
    for subject, operations in _ON_SUBJECTS.items()
    for connected in (False, True)
    for cursor in (False, True)
}
_OPENS: Final = {"connection", "dedicated", "steady"}


@st.composite
def scripts(draw: st.DrawFn, subject: Subject, *, longest: int = 40) -> Script:
    """Make up a script about `subject`."""
    options = {
        name: draw(values)
        for name, values in OPTIONS[subject].items()
        if draw(st.sampled_from([True, False]))
    }
    kind = draw(KINDS)
    if subject == "PooledDB" and draw(st.sampled_from([False, False, True])):
        # All of this has to come together before anything is shared.
        kind = replace(kind, creator="module", threadsafety=2)
        options["maxshared"] = draw(st.sampled_from([1, 2]))
    return Script(
        subject,
        tuple(_operations(draw, subject, draw(st.integers(0, longest)))),
        kind,
        options,
        draw(st.sampled_from([{}, {"database": "db"}, {"database": "db", "user": "me"}])),
        hooked=subject == "PooledDB" and draw(st.sampled_from([False, False, True])),
    )


def _operations(draw: st.DrawFn, subject: Subject, count: int) -> Iterator[Operation]:
    connections, cursors = int(subject == "SteadyDB"), 0
    for _ in range(count):
        possible = OPERATIONS[subject, connections > 0, cursors > 0]
        # Not `one_of`, for which a strategy that is there twice is there once.
        operation = draw(possible[draw(st.integers(0, len(possible) - 1))])
        yield operation
        name = operation[0]
        connections += (name in _OPENS) - (name == "drop")
        cursors += (name in {"cursor", "chain"}) - (name == "drop cursor")
