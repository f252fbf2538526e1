"""Rules about a load, and pools that have to carry it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from millpond.doctor._behaviour import patience, size_option, size_words
from millpond.doctor._findings import Remark
from millpond.doctor._rules import Rules
from millpond.doctor.outside._load import Workload
from millpond.sizing import queues

if TYPE_CHECKING:
    from collections.abc import Iterator


__all__ = ["RULES"]

RULES: Final = Rules(Workload)

# So many times what is needed is not reserve any more.
_FAR_LARGER: Final = 4
_WORTH_A_WORD: Final = 10


@RULES.add("MP400", "info", "the size that the load needs")
def size_of_load(load: Workload) -> Iterator[Remark]:
    """Users and the time of a query, and nothing to compare with: this is the size to begin with.

    By Little's law, arrivals per second times the seconds for which a connection is held is the
    number of connections in use on average; as arrivals and times vary, some more are needed, so
    that few wait for long (Erlang's formula C; `millpond.sizing` has it). A user is busy for
    query + think time, and then comes again.

    At 3 a.m.: nothing.

    Fix: take this size, and look at the utilization (``millpond top``) when real users have come.

    Before:
        pool = millpond.Pool(url)

    After:
        pool = millpond.Pool(url, max_size=12)
    """
    if not load.pools:
        needed = load.sizing
        yield Remark(
            message=f"{load.users_per_worker} users in a process, {load.pattern}: {needed.reason}",
            fix=f"max_size = {needed.size} in each process",
        )


@RULES.add("MP401", "warning", "the pool is too small for its load")
def too_small(load: Workload) -> Iterator[Remark]:
    """The load needs more connections than the pool has.

    If on average more connections would be in use than there are, the queue grows without end:
    every user waits for all the others, up to the timeout. If it is only tight, users wait for
    longer than their query takes.

    At 3 a.m.: ``QueuePool limit of size 5 overflow 10 reached``, and a database that is bored.

    Fix: hold connections for a shorter time, which costs nothing; or more connections, if the
    server has them (``--server URL``).

    Before:
        pool = millpond.Pool(url, max_size=5)       # 400 users, 100 ms, a second between

    After:
        pool = millpond.Pool(url, max_size=42)
    """
    needed = load.sizing
    for pool in load.pools:
        size = pool.capacity
        if size is None or size >= needed.size:
            continue
        endless = load.load >= size
        yield Remark(
            message=f"{load.words}, and {size_words(pool)} is {size:g}: "
            + ("the queue never ends" if endless else _waits(load, size)),
            place=pool.at(size_option(pool)),
            evidence="" if pool.place.source else needed.reason,
            fix=f"{size_words(pool)} = {needed.size}, if the server has them; or hold connections "
            "for a shorter time",
            change=None if pool.is_sqlalchemy else pool.change(size_option(pool), str(needed.size)),
            severity="error" if endless else None,
        )


@RULES.add("MP402", "info", "the pool is far larger than its load needs")
def too_large(load: Workload) -> Iterator[Remark]:
    """The load needs a quarter of the pool's connections, or fewer.

    A large pool is no reserve: when the database is slow, it lets in more queries than the database
    has cores and disks for, and all become slower. And sizes add up over the workers.

    At 3 a.m.: something is slow, the pool grows to its limit, and what was slow stands still.

    Fix: what is needed, with some reserve. Let callers wait in the pool, where it is fair, and not
    in the database.

    Before:
        pool = millpond.Pool(url, max_size=100)     # 50 users, 10 ms, a second between

    After:
        pool = millpond.Pool(url, max_size=6)
    """
    needed = load.sizing.size
    for pool in load.pools:
        size = pool.capacity
        if size is None or size < max(_FAR_LARGER * needed, _WORTH_A_WORD):
            continue
        said = "has no limit" if math.isinf(size) else f"is {size:g}"
        yield Remark(
            message=f"{load.words}, and {size_words(pool)} {said}",
            place=pool.at(size_option(pool)),
            fix=f"{size_words(pool)} = {2 * needed}, which is twice of what it needs",
            change=None if pool.is_sqlalchemy else pool.change(size_option(pool), str(2 * needed)),
        )


@RULES.add("MP403", "info", "a burst finds no open connections")
def cold_burst(load: Workload) -> Iterator[Remark]:
    """Bursts come after quiet times, in which the pool has closed what was idle.

    So the first of each burst wait for connections to be opened, with TLS and a login, while the
    server is busy with just that.

    At 3 a.m.: the push message goes out, and the first thousand see a spinner.

    Fix: min_size keeps as many open as a burst needs, beyond idle_timeout.

    Before:
        pool = millpond.Pool(url, max_size=20)

    After:
        pool = millpond.Pool(url, min_size=12, max_size=20)
    """
    if load.pattern != "bursty":
        return
    for pool in load.pools:
        least, size = pool.number("min_size"), pool.capacity
        if not pool.is_millpond or least is None or size is None:
            continue
        wanted = math.floor(min(load.sizing.size, size))
        # What is used all the time stays open anyway.
        if least < wanted and load.load < wanted / 2:
            yield Remark(
                message=f"min_size is {least:g}, and a burst needs {wanted} connections",
                place=pool.at("min_size"),
                fix=f"min_size={wanted}",
                change=pool.change("min_size", str(wanted)),
            )


@RULES.add("MP404", "warning", "a burst fills a queue that is hopeless")
def hopeless_queue(load: Workload) -> Iterator[Remark]:
    """If all users come at once, more of them wait than can be served before their timeout.

    Those at the end wait for nothing: they get an error after acquire_timeout, that they could have
    had at once. Meanwhile each has a thread or a task of the server, and memory.

    At 3 a.m.: all threads of the web server wait for the pool, and nobody answers the health check.

    Fix: max_waiting: as many as are served within acquire_timeout. Or shed=True, which does the
    same by the pace that it measures. Answer 503 to those who are refused.

    Before:
        pool = millpond.Pool(url, max_size=10)                      # queries of 100 ms

    After:
        pool = millpond.Pool(url, max_size=10, max_waiting=500)     # 10 * 5 s / 100 ms
    """
    if load.pattern != "bursty":
        return
    for pool in load.pools:
        timeout, size = patience(pool), pool.capacity
        if not pool.is_millpond or timeout is None or size is None:
            continue
        if math.isinf(timeout.value) or math.isinf(size):
            continue
        if not pool.is_none("max_waiting") or pool.value("shed") is not False:
            continue
        served = max(1, math.floor(size * timeout.value / load.query_time))
        if load.users_per_worker > size + served:
            yield Remark(
                message=f"{load.users_per_worker} users of a process may come at once, and "
                f"{size + served:g} are served within acquire_timeout = {timeout.value:g} s",
                place=pool.at("max_waiting"),
                fix=f"max_waiting={served}, and 503 for those who are refused",
                change=pool.change("max_waiting", str(served)),
            )


@RULES.add("MP405", "warning", "callers give up before anybody can have finished")
def impatient(load: Workload) -> Iterator[Remark]:
    """A query takes longer than a caller waits for a connection.

    When all connections are in use, the next one comes after a part of that time. Then nearly every
    caller who has to wait at all waits in vain, however short the queue is.

    At 3 a.m.: timeouts at half load, as soon as two reports run at the same time.

    Fix: an acquire_timeout of several times the query, or a pool of their own for slow queries.

    Before:
        pool = millpond.Pool(url, acquire_timeout=1.0)      # queries of 3 s

    After:
        reports = millpond.Pool(url, acquire_timeout=15.0, max_size=4)
    """
    for pool in load.pools:
        timeout = patience(pool)
        if timeout is not None and 0 < timeout.value < load.query_time:
            better = f"{5 * load.query_time:g}"
            yield Remark(
                message=f"{timeout.name} is {timeout.value:g} s, and a connection is held for "
                f"{load.query_time:g} s",
                place=pool.at(timeout.name),
                fix=f"{timeout.name}={better}, or a pool of its own for what is slow",
                change=pool.change(timeout.name, better),
            )


@RULES.add("MP406", "warning", "users are gone before the pool gives up")
def too_patient(load: Workload) -> Iterator[Remark]:
    """A caller may wait for a connection as long as its user waits for the answer, or longer.

    What is served after that is served to nobody, and takes the place of somebody who is still
    there.

    At 3 a.m.: an overload that does not end when the users have gone home: the queue is full of
    requests that were given up, and of reloads.

    Fix: acquire_timeout + query time well below the HTTP timeout.

    Before:
        pool = millpond.Pool(url, acquire_timeout=30.0)     # --http-timeout 30

    After:
        pool = millpond.Pool(url, acquire_timeout=5.0)
    """
    if load.http_timeout is None:
        return
    for pool in load.pools:
        timeout = patience(pool)
        if timeout is None or timeout.value + load.query_time < load.http_timeout:
            continue
        better = f"{max(load.query_time, min(5.0, load.http_timeout / 4)):g}"
        waits = "for ever" if math.isinf(timeout.value) else f"{timeout.value:g} s"
        yield Remark(
            message=f"callers wait {waits} for a connection ({timeout.name}), and users "
            f"{load.http_timeout:g} s for the answer",
            place=pool.at(timeout.name),
            fix=f"{timeout.name}={better}",
            change=pool.change(timeout.name, better),
        )


def _waits(load: Workload, size: float) -> str:
    """Say how long callers wait with a size that is too small, but carries the load."""
    wait = queues.wait_quantile(int(size), load.load, load.query_time, 0.95)
    return f"one in twenty waits {wait:.3g} s or longer"
