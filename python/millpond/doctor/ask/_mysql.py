"""MySQL and MariaDB."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from millpond.doctor.ask._target import rows
from millpond.doctor.outside._server import Idler, Limit, ServerFacts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from millpond.doctor.ask._target import Target

# Of the session: what the account was given, and what a client gets that does not say that there
# is a person before it (then interactive_timeout would be its wait_timeout).
_VARIABLES: Final = """
    SHOW SESSION VARIABLES WHERE Variable_name IN (
        'idle_transaction_timeout', 'max_connections', 'max_execution_time', 'max_statement_time',
        'max_user_connections', 'version', 'wait_timeout')"""
_STATUS: Final = """
    SHOW GLOBAL STATUS WHERE Variable_name IN (
        'Aborted_clients', 'Connections', 'Max_used_connections', 'Threads_connected',
        'Threads_running')"""

# Needs the right PROCESS. A transaction whose thread sleeps waits for its client.
_IDLERS: Final = """
    SELECT p.ID, p.TIME, p.USER, COALESCE(p.INFO, t.trx_query, '')
    FROM information_schema.INNODB_TRX t
    JOIN information_schema.PROCESSLIST p ON p.ID = t.trx_mysql_thread_id
    WHERE p.COMMAND = 'Sleep' AND p.ID <> CONNECTION_ID() ORDER BY p.TIME DESC LIMIT 20"""


def ask(target: Target) -> ServerFacts:
    """Ask a MySQL or MariaDB server.

    Raises:
        Exception: What the driver raises.
    """
    with target.connection() as conn:
        variables = dict(rows(conn, _VARIABLES))
        status = {name: int(value) for name, value in rows(conn, _STATUS)}
        is_mariadb = "mariadb" in variables["version"].lower()
        connected = status["Threads_connected"] - 1
        running = max(0, status["Threads_running"] - 1)
        return ServerFacts(
            kind="mariadb" if is_mariadb else "mysql",
            version=variables["version"],
            where=target.where,
            is_local=target.is_local(conn),
            max_connections=int(variables["max_connections"]),
            limits=_limits(variables),
            sessions=connected,
            states={"running": running, "sleeping": connected - running},
            peak=status["Max_used_connections"],
            idle_timeout=_seconds(variables, "wait_timeout"),
            transaction_timeout=_seconds(variables, "idle_transaction_timeout"),
            statement_timeout=_statement_timeout(variables),
            idlers=_idlers(conn),
            aborted=(status["Aborted_clients"], status["Connections"]),
            names={
                "idle_timeout": "wait_timeout",
                "transaction_timeout": "idle_transaction_timeout",
                "statement_timeout": "max_statement_time" if is_mariadb else "max_execution_time",
            },
        )


def _limits(variables: Mapping[str, str]) -> tuple[Limit, ...]:
    # In the session it is the account's own, if it has one; 0 is no limit.
    limit = int(variables.get("max_user_connections", 0))
    if limit <= 0:
        return ()
    return (Limit("account", limit, "ALTER USER … WITH MAX_USER_CONNECTIONS"),)


def _statement_timeout(variables: Mapping[str, str]) -> float | None:
    milliseconds = _seconds(variables, "max_execution_time")
    if milliseconds is not None:
        return milliseconds / 1000
    return _seconds(variables, "max_statement_time")


def _seconds(variables: Mapping[str, str], name: str) -> float | None:
    return float(variables.get(name, 0)) or None


def _idlers(conn: Any) -> tuple[Idler, ...]:  # noqa: ANN401
    with suppress(Exception):  # without the right to see them
        return tuple(
            Idler(int(number), float(seconds), str(user), str(query))
            for number, seconds, user, query in rows(conn, _IDLERS)
        )
    return ()
