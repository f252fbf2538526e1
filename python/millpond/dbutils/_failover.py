"""What happens when a statement, or the making of a cursor, fails on a steady connection.

A failed statement has two more attempts: on a new cursor of the same connection, then on a new
connection. In a transaction it has none, since what came before it is lost: the connection is
replaced, so that the next transaction finds one that works, and the error is the application's.

The first attempt is made in Rust; see ``rust/python/src/dbutils/statement.py``.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from millpond._core import CoreSteady

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Done(NamedTuple):
    """What an attempt returned, which may be anything."""

    result: Any


class Statement(NamedTuple):
    """A call of one of the driver's methods that execute something."""

    cursor: Any
    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def run_on(self, raw: Any) -> Any:
        """Execute it on a cursor of the driver's, which gets the sizes that were stored."""
        if not self.name.startswith("execute"):
            return getattr(raw, self.name)(*self.args, **self.kwargs)
        self.cursor._setsizes(raw)
        result = getattr(raw, self.name)(*self.args, **self.kwargs)
        self.cursor._clearsizes()
        return result


def run_statement(cursor: Any, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Execute a statement where the connection is only something like a steady one."""
    con = cursor._con
    transaction = con._transaction
    if not transaction:
        con._ping_check(4)
        if con._maxusage and con._usage >= con._maxusage:
            return retry_statement(cursor, name, args, kwargs, con, False, None)
    try:
        result = Statement(cursor, name, args, kwargs).run_on(cursor._cursor)
    except con._failures as error:
        return retry_statement(cursor, name, args, kwargs, con, transaction, error)
    _count_use(con)
    return result


def retry_statement(
    cursor: Any,
    name: str,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    con: Any,
    transaction: bool,
    error: BaseException | None,
) -> Any:
    """Make the second and the third attempt; without an error, the connection is overused."""
    overused = error is None
    try:
        raise con._failure if error is None else error
    except con._failures as failure:
        if not overused and (cursor._no_failover or not con._fatal_check(failure)):
            raise
        statement = Statement(cursor, name, args, kwargs)
        done = None if transaction else _on_new_cursor(statement, con)
        done = done or _on_new_connection(statement, con, failure, transaction=transaction)
        if done:
            return done.result
        if transaction:
            con._transaction = False
        raise
    finally:
        # The error knows this frame: such a cycle would keep the cursor until it is collected.
        del error


def _on_new_cursor(statement: Statement, con: Any) -> Done | None:
    opened = _attempt(con._cursor, *statement.cursor._args, **statement.cursor._kwargs)
    if opened is None:
        return None
    done = _attempt(statement.run_on, opened.result)
    if done is None:
        close_quietly(opened.result)
        return None
    statement.cursor.close()
    statement.cursor._cursor = opened.result
    _count_use(con)
    return done


def _on_new_connection(
    statement: Statement, con: Any, failure: BaseException, *, transaction: bool
) -> Done | None:
    cursor = statement.cursor
    opened = _open(con, cursor._args, cursor._kwargs)
    if opened is None:
        return None
    new, raw = opened.result
    if transaction:
        _replace(cursor, con, new, raw)
        return None
    try:
        # If this hangs, the lost transaction may be what it waits for: begin() was forgotten.
        result = statement.run_on(raw)
    except type(failure):
        close_quietly(raw)
        close_quietly(new)
        return None
    except Exception:
        # Another error is an answer: it is not the connection's fault.
        _replace(cursor, con, new, raw)
        _count_use(con)
        raise
    _replace(cursor, con, new, raw)
    _count_use(con)
    return Done(result)


def reopen_cursor(
    con: Any,
    error: BaseException | None,
    transaction: bool,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Any:
    """Return a cursor on a new connection; without an error, the old one is overused."""
    overused = error is None
    try:
        raise con._failure if error is None else error
    except con._failures as failure:
        if not overused and not con._fatal_check(failure):
            raise
        opened = _open(con, args, kwargs)
        if opened is not None:
            new, raw = opened.result
            con._close()
            con._store(new)
            if not transaction:
                return raw
        elif transaction:
            con._transaction = False
        raise
    finally:
        del error  # as above


def reopen_after(con: Any, error: BaseException) -> NoReturn:
    """Replace the connection on which a transaction could not be ended, and raise the error."""
    try:
        try:
            raise error
        finally:
            reopen(con)  # which a signal may interrupt
    finally:
        del error  # as above


def reopen(con: Any) -> bool:
    """Replace a connection by a new one; if there is none to be had, leave it as it is."""
    created = _attempt(con._create)
    if created is None:
        return False
    con._close()
    con._store(created.result)
    return True


def close_quietly(closeable: Any) -> None:
    """Close what may be beyond closing."""
    with suppress(Exception):
        closeable.close()


def _open(con: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Done | None:
    """Return a new connection and a cursor on it, if both are to be had."""
    created = _attempt(con._create)
    if created is None:
        return None
    opened = _attempt(created.result.cursor, *args, **kwargs)
    if opened is None:
        close_quietly(created.result)
        return None
    return Done((created.result, opened.result))


def _replace(cursor: Any, con: Any, new: Any, raw: Any) -> None:
    cursor.close()
    con._close()
    con._store(new)
    cursor._cursor = raw


def _count_use(con: Any) -> None:
    if isinstance(con, CoreSteady):
        con._count_use()  # as one step, since threads may share the connection
    else:
        con._usage += 1


def _attempt(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Done | None:
    with suppress(Exception):
        return Done(function(*args, **kwargs))
    return None
