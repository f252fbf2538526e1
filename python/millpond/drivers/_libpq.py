"""PostgreSQL, through a driver that is built on libpq: what psycopg and psycopg2 share.

What they do in a session, and block, is in `_libpq_session`; for asyncio it is in `aio._psycopg`.

The pool's ``connect_timeout`` becomes libpq's, which counts in whole seconds, takes 1 for 2, and
holds for each host when there are several. It takes the place of ``PGCONNECT_TIMEOUT``, but not of
a ``connect_timeout`` in the URL or in ``connect_kwargs``. Whatever libpq does, the pool gives a
connection attempt up after its own, exact ``connect_timeout``.

Several hosts, ``target_session_attrs``, ``load_balance_hosts`` and whatever else libpq knows can be
in the URL; it finds the right server anew for each connection.

With a URL the options of a session are sent with the connection request (``options``), so that a
RESET leads back to them. What the URL or ``connect_kwargs`` say wins over them.
"""

from __future__ import annotations

import math
import os
import re
from typing import TYPE_CHECKING, Any, Final

from millpond.drivers import _postgres
from millpond.drivers._base import C, redact
from millpond.drivers._session import DEFAULTS, SessionOptions, TransactionStatus
from millpond.drivers._traits import Traits
from millpond.drivers._url import refuse_port
from millpond.errors import PoolConfigError, PoolError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

# libpq takes 1 for 2 (connectDBComplete in its fe-connect.c).
_SHORTEST_TIMEOUT: Final = 2

# PQtransactionStatus(), in its own order.
STATUS: Final = (
    TransactionStatus.IDLE,
    TransactionStatus.ACTIVE,
    TransactionStatus.OPEN,
    TransactionStatus.FAILED,
    TransactionStatus.UNKNOWN,
)
INTRANS: Final = 2
INERROR: Final = 3

# libpq has no code for what it finds out by itself, only words, which it does not translate in the
# builds on PyPI; the pool looks at the socket as well.
_LOST: Final = re.compile(
    "server closed the connection"
    "|connection (?:has been |is |was )?(?:already )?(?:closed|lost)"
    "|terminating connection"
    "|could not (?:receive data from|send data to) server"
    "|no connection to the server"
    "|SSL (?:SYSCALL error|connection has been closed)"
    # OpenSSL 3 has words of its own for a FIN without close_notify.
    "|SSL error: (?:unexpected eof|decryption failed)"
    "|(?:Connection|connection) (?:reset|timed out|refused)"
    "|Broken pipe|EOF detected|Software caused connection abort"
)

# A server that refuses us for what we are will do so again. One refusal for each host.
_ATTEMPT: Final = re.compile("connection to server")
_REFUSED: Final = re.compile(
    "FATAL: +(?:password authentication failed|no pg_hba.conf entry|role .* (?:does not exist|is "
    'not permitted)|database .* does not exist|permission denied for database|[^"]*authentication '
    "failed)"
)


