"""Rules about a pool at work whose connections fail, or come and go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from millpond.doctor._findings import Remark
from millpond.doctor._rules import Rules
from millpond.doctor.outside._running import RunningPool

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["RULES"]

RULES: Final = Rules(RunningPool)

# Reasons to close a connection that was found dead, by a look at its socket or by a ping.
_FOUND_DEAD: Final = ("dead", "invalid", "suspect")
_SOME: Final = 5
_MOST: Final = 0.5
_OFTEN: Final = 0.01
_TENTH: Final = 0.1
# Seconds to open a connection, above which nobody should have to wait for it.
_SLOW: Final = 1.0

_CHURN: Final = {
    "idle": "idle_timeout = 600, or a min_size of what is always needed",
    "lifetime": "max_lifetime = 1800",
    "uses": "max_uses = None, or a larger number",
    "slow": "a larger max_latency",
}


@RULES.add("MP505", "warning", "validations fail")
def checks_fail(pool: RunningPool) -> Iterator[Remark]:
    """More than one ping in a hundred found its connection dead, or got no answer in time.

    Every one of them is a request that was spared an error. But they show that something ends
    connections, and some die between two pings.

    At 3 a.m.: idle connections are forgotten by a firewall, and the ping that finds out waits for
    validation_timeout.

    Fix: ping more often than the firewall forgets (validation_interval), which keeps it from
    forgetting; keepalive does the same without the server.

    Before:
        pool = millpond.Pool(url, validation_interval=300.0)

    After:
        pool = millpond.Pool(url, validation_interval=30.0, keepalive=60.0)
    """
    checks, failed = pool.number("checks"), pool.number("checks_failed")
    if failed < _SOME or failed <= _OFTEN * checks:
        return
    interval = pool.option("validation_interval")
    better = "30.0" if interval is None else f"{interval / 2:g}"
    yield Remark(
        message=f"pool {pool.name!r}: {failed:g} of {checks:g} validations failed, "
        f"{pool.number('window', 'checks_failed'):g} of them in the last minute",
        evidence=_ages(pool),
        fix=f"validation_interval={better}, keepalive=60.0, and look for what ends connections",
    )


@RULES.add("MP506", "error", "connecting fails")
def cannot_connect(pool: RunningPool) -> Iterator[Remark]:
    """The pool can't open connections, or could not within the last minute.

    At 3 a.m.: the password was changed, the server is full or down, the certificate has expired.
    The pool keeps trying, and says so at once to those who ask (fail_fast_after).

    Fix: what the error says. ``millpond doctor --server URL`` asks the server for its limits,
    ``--errors`` explains the text.

    Before:
        millpond doctor --process http://host/pool.json

    After:
        millpond doctor --process http://host/pool.json --server postgresql://... --workers 4
    """
    failed, why = pool.number("window", "open_failed"), pool.stats.get("last_error")
    failing = pool.number("failing")
    if not failed and not why and not failing:
        return
    now = f", and for {failing:.3g} s none has succeeded" if failing else ""
    yield Remark(
        message=f"pool {pool.name!r}: {failed:g} attempts to connect failed in the last minute"
        f"{now}",
        evidence=str(why or ""),
        fix="see what the error says; --errors with its text explains it",
        # It works again.
        severity=None if failing or why else "warning",
    )


@RULES.add("MP507", "warning", "connections are cut from outside")
def cut(pool: RunningPool) -> Iterator[Remark]:
    """Most connections did not end by the pool's own decision: they were found dead.

    A server's timeout, a firewall, a load balancer or restarts ended them. millpond finds most by a
    look at the socket, before anybody gets them; those that are cut without a word, only the ping
    finds.

    At 3 a.m.: with little traffic connections are idle for longer than the firewall's memory.

    Fix: end them earlier than the other side does: max_lifetime and idle_timeout below its limit
    (compare the ages), or keep it from ending them: validation_interval and keepalive below it.
    ``millpond doctor --server URL`` compares them with the server's own timeouts.

    Before:
        pool = millpond.Pool(url, max_lifetime=None, validation_interval=None)

    After:
        pool = millpond.Pool(url, max_lifetime=1800.0, validation_interval=30.0, keepalive=60.0)
    """
    closed = pool.closed
    dead = {name: closed[name] for name in _FOUND_DEAD if closed.get(name)}
    total = sum(dead.values())
    if total < _SOME or total < _MOST * sum(closed.values()):
        return
    yield Remark(
        message=f"pool {pool.name!r}: {total:g} of {sum(closed.values()):g} connections that ended "
        "were found dead",
        evidence=f"{_counts(dead)}; {_ages(pool)}",
        fix="max_lifetime and validation_interval below what cuts them, and keepalive=60.0; "
        "--server URL compares them with the server's timeouts",
    )


@RULES.add("MP509", "warning", "connections are opened and closed all the time")
def churn(pool: RunningPool) -> Iterator[Remark]:
    """More than one acquire in ten had a connection opened, over the last minute.

    Then there is hardly a pool: each connection is used a few times. Opening one costs
    milliseconds, a process of the server, and the caches in it.

    At 3 a.m.: the CPU of the database is busy with TLS and passwords.

    Fix: what closes them tells what to change: ``idle`` a longer idle_timeout or a min_size,
    ``lifetime`` a longer max_lifetime, ``uses`` no max_uses.

    Before:
        pool = millpond.Pool(url, idle_timeout=5.0)

    After:
        pool = millpond.Pool(url, idle_timeout=600.0, min_size=2)
    """
    opened, acquired = pool.number("window", "opened"), pool.number("window", "acquired")
    closed = pool.closed
    if opened < _SOME or opened <= _TENTH * acquired or not pool.number("window", "closed"):
        return
    most = max(closed, key=lambda name: closed[name], default="")
    yield Remark(
        message=f"pool {pool.name!r}: {opened:g} connections were opened for {acquired:g} acquires "
        "over the last minute",
        evidence=f"closed so far: {_counts(closed)}",
        fix=_CHURN.get(most, "find out what ends them: MP507, MP516"),
    )


@RULES.add("MP513", "warning", "connections take long to open")
def slow_to_open(pool: RunningPool) -> Iterator[Remark]:
    """One connection in twenty took more than a second to open, or half of connect_timeout.

    Name resolution, TLS, the server's login and PgBouncer's queue are in there.

    At 3 a.m.: after a restart everybody connects at once, it takes longer than connect_timeout, and
    all begin anew.

    Fix: look which part is slow: DNS first. Until then let nobody wait for it: min_size keeps
    connections open, max_connecting limits how many are opened at once.

    Before:
        pool = millpond.Pool(url, min_size=0)

    After:
        pool = millpond.Pool(url, min_size=4, max_connecting=4)
    """
    p95, limit = pool.number("open_time", "p95"), pool.option("connect_timeout")
    if p95 > (_SLOW if limit is None else min(_SLOW, limit / 2)):
        of = "" if limit is None else f"; connect_timeout = {limit:g} s"
        yield Remark(
            message=f"pool {pool.name!r}: opening a connection takes {p95:.3g} s (p95){of}",
            fix=f"min_size = {max(1, round(pool.number('max_size') / 2))}, so that nobody waits "
            "for it; then look at DNS, TLS and the server's login",
        )


def _counts(closed: Mapping[str, float]) -> str:
    return ", ".join(f"{count:g} {name}" for name, count in closed.items())


def _ages(pool: RunningPool) -> str:
    """Say how old the connections are that live, and how old they may become."""
    limit = pool.option("max_lifetime")
    most = "without max_lifetime" if limit is None else f"max_lifetime = {limit:g} s"
    return f"mean age {pool.number('mean_age'):.0f} s, {most}"
