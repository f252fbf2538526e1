"""A workload on millpond and on every peer, one after the other.

Whatever a pool does, the comparison goes on: an error, or a call that never returns, becomes that
pool's result.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from millpond.cli._crew import GRACE, in_time
from millpond.cli._database import Database
from millpond.cli._machine import machine
from millpond.cli._peers import Handle, Peer
from millpond.cli._workload import Measurement, Workload, measure, warm_up

__all__ = ["Outcome", "Report", "Run", "compare"]

_OPENING = 5.0
"""Seconds that a pool may take to open all its connections."""


@dataclass(frozen=True)
class Outcome:
    """What became of one pool.

    Attributes:
        peer: Which one.
        measurement: What it did, or ``None`` if it was not measured.
        error: What went wrong first, on one line and without passwords.
    """

    peer: Peer
    measurement: Measurement | None = None
    error: str | None = None

    @property
    def status(self) -> str:
        """``measured``, ``not installed``, ``left out`` (wrong database) or ``failed``."""
        if self.measurement is not None:
            return "measured"
        if self.peer.version is None:
            return "not installed"
        return "failed" if self.error else "left out"

    @property
    def is_clean(self) -> bool:
        """Whether it was measured and neither an error nor a hanging thread was seen."""
        return self.measurement is not None and not (
            self.measurement.errors or self.measurement.hung
        )


@dataclass(frozen=True)
class Run:
    """All outcomes of one workload, millpond's first."""

    workload: Workload
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True)
class Report:
    """All runs on one database."""

    database: Database
    runs: tuple[Run, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return what ``--json`` prints. Durations are seconds."""
        return {
            "machine": machine(),
            "database": self.database.title,
            "runs": [_run_as_dict(run) for run in self.runs],
        }


def compare(
    database: Database,
    workload: Workload,
    peers: Sequence[Peer],
    on_tick: Callable[[Peer, float], None] = lambda _peer, _seconds: None,
) -> Run:
    """Put ``peers`` through ``workload``, one after the other.

    Args:
        database: Where.
        workload: What.
        peers: Who. One that is not installed, or can't talk to this database, is listed as such.
        on_tick: Called a few times per second with the pool at work and the seconds since the last.

    Returns:
        An outcome for each of ``peers``, in their order.
    """

    def outcome_of(peer: Peer) -> Outcome:
        if not peer.fits(database):
            return Outcome(peer)
        return _put_to_work(peer, database, workload, lambda seconds: on_tick(peer, seconds))

    return Run(workload, tuple(outcome_of(peer) for peer in peers))


def _put_to_work(
    peer: Peer, database: Database, workload: Workload, on_tick: Callable[[float], None]
) -> Outcome:
    def open_warm() -> Handle:
        handle = peer.open(database, workload.size, workload.patience)
        warm_up(handle, workload.size)
        return handle

    try:
        handle = in_time(open_warm, _OPENING)
    except Exception as error:  # noqa: BLE001 - it becomes the outcome
        said = f"can't open its connections: {type(error).__name__}: {error}"
        return Outcome(peer, error=database.scrub(said))
    try:
        measured = measure(handle, workload, on_tick)
        first_error = measured.first_error and database.scrub(measured.first_error)
        return Outcome(peer, measured, first_error)
    finally:
        # A pool that hangs or fails here has shown what it is already.
        with suppress(Exception):
            in_time(handle.close, GRACE)


def _run_as_dict(run: Run) -> dict[str, Any]:
    return {
        "workload": {
            "threads": run.workload.threads,
            "size": run.workload.size,
            "hold": run.workload.hold,
            "seconds": run.workload.seconds,
        },
        "pools": [_as_dict(outcome) for outcome in run.outcomes],
    }


def _as_dict(outcome: Outcome) -> dict[str, Any]:
    pool: dict[str, Any] = {
        "key": outcome.peer.key,
        "name": outcome.peer.title,
        "version": outcome.peer.version,
        "status": outcome.status,
        "error": outcome.error,
    }
    measured = outcome.measurement
    if measured is None:
        return pool
    return pool | {
        "elapsed": measured.elapsed,
        "checkouts": measured.checkouts,
        "checkouts_per_second": measured.rate,
        "wait": {"p50": measured.wait(0.5), "p99": measured.wait(0.99), "max": measured.wait(1)},
        "checkouts_per_thread": {"fewest": min(measured.counts), "most": max(measured.counts)},
        "fairness": measured.fairness,
        "errors": measured.errors,
        "hung_threads": measured.hung,
    }
