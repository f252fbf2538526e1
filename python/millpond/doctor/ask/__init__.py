"""Asks what the doctor has to know: the only part of it that connects to anything.

`ask_process(url)` reads the ``/pool.json`` of a process; `fetch(endpoint(url), timeout)` is
its text, for whom another view of it suits better.

`ask(url)` asks a database server what a pool has to know about it. It connects once (twice or three
times where a pooler is in between), only reads, and needs no more rights than the application has;
what the server does not tell such a user stays unknown. Give it the application's own URL: the
settings of a role or of a database are seen by those only for whom they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from millpond import drivers
from millpond.doctor.ask import _memory, _mysql, _postgres, _redis
from millpond.doctor.ask._memory import SessionMemory
from millpond.doctor.ask._pool_json import Endpoint, endpoint, fetch, printable, reason
from millpond.doctor.ask._process import ask_process
from millpond.doctor.ask._target import find
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from millpond.doctor.ask._target import Target
    from millpond.doctor.outside._server import ServerFacts

__all__ = [
    "Endpoint",
    "ServerUnreachable",
    "SessionMemory",
    "ask",
    "ask_memory",
    "ask_process",
    "endpoint",
    "fetch",
    "printable",
    "reason",
]

_T = TypeVar("_T")


class ServerUnreachable(Exception):
    """The server could not be asked. The message has the URL without its password, and why."""


class _Family(NamedTuple):
    """Servers that are asked in the same way.

    Attributes:
        ask: Asks one.
        schemes: URL schemes of drivers that can do it, for when the URL names one that cannot, such
            as SQLAlchemy's ``postgresql+asyncpg``, or one that is not installed.
        options: What the session is to be like.
        memory: Asks one what a session costs it, if that is known.
    """

    ask: Callable[[Target], ServerFacts]
    schemes: tuple[str, ...]
    options: drivers.SessionOptions
    memory: Callable[[Target], SessionMemory] | None = None


_POSTGRES: Final = _Family(
    _postgres.ask,
    ("postgresql", "postgresql+psycopg2"),
    # The profile, as nobody knows yet whether PgBouncer is there.
    drivers.SessionOptions(
        application_name="millpond doctor", autocommit=True, profile="pgbouncer"
    ),
    _memory.of_postgres,
)
_MYSQL: Final = _Family(
    _mysql.ask, ("mysql",), drivers.SessionOptions(autocommit=True), _memory.of_mysql
)
# Redis allows no space in a name.
_REDIS: Final = drivers.SessionOptions(application_name="millpond-doctor")
_FAMILIES: Final = {
    "postgresql": _POSTGRES,
    "postgres": _POSTGRES,
    "mysql": _MYSQL,
    "mariadb": _MYSQL,
    **{one: _Family(_redis.ask, (one,), _REDIS) for one in ("redis", "rediss", "unix")},
}


def ask(url: str) -> ServerFacts:
    """Ask a server. Takes some round trips, and five seconds where nobody answers.

    Args:
        url: The URL that the application connects with. A driver in it that is not for us, such as
            ``postgresql+asyncpg``, is replaced by one that is installed.

    Raises:
        PoolConfigError: It is not the URL of a PostgreSQL, MySQL, MariaDB or Redis server, or no
            driver for it is installed.
        ServerUnreachable: Connecting or asking failed.
    """
    family, target = _find(url)
    return _asked(family.ask, target)


def ask_memory(url: str) -> SessionMemory | None:
    """Ask a server what a session costs it; ``None`` where that is of no account, as with Redis.

    Args:
        url: As for `ask`.

    Raises:
        PoolConfigError: As for `ask`.
        ServerUnreachable: Connecting or asking failed.
    """
    family, target = _find(url)
    return None if family.memory is None else _asked(family.memory, target)


def _find(url: str) -> tuple[_Family, Target]:
    scheme, separator, rest = url.partition("://")
    family = _FAMILIES.get(scheme.partition("+")[0].lower())
    if not separator or family is None:
        # What is no URL may be a DSN with a password in it.
        shown = f"{scheme}://…" if separator else "…"
        msg = (
            f"server={shown!r}: must be the URL of a PostgreSQL, MySQL, MariaDB or Redis server, "
            "such as postgresql://user@host/database"
        )
        raise PoolConfigError(msg)
    return family, find([url, *(f"{other}://{rest}" for other in family.schemes)], family.options)


def _asked(question: Callable[[Target], _T], target: Target) -> _T:
    try:
        return question(target)
    except Exception as error:
        said = " ".join(str(error).split()).replace(target.url, target.where)
        msg = f"{target.where} cannot be asked: {type(error).__name__}: {said}"
        raise ServerUnreachable(msg) from error
