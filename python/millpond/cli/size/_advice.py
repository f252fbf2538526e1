"""All sizes side by side, and the one to take."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from millpond import sizing
from millpond.cli.size._facts import Facts, memory_here
from millpond.sizing import Recommendation, Sizing

__all__ = ["Advice", "Question", "Row", "advise"]

# The names of rows.
ESTIMATED = "memory"
MEASURED = "memory measured"

# So many settings are named in a reason.
_FEW = 3


@dataclass(frozen=True)
class Question:
    """What is known of the application; ``None`` is unknown. Durations are seconds.

    Attributes:
        cores: Cores of the machine that does the work.
        workers: Processes with a pool each.
        kind: ``"blocking"``, ``"async"`` or ``None``.
        query_time: How long a connection is held.
        target: How long that may take.
        rate: Acquires per second of one process.
        target_wait: How long an acquire may wait.
        probability: The share of acquires for which that is to hold; ``None`` is their mean.
        memory: Bytes that the server has for connections.
        reserve: Connections that are to be left for others; ``None`` is what the server reserves.
        max_size: What each pool has at present.
        stats: What a running pool has measured.
        server: What the server told.
    """

    cores: int | None = None
    workers: int = 1
    kind: str | None = None
    query_time: float | None = None
    target: float | None = None
    rate: float | None = None
    target_wait: float = 0.01
    probability: float | None = None
    memory: int | None = None
    reserve: int | None = None
    max_size: int | None = None
    stats: Mapping[str, Any] | None = None
    server: Facts | None = None


@dataclass(frozen=True)
class Row:
    """One way to find a size.

    Attributes:
        name: What it goes by.
        sizing: What it gives for each process, or ``None``.
        why: The reason; without a size, what is missing.
    """

    name: str
    sizing: Sizing | None
    why: str


@dataclass(frozen=True)
class Advice:
    """The answer.

    Attributes:
        question: To what.
        rows: All ways, also those that gave nothing.
        recommendation: The size to take, for each process.
    """

    question: Question
    rows: tuple[Row, ...]
    recommendation: Recommendation

    def as_dict(self) -> dict[str, Any]:
        """Return what ``--json`` prints. Durations are in seconds, memory in bytes."""
        server = self.question.server
        return {
            "recommendation": self.recommendation.to_dict(),
            "workers": self.question.workers,
            "sizes": {
                row.name: {"size": None, "reason": row.why, "inputs": {}}
                if row.sizing is None
                else row.sizing.to_dict()
                for row in self.rows
            },
            "server": None if server is None else server.as_dict(),
        }


def advise(question: Question) -> Advice:
    """Find all sizes and choose one.

    Raises:
        PoolConfigError: A value is not allowed. The message names it.
    """
    cpu = _cpu(question)
    load = _load(question)
    limits = [*_memory(question), _server(question)]
    known = {row.name: row.sizing for row in limits if row.sizing is not None}
    if MEASURED in known:
        # Then nobody needs the estimate, which with large shared buffers is ten times as much.
        known.pop(ESTIMATED, None)
    recommendation = sizing.recommend(cpu, load=load.sizing, limits=known)
    rows = (Row("cpu", cpu, cpu.reason), load, *limits)
    return Advice(question, rows, recommendation)


def _cpu(question: Question) -> Sizing:
    server = question.server
    found = sizing.by_cpu(
        sizing.available_cores() if question.cores is None else question.cores,
        query_time=question.query_time if question.target is not None else None,
        target=question.target if question.query_time is not None else None,
        kind=question.kind,
        active_queries=server.active or None if server and question.kind == "async" else None,
    )
    return sizing.per_worker(found, question.workers)


def _load(question: Question) -> Row:
    wait, probability = question.target_wait, question.probability
    if question.stats is not None:
        return _row("load", sizing.by_load_of(question.stats, wait, probability=probability))
    if question.rate is None or question.query_time is None:
        return Row("load", None, "needs --rate and --query-ms, or --pool-json")
    found = sizing.by_load(question.rate, question.query_time, wait, probability=probability)
    return _row("load", found)


def _memory(question: Question) -> Iterator[Row]:
    server = question.server
    costs = None if server is None else server.memory
    if costs is None:
        reason = "of no account here" if server else "needs a server (--db or DATABASE_URL)"
        yield Row(ESTIMATED, None, reason)
        return
    available = memory_here(server) if question.memory is None else question.memory
    if available is None:
        yield Row(ESTIMATED, None, "needs --memory, as the server is on another machine")
        return
    if not available:
        yield Row(ESTIMATED, None, "needs --memory, as none is left here at the moment")
        return
    few = len(costs.settings) <= _FEW
    settings = " + ".join(costs.settings) if few else f"{len(costs.settings)} buffers of a session"
    for name, cost, how in (
        (ESTIMATED, costs.estimate, f"by {settings}"),
        (MEASURED, costs.measured, costs.how),
    ):
        if cost is not None:
            found = sizing.by_memory(available, cost)
            reasoned = Sizing(found.size, f"{found.reason}, {how}", found.inputs)
            yield _row(name, sizing.per_worker(reasoned, question.workers))


def _server(question: Question) -> Row:
    server = question.server
    if server is None:
        return Row("server", None, "needs a server (--db or DATABASE_URL)")
    room = server.room
    if room is None:
        return Row("server", None, "has no limit")
    reserved = room.reserved if question.reserve is None else question.reserve
    found = sizing.for_fleet(question.workers, question.max_size, room.most, reserved)
    return Row("server", found, f"{room.what}: {found.reason}")


def _row(name: str, found: Sizing) -> Row:
    return Row(name, found, found.reason)
