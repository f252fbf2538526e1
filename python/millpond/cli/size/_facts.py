"""What sizes are computed from and nobody has said: a server, a running process, this machine.

Nothing here lets a password out: what a driver or a library says passes through a `Database`.
"""

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeVar

from millpond import sizing
from millpond.cli._database import Database, database_from_url, redact
from millpond.cli._in_time import in_time
from millpond.cli._reading import take
from millpond.doctor.ask import ServerUnreachable, SessionMemory, ask, ask_memory, endpoint
from millpond.doctor.outside._server import ServerFacts
from millpond.errors import PoolConfigError

__all__ = ["Facts", "Room", "Unanswered", "ask_server", "ask_sqlite", "running_pool"]

# Seconds for a server, of which connecting may take 5, and for each answer of a process.
_PATIENCE = 15.0
_READING = 5.0

_T = TypeVar("_T")


class Unanswered(Exception):
    """Whom we asked did not answer. The message has no password."""


@dataclass(frozen=True)
class Room:
    """How many connections a server, or a pooler before it, lets in.

    Attributes:
        most: In all.
        reserved: Of these, the ones that are not for applications.
        what: Which limit it is.
    """

    most: int
    reserved: int
    what: str


@dataclass(frozen=True)
class Facts:
    """What a server told.

    Attributes:
        title: What it is and where, on one line and without a password.
        is_local: Whether it is on this machine.
        room: What it lets in, if that is limited.
        sessions: How many there are now, without our own.
        active: How many of these are at work, if that is known.
        memory: What a session costs, if that is of account.
        notes: What else is worth knowing.
    """

    title: str
    is_local: bool
    room: Room | None = None
    sessions: int | None = None
    active: int | None = None
    memory: SessionMemory | None = None
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return what ``--json`` prints. Memory is in bytes."""
        memory = self.memory
        return {
            "title": self.title,
            "is_local": self.is_local,
            "max_connections": self.room and self.room.most,
            "reserved": self.room and self.room.reserved,
            "limit": self.room and self.room.what,
            "sessions": self.sessions,
            "active": self.active,
            "memory": memory
            and {
                "estimate": memory.estimate,
                "settings": dict(memory.settings),
                "measured": memory.measured,
                "how": memory.how,
            },
            "notes": list(self.notes),
        }


def ask_server(url: str) -> Facts:
    """Ask the server that a URL names.

    Raises:
        PoolConfigError: It is not a URL that can be asked.
        Unanswered: It did not answer.
    """
    if url.partition("://")[0].partition("+")[0].lower() == "sqlite":
        return ask_sqlite(url)
    server, memory = _in_time(lambda: (ask(url), ask_memory(url)), url)
    pooler = server.bouncer
    notes = [] if pooler is None else [f"{pooler.product} is in between ({pooler.how})"]
    return Facts(
        title=f"{server.kind} {server.version.split()[0]}, {server.where}",
        is_local=server.is_local,
        room=_room(server),
        sessions=server.sessions,
        active=server.states.get("active", server.states.get("running")),
        memory=memory,
        notes=tuple(notes),
    )


def _room(server: ServerFacts) -> Room | None:
    pooler = server.bouncer
    if pooler is not None and pooler.shares_sessions and pooler.max_clients is not None:
        return Room(pooler.max_clients, 0, f"clients of {pooler.product}")
    if server.max_connections is None:
        return None
    room = Room(server.max_connections, server.reserved, server.called("max_connections"))
    own = min(server.limits, key=lambda limit: limit.value, default=None)
    if own is not None and own.value < server.max_connections - server.reserved:
        return Room(own.value, 0, f"limit of {own.name}")
    return room


def ask_sqlite(url: str) -> Facts:
    """Look into an SQLite file: who may work at the same time depends on its journal.

    Raises:
        PoolConfigError: There is no such file.
        Unanswered: It cannot be read.
    """
    database = database_from_url(url)

    def journal() -> str:
        with closing(database.connect()) as conn:
            return str(conn.execute("PRAGMA journal_mode").fetchone()[0])

    mode = _in_time(journal, url)
    notes = ["one connection writes at a time; more than one serve readers only"]
    if mode not in {"wal", "memory"}:
        notes.append(f"journal_mode={mode}: readers wait for the writer; WAL ends that")
    return Facts(title=f"SQLite, {redact(url)}", is_local=True, notes=tuple(notes))


def running_pool(source: str, name: str | None) -> Mapping[str, Any]:
    """Return the statistics of a pool of a running process.

    Args:
        source: Where its ``/pool.json`` is: a URL, or host and port.
        name: The pool's name, which is needed where there are several.

    Raises:
        PoolConfigError: It can't be a URL, there is no such pool, or a name is needed.
        Unanswered: The process did not answer, or with something else.
    """
    reading = take(endpoint(source), _READING)
    if reading.error is not None:
        msg = f"{redact(source)}: {reading.error}"
        raise Unanswered(msg)
    found = [pool for pool in reading.pools if name in {None, pool.name}]
    if len(found) != 1:
        names = ", ".join(repr(pool.name) for pool in reading.pools) or "none"
        msg = f"--pool={name!r}: must be the name of one of its pools, which are {names}"
        raise PoolConfigError(msg)
    return found[0].stats


def memory_here(server: Facts | None) -> int | None:
    """Return the memory that a server on this machine could still take."""
    return sizing.available_memory() if server is not None and server.is_local else None


def _in_time(question: Callable[[], _T], url: str) -> _T:
    try:
        return in_time(question, _PATIENCE)
    except PoolConfigError:
        raise
    except Exception as error:  # noqa: BLE001 - every driver has its own
        kind = "" if isinstance(error, ServerUnreachable) else f"{type(error).__name__}: "
        raise Unanswered(Database(object, "", "", url).scrub(f"{kind}{error}")) from None
