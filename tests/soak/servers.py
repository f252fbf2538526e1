"""The databases that a soak can run on: what to ask them for, and how to hurt them."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from millpond import drivers

if TYPE_CHECKING:
    from collections.abc import Iterator

APPLICATION = f"millpond-soak-{os.getpid()}"


class Server(ABC):
    """A database with a table of the soak's own.

    Args:
        url: How to get there, without detours.
    """

    slow: str
    table: str
    # What a pool is told beyond the URL, so that its sessions can be told from others.
    options: dict[str, Any]

    def __init__(self, url: str) -> None:
        self.url = url
        parts = urlsplit(url)
        self.address = (parts.hostname or "127.0.0.1", parts.port or self.port)

    port: int

    def run(self, *statements: str) -> list[Any]:
        """Run statements on a connection of their own, and return the last one's first column."""
        driver: Any = drivers.find(self.url, connect_timeout=5.0)
        conn = driver.connect()
        try:
            cursor = conn.cursor()
            for statement in statements:
                cursor.execute(statement)
            column = [row[0] for row in cursor.fetchall()] if cursor.description else []
            conn.commit()
            return column
        finally:
            driver.close(conn)

    @abstractmethod
    def sessions(self) -> list[int]:
        """Return the numbers of the pool's sessions on the server."""

    @abstractmethod
    def kill(self, numbers: list[int]) -> None:
        """End sessions."""

    @abstractmethod
    def prepare(self, rows: int) -> None:
        """Make the table, with a row for each number from -2 on."""

    @abstractmethod
    def clean(self) -> None:
        """Drop the table."""


class Postgres(Server):
    """PostgreSQL."""

    port = 5432
    slow = "SELECT pg_sleep(15)"
    table = f"millpond_soak_{os.getpid()}"
    options = {"application_name": APPLICATION}  # noqa: RUF012  set once

    def sessions(self) -> list[int]:
        found = f"SELECT pid FROM pg_stat_activity WHERE application_name = '{APPLICATION}'"
        return self.run(found)

    def kill(self, numbers: list[int]) -> None:
        listed = ", ".join(map(str, numbers))
        self.run(f"SELECT pg_terminate_backend(pid) FROM unnest(ARRAY[{listed}]::int[]) AS pid")

    def prepare(self, rows: int) -> None:
        self.run(
            f"CREATE TABLE {self.table} (id integer PRIMARY KEY, value text NOT NULL)",
            f"INSERT INTO {self.table} SELECT n, '0' FROM generate_series(-2, {rows - 1}) AS n",
        )

    def clean(self) -> None:
        self.run(f"DROP TABLE {self.table}")


class MySQL(Server):
    """MySQL or MariaDB."""

    port = 3306
    database = f"millpond_soak_{os.getpid()}"
    table = f"{database}.soak"
    # A row that `prepare` locks. Not SLEEP(): in MariaDB all of them share one mutex, so that
    # several KILLs wait for each other, give up after two seconds, and leave a result and no error.
    slow = f"SELECT value FROM {table} WHERE id = -3 FOR UPDATE"
    # The server shows no application names; but each session's default database.
    # A server that waits for a lock does not notice that its client is gone.
    options = {  # noqa: RUF012
        "session": (f"USE {database}", "SET SESSION innodb_lock_wait_timeout = 15")
    }

    def sessions(self) -> list[int]:
        found = f"SELECT ID FROM information_schema.PROCESSLIST WHERE DB = '{self.database}'"
        return self.run(found)

    def kill(self, numbers: list[int]) -> None:
        for number in numbers:
            with suppress(Exception):  # it may have ended by itself
                self.run(f"KILL {number}")

    def prepare(self, rows: int) -> None:
        values = ", ".join(f"({number}, '0')" for number in range(-3, rows))
        self.run(
            f"CREATE DATABASE {self.database}",
            f"CREATE TABLE {self.table} (id INTEGER PRIMARY KEY, value VARCHAR(100) NOT NULL) "
            "ENGINE = InnoDB",
            f"INSERT INTO {self.table} VALUES {values}",
        )
        self._driver: Any = drivers.find(self.url)
        self._holder = self._driver.connect()
        self._driver.execute(self._holder, self.slow)

    def clean(self) -> None:
        self._driver.close(self._holder)
        self.run(f"DROP DATABASE {self.database}")


@contextmanager
def server(url: str, rows: int) -> Iterator[Server]:
    """Give the server of a URL, with a table for the length of a block."""
    scheme = urlsplit(url).scheme.partition("+")[0]
    kinds: dict[str, type[Server]] = {"postgresql": Postgres, "mysql": MySQL, "mariadb": MySQL}
    if scheme not in kinds:
        msg = f"--url: the scheme must be one of {', '.join(kinds)}, not {scheme!r}"
        raise SystemExit(msg)
    made = kinds[scheme](url)
    made.prepare(rows)
    try:
        yield made
    finally:
        made.clean()
