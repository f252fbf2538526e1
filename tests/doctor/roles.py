"""Roles and accounts of a test's own, with limits and settings that only they have."""

from __future__ import annotations

import os
import re
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psycopg
import pymysql

from databases import mysql_arguments

if TYPE_CHECKING:
    from collections.abc import Iterator

ROLE = f"millpond_doctor_{os.getpid()}"


@contextmanager
def role(url: str, *settings: str) -> Iterator[str]:
    """Give the URL of a role of PostgreSQL, with settings as ALTER ROLE takes them."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(f"CREATE ROLE {ROLE} LOGIN".encode())
        try:
            for setting in settings:
                conn.execute(f"ALTER ROLE {ROLE} {setting}".encode())
            yield re.sub("//[^@/]*@", f"//{ROLE}@", url, count=1)
        finally:
            conn.execute(f"DROP ROLE {ROLE}".encode())


@contextmanager
def account(url: str, limit: str = "") -> Iterator[str]:
    """Give the URL of an account of MySQL, which may read, with a limit as CREATE USER takes it."""
    with closing(pymysql.connect(**mysql_arguments(url), autocommit=True)) as root:
        run(root, f"CREATE USER {ROLE} {limit}")
        try:
            run(root, f"GRANT SELECT ON test.* TO {ROLE}")
            parts = urlsplit(url)
            yield f"{parts.scheme}://{ROLE}@{parts.hostname}:{parts.port or 3306}{parts.path}"
        finally:
            run(root, f"DROP USER {ROLE}")


def run(conn: Any, statement: str) -> list[tuple[Any, ...]]:
    """Run a statement on MySQL, and return its rows."""
    with conn.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())
