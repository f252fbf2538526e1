"""What a machine can carry: sizes by processors, by memory, and by what a server lets in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from millpond._config import MAX_SECONDS, MAX_SIZE, check_between, check_integer
from millpond._stats_table import seconds
from millpond.errors import PoolConfigError
from millpond.sizing._result import Sizing, memory

MAX_CORES: Final = 10_000
MAX_BYTES: Final = 2**60

# The rules of thumb, as factors of the number of cores.
_BUSY: Final = 2
_BLOCKING: Final = 4
_ASYNC: Final = 10
_PER_ACTIVE_QUERY: Final = 1.5

_SHARE_OF_MEMORY: Final = 0.8
_FEWEST_BY_MEMORY: Final = 4
_SHARED_BUFFERS_PER_CONNECTION: Final = 100

_KINDS: Final = ("blocking", "async")


def by_cpu(
    cores: int,
    *,
    query_time: float | None = None,
    target: float | None = None,
    kind: str | None = None,
    active_queries: int | None = None,
) -> Sizing:
    """Return how many connections the processors can keep busy, by rules of thumb.

    The first that fits: queries that take under half the target, cores * 2; blocking I/O, cores *
    4; async, the smaller of cores * 10 and 1.5 * active queries; anything else, cores * 2.

    Args:
        cores: Cores of the machine that does the work, which for most queries is the server's.
        query_time: Seconds that a query takes. Only together with `target`.
        target: Seconds that it may take.
        kind: ``"blocking"`` if those who hold a connection spend most of the time waiting for other
            things (disk, network, other services), ``"async"`` if they are coroutines. ``None``,
            the default, is neither.
        active_queries: Queries at work at the same time, where that is known; for ``"async"``.

    Raises:
        PoolConfigError: An argument is not valid.
    """
    cores = check_integer("cores", cores, 1, MAX_CORES)
    if active_queries is not None:
        check_integer("active_queries", active_queries, 0)
    if kind is not None and kind not in _KINDS:
        msg = f"kind={kind!r}: must be 'blocking', 'async' or None"
        raise PoolConfigError(msg)
    if (query_time is None) != (target is None):
        msg = f"query_time={query_time!r}, target={target!r}: must be given together"
        raise PoolConfigError(msg)
    inputs = {
        "cores": cores,
        "query_time": query_time,
        "target": target,
        "kind": kind,
        "active_queries": active_queries,
    }
    if query_time is not None:
        query_time = check_between("query_time", query_time, 0, MAX_SECONDS)
        target = check_between("target", target, 0, MAX_SECONDS)
        if query_time < target / 2:
            why = f"{seconds(query_time)} is under half the target of {seconds(target)}"
            return Sizing(cores * _BUSY, f"{cores} cores * {_BUSY}; a query of {why}", inputs)
    if kind == "blocking":
        return Sizing(cores * _BLOCKING, f"{cores} cores * {_BLOCKING}, for blocking I/O", inputs)
    if kind == "async":
        return _by_active_queries(cores, active_queries, inputs)
    return Sizing(cores * _BUSY, f"{cores} cores * {_BUSY}", inputs)


def _by_active_queries(
    cores: int, active_queries: int | None, inputs: Mapping[str, float | str | None]
) -> Sizing:
    most = cores * _ASYNC
    if active_queries is None:
        reason = f"{cores} cores * {_ASYNC}, for async; active queries not known"
        return Sizing(most, reason, inputs)
    wanted = max(1, math.ceil(active_queries * _PER_ACTIVE_QUERY))
    reason = (
        f"the smaller of {cores} cores * {_ASYNC} = {most} and "
        f"{_PER_ACTIVE_QUERY} * {active_queries} active queries = {wanted}, for async"
    )
    return Sizing(min(most, wanted), reason, inputs)


def by_memory(available: float, per_connection: float) -> Sizing:
    """Return how many connections fit into memory: 0.8 * available / each one's, at least 4.

    Args:
        available: Bytes that the server can spend on connections: of its machine or container, less
            what other things need.
        per_connection: Bytes that a connection needs there, measured (`measure_memory`) or
            estimated (`postgres_memory`, `mysql_memory`).

    Raises:
        PoolConfigError: An argument is not valid.
    """
    available = check_between("available", available, 0, MAX_BYTES)
    per_connection = check_between("per_connection", per_connection, 0, MAX_BYTES)
    fit = int(min(MAX_SIZE, available * _SHARE_OF_MEMORY / per_connection))
    size = max(_FEWEST_BY_MEMORY, fit)
    reason = f"{memory(available)} * {_SHARE_OF_MEMORY} / {memory(per_connection)} each"
    if size > fit:
        reason += f" is {fit}; {size} at least"
    return Sizing(size, reason, {"available": available, "per_connection": per_connection})


def postgres_memory(work_mem: float, shared_buffers: float) -> int:
    """Estimate the bytes that a PostgreSQL session needs: work_mem + shared_buffers / 100.

    A query may take ``work_mem`` several times (for each sort and hash) or not at all, so a
    measurement under load is better.

    Args:
        work_mem: The setting, in bytes.
        shared_buffers: The setting, in bytes.

    Raises:
        PoolConfigError: An argument is not valid.
    """
    work_mem = check_between("work_mem", work_mem, 0, MAX_BYTES)
    shared_buffers = check_between("shared_buffers", shared_buffers, 0, MAX_BYTES)
    return int(work_mem + shared_buffers / _SHARED_BUFFERS_PER_CONNECTION)


def mysql_memory(buffers: Mapping[str, float]) -> int:
    """Estimate the bytes that a MySQL or MariaDB session needs: the sum of its buffers.

    It is what one needs at the most, unless a query joins several tables without an index.

    Args:
        buffers: The settings, in bytes, by name: ``sort_buffer_size``, ``thread_stack``, ...

    Raises:
        PoolConfigError: There are none, or one is not valid.
    """
    if not isinstance(buffers, Mapping) or not buffers:
        msg = f"buffers={buffers!r}: must be a mapping with one setting at least"
        raise PoolConfigError(msg)
    return int(
        sum(check_between(name, size, 0, MAX_BYTES, zero=True) for name, size in buffers.items())
    )


def for_fleet(workers: int, max_size: int | None, server_max: int, reserved: int = 0) -> Sizing:
    """Return what each of several processes may have of the connections that a server lets in.

    Args:
        workers: Processes with a pool each, on all machines.
        max_size: What each pool is allowed at present, for the reason; ``None`` if that is not
            settled yet.
        server_max: The server's limit, such as ``max_connections``.
        reserved: Connections of these that the pools must leave to others: superusers, migrations,
            monitoring, other applications.

    Returns:
        The size for each. It is 0 if there are fewer connections than workers.

    Raises:
        PoolConfigError: An argument is not valid.
    """
    workers = check_integer("workers", workers, 1)
    server_max = check_integer("server_max", server_max, 1)
    reserved = check_integer("reserved", reserved, 0)
    usable = max(0, server_max - reserved)
    size = min(MAX_SIZE, usable // workers)
    total = f"({server_max} - {reserved} reserved)" if reserved else f"{server_max}"
    reason = f"{total} / {_count(workers, 'worker')}"
    if not size:
        reason += ": not even one for each; have fewer workers, or a PgBouncer or the like between"
    if max_size is not None:
        wanted = workers * check_integer("max_size", max_size, 1, MAX_SIZE)
        verdict = "fits" if wanted <= usable else f"is {wanted - usable} too many"
        reason += f"; {workers} * {max_size} = {wanted} {verdict}"
    inputs = {
        "workers": workers,
        "max_size": max_size,
        "server_max": server_max,
        "reserved": reserved,
    }
    return Sizing(size, reason, inputs)


def per_worker(sizing: Sizing, workers: int) -> Sizing:
    """Divide a size that is for all processes together, so that each has one at least.

    Args:
        sizing: The size for all, such as that of `by_cpu` or `by_memory` for one server.
        workers: Processes with a pool each.

    Raises:
        PoolConfigError: `workers` is not valid.
    """
    workers = check_integer("workers", workers, 1)
    if workers == 1:
        return sizing
    size = max(1, sizing.size // workers)
    reason = f"{sizing.reason}: {sizing.size} for {workers} workers"
    return replace(sizing, size=size, reason=reason, inputs={**sizing.inputs, "workers": workers})


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
