"""A real PgBouncer, before a real PostgreSQL."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from databases import _is_listening, _missing
from helpers import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def pgbouncer(url: str, *further: str) -> Iterator[str]:
    """Give the URL of a PgBouncer before a PostgreSQL server, with a single session for all.

    After each transaction the session goes to whoever comes next. Further settings win over these.
    """
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        _missing("PgBouncer: apt-get install pgbouncer")
    parts = pytest.importorskip("psycopg").conninfo.conninfo_to_dict(url)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    name = parts.get("user", "postgres")
    with tempfile.TemporaryDirectory(prefix="millpond-bouncer-") as folder:
        Path(folder).chmod(0o755)
        users = Path(folder, "users")
        users.write_text(f'"{name}" ""\n')
        settings = Path(folder, "pgbouncer.ini")
        settings.write_text(
            f"""
            [databases]
            * = host={parts.get("host", "127.0.0.1")} port={parts.get("port", 5432)} user={name}
            [pgbouncer]
            listen_addr = 127.0.0.1
            listen_port = {port}
            unix_socket_dir =
            auth_type = any
            auth_file = {users}
            pool_mode = transaction
            default_pool_size = 1
            """.replace("            ", "")
            + "\n".join(further)
        )
        # It refuses to run as root, and may have to enter the folder of the server's socket.
        host = Path(str(parts.get("host", "")))
        owner = host.owner() if host.is_absolute() else "root"
        user = ["-u", "nobody" if owner == "root" else owner] if os.geteuid() == 0 else []
        running = subprocess.Popen([program, "-q", *user, str(settings)])
        try:
            eventually(lambda: _is_listening(port))
            yield f"postgresql://{name}@127.0.0.1:{port}/{parts.get('dbname', name)}"
        finally:
            running.terminate()
            running.wait()
