"""The configuration of a pool, whoever's it is, and where each of its options stands."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from millpond.doctor._findings import Change, Place

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["UNKNOWN", "Insertion", "Kind", "Option", "PoolOptions", "Unknown", "number_of"]


class Unknown(Enum):
    """The type of `UNKNOWN`, so that a type checker can tell it."""

    UNKNOWN = "unknown"

    def __bool__(self) -> bool:
        """Be false, so that ``if value`` never takes the unknown for a yes."""
        return False

    def __repr__(self) -> str:
        """Return a readable name."""
        return "UNKNOWN"


UNKNOWN: Final = Unknown.UNKNOWN
"""The value of an option that can't be known without running the program. It is false."""

Kind: TypeAlias = Literal[
    "millpond.Pool",
    "millpond.AsyncPool",
    "millpond.ThreadLocalPool",
    "dbutils.PooledDB",
    "dbutils.PersistentDB",
    "millpond.dbutils.PooledDB",
    "millpond.dbutils.PersistentDB",
    "sqlalchemy.create_engine",
    "sqlalchemy.create_async_engine",
    "django",
]
"""Whose options they are. The names of the options are those of this source."""

_MILLPOND: Final = frozenset({"millpond.Pool", "millpond.AsyncPool", "millpond.ThreadLocalPool"})
_POOLED_DB: Final = frozenset({"dbutils.PooledDB", "millpond.dbutils.PooledDB"})
_PERSISTENT_DB: Final = frozenset({"dbutils.PersistentDB", "millpond.dbutils.PersistentDB"})
_SQLALCHEMY: Final = frozenset({"sqlalchemy.create_engine", "sqlalchemy.create_async_engine"})

_QUEUES: Final = frozenset({"", "QueuePool", "AsyncAdaptedQueuePool"})
_DATABASES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("sqlite", "sqlite3", "aiosqlite"), "sqlite"),
    **dict.fromkeys(("mysql", "mariadb", "pymysql", "MySQLdb", "mysqldb", "aiomysql"), "mysql"),
    **dict.fromkeys(("asyncmy",), "mysql"),
    **dict.fromkeys(("postgresql", "postgres", "postgis", "psycopg", "psycopg2"), "postgresql"),
    **dict.fromkeys(("asyncpg", "pg", "pgdb"), "postgresql"),
    **dict.fromkeys(("oracle", "oracledb", "cx_Oracle"), "oracle"),
    **dict.fromkeys(("mssql", "pyodbc", "redis", "rediss", "duckdb"), "other"),
}


