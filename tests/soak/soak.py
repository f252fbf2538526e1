"""Hours of bad days: load on a pool, and a fault every second; then the books are checked.

    python tests/soak/soak.py --url postgresql://postgres@127.0.0.1/postgres --minutes 10
    python tests/soak/soak.py --url mysql+pymysql://root@127.0.0.1/test --minutes 10 --json

Ends with 1 if anything is not as it has to be.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])

from helpers import eventually
from proxy import Proxy, proxy
from soak.account import Account
from soak.faults import Troublemaker
from soak.ledger import Ledger, as_text
from soak.requests import COUNTER, CountingPool, User
from soak.servers import Server, server

if TYPE_CHECKING:
    from collections.abc import Callable

THREADS: Final = 16
SIZE: Final = 10
PATIENCE: Final = 30.0


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", required=True, help="the database, in which a table is made")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (10)")
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between faults (1)")
    parser.add_argument("--seed", type=int, default=None, help="for the dice")
    parser.add_argument("--json", action="store_true", help="print the ledger as JSON")
    chosen = parser.parse_args()
    logging.getLogger("millpond").addHandler(logging.NullHandler())
    seed = random.randrange(2**32) if chosen.seed is None else chosen.seed
    with server(chosen.url, THREADS) as database, proxy(database.address) as wire:
        ledger = soak(database, wire, 60 * chosen.minutes, chosen.interval, seed)
    sys.stdout.write(json.dumps(ledger.to_dict(), indent=2) if chosen.json else as_text(ledger))
    sys.stdout.write("\n")
    sys.exit(0 if ledger.sound else 1)


def soak(database: Server, wire: Proxy, seconds: float, interval: float, seed: int) -> Ledger:
    """Put a pool under load and under fire for some seconds, and return what came of it."""
    before = _descriptors()
    account = Account()
    pool = CountingPool(
        wire.url(database.url), max_size=SIZE, name="soak", validation_interval=2.0,
        **database.options,
    )  # fmt: skip
    pool.account = account
    users = [User(pool, database, account, number, seed + number) for number in range(THREADS)]
    trouble = Troublemaker(pool, database, wire, account, size=SIZE, seed=seed)
    stop = threading.Event()
    threads = [threading.Thread(target=user.work, args=(stop,), daemon=True) for user in users]
    breaking = threading.Thread(target=trouble.work, args=(interval,), daemon=True)
    for thread in [*threads, breaking]:
        thread.start()
    stop.wait(seconds)
    trouble.stop.set()
    breaking.join(PATIENCE)
    stop.set()
    for thread in threads:
        thread.join(PATIENCE)
    ledger = Ledger(database.url, seed, account, time.monotonic() - account.began)
    ledger.check("all threads ended", not any(map(threading.Thread.is_alive, [*threads, breaking])))
    _check_pool(ledger, pool)
    _check_values(ledger, database, users)
    ledger.check(
        "the server has no session that the pool has not",
        _becomes(lambda: len(database.sessions()) == pool.stats().size),
        f"{len(database.sessions())} and {pool.stats().size}",
    )
    pool.close()
    left = [one.name for one in threading.enumerate() if one.name.startswith("millpond-soak")]
    ledger.check("no thread of the pool is left", _becomes(lambda: not left), str(left))
    ledger.check("no session is left on the server", _becomes(lambda: not database.sessions()))
    ledger.check("the proxy has no connection left", _becomes(lambda: not wire.links))
    ledger.check(
        "no file descriptor is left open",
        _becomes(lambda: _descriptors() <= before),
        f"{before} before, {_descriptors()} after",
    )
    return ledger


def _check_pool(ledger: Ledger, pool: CountingPool) -> None:
    """Check that the pool has all its places, and that its counters add up."""
    idle = _becomes(lambda: not (pool.stats().in_use or pool.stats().waiting))
    ledger.check("nothing is in use and nobody waits", idle, repr(pool))
    held = [pool.acquire(timeout=PATIENCE) for _ in range(SIZE)]
    answers = [_answer(conn, number) for number, conn in enumerate(held)]
    for conn in held:
        pool.release(conn)
    ledger.check("each place has a connection that answers", answers == list(range(SIZE)))
    _becomes(lambda: not pool.stats().opening)
    stats = ledger.stats = pool.stats()
    closed = sum(stats.closed.values())
    ledger.check(
        "opened = closed + open",
        stats.opened == closed + stats.size,
        f"{stats.opened}, {closed} and {stats.size}",
    )
    borrowed = ledger.account.borrowed
    ledger.check(
        "acquired = borrowed by the application",
        stats.acquired == borrowed,
        f"{stats.acquired} and {borrowed}",
    )
    ledger.check("no more than max_size is open", stats.size <= SIZE, str(stats.size))


def _check_values(ledger: Ledger, database: Server, users: list[User]) -> None:
    """Check what the requests have left in the database."""
    query = f"SELECT value FROM {database.table} WHERE id = {COUNTER}"
    counted = int(database.run(query)[0])
    least = sum(user.counted for user in users)
    most = least + sum(user.perhaps_counted for user in users)
    ledger.check(
        "each counted request counted once",
        least <= counted <= most,
        f"{counted}, from {least} to {most}",
    )
    ledger.check("no wrong answer", not ledger.account.wrong, "; ".join(ledger.account.wrong[:5]))
    unexpected = ledger.account.unexpected
    ledger.check("no unexpected error", not unexpected, "; ".join(unexpected[:5]))


def _answer(conn: Any, number: int) -> int | None:
    with suppress(Exception):
        cursor = conn.cursor()
        cursor.execute("SELECT %s + 0", (number,))
        return int(cursor.fetchone()[0])
    return None


def _becomes(predicate: Callable[[], object]) -> bool:
    """Say whether something is true soon."""
    try:
        eventually(predicate, PATIENCE)
    except AssertionError:
        return False
    return True


def _descriptors() -> int:
    """Count the process's open files, where the system tells."""
    listed = Path("/proc/self/fd")
    return len(list(listed.iterdir())) if listed.is_dir() else 0


if __name__ == "__main__":
    main()