class Libpq(_postgres.PostgresTraits[C]):
    """What the drivers have in common that does not depend on who waits."""

    why_not = {  # noqa: RUF012  a ClassVar in the base class
        "socket_timeout": "libpq waits for an answer without a limit; statement_timeout and "
        "keepalive are what PostgreSQL has",
    }

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        connect_kwargs: Mapping[str, Any] | None = None,
        connect_timeout: float | None = None,
        options: SessionOptions = DEFAULTS,
    ) -> Self:
        """Return the adapter of the database that a URL names.

        Args:
            url: A URL that libpq understands; ``postgresql+driver:`` is ``postgresql:``.
            connect_kwargs: Arguments of the driver's ``connect()``, which win over those in the
                URL.
            connect_timeout: Seconds, which are rounded up; ``None`` leaves it to libpq.
            options: What the session is to be like.

        Raises:
            PoolConfigError: The URL or an argument is not valid.
        """
        conninfo = "postgresql://" + _with_whole_password(url.partition("://")[2])
        arguments = dict(connect_kwargs or {})
        cls._check_arguments(arguments)
        said = {**_checked(cls, conninfo), **arguments}
        if connect_timeout is not None and "connect_timeout" not in said:
            arguments["connect_timeout"] = max(_SHORTEST_TIMEOUT, math.ceil(connect_timeout))
        carried = cls._add(options, arguments, said)

        # Not a partial: its repr would show the password.
        def connect() -> Any:  # noqa: ANN401  a connection, or what leads to it when awaited
            return cls._open(conninfo, arguments)

        made = cls(connect, target=redact(url))
        made.carried = frozenset(carried)
        made.wants_writable = said.get("target_session_attrs") in _postgres.WRITABLE
        return made

    @classmethod
    def _add(
        cls, options: SessionOptions, arguments: dict[str, Any], said: Mapping[str, Any]
    ) -> set[str]:
        """Add the options to the arguments, and return the names of those that are in there."""
        told = keepalives(options)
        if options.application_name is not None:
            told["application_name"] = options.application_name
        arguments.update({name: value for name, value in told.items() if name not in said})
        if options.profile:  # PgBouncer refuses `options`
            return {"application_name", "keepalive"}
        settings = _postgres.settings(options)
        if settings:
            # The last one wins, so ours go first. PGOPTIONS counts only where there is no other.
            theirs = said.get("options") or os.environ.get("PGOPTIONS", "")
            ours = [f"-c {name}=" + value.replace(" ", "\\ ") for name, value in settings.items()]
            arguments["options"] = " ".join([*ours, theirs]).strip()
        return {
            "application_name",
            "isolation_level",
            "keepalive",
            "read_only",
            "statement_timeout",
        }

    @classmethod
    def _open(cls, conninfo: str, arguments: Mapping[str, Any]) -> Any:  # noqa: ANN401
        """Connect; each of the drivers says how."""
        raise NotImplementedError

    @classmethod
    def _check_arguments(cls, arguments: Mapping[str, Any]) -> None:
        """Refuse arguments that neither the driver nor libpq knows; each driver asks libpq."""
        raise NotImplementedError

    @classmethod
    def _parse(cls, conninfo: str) -> Mapping[str, Any]:
        """Let libpq take a URL apart, in the way that each driver has for it.

        Raises:
            ValueError: It is not valid; the message is libpq's.
        """
        raise NotImplementedError

    def cannot(self, options: SessionOptions) -> Mapping[str, str]:
        """Say what PgBouncer forbids."""
        return _postgres.forbidden(options, autocommit=bool(options.autocommit))

    @staticmethod
    def fileno(conn: Any) -> int:  # noqa: ANN401
        """Return the socket, -1 on a connection that is closed."""
        return -1 if conn.closed else int(conn.fileno())

    @classmethod
    def is_alive(cls, conn: Any) -> bool | None:  # noqa: ANN401
        """Look at the connection, then at its socket."""
        return False if conn.closed else super().is_alive(conn)

    @staticmethod
    def _reset_statement() -> str:
        return _postgres.RESET_SESSION

    @classmethod
    def is_disconnect(cls, error: BaseException) -> bool:
        """Ask the SQLSTATE, or, where only libpq spoke, its words."""
        state = _postgres.sqlstate(error)
        if state is not None:
            return _postgres.is_gone(state)
        kinds = {kind.__name__ for kind in type(error).__mro__}
        if isinstance(error, PoolError) or kinds.isdisjoint({"OperationalError", "InterfaceError"}):
            return False
        return _LOST.search(str(error)) is not None

    def is_demoted(self, conn: Any, error: BaseException) -> bool:  # noqa: ANN401
        """Say yes to a refused write, if the URL asked for a server that takes writes.

        Unless the server says that it does, and only this transaction was read-only.
        """
        return self.wants_writable and _postgres.is_demoted(error, conn.info.parameter_status)

    @staticmethod
    def is_transient(error: BaseException) -> bool:
        """Say no where every server refused the user or the database."""
        said = str(error)
        refused = len(_REFUSED.findall(said))
        if refused and refused >= len(_ATTEMPT.findall(said)):
            return False
        return Traits.is_transient(error)


def keepalives(options: SessionOptions) -> dict[str, Any]:
    """Return libpq's parameters for ``keepalive``."""
    if options.keepalive is None:
        return {}
    told: dict[str, Any] = {"keepalives": int(options.keepalive is not False)}
    if not isinstance(options.keepalive, bool):
        told["keepalives_idle"] = max(1, math.ceil(options.keepalive))
    return told


def _with_whole_password(rest: str) -> str:
    """Encode each @ of a password: libpq would take what stands behind the first for a host."""
    address, slash, path = rest.partition("/")
    userinfo, at, host = address.rpartition("@")
    return userinfo.replace("@", "%40") + at + host + slash + path


def _checked(kind: type[Libpq[Any]], conninfo: str) -> Mapping[str, Any]:
    """Take a URL apart, and say what is wrong without saying the password."""
    try:
        parts = kind._parse(conninfo)  # noqa: SLF001  a hook of the class above
    except ValueError:
        raise PoolConfigError(_explain(kind, conninfo)) from None
    # An unencoded "/" in a password ends the host for libpq, and the port is half of the password.
    ports = str(parts.get("port") or "").split(",")
    if not all(port == "" or port.isdecimal() for port in ports):
        refuse_port(conninfo)
    return parts


def _explain(kind: type[Libpq[Any]], conninfo: str) -> str:
    # libpq quotes what it did not understand. Asked about the redacted URL, it cannot quote the
    # password; and if nothing is wrong with that one, the password was it.
    shown = redact(conninfo)
    try:
        kind._parse(shown)  # noqa: SLF001
    except ValueError as error:
        why = str(error).strip()
    else:
        why = "special characters in the password must be percent-encoded"
    return f"connect={shown!r}: {why}"
