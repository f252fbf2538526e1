"""Error texts in, kinds of trouble out: what a log says about pools and connections.

The texts are those of the libraries and servers themselves. Each line counts once, for the first
kind that it fits, so the more telling ones come first.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final

from millpond.doctor._findings import Place
from millpond.doctor.outside._anchors import alternatives, anchor
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from millpond.doctor._options import PoolOptions

__all__ = ["KINDS", "Symptoms", "read_errors", "read_log"]

# What counts in a line stands at its beginning; behind that may come a statement of any length.
_LONGEST_LINE: Final = 4000

KINDS: Final[Mapping[str, str]] = {
    "pool-full": r"QueuePool limit of size (?P<size>-?\d+) overflow (?P<overflow>-?\d+) reached"
    r"|couldn't get a connection after [\d.]+ sec"  # psycopg_pool
    r"|couldn't acquire a connection from pool .*?: (?P<in_use>\d+) of (?P<max_size>\d+) in use"
    r"|has no connection that is free, and on_exhausted="
    # DBUtils; asyncpg and psycopg call those of a server so.
    r"|(?<!exceptions\.)(?<!errors\.)TooManyConnections(?:Error)?\b"
    r"|pool exhausted"  # psycopg2.pool, mysql.connector
    r"|redis\S*Error: Too many connections|redis\S*Error: No connection available",
    # What millpond's PoolTimeout says below its first line.
    "leak": r"a leak is suspected:",
    "starved": r"callers with priority='high' were served first",
    "slow-statements": r"connections are in use for long: look for slow",
    "slow-connects": r"connecting is slow: check the database",
    "nested": r"this (?:thread|task) waits for itself: release a connection first",
    "shed": r"callers waiting already|has already \d+ requests waiting"
    r"|psycopg_pool\S*TooManyRequests\b",
    "role-full": r"too many connections for (?:role|database)|max_user_connections",
    "server-full": r"too many clients already|remaining connection slots are reserved"
    r"|Too many connections|max number of clients reached"
    r"|no more connections allowed|ORA-00018|ORA-125(?:16|20)",
    "idle-transaction": r"idle-in-transaction timeout|IdleInTransactionSessionTimeout",
    "statement-timeout": r"due to statement timeout|maximum statement execution time exceeded"
    r"|max_statement_time exceeded|a statement was cancelled, as query_timeout=",
    "prepared": r'prepared statement ".*?" already exists|prepared statement ".*?" does not exist'
    r"|DuplicatePreparedStatement|InvalidSqlStatementName",
    "shared": r"another operation (?:\S+ )?is in progress|Packet sequence number wrong"
    r"|[Cc]ommands out of sync|another command is already in progress"
    r"|decryption failed or bad record mac|lost synchronization with server"
    r"|another coroutine is already waiting",
    "other-loop": r"attached to a different (?:event )?loop|bound to a different event loop"
    r"|Event loop is closed",
    "sqlite-locked": r"database is locked|database table is locked",
    "sqlite-thread": r"SQLite objects created in a thread can only be used in that same thread",
    "failed-transaction": r"current transaction is aborted|InFailedSqlTransaction"
    r"|until invalid transaction is rolled back",
    "conflict": r"deadlock detected|Deadlock found|could not serialize access"
    r"|Lock wait timeout exceeded",
    "restarted": r"due to administrator command|the database system is (?:starting|shutting|in rec)"
    r"|crash of another server process",
    "cut": r"server closed the connection unexpectedly|server has gone away|Lost connection to"
    r"|SSL connection has been closed unexpectedly|SSL SYSCALL error|EOF detected"
    r"|disconnected by the server because of inactivity|due to idle-session timeout"
    r"|closed in the middle of operation|Connection reset by peer|Broken pipe",
    "unreachable": r"[Cc]onnection refused|could not connect to server|Can't connect to"
    r"|nothing is open, and for|the last attempt to connect failed"
    r"|could not translate host name|Name or service not known|[Cc]onnection time(?:d )?out",
    "pool-closed": r"pool .*? is already closed|pool .*? is closed|pool .*? is not open"
    r"|\bPoolClosed\b",
    "closed": r"connection (?:is )?already closed|the connection is closed"
    r"|[Cc]annot operate on a closed|cursor already closed|connection is closed",
}
"""The kinds, and what their lines have in them."""

_ANY: Final = re.compile(
    "|".join(f"(?P<{kind.replace('-', '_')}>{texts})" for kind, texts in KINDS.items())
)
_ANCHORS: Final = sorted(
    {anchor(each) for texts in KINDS.values() for each in alternatives(texts)}, key=len
)
# What a network says of any connection may be about one of HTTP.
_OF_ANY_NETWORK: Final = frozenset({"cut", "unreachable"})
_HTTP: Final = re.compile(
    r"HTTPS?Connection|\burllib3\b|\brequests\.exceptions\b|\bhttpx\b|\baiohttp\.client|\bupstream\b"
)
_GROUPS: Final = {kind.replace("-", "_"): kind for kind in KINDS}


@dataclass(frozen=True, slots=True)
class _First:
    """The first line of a kind, and the numbers in it."""

    place: Place
    numbers: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Symptoms:
    """What a log says, by kinds, and the pools that it may be about.

    Attributes:
        counts: How many lines of each kind there are.
        firsts: The first one of each kind.
        pools: The configurations that are known.
        needed: Connections that a process needs, as far as its load is known.
        workers: Processes.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    firsts: Mapping[str, _First] = field(default_factory=dict)
    pools: tuple[PoolOptions, ...] = ()
    needed: int | None = None
    workers: int = 1

    def said(self, kind: str) -> str:
        """Return how often a kind was met, the empty string for never."""
        count = self.counts.get(kind, 0)
        return f"{count} lines of the log" if count > 1 else "the error" if count else ""

    def number(self, kind: str, name: str) -> int | None:
        """Return a number that the first line of a kind told."""
        return self.firsts[kind].numbers.get(name)

    def where(self, kind: str) -> Place:
        """Return where the first line of a kind stands."""
        return self.firsts[kind].place


def read_errors(text: str) -> Symptoms:
    """Look for errors in a text of one or many lines."""
    return Symptoms(*_scan(text.splitlines(), None))


def read_log(path: Path) -> Symptoms:
    """Look for errors in a file, line by line, of whatever length it is.

    Raises:
        PoolConfigError: It cannot be read.
    """
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            return Symptoms(*_scan(lines, str(path)))
    except OSError as error:
        msg = f"errors='@{path}': must be a file that can be read ({error.strerror})"
        raise PoolConfigError(msg) from error


def _scan(lines: Iterable[str], file: str | None) -> tuple[Counter[str], dict[str, _First]]:
    counts: Counter[str] = Counter()
    firsts: dict[str, _First] = {}
    for number, full in enumerate(lines, 1):
        line = full[:_LONGEST_LINE]
        if not any(word in line for word in _ANCHORS):
            continue
        found = _ANY.search(line)
        if found is None:
            continue
        groups = {name: value for name, value in found.groupdict().items() if value is not None}
        kind = next(_GROUPS[name] for name in groups if name in _GROUPS)
        if kind in _OF_ANY_NETWORK and _HTTP.search(line):
            continue
        counts[kind] += 1
        if kind not in firsts:
            place = Place(file, number if file else None, "".join(islice(line.strip(), 300)))
            told = {name: int(value) for name, value in groups.items() if name not in _GROUPS}
            firsts[kind] = _First(place, told)
    return counts, firsts
