"""What a second connection sees of the first, on a server of MySQL's kind."""

from __future__ import annotations

from typing import Any


def is_at_work(driver: Any, conn: Any) -> bool:
    """Say whether the server is working for a connection."""
    beside = driver.connect()
    busy = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE COMMAND = 'Query' AND ID"
    try:
        return bool(driver.row(beside, f"{busy} = {driver.thread_id(conn)}")[0])
    finally:
        driver.close(beside)
