"""Drivers for the fake database, which know more than a plain callable can tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fakes import FakeConnection, OperationalError
from millpond.drivers import Dbapi

if TYPE_CHECKING:
    from fakes import FakeDatabase


class Pinging(Dbapi[FakeConnection]):
    """A driver that pings, and knows the end of a connection when it sees it."""

    name = "pinging"
    operational_error = OperationalError

    def __init__(self, database: FakeDatabase) -> None:
        super().__init__(database.connect)

    @classmethod
    def ping(cls, conn: FakeConnection) -> None:
        conn.ping()

    @classmethod
    def is_disconnect(cls, error: BaseException) -> bool:
        return isinstance(error, OperationalError) and "closed the connection" in str(error)


class WithSockets(Pinging):
    """The same with a real socket for each connection."""

    name = "with-sockets"

    def __init__(self, database: FakeDatabase) -> None:
        super().__init__(database)
        database.sockets = True

    @staticmethod
    def fileno(conn: FakeConnection) -> int:
        return conn.fileno()


class Asked(Pinging):
    """A driver without a socket that knows by itself whether a connection is alive."""

    name = "asked"
    needs_is_alive = True

    @classmethod
    def is_alive(cls, conn: FakeConnection) -> bool | None:
        return None if not conn.killed else False


class Demotable(WithSockets):
    """A driver that takes a refused write for the sign of a demoted primary."""

    def is_demoted(self, conn: FakeConnection, error: BaseException) -> bool:
        del conn
        return "read-only transaction" in str(error)
