"""What ODBC leaves to each database, by the name that its driver gives for it (SQL_DBMS_NAME)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from millpond.drivers import _postgres

if TYPE_CHECKING:
    from collections.abc import Callable

    from millpond.drivers._session import SessionOptions


def _nothing(options: SessionOptions) -> list[str]:
    del options
    return []


class Dialect(NamedTuple):
    """The words of a database.

    Attributes:
        supports: What is possible beyond what ODBC itself has.
        begin: What begins a transaction in autocommit mode; `_postgres.modes` may follow.
        modes: What they follow if the transaction is open already. ``None`` if no transaction can
            have modes of its own.
        reset_session: What makes the session new.
        rollback: What ends a transaction in autocommit mode, if ODBC's own way does not.
        nothing_open: What the error says if there was none.
        savepoint: As in `Dbapi.savepoint_sql`.
        isolation_levels: As in `Dbapi`.
        statements: What carries options out.
        timeout: Whether the driver follows `timeout` of a pyodbc connection.
    """

    supports: frozenset[str] = frozenset()
    begin: str = "START TRANSACTION"
    modes: str | None = None
    reset_session: str | None = None
    rollback: str | None = None
    nothing_open: str | None = None
    savepoint: tuple[str, str, str | None] = (
        "SAVEPOINT {}",
        "ROLLBACK TO SAVEPOINT {}",
        "RELEASE SAVEPOINT {}",
    )
    isolation_levels: frozenset[str] = frozenset()
    statements: Callable[[SessionOptions], list[str]] = _nothing
    timeout: bool = False


def _sql_server(options: SessionOptions) -> list[str]:
    if options.isolation_level is None:
        return []
    return [f"SET TRANSACTION ISOLATION LEVEL {options.isolation_level.upper()}"]


_DIALECTS: Final = {
    "PostgreSQL": Dialect(
        supports=frozenset(
            {"application_name", "isolation_level", "read_only", "reset_session"}
            | {"statement_timeout"}
        ),
        begin="BEGIN",
        modes="SET TRANSACTION",
        reset_session=_postgres.RESET_SESSION,
        isolation_levels=_postgres.ISOLATION_LEVELS,
        statements=_postgres.statements,
    ),
    "SQLite": Dialect(begin="BEGIN", rollback="ROLLBACK", nothing_open="no transaction is active"),
    "Microsoft SQL Server": Dialect(
        supports=frozenset(
            {"application_name", "isolation_level", "reset_session", "statement_timeout"}
        ),
        begin="BEGIN TRANSACTION",
        # It takes effect with the next statement, and ends no transaction: that is for `rollback`.
        reset_session="{call sys.sp_reset_connection}",
        rollback="IF @@TRANCOUNT > 0 ROLLBACK",
        savepoint=("SAVE TRANSACTION {}", "ROLLBACK TRANSACTION {}", None),
        isolation_levels=_postgres.ISOLATION_LEVELS | {"snapshot"},
        statements=_sql_server,
        timeout=True,
    ),
}


def dialect_of(name: str) -> Dialect:
    """Return the dialect of a database; the one of SQL's standard if it is unknown."""
    return _DIALECTS.get(name, Dialect())
