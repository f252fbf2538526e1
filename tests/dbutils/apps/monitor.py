"""A script as in articles about PooledDB: warm it up, watch it, and measure what a borrow takes.

``monitor.py sqlite3 '{"database": "…"}'``: the driver, and what its `connect()` is given. Nothing
in it knows of millpond, except that DBUtils never had three of the attributes it looks at.
"""

from __future__ import annotations

import functools
import importlib
import json
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from dbutils.pooled_db import PooledDB

if TYPE_CHECKING:
    from collections.abc import Callable

WARM = 5
THREADS = 100
LIMIT = 10

times: list[float] = []


def timed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Note how long each call takes."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            times.append(time.perf_counter() - began)

    return wrapper


def status(pool: Any) -> dict[str, int]:
    """Read what monitoring reads."""
    return {
        "size": pool._maxconnections,
        "checked out": pool._checkedout,
        "cached": pool._cached,
        "overflow": pool._overflow,
    }


def warm_up(pool: Any, count: int) -> None:
    """Open `count` connections, by having all of them at once."""
    connections = [pool.connection() for _ in range(count)]
    print("warming", status(pool))
    for connection in connections:
        connection.close()


def main() -> None:
    """Make the pool, watch it, measure."""
    driver, arguments = importlib.import_module(sys.argv[1]), json.loads(sys.argv[2])
    pool = PooledDB(
        driver, mincached=2, maxcached=3, maxconnections=LIMIT, blocking=True, **arguments
    )
    print("new", status(pool))
    warm_up(pool, WARM)
    print("warm", status(pool))

    @timed
    def query() -> None:
        connection = pool.connection()
        cursor = connection.cursor()
        cursor.execute("SELECT 1")
        cursor.fetchone()
        cursor.close()
        connection.close()

    pool.connection = timed(pool.connection)
    threads = [threading.Thread(target=query) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    average = sum(times) / len(times)
    print("measured", len(times), 0 < min(times) <= average <= max(times))
    print("after", status(pool))
    pool.close()
    print("closed", status(pool))


if __name__ == "__main__":
    main()
