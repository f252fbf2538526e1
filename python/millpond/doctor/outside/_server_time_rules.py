"""Rules about the timeouts of a server and those of the pools before it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from millpond.doctor._behaviour import (
    leaves_keepalive_alone,
    longest_silence,
    own_statement_timeout,
    patience,
)
from millpond.doctor._findings import Remark
from millpond.doctor._rules import Rules
from millpond.doctor.outside._server_case import ServerCase

if TYPE_CHECKING:
    from collections.abc import Iterator

    from millpond.doctor._options import PoolOptions

__all__ = ["RULES"]

RULES: Final = Rules(ServerCase)

_HAS_STATEMENTS: Final = frozenset({"postgresql", "mysql", "mariadb"})

# A statement that may run for so many times as long as its callers' successors wait.
_FAR_LONGER: Final = 10.0
# Seconds after which a transaction in which nothing happens was forgotten, and not thinking.
_FORGOTTEN: Final = 60.0
_LONG_FORGOTTEN: Final = 3600.0


@RULES.add("MP304", "warning", "the server closes idle connections before the pool does")
def idle_cut(case: ServerCase) -> Iterator[Remark]:
    """The server closes connections that the pool believes to be idle and well.

    wait_timeout (MySQL), idle_session_timeout (PostgreSQL), timeout (Redis), client_idle_timeout
    (PgBouncer) end a session that is silent for so long. If the pool neither closes nor pings it
    before, it lends a connection that is dead.

    At 3 a.m.: "MySQL server has gone away" (2006, 2013) or "server closed the connection
    unexpectedly" at the first request after a quiet time, and never while somebody is watching.
    millpond polls the socket and opens another one, so that the request only takes longer.

    Fix: let the pool close or ping idle connections before the server's timeout: at half of it.

    Before:
        engine = create_engine(url)                             # wait_timeout = 300

    After:
        engine = create_engine(url, pool_recycle=150, pool_pre_ping=True)
    """
    limit, name = _idle_limit(case)
    if limit is None:
        return
    for pool in case.pools:
        silence = longest_silence(pool)
        if silence is not None and silence.value >= limit:
            said = "for ever" if math.isinf(silence.value) else f"{silence.value:g} s"
            better = "1" if silence.name == "ping" else f"{limit / 2:g}"
            yield Remark(
                message=f"{name} = {limit:g} s, and the pool keeps idle connections {said} without "
                f"a look at them ({silence.name})",
                place=pool.at(silence.name),
                fix=f"{silence.name}={better}, so that the pool is first",
                change=pool.change(silence.name, better),
                # It looks at the socket before it lends.
                severity="info" if pool.is_millpond else None,
            )


@RULES.add("MP305", "warning", "the server ends an idle transaction before the pool says whose")
def cut_before_report(case: ServerCase) -> Iterator[Remark]:
    """The server ends transactions in which nothing happens, and nobody learns whose it was.

    idle_in_transaction_session_timeout (PostgreSQL) and idle_transaction_timeout (MariaDB) end the
    session of somebody who began a transaction and does something else: calls another service,
    waits for a user, or forgot to release. The error comes much later and elsewhere, when the
    connection is used again. The pool can tell the line that acquired it, if it is asked to, and
    earlier than the server.

    At 3 a.m.: "terminating connection due to idle-in-transaction timeout" in the server's log,
    without a word about which of your 300 endpoints it was.

    Fix: leak_threshold at half of the server's timeout.

    Before:
        pool = millpond.Pool(url)                        # idle_in_transaction_session_timeout = 10s

    After:
        pool = millpond.Pool(url, leak_threshold=5.0)
    """
    limit = case.facts.transaction_timeout
    if limit is None or case.facts.bouncer is not None:
        return
    for pool in case.pools:
        if not pool.is_millpond:
            continue
        threshold = pool.number("leak_threshold")
        off = pool.is_none("leak_threshold")
        if off or (threshold is not None and threshold >= limit):
            better = f"{limit / 2:g}"
            yield Remark(
                message=f"{case.facts.called('transaction_timeout')} = {limit:g} s, and "
                f"leak_threshold={'None' if off else f'{threshold:g}'}",
                place=pool.at("leak_threshold"),
                fix=f"leak_threshold={better}, so that the pool tells the line that holds it first",
                change=pool.change("leak_threshold", better),
                severity="info" if off else None,
            )


@RULES.add("MP306", "warning", "nothing ends a statement")
def no_statement_timeout(case: ServerCase) -> Iterator[Remark]:
    """A statement may run for ever: neither the server nor the pool has a limit.

    One query without an index, or one that waits for a lock, keeps its connection as long as it
    runs; its caller has left long ago. A pool of ten is gone after ten of them.

    At 3 a.m.: an ALTER TABLE waits for a lock, everybody who reads that table waits behind it, each
    with a connection, and all requests fail with a timeout of the pool, on all pages.

    Fix: a limit that is longer than the slowest statement that you want, and shorter than the
    patience of whoever waits for the answer. Reports and migrations set their own.

    Before:
        pool = millpond.Pool(url)

    After:
        pool = millpond.Pool(url, statement_timeout=30.0)   # or by ALTER ROLE shop SET ...
    """
    facts = case.facts
    if facts.statement_timeout is not None or facts.kind not in _HAS_STATEMENTS:
        return
    name = facts.called("statement_timeout")
    for pool in case.pools:
        if own_statement_timeout(pool) == math.inf:
            behind = facts.bouncer is not None and facts.bouncer.shares_sessions
            yield Remark(
                message=f"{name} is off, on the server and in the pool: a statement may hold its "
                "connection for ever",
                place=pool.at("statement_timeout"),
                fix="ALTER ROLE … SET statement_timeout, as the pool cannot set it through "
                "PgBouncer"
                if behind
                else f"statement_timeout={_reasonable(case):g}, or {name} on the server",
            )


@RULES.add("MP307", "warning", "a statement may run for longer than anybody waits for it")
def longer_than_its_caller(case: ServerCase) -> Iterator[Remark]:
    """The limit for a statement is beyond the patience of those who wait.

    When an HTTP timeout is over, the client has its error, but the statement goes on and keeps its
    connection. And while slow statements have all connections, each new caller gives up after the
    pool's own timeout.

    At 3 a.m.: the database works at full load on answers that nobody will read, as every user
    presses reload after ten seconds.

    Fix: order the timeouts: statement < HTTP timeout of the caller; and the pool's acquire timeout
    far below both.

    Before:
        pool = millpond.Pool(url, statement_timeout=300.0)      # --http-timeout 30

    After:
        pool = millpond.Pool(url, statement_timeout=25.0)
    """
    for pool in case.pools:
        limit = _statement_limit(case, pool)
        if limit is None or math.isinf(limit):
            continue
        remark = _too_long(case, pool, limit)
        if remark is not None:
            yield remark


@RULES.add("MP311", "warning", "sessions sit in a transaction and do nothing")
def idle_in_transaction(case: ServerCase) -> Iterator[Remark]:
    """Sessions have begun a transaction, and have been silent for a minute or longer.

    Each keeps a connection of its pool, the locks that it has taken, and (in PostgreSQL) all old
    versions of all rows, so that tables grow. It is somebody who forgot to commit or to release, or
    who calls another service within a transaction.

    At 3 a.m.: such a session holds a lock, a migration waits for it, and everything else waits for
    the migration.

    Fix: find the code by its last statement below, release in a ``with`` block, and call others
    outside of it. leak_threshold names the line. idle_in_transaction_session_timeout is the net.

    Before:
        conn = pool.acquire()
        order = load(conn)
        charge(order)               # an HTTP call of seconds, within the transaction

    After:
        with pool.connection() as conn:
            order = load(conn)
        charge(order)
    """
    forgotten = [idler for idler in case.facts.idlers if idler.seconds >= _FORGOTTEN]
    if not forgotten:
        return
    longest = forgotten[0]
    shown = "\n".join(
        f"{idler.session} {idler.application or '?'}: {idler.seconds:.0f} s after "
        f"{' '.join(idler.query.split())[:100] or '?'}"
        for idler in forgotten[:5]
    )
    yield Remark(
        message=f"{len(forgotten)} session{'s are' if len(forgotten) > 1 else ' is'} idle in a "
        f"transaction, the longest for {longest.seconds:.0f} s",
        evidence=shown,
        fix="find the code by the last statement, commit or release before doing something else; "
        f"{case.facts.called('transaction_timeout')} on the server ends such sessions",
        severity="error" if longest.seconds >= _LONG_FORGOTTEN else None,
    )


@RULES.add("MP312", "info", "a network that is gone is noticed after hours")
def no_keepalive(case: ServerCase) -> Iterator[Remark]:
    """The server is on another machine, and nobody looks whether it is still there.

    If a firewall forgets a connection, or a machine is switched off, no packet says so. Who waits
    for an answer waits for as long as TCP looks: two hours, as systems have it. (Idle connections
    are no problem if the pool pings them; those with a statement under way are.)

    At 3 a.m.: a failover, and a third of the workers hang until they are killed, as the statements
    that were under way never end.

    Fix: keepalive at a minute, which also keeps firewalls from forgetting.

    Before:
        pool = millpond.Pool("postgresql://db.internal/shop")

    After:
        pool = millpond.Pool("postgresql://db.internal/shop", keepalive=60.0)
    """
    if case.facts.is_local or "keepal" in case.facts.where:
        return
    for pool in case.pools:
        if leaves_keepalive_alone(pool):
            yield Remark(
                message="the server is on another machine, and keepalive is as the system has it: "
                "as a rule, a probe after 7200 s of silence",
                place=pool.at("keepalive"),
                fix="keepalive=60.0",
                change=pool.change("keepalive", "60.0"),
            )


@RULES.add("MP316", "info", "statements outlive their clients")
def works_for_nobody(case: ServerCase) -> Iterator[Remark]:
    """A statement goes on to its end when its client is gone, as PostgreSQL does not look.

    A worker that is killed, by a deployment or for want of memory, leaves its statement running: it
    holds a session and its locks, and the worker that takes its place opens another session. With
    client_connection_check_interval (PostgreSQL 14 and later) the server looks.

    At 3 a.m.: an orchestrator restarts workers that are slow. The slow statements stay, more of
    them after each restart, until the server is full.

    Fix: let the server look every ten seconds; or a statement_timeout, which ends them too.

    Before:
        client_connection_check_interval = 0

    After:
        ALTER SYSTEM SET client_connection_check_interval = '10s'
    """
    facts = case.facts
    if facts.check_interval == 0.0 and facts.statement_timeout is None:
        yield Remark(
            message=f"{facts.called('check_interval')} = 0, and there is no statement_timeout: a "
            "statement whose client has died runs to its end",
            fix=f"{facts.called('check_interval')} = '10s' on the server, or a statement_timeout",
        )


def _idle_limit(case: ServerCase) -> tuple[float | None, str]:
    """Return after how long a silent connection is closed by whoever is at its other end."""
    facts = case.facts
    if facts.bouncer is not None:
        return facts.bouncer.client_idle_timeout, "client_idle_timeout"
    return facts.idle_timeout, facts.called("idle_timeout")


def _statement_limit(case: ServerCase, pool: PoolOptions) -> float | None:
    """Return the limit that holds for a statement of a pool; the pool's own one wins."""
    own = own_statement_timeout(pool)
    if own is None:
        return None
    return case.facts.statement_timeout if math.isinf(own) else own


def _too_long(case: ServerCase, pool: PoolOptions, limit: float) -> Remark | None:
    option = "statement_timeout"
    if case.http_timeout is not None:
        if limit <= case.http_timeout:
            return None
        better = f"{_reasonable(case):g}"
        said = f"whoever asks waits {case.http_timeout:g} s for the answer"
    else:
        waits = patience(pool)
        if waits is None or not waits.value or limit <= _FAR_LONGER * waits.value:
            return None
        better = f"{_FAR_LONGER * waits.value:g}"
        said = f"callers wait {waits.value:g} s for a connection ({waits.name})"
    return Remark(
        message=f"a statement may take {limit:g} s, and {said}",
        place=pool.at(option),
        fix=f"{option}={better}, and more only where it is known to be needed",
        change=pool.change(option, better),
        severity="info" if case.http_timeout is None else None,
    )


def _reasonable(case: ServerCase) -> float:
    """Return a limit for statements: somewhat below the patience of an HTTP client."""
    return 25.0 if case.http_timeout is None else 0.8 * case.http_timeout
