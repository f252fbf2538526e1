import time

import httpx
import millpond

from billing.db import pool, unit_of_work


class Invoices:
    def __init__(self, pool: millpond.Pool) -> None:
        self._pool = pool

    def open(self) -> list[tuple[int, int]]:
        with self._pool.connection() as conn:
            return conn.execute("SELECT id, cents FROM invoices WHERE paid IS NULL").fetchall()

    def pay(self, number: int) -> None:
        with self._pool.transaction() as conn:
            conn.execute("SET LOCAL lock_timeout = '1s'")
            conn.execute("UPDATE invoices SET paid = now() WHERE id = %s", (number,))

    def lock(self, number: int):
        conn = self._pool.acquire(timeout=0.5)
        try:
            row = conn.execute("SELECT * FROM invoices WHERE id = %s", (number,)).fetchone()
            conn.commit()
        finally:
            self._pool.release(conn)
        return row


def charge(number: int) -> None:
    with unit_of_work() as conn:
        cents = conn.execute("SELECT cents FROM invoices WHERE id = %s", (number,)).fetchone()
    httpx.post("https://pay.example.org", json={"cents": cents}, timeout=10)
    Invoices(pool()).pay(number)


def patient(number: int) -> None:
    for attempt in range(3):
        try:
            return charge(number)
        except millpond.PoolTimeout:
            time.sleep(2**attempt)
    raise TimeoutError(number)
