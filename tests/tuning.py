"""Runs of `millpond bench`, short ones and made up ones."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from typer.testing import CliRunner

from millpond.cli._app import app
from millpond.cli._database import Database
from millpond.cli.bench._compare import Outcome, Run
from millpond.cli.bench._measurement import Measurement, merge
from millpond.cli.bench._peers import MILLPOND
from millpond.cli.bench._report import Report
from millpond.cli.bench._workload import Workload

if TYPE_CHECKING:
    from collections.abc import Sequence

TINY = ("--seconds", "0.25", "--threads", "4", "--size", "2", "--hold", "0", "--peers", "none")
NOWHERE = Database(object, "stub", "nowhere")
MILLISECOND = 1_000_000


def bench(*arguments: str) -> tuple[int, str]:
    """Run `millpond bench` in this process: its exit code, and all that it printed."""
    result = CliRunner().invoke(app, ["bench", *arguments])
    return result.exit_code, result.output


def measured(rate: float, wait: float = 0.0, errors: int = 0) -> Measurement:
    """Give a measurement of ten seconds with that many checkouts per second and that wait."""
    waits = array("q", [int(wait * 1e9)] * 10)
    return Measurement(10.0, [int(rate * 5), int(rate * 5)], waits, errors=errors)


def report_of(rates: Sequence[float], waits: Sequence[float]) -> Report:
    """Give a report of one run of millpond, with that throughput and wait in each round."""
    rounds = [measured(rate, wait) for rate, wait in zip(rates, waits, strict=True)]
    run = Run(Workload(), (Outcome(MILLPOND, merge(rounds)),))
    return Report(NOWHERE, (run,))
