import tomllib
from pathlib import Path

import millpond

CONFIG = tomllib.loads(Path("pool.toml").read_text())
POOLS = {}


def pool_named(name):
    if name not in POOLS:
        options = next(each for each in CONFIG["pool"] if each["name"] == name)
        POOLS[name] = millpond.Pool(options.pop("connect"), **options)
    return POOLS[name]


def handle(order):
    with pool_named("orders").transaction() as conn:
        conn.execute("INSERT INTO orders VALUES (%s)", (order,))
