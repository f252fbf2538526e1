"""Everything that ``millpond bench`` found out, and the same as plain values."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from millpond.cli._database import Database
from millpond.cli.bench._compare import Outcome, Run
from millpond.cli.bench._machine import machine
from millpond.cli.bench._measurement import Measurement
from millpond.cli.bench._recommend import Recommendation, recommend

__all__ = ["FIGURES", "Figure", "Report", "Sweep"]


@dataclass(frozen=True)
class Figure:
    """One number of a measurement.

    Attributes:
        title: What people call it.
        more_is_better: Whether it is; less is, otherwise.
        is_time: Whether it is in seconds.
    """

    title: str
    more_is_better: bool = False
    is_time: bool = True


FIGURES = {
    "checkouts_per_second": Figure("checkouts/s", more_is_better=True, is_time=False),
    "p50": Figure("wait p50"),
    "p95": Figure("wait p95"),
    "p99": Figure("wait p99"),
    "max": Figure("wait max"),
    "fairness": Figure("fairness", more_is_better=True, is_time=False),
}
"""The numbers that are compared, by their names in JSON."""

_NOT_THE_POOLS = frozenset({"threads", "tasks", "hold_ms"})

_WAITS = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}


@dataclass(frozen=True)
class Sweep:
    """One parameter with several values.

    Attributes:
        parameter: Its name.
        values: Its values.
        runs: The run of each.
    """

    parameter: str
    values: tuple[Any, ...]
    runs: tuple[Run, ...]

    @property
    def recommendation(self) -> Recommendation | None:
        """Which of the values millpond should be given; ``None`` for what is not the pool's."""
        if self.parameter in _NOT_THE_POOLS:
            return None
        ours = [run.outcomes[0].measurement for run in self.runs]
        return recommend(self.parameter, self.values, ours)


@dataclass(frozen=True)
class Report:
    """All runs on one database."""

    database: Database
    runs: tuple[Run, ...] = ()
    sweeps: tuple[Sweep, ...] = ()

    @property
    def all_runs(self) -> tuple[Run, ...]:
        """Those of the sweeps included."""
        return (*self.runs, *(run for sweep in self.sweeps for run in sweep.runs))

    def as_dict(self) -> dict[str, Any]:
        """Return what ``--json`` prints. Durations are seconds."""
        told: dict[str, Any] = {
            "machine": machine(),
            "database": self.database.title,
            "runs": [_run_as_dict(run) for run in self.runs],
        }
        if self.sweeps:
            told["sweeps"] = [_sweep_as_dict(sweep) for sweep in self.sweeps]
        return told


def figures(measured: Measurement) -> dict[str, float | None]:
    """Return the numbers of ``FIGURES``."""
    return {
        "checkouts_per_second": measured.rate,
        **{name: measured.wait(share) for name, share in _WAITS.items()},
        "fairness": measured.fairness,
    }


def _sweep_as_dict(sweep: Sweep) -> dict[str, Any]:
    recommended = sweep.recommendation
    return {
        "parameter": sweep.parameter,
        "values": list(sweep.values),
        "recommended": None
        if recommended is None
        else {"value": recommended.value, "reason": recommended.reason},
        "runs": [_run_as_dict(run) for run in sweep.runs],
    }


def _run_as_dict(run: Run) -> dict[str, Any]:
    return {
        "workload": run.workload.as_dict(),
        "pools": [_as_dict(outcome, run.workload.clients) for outcome in run.outcomes],
    }


def _as_dict(outcome: Outcome, clients: str) -> dict[str, Any]:
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
    client = clients.removesuffix("s")
    pool |= {
        "elapsed": measured.elapsed,
        "checkouts": measured.checkouts,
        "checkouts_per_second": measured.rate,
        "wait": {name: measured.wait(share) for name, share in _WAITS.items()},
        f"checkouts_per_{client}": {"fewest": min(measured.counts), "most": max(measured.counts)},
        "fairness": measured.fairness,
        "errors": measured.errors,
        f"hung_{clients}": measured.hung,
    }
    return pool | ({"rounds": _rounds(measured.rounds)} if measured.rounds else {})


def _rounds(rounds: Sequence[Measurement]) -> dict[str, list[float | None]]:
    each = [figures(one) for one in rounds]
    return {name: [one[name] for one in each] for name in FIGURES}
