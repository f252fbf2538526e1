"""Rules about what one user of a connection leaves to the next, and what is given away."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from millpond.doctor._findings import Remark
from millpond.doctor._options import UNKNOWN, PoolOptions
from millpond.doctor._rules import Rules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from millpond.doctor._options import Option

__all__ = ["RULES"]

RULES: Final = Rules(PoolOptions)

_PASSWORD: Final = re.compile(r"://[^:/@]*:(?P<password>[^@]+)@(?P<host>[^/:?]*)")
# `%s`, `%(password)s`, `{password}`, `${PASSWORD}`, `<password>`, `...`: filled in elsewhere.
_TO_BE_FILLED_IN: Final = re.compile(r"%s|%\(\w+\)s|\{.*\}|\$\w+|\$\{.*\}|<.*>|[.*]+")
_LOCAL: Final = frozenset({"", "localhost", "127.0.0.1", "[::1]"})
_WORDS: Final = ("password", "passwd", "PASSWORD")


@RULES.add("MP110", "error", "transactions are left open for the next user")
def no_reset(options: PoolOptions) -> Iterator[Remark]:
    """Nothing ends a transaction when a connection comes back to the pool.

    The next user continues the transaction of the one before: sees its snapshot, holds its locks,
    and commits or rolls back its work. With autocommit there is no transaction to be left; without
    it, every SELECT begins one.

    At 3 a.m.: a request failed after its first INSERT. The next request got the connection and
    committed it, an order of one customer on the invoice of another.

    Fix: let the pool roll back. With a driver that tells its transaction status, millpond does
    nothing when there is none.

    Before:
        pool = millpond.Pool(url, reset="none")
        pool = PooledDB(pymysql, reset=False, host="db")

    After:
        pool = millpond.Pool(url)
        pool = millpond.Pool(url, reset="none", autocommit=True)
        pool = PooledDB(pymysql, host="db")
    """
    name = "pool_reset_on_return" if options.is_sqlalchemy else "reset"
    value = options.value(name)
    is_off = name in options.options and value in ("none", False, None)
    if not is_off or value is UNKNOWN or _commits_each(options):
        return
    if options.is_millpond or options.is_pooled_db or options.is_sqlalchemy:
        right = "True" if options.is_pooled_db else '"rollback"'
        yield Remark(
            message=f"{name}={value!r}: whoever gets a connection continues the transaction of "
            "whoever had it before",
            place=options.at(name),
            fix="roll back what comes back in a transaction, or use autocommit",
            change=options.change(name, right),
        )


def _commits_each(options: PoolOptions) -> bool:
    """Whether each statement is, or may be, a transaction of its own."""
    level = options.value("isolation_level")
    is_level = isinstance(level, str) and level.upper() == "AUTOCOMMIT"
    given = [options.options.get("autocommit"), options.creator_options.get("autocommit")]
    return (
        is_level
        or (options.is_sqlalchemy and level is UNKNOWN)
        or any(each is not None and each.value is not False for each in given)
        # Whatever prepares a session may switch autocommit on.
        or any(name in options.options for name in ("configure", "session", "setsession"))
    )


@RULES.add("MP111", "info", "leaks are not reported")
def no_leak_reports(options: PoolOptions) -> Iterator[Remark]:
    """A connection that is never released is not reported.

    With `leak_threshold` the pool logs which line and thread acquired a connection that has been in
    use for so long. Without it, all that is seen of a leak is that the pool is exhausted one day.

    At 3 a.m.: "10 of 10 in use", and nobody knows by whom.

    Fix: some seconds above the slowest request. It makes an acquire slower by a fraction of a
    microsecond, so leave it out where that counts.

    Before:
        pool = millpond.Pool(url)

    After:
        pool = millpond.Pool(url, leak_threshold=30.0)
    """
    if options.is_millpond and options.is_none("leak_threshold"):
        yield Remark(
            message="no leak_threshold: who keeps a connection for ever is not reported",
            place=options.at("leak_threshold"),
            fix="have connections reported that are in use for longer than any request takes",
            change=options.change("leak_threshold", "30.0"),
        )


@RULES.add("MP112", "warning", "a password in the source")
def password_in_source(options: PoolOptions) -> Iterator[Remark]:
    """A password is written into the program or its configuration.

    It is in the repository, in every clone and every backup of it, in the image that is deployed,
    and in the traceback of whoever prints the line. It can't be changed without a deployment.

    At 3 a.m.: the password has leaked and has to be changed now, at once in the database and in
    every worker, and the only way is a release.

    Fix: read it from the environment or a secret store; libpq also reads `~/.pgpass`. Passwords
    for localhost are not reported.

    Before:
        pool = millpond.Pool("postgresql://app:hunter2@db.example.org/app")

    After:
        pool = millpond.Pool(os.environ["DATABASE_URL"])
    """
    for option in (*options.options.values(), *options.creator_options.values()):
        found = None if option.from_environment else _PASSWORD.search(option.known_url)
        is_known = found and not _TO_BE_FILLED_IN.fullmatch(found["password"])
        if found and is_known and found["host"] not in _LOCAL:
            yield _given_away(option)
            return
    for place in (options.options, options.creator_options):
        for name in _WORDS:
            if name in place and _is_secret(place[name]) and _host(options) not in _LOCAL:
                yield _given_away(place[name])
                return


def _is_secret(option: Option) -> bool:
    if not isinstance(option.value, str) or option.from_environment:
        return False
    return bool(option.value) and not _TO_BE_FILLED_IN.fullmatch(option.value)


def _host(options: PoolOptions) -> str:
    for place in (options.options, options.creator_options):
        for name in ("host", "HOST"):
            if name in place:
                return str(place[name].value)
    return ""


def _given_away(option: Option) -> Remark:
    return Remark(
        message="the password of the database stands here for all to read",
        place=option.origin or option.place,
        fix="read it from the environment or a secret store, and change it",
    )
