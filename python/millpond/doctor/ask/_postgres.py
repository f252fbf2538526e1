"""PostgreSQL, and what stands before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from millpond.doctor.ask import _bouncer
from millpond.doctor.ask._target import rows
from millpond.doctor.outside._server import Idler, Limit, ServerFacts

if TYPE_CHECKING:
    from millpond.doctor.ask._target import Target

_NAMES: Final = {
    "idle_timeout": "idle_session_timeout",
    "transaction_timeout": "idle_in_transaction_session_timeout",
    "keepalive": "tcp_keepalives_idle",
    "check_interval": "client_connection_check_interval",
}

_SETTINGS: Final = """
    SELECT name, setting, unit FROM pg_settings WHERE name IN (
        'client_connection_check_interval', 'idle_in_transaction_session_timeout',
        'idle_session_timeout', 'max_connections', 'reserved_connections',
        'statement_timeout', 'superuser_reserved_connections', 'tcp_keepalives_idle')"""
_IN_SECONDS: Final = {"ms": 0.001, "s": 1.0, "min": 60.0}

# -1 is no limit.
_LIMITS: Final = """
    SELECT 'role ' || quote_ident(rolname), rolconnlimit, 'ALTER ROLE ' || quote_ident(rolname)
        FROM pg_roles WHERE rolname = session_user AND rolconnlimit >= 0
    UNION ALL
    SELECT 'database ' || quote_ident(datname), datconnlimit,
        'ALTER DATABASE ' || quote_ident(datname)
        FROM pg_database WHERE datname = current_database() AND datconnlimit >= 0"""
_MAY_USE_RESERVED: Final = "SELECT rolsuper FROM pg_roles WHERE rolname = session_user"

# Without the rights of pg_monitor, what others do is NULL.
_OTHERS: Final = (
    "FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
)
_STATES: Final = f"SELECT coalesce(state, 'unknown'), count(*) {_OTHERS} GROUP BY 1"
_APPLICATIONS: Final = (
    f"SELECT application_name, count(*) {_OTHERS} AND application_name <> '' "
    "GROUP BY 1 ORDER BY 2 DESC, 1"
)
_IDLE_FOR: Final = "extract(epoch FROM clock_timestamp() - state_change)::float8"
_IDLERS: Final = (
    f"SELECT pid, {_IDLE_FOR}, application_name, left(query, 200) "
    f"{_OTHERS} AND state LIKE 'idle in transaction%' ORDER BY 2 DESC LIMIT 20"
)


def ask(target: Target) -> ServerFacts:
    """Ask a PostgreSQL server, and find out whether a pooler is in between.

    Raises:
        Exception: What the driver raises.
    """
    with target.connection() as conn:
        settings = _settings(conn)
        states = _counts(conn, _STATES)
        return ServerFacts(
            kind="postgresql",
            version=rows(conn, "SHOW server_version")[0][0],
            where=target.where,
            is_local=target.is_local(conn),
            max_connections=int(settings["max_connections"]),
            # A second kind of reserve came with PostgreSQL 16.
            reserved=int(settings["superuser_reserved_connections"])
            + int(settings.get("reserved_connections", 0)),
            limits=tuple(
                Limit(name, limit, f"{how} CONNECTION LIMIT")
                for name, limit, how in rows(conn, _LIMITS)
            ),
            sessions=sum(states.values()),
            states=states,
            applications=_counts(conn, _APPLICATIONS),
            idle_timeout=settings.get("idle_session_timeout") or None,
            transaction_timeout=settings["idle_in_transaction_session_timeout"] or None,
            statement_timeout=settings["statement_timeout"] or None,
            keepalive=settings["tcp_keepalives_idle"] or None,
            check_interval=settings.get("client_connection_check_interval"),
            is_administrator=rows(conn, _MAY_USE_RESERVED) == [(True,)],
            idlers=tuple(Idler(*row) for row in rows(conn, _IDLERS)),
            bouncer=_bouncer.look(target, conn),
            names=_NAMES,
        )


def _settings(conn: Any) -> dict[str, float]:  # noqa: ANN401
    """Return numbers, durations in seconds."""
    return {
        name: float(setting) * _IN_SECONDS.get(unit, 1.0)
        for name, setting, unit in rows(conn, _SETTINGS)
    }


def _counts(conn: Any, query: str) -> dict[str, int]:  # noqa: ANN401
    return {str(name): int(count) for name, count in rows(conn, query)}