def number_of(value: object) -> float | None:
    """Return a value that is a number, which may be infinite, and else ``None``."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return None if math.isnan(value) else value
    except OverflowError:
        # An int that no float can hold is no number of anything.
        return None


@dataclass(frozen=True, slots=True)
class Option:
    """One option that was given.

    Attributes:
        value: What it is, or `UNKNOWN`.
        place: Where it stands.
        from_preset: Whether it came along with a preset or another mapping, and not by its name.
        from_environment: Whether it is only the default of what the environment may say.
        known_url: For a text of which parts are unknown: the text with ``...`` in their place.
        refers_to: For the name of something imported: what that is, as a dotted name.
        origin: Where the text of a constant stands that was given by its name.
        segment: The columns of the value's source, if it is on one line.
    """

    value: Any
    place: Place = field(default_factory=Place)
    from_preset: bool = False
    from_environment: bool = False
    known_url: str = ""
    refers_to: str = ""
    origin: Place | None = None
    segment: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Insertion:
    """Where an option can be added.

    Attributes:
        line: The line that has the last option, and what closes the list of them.
        column: Before which of its columns; ``None`` for a line of its own below the last option.
        indent: What such a line begins with.
        form: What is written, such as ``"{}={}"`` or ``'"{}": {}'``.
    """

    line: str
    column: int | None
    indent: str = ""
    form: str = "{}={}"

    def of(self, name: str, value: str) -> Change:
        """Return the change that adds an option."""
        text = self.form.format(name, value)
        if self.column is None:
            return Change("", f"{self.indent}{text}{'' if ' = ' in self.form else ','}")
        before, after = self.line[: self.column].rstrip(), self.line[self.column :]
        comma = "" if before.endswith(("(", "{")) else " " if before.endswith(",") else ", "
        return Change(self.line, before + comma + text + after)


@dataclass(frozen=True, slots=True, eq=False)
class PoolOptions:
    """The configuration of one pool.

    Attributes:
        kind: Whose options they are.
        options: What was given, by the source's own names (``max_size``, ``pool_size``, ...).
        defaults: What applies to what was not given.
        place: Where the pool is made.
        complete: Whether all that was given is known; not after ``**something`` unknown.
        has_url: Whether it connects by a URL, be that known or not, and not by a function.
        is_local: Whether it is made in a function.
        is_temporary: Whether the pool ends with the function that makes it.
        name: The variable that holds the pool, or Django's alias; empty if there is none.
        insertion: Where another option would stand; ``None`` if that can't be told.
        creator: What is called to connect, such as ``"psycopg.connect"``; empty if unknown.
        creator_options: Its arguments, positional ones by their number.
    """

    kind: Kind
    options: Mapping[str, Option]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    place: Place = field(default_factory=Place)
    complete: bool = True
    has_url: bool = False
    is_local: bool = False
    is_temporary: bool = False
    name: str = ""
    insertion: Insertion | None = None
    creator: str = ""
    creator_options: Mapping[str, Option] = field(default_factory=dict)

    @property
    def is_millpond(self) -> bool:
        """Whether the options are those of `millpond.Pool` and its kin."""
        return self.kind in _MILLPOND

    @property
    def is_pooled_db(self) -> bool:
        """Whether it is a ``PooledDB``, of DBUtils or of millpond."""
        return self.kind in _POOLED_DB

    @property
    def is_persistent_db(self) -> bool:
        """Whether it is a ``PersistentDB``, of DBUtils or of millpond."""
        return self.kind in _PERSISTENT_DB

    @property
    def is_sqlalchemy(self) -> bool:
        """Whether it is an engine of SQLAlchemy."""
        return self.kind in _SQLALCHEMY

    @property
    def is_django(self) -> bool:
        """Whether it is an entry of Django's ``DATABASES``."""
        return self.kind == "django"

    @property
    def is_async(self) -> bool:
        """Whether its connections are awaited."""
        return self.kind in {"millpond.AsyncPool", "sqlalchemy.create_async_engine"}

    def given(self, name: str) -> bool:
        """Whether an option was given by its name."""
        return name in self.options and not self.options[name].from_preset

    def value(self, name: str) -> Any:  # noqa: ANN401  that of any option
        """Return the value that applies: what was given, the default, or `UNKNOWN`."""
        if name in self.options:
            return self.options[name].value
        return self.defaults.get(name) if self.complete else UNKNOWN

    def number(self, name: str) -> float | None:
        """Return the value that applies if it is a number, else ``None``."""
        return number_of(self.value(name))

    def is_none(self, name: str) -> bool:
        """Whether the value that applies is known to be ``None``."""
        return self.value(name) is None

    def at(self, name: str) -> Place:
        """Return where an option stands; where the pool is made, if it was not given."""
        return self.options[name].place if name in self.options else self.place

    def change(self, name: str, value: str) -> Change | None:
        """Return the change of a line that gives an option another value, if that is one line.

        Args:
            name: The option, whether it was given or not.
            value: The new value, as it is to be written.
        """
        option = self.options.get(name)
        if option is not None and not option.from_preset:
            if option.from_environment:
                return None
            line, segment = option.place.source, option.segment
            if segment is None:
                return None
            return Change(line, line[: segment[0]] + value + line[segment[1] :])
        return None if self.insertion is None else self.insertion.of(name, value)

    @property
    def url(self) -> str:
        """The URL, with ``...`` for what is unknown of it; empty if there is none."""
        option = self.options.get("connect") or self.options.get("url")
        return option.known_url if option else ""

    @property
    def database(self) -> str:
        """``"sqlite"``, ``"mysql"`` or ``"postgresql"``, ...; empty if it is not known."""
        scheme = self.url.partition("://")[0].partition("+")[0]
        name = scheme or self.creator.partition(".")[0]
        if self.is_django and isinstance(self.value("ENGINE"), str):
            name = self.value("ENGINE").rpartition(".")[2]
        return _DATABASES.get(name.lower(), "")

    @property
    def pool_class(self) -> str:
        """The name of SQLAlchemy's ``poolclass``: empty if not given, ``"?"`` if unknown."""
        if "poolclass" not in self.options:
            return "" if self.complete or not self.is_sqlalchemy else "?"
        return self.options["poolclass"].refers_to.rpartition(".")[2] or "?"

    @property
    def is_queue(self) -> bool:
        """Whether SQLAlchemy keeps connections, up to a number of them."""
        return self.pool_class in _QUEUES

    @property
    def capacity(self) -> float | None:
        """How many connections there may be; ``inf`` for any number, ``None`` if unknown."""
        most = self._most
        return most if most is not None and most >= 0 else None

    @property
    def _most(self) -> float | None:
        """What the options say, be it possible or not."""
        if self.is_millpond:
            return self.number("max_size")
        if self.is_pooled_db:
            most = self.value("maxconnections")
            return math.inf if most is None or most == 0 else self.number("maxconnections")
        if self.is_sqlalchemy and self.is_queue:
            size, overflow = self.number("pool_size"), self.number("max_overflow")
            if size == 0 or (overflow is not None and overflow < 0):
                return math.inf
            return None if size is None or overflow is None else size + overflow
        return None
