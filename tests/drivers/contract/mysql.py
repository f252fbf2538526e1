"""MySQL or MariaDB, through each driver that brings us there."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from drivers.contract.cases import Case, Session
from helpers import eventually, in_thread

if TYPE_CHECKING:
    from millpond.drivers._url import Parts

NO_SUCH_TABLE = 1051


class _MySQL(Case):
    scheme: ClassVar[str]
    endless = "SELECT SLEEP(300)"
    many = "SELECT a.seq FROM seq_1_to_1000 AS a, seq_1_to_1000 AS b"
    set_variable = "SET SESSION net_read_timeout = 77"
    variable = "SELECT @@SESSION.net_read_timeout"
    # CREATE TABLE ends a transaction, and is carried out.
    write = "INSERT INTO written VALUES (1)"
    closed = r"(?i)closed|not available|^\(2006, |^\(0, ''\)|Bad file descriptor"

    def find_url(self, request: pytest.FixtureRequest) -> str:
        from millpond.drivers import _url  # noqa: PLC0415

        plain = str(request.getfixturevalue("mysql_url"))
        self.parts: Parts = _url.split(plain)
        url = f"mysql+{self.scheme}://" + plain.partition("://")[2]
        self.url = url
        with self.open(autocommit=True) as session:
            session.run("CREATE TABLE IF NOT EXISTS written (n INTEGER) ENGINE = InnoDB")
        return url

    def arguments(self) -> dict[str, Any]:
        """Return the arguments that the URL stands for."""
        parts = self.parts
        named = {
            "host": parts.host,
            "port": parts.port,
            "user": parts.user,
            "password": parts.password,
            "database": parts.name,
        }
        return {name: value for name, value in named.items() if value is not None}

    def values(self) -> dict[str, Any]:
        return {**super().values(), "socket_timeout": 1.0}

    def kill(self, session: Session) -> None:
        number = session.driver.thread_id(session.conn)
        with self.open(autocommit=True) as other:
            other.run(f"KILL {number}")
            threads = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE ID"
            eventually(lambda: other.value(f"{threads} = {number}") == 0)

    def conflict(self) -> BaseException:
        # Who closes the circle is the one that loses, having done no more than the other.
        with self.open(autocommit=True) as owner:
            owner.run("CREATE OR REPLACE TABLE circle (n INTEGER PRIMARY KEY) ENGINE = InnoDB")
            owner.run("INSERT INTO circle VALUES (1), (2)")
            try:
                return self._deadlock(owner)
            finally:
                owner.run("DROP TABLE circle")

    def _deadlock(self, observer: Session) -> BaseException:
        with self.open() as first, self.open() as second:
            first.driver.begin(first.conn)
            second.driver.begin(second.conn)
            lock = "SELECT n FROM circle WHERE n = {} FOR UPDATE"
            first.value(lock.format(1))
            second.value(lock.format(2))
            number = first.driver.thread_id(first.conn)
            waiting = in_thread(first.value, lock.format(2))
            waits = (
                "SELECT COUNT(*) FROM information_schema.PROCESSLIST "
                f"WHERE ID = {number} AND COMMAND = 'Query'"
            )
            eventually(lambda: observer.value(waits) == 1)
            caught: BaseException | None = None
            try:
                second.value(lock.format(1))
            except Exception as error:  # noqa: BLE001  the deadlock
                caught = error
                second.driver.rollback(second.conn)
            with suppress(Exception):
                waiting.result()
            caught = caught or waiting.error()
            assert caught is not None
            first.driver.rollback(first.conn)
        return caught

    def prove_isolation_level(self, session: Session) -> None:
        assert session.value("SELECT @@SESSION.tx_isolation") == "SERIALIZABLE"

    def prove_application_name(self, session: Session) -> None:
        attributes = (
            "SELECT ATTR_VALUE FROM performance_schema.session_account_connect_attrs "
            "WHERE PROCESSLIST_ID = CONNECTION_ID() AND ATTR_NAME = 'program_name'"
        )
        if session.value("SELECT @@performance_schema"):
            assert session.value(attributes) == "contract"
        else:
            # The server keeps no attributes; what the driver sends can be seen on its side.
            assert "contract" in repr(
                [getattr(session.conn, name, None) for name in ("_connect_attrs", "_conn_attrs")]
            )

    def prove_socket_timeout(self, session: Session) -> None:
        with pytest.raises(Exception, match=r"(?i)timed out|lost connection") as caught:
            session.value(self.endless)

        assert session.driver.is_disconnect(caught.value)
        assert not session.driver.is_cancelled(caught.value)


class PyMySQL(_MySQL):
    """PyMySQL."""

    name = package = scheme = "pymysql"

    def connect(self) -> Any:
        import pymysql  # noqa: PLC0415  it may not be installed

        return pymysql.connect(**self.arguments())


class MySQLClient(_MySQL):
    """mysqlclient."""

    name = "mysqlclient"
    package = "MySQLdb"
    scheme = "mysqldb"
    knows_status = False

    def connect(self) -> Any:
        import MySQLdb  # type: ignore[import-not-found, import-untyped, unused-ignore]  # noqa: PLC0415

        return MySQLdb.connect(**self.arguments())


class MySQLConnector(_MySQL):
    """MySQL Connector/Python in Python."""

    name = scheme = "mysqlconnector"
    package = "mysql.connector"

    def find_url(self, request: pytest.FixtureRequest) -> str:
        self.url = super().find_url(request)
        return f"{self.url}{'&' if '?' in self.url else '?'}use_pure=true"

    def connect(self) -> Any:
        import mysql.connector  # noqa: PLC0415

        return mysql.connector.connect(**self.arguments(), use_pure=True)


class MySQLConnectorInC(MySQLConnector):
    """MySQL Connector/Python with its C extension."""

    package = "_mysql_connector"

    def find_url(self, request: pytest.FixtureRequest) -> str:
        return _MySQL.find_url(self, request)

    def connect(self) -> Any:
        import mysql.connector  # noqa: PLC0415

        return mysql.connector.connect(**self.arguments())
