"""One pool for each process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import millpond
import psycopg

OPTIONS = {
    "min_size": 2,
    "max_size": int(os.environ.get("DB_POOL_SIZE", "10")),
    "leak_threshold": 30.0,
    "statement_timeout": 10.0,
}


@cache
def pool() -> millpond.Pool[psycopg.Connection]:
    return millpond.Pool(os.environ["DATABASE_URL"], **millpond.presets.RECOMMENDED, **OPTIONS)


@contextmanager
def unit_of_work() -> Iterator[psycopg.Connection]:
    with pool().transaction() as conn:
        yield conn
