"""What a database server says about itself, as far as a pool has to know. `ask` asks it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Idler:
    """A session that has a transaction open and does nothing.

    Attributes:
        session: The server's number for it.
        seconds: For how long it has done nothing.
        application: What it calls itself, perhaps nothing.
        query: The last statement, perhaps cut.
    """

    session: int
    seconds: float
    application: str
    query: str


@dataclass(frozen=True, slots=True)
class Limit:
    """How many sessions one of the things that we are may have, as ``role 'app'`` or a setting."""

    name: str
    value: int
    how: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bouncer:
    """A connection pooler between us and the server. ``None`` is unknown.

    Attributes:
        product: Its name and version, as far as known.
        mode: ``"session"``, ``"transaction"`` or ``"statement"``.
        how: By what it was recognised.
        max_clients: Connections that it takes from all its clients.
        pool_size: Sessions that it opens on the server, for each user and database.
        client_idle_timeout: Seconds after which it closes a client's idle connection.
        wait_timeout: Seconds for which a client's query waits for a session of the server.
        follows_prepared: Whether it is known to prepare a client's statements in each session, as
            PgBouncer does since 1.21 if ``max_prepared_statements`` says so.
    """

    product: str
    mode: str | None
    how: str
    max_clients: int | None = None
    pool_size: int | None = None
    client_idle_timeout: float | None = None
    wait_timeout: float | None = None
    follows_prepared: bool = False

    @property
    def shares_sessions(self) -> bool:
        """Whether two statements of one client may be run in two sessions of the server."""
        return self.mode in {"transaction", "statement"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """A server, as one of its users sees it. Durations are seconds, ``None`` is none or unknown.

    Attributes:
        kind: ``"postgresql"``, ``"mysql"``, ``"mariadb"`` or ``"redis"``.
        version: As the server has it.
        where: Its URL, without a password.
        is_local: Whether it is on this machine.
        max_connections: Sessions that it has at the most.
        reserved: Of these, the ones that it keeps for its administrators.
        limits: Further limits, of our role, our database or our account.
        sessions: How many there are now, without our own.
        states: The same by state, as the server calls it.
        applications: The same by the name that they gave, where it is known.
        peak: The most that there were since the server was started.
        idle_timeout: After which it closes a session that does nothing.
        transaction_timeout: The same within a transaction.
        statement_timeout: After which it cancels a statement.
        keepalive: Silence after which it looks whether a client is still there.
        check_interval: How often it looks for that during a statement. 0.0 is never.
        is_administrator: Whether we may use what is reserved.
        idlers: Sessions that do nothing in a transaction, the longest first.
        aborted: How many clients went without a farewell, of how many.
        bouncer: What is in between.
        names: What the server calls its settings, by the names of these attributes.
    """

    kind: str
    version: str
    where: str
    is_local: bool = True
    max_connections: int | None = None
    reserved: int = 0
    limits: tuple[Limit, ...] = ()
    sessions: int = 0
    states: Mapping[str, int] = field(default_factory=dict)
    applications: Mapping[str, int] = field(default_factory=dict)
    peak: int | None = None
    idle_timeout: float | None = None
    transaction_timeout: float | None = None
    statement_timeout: float | None = None
    keepalive: float | None = None
    check_interval: float | None = None
    is_administrator: bool = False
    idlers: tuple[Idler, ...] = ()
    aborted: tuple[int, int] | None = None
    bouncer: Bouncer | None = None
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def capacity(self) -> int | None:
        """Sessions that all applications together may have."""
        return None if self.max_connections is None else self.max_connections - self.reserved

    @property
    def free(self) -> int | None:
        """Sessions that could be opened now."""
        return None if self.capacity is None else max(0, self.capacity - self.sessions)

    def called(self, attribute: str) -> str:
        """Return what the server calls a setting."""
        return self.names.get(attribute, attribute)
