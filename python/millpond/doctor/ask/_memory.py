"""What a session costs its server: by the settings, and measured where that can be seen."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from millpond import sizing
from millpond.doctor.ask._target import rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from millpond.doctor.ask._target import Target


@dataclass(frozen=True, slots=True)
class SessionMemory:
    """What a session costs its server, in bytes.

    Attributes:
        estimate: By the settings.
        settings: Which these are.
        measured: On average of some sessions as they are now; ``None`` if nobody may look.
        how: What was measured.
    """

    estimate: int
    settings: Mapping[str, int]
    measured: int | None = None
    how: str = ""


_SETTINGS: Final = """
    SELECT name, pg_size_bytes(current_setting(name))
    FROM pg_settings WHERE name IN ('shared_buffers', 'work_mem')"""
# Our own has just begun, and stands for the others only where there are none.
_BACKENDS: Final = """
    SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'
    ORDER BY pid = pg_backend_pid(), pid"""
# From PostgreSQL 14 on, for those who may read all statistics.
_CONTEXTS: Final = "SELECT sum(total_bytes)::bigint FROM pg_backend_memory_contexts"

_BUFFERS: Final = """
    SHOW GLOBAL VARIABLES WHERE Variable_name IN (
        'binlog_cache_size', 'join_buffer_size', 'net_buffer_length', 'read_buffer_size',
        'read_rnd_buffer_size', 'sort_buffer_size', 'thread_stack')"""


def of_postgres(target: Target) -> SessionMemory:
    """Ask a PostgreSQL server, and the kernel if the server is on this machine.

    Raises:
        Exception: What the driver raises.
    """
    with target.connection() as conn:
        settings = {name: int(size) for name, size in rows(conn, _SETTINGS)}
        measured, how = _of_backends(conn) if target.is_local(conn) else (None, "")
        if measured is None:
            measured, how = _of_contexts(conn)
    estimate = sizing.postgres_memory(settings["work_mem"], settings["shared_buffers"])
    return SessionMemory(estimate, settings, measured, how)


def _of_backends(conn: Any) -> tuple[int | None, str]:  # noqa: ANN401  any driver's
    pids = [int(pid) for (pid,) in rows(conn, _BACKENDS)]
    pids = pids[:-1] or pids
    sessions = "1 session" if len(pids) == 1 else f"{len(pids)} sessions"
    return sizing.measure_memory(pids, command="postgres"), f"Pss of {sessions} in /proc"


def _of_contexts(conn: Any) -> tuple[int | None, str]:  # noqa: ANN401
    with suppress(Exception):
        ((total,),) = rows(conn, _CONTEXTS)
        return int(total), "pg_backend_memory_contexts of a new session"
    return None, ""


def of_mysql(target: Target) -> SessionMemory:
    """Ask a MySQL or MariaDB server.

    Raises:
        Exception: What the driver raises.
    """
    with target.connection() as conn:
        settings = {name: int(size) for name, size in rows(conn, _BUFFERS)}
    return SessionMemory(sizing.mysql_memory(settings), settings)
