"""What the threads of a soak do: requests that know what the answer must be."""

from __future__ import annotations

import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import millpond

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from soak.account import Account
    from soak.servers import Server

# Rows of nobody: one that is changed and never committed, one that all of them count up.
FORGOTTEN: Final = -1
COUNTER: Final = -2

QUERY_TIMEOUT: Final = 2.0
SHORT_TIMEOUT: Final = 0.1
PAUSE: Final = 0.06

# The errors of a bad day, by their names in PEP 249; any other would be the pool's fault.
EXPECTED: Final = frozenset({"OperationalError", "InterfaceError"})


class ApplicationError(Exception):
    """What an application raises for reasons of its own."""


class CountingPool(millpond.Pool[Any]):
    """A pool that counts what `transaction` acquires."""

    account: Account

    def acquire(self, *, timeout: float | None = None, priority: str = "normal") -> Any:
        """Acquire, and count it."""
        conn = super().acquire(timeout=timeout, priority=priority)
        self.account.borrowing()
        return conn


class User:
    """One thread's requests, and what it knows of the database.

    Args:
        pool: The pool.
        server: The database.
        account: Where to count.
        number: The row that belongs to this thread.
        seed: For the dice.
    """

    def __init__(
        self, pool: CountingPool, server: Server, account: Account, number: int, seed: int
    ) -> None:
        self._pool = pool
        self._server = server
        self._account = account
        self._number = number
        self._dice = random.Random(seed)
        self._requests = 0
        # What the row may hold: of a commit that failed nobody knows what became of it.
        self._possible = {"0"}
        self.counted = 0
        self.perhaps_counted = 0

    def work(self, stop: threading.Event) -> None:
        """Send requests until told to stop."""
        kinds: dict[Callable[[], None], int] = {
            self.write_and_read: 60,
            self.transaction: 20,
            self.count: 10,
            self.be_slow: 2,
            self.raise_in_block: 3,
            self.forget: 3,
            self.discard: 2,
        }
        while not stop.is_set():
            (request,) = self._dice.choices(list(kinds), list(kinds.values()))
            self.send(request)
            stop.wait(self._dice.uniform(0, 2 * PAUSE))

    def send(self, request: Callable[[], None]) -> None:
        """Send a request, and note what came of it."""
        self._requests += 1
        name = request.__name__
        try:
            request()
        except ApplicationError:
            self._account.answered(name)
        except Exception as error:  # noqa: BLE001  that is what is counted
            kinds = {kind.__name__ for kind in type(error).__mro__}
            expected = not EXPECTED.isdisjoint(kinds)
            self._account.failed(name, error, expected=expected)
        else:
            self._account.answered(name)

    def write_and_read(self) -> None:
        """Write a value that nobody else writes, and read it."""
        with self._pool.connection(query_timeout=QUERY_TIMEOUT) as conn:
            self._account.borrowing()
            token = self._write(conn)
            conn.commit()
        self._possible = {token}

    def transaction(self) -> None:
        """Do the same in a transaction, with a savepoint that is taken back."""
        with self._pool.transaction() as conn, self._pool.query_timeout(conn, QUERY_TIMEOUT):
            token = self._write(conn)
            with suppress(ApplicationError), self._pool.savepoint(conn):
                self._set(conn, self._number, "taken back")
                raise ApplicationError
            self._check_row(conn, {token}, "after a savepoint was taken back")
        self._possible = {token}

    def count(self) -> None:
        """Count a row up that all threads count up."""

        def work(conn: Any) -> None:
            with self._pool.query_timeout(conn, QUERY_TIMEOUT):
                (value,) = self._row(
                    conn,
                    f"SELECT value FROM {self._server.table} WHERE id = %s FOR UPDATE",
                    COUNTER,
                )
                self._set(conn, COUNTER, str(int(value) + 1))

        self.perhaps_counted += 1
        self._pool.run(work)
        self.perhaps_counted -= 1
        self.counted += 1

    def be_slow(self) -> None:
        """Run a statement that has to be cancelled."""
        began = time.monotonic()
        try:
            with self._pool.connection(query_timeout=SHORT_TIMEOUT) as conn:
                self._account.borrowing()
                conn.cursor().execute(self._server.slow)
        except millpond.QueryTimeout:
            return
        took = time.monotonic() - began
        self._account.is_wrong(f"a slow statement ended after {took:.1f} s without an error")

    def raise_in_block(self) -> None:
        """Leave a block by an exception, with a transaction open."""
        with self._pool.connection(query_timeout=QUERY_TIMEOUT) as conn:
            self._account.borrowing()
            self._set(conn, self._number, "raised")
            raise ApplicationError

    def forget(self) -> None:
        """Change a row, and forget about it."""
        with self._pool.connection(query_timeout=QUERY_TIMEOUT) as conn:
            self._account.borrowing()
            self._set(conn, FORGOTTEN, "forgotten")

    def discard(self) -> None:
        """Throw a connection away."""
        conn = self._pool.acquire()
        try:
            with self._pool.query_timeout(conn, QUERY_TIMEOUT):
                self._write(conn)
        finally:
            self._pool.discard(conn)

    def _write(self, conn: Any) -> str:
        """Write a value of one's own, checking all that is read."""
        token = f"{self._number}-{self._requests}"
        self._check_row(conn, self._possible, "at the beginning")
        self._possible.add(token)
        self._set(conn, self._number, token)
        self._check_row(conn, {token}, "after it was written")
        return token

    def _check_row(self, conn: Any, allowed: set[str], when: str) -> None:
        # The number of the request comes back with the answer: it is the answer to this question.
        question = f"{self._number}?{self._requests}?{when}"
        table = self._server.table
        query = (
            f"SELECT %s, (SELECT value FROM {table} WHERE id = {FORGOTTEN}), value "
            f"FROM {table} WHERE id = %s"
        )
        asked, forgotten, value = self._row(conn, query, question, self._number)
        if asked != question:
            self._account.is_wrong(f"{question!r} was answered with {asked!r}")
        if forgotten != "0":
            self._account.is_wrong(f"somebody else's transaction was seen: {forgotten!r}")
        if value not in allowed:
            self._account.is_wrong(f"row {self._number} {when}: {value!r}, not {sorted(allowed)}")

    def _row(self, conn: Any, query: str, *arguments: object) -> Any:
        cursor = conn.cursor()
        cursor.execute(query, arguments)
        (row,) = cursor.fetchall()
        cursor.close()
        return row

    def _set(self, conn: Any, number: int, value: str) -> None:
        cursor = conn.cursor()
        cursor.execute(f"UPDATE {self._server.table} SET value = %s WHERE id = %s", (value, number))
        cursor.close()
