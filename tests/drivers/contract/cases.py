"""What the contract suite has to know about a driver: one `Case` each.

To have a driver tested, derive a class from `Case` in a file for its kind of database, and add it
to `CASES` in conftest.py. What the driver promises is asked of the driver itself (`supports`,
`isolation_levels`, ...); a case only says how to see whether the promise is kept.
"""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from millpond import drivers
from millpond.drivers import SessionOptions, TransactionStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

FEATURES = frozenset({"cancel", "reset_session"})


class Session:
    """A connection made as a pool would make it, and its driver."""

    def __init__(self, case: Case, driver: Any, conn: Any) -> None:
        self.case = case
        self.driver = driver
        self.conn = conn

    def run(self, statement: str) -> None:
        """Run a statement, whose result is not wanted."""
        self.driver.execute(self.conn, statement)

    def value(self, query: str) -> Any:
        """Return the first column of the first row."""
        return self.case.rows(self.conn, query)[0][0]

    @property
    def status(self) -> TransactionStatus:
        """The transaction status."""
        found: TransactionStatus = self.driver.transaction_status(self.conn)
        return found

    def is_idle(self) -> bool:
        """Say whether no transaction is open; a driver that cannot know is believed."""
        return self.status in {TransactionStatus.IDLE, TransactionStatus.UNKNOWN}


class Case:
    """A driver in front of a database.

    Attributes:
        name: The driver's name.
        package: What has to be installed.
        has_server: Whether there is a server, which can end a connection.
        knows_status: Whether the driver can tell the transaction status.
        has_savepoints: Whether a transaction can have savepoints.
        knows_conflicts: Whether its errors tell what is worth repeating.
        implicit: Whether it begins transactions by itself, unless told not to.
        endless: A query that runs for minutes.
        many: A query with so many rows that no driver reads them all in advance.
        set_variable: A statement that changes something for the session only.
        variable: A query for what that has changed.
        value: What the query says then, as a str.
        level: An isolation level to ask for.
        write: A statement that a read-only transaction must refuse.
        closed: What the driver says about a connection that was closed, as a pattern.
    """

    name: ClassVar[str]
    package: ClassVar[str]
    has_server: ClassVar[bool] = True
    knows_status: ClassVar[bool] = True
    has_savepoints: ClassVar[bool] = True
    knows_conflicts: ClassVar[bool] = True
    implicit: ClassVar[bool] = True
    endless: ClassVar[str]
    many: ClassVar[str]
    set_variable: ClassVar[str]
    variable: ClassVar[str]
    value: ClassVar[str] = "77"
    level: ClassVar[str] = "serializable"
    write: ClassVar[str] = "CREATE TABLE must_not_be (n INTEGER)"
    closed: ClassVar[str] = r"(?i)clos|not.*open"
    not_a_statement: ClassVar[str] = "SELEKT 1"

    def __init__(self, request: pytest.FixtureRequest) -> None:
        # Also where it is there and cannot be loaded, for want of a library of the system.
        pytest.importorskip(
            self.package, exc_type=ImportError, reason=f"{self.package} cannot be imported"
        )
        self.url = self.find_url(request)

    def find_url(self, request: pytest.FixtureRequest) -> str:
        """Return the URL of a database that the test may use."""
        raise NotImplementedError

    def connect(self) -> Any:
        """Open a connection without millpond, as a user's callable would."""
        raise NotImplementedError

    @contextmanager
    def open(self, *, by_callable: bool = False, **options: Any) -> Iterator[Session]:
        """Open a session with options, by a URL or by a callable."""
        asked = SessionOptions(**options)
        found: Any = drivers.find(self.connect if by_callable else self.url, options=asked)
        conn = found.connect()
        try:
            driver = drivers.refine(found, conn, options=asked)
            driver.prepare(conn, asked)
            yield Session(self, driver, conn)
        finally:
            found.close(conn)

    def rows(self, conn: Any, query: str) -> Any:
        """Return the rows of a query."""
        cursor = conn.cursor()
        try:
            cursor.execute(query)
            return cursor.fetchall()
        finally:
            cursor.close()

    def values(self) -> dict[str, Any]:
        """Return a value for each option."""
        return {
            "socket_timeout": 0.5,
            "statement_timeout": 0.2,
            "keepalive": 77.0,
            "application_name": "contract",
            "autocommit": self.implicit,
            "isolation_level": self.level,
            "read_only": True,
            "session": (self.set_variable,),
            "profile": "pgbouncer",
        }

    def kill(self, session: Session) -> None:
        """Have the server end a connection, which does not notice."""
        raise NotImplementedError

    def conflict(self) -> BaseException:
        """Have two transactions get in each other's way, and return the error."""
        raise NotImplementedError

    def isolation(self, session: Session) -> str | None:
        """Return the isolation level of the open transaction, if it can be asked for."""
        del session
        return None

    def prove(self, option: str, session: Session) -> None:
        """Fail unless a session was made with one of `values`."""
        getattr(self, f"prove_{option}")(session)

    def prove_autocommit(self, session: Session) -> None:
        session.run("CREATE TEMPORARY TABLE auto (n INTEGER)")
        session.run("INSERT INTO auto VALUES (1)")
        session.driver.reset(session.conn)

        assert session.value("SELECT count(*) FROM auto") == 1

    def prove_isolation_level(self, session: Session) -> None:
        session.driver.begin(session.conn)

        assert self.isolation(session) == self.level

    def prove_read_only(self, session: Session) -> None:
        with pytest.raises(Exception, match=r"(?i)read.?only"):
            session.run("CREATE TABLE must_not_be (n INTEGER)")

    def prove_session(self, session: Session) -> None:
        assert session.is_idle()
        assert str(session.value(self.variable)) == self.value

    def prove_statement_timeout(self, session: Session) -> None:
        with pytest.raises(Exception, match=r"(?i)time"):
            session.value(self.endless)

    def prove_keepalive(self, session: Session) -> None:
        with socket.socket(fileno=os.dup(session.driver.fileno(session.conn))) as sock:
            if sock.family not in {socket.AF_INET, socket.AF_INET6}:
                return  # a Unix socket has nobody to look after
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 77
