"""``--html``: the report as one file that needs nothing else, not even a network.

Jinja2 fills the page and escapes what it is given; the plots are SVG in the page itself.
"""

import importlib.util
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import millpond
from millpond.cli._words import duration
from millpond.cli.bench._baseline import Comparison
from millpond.cli.bench._machine import machine
from millpond.cli.bench._recommend import told
from millpond.cli.bench._report import Report, Sweep
from millpond.cli.bench._words import (
    NUMBERS,
    absences,
    numbers,
    title,
    troubles,
    verdict_on,
    written,
)

__all__ = ["missing_extra", "write_html"]

_NEEDED = ("jinja2", "matplotlib")


def missing_extra() -> str | None:
    """Return the first package of the ``report`` extra that is not installed, or ``None``."""
    return next((name for name in _NEEDED if importlib.util.find_spec(name) is None), None)


def write_html(file: Path, report: Report, comparison: Comparison | None = None) -> None:
    """Write the page.

    Args:
        file: Where; what is there is replaced.
        report: What was measured.
        comparison: What has changed since a baseline, if there is one.
    """
    # Only here: a second of imports that nobody else wants, and the extra may be missing.
    import jinja2  # noqa: PLC0415

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("millpond.cli.bench", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html").render(
        version=millpond.__version__,
        machine=machine(),
        database=report.database.title,
        numbers=NUMBERS,
        sections=_sections(report),
        absences=absences(report.all_runs[0]),
        comparison=None if comparison is None else _comparison(comparison),
    )
    file.write_text(page, encoding="utf-8")


def _sections(report: Report) -> list[dict[str, Any]]:
    # Matplotlib comes with it.
    from millpond.cli.bench import _plots  # noqa: PLC0415

    sections = []
    for run in report.runs:
        measured = {
            each.peer.label: each.measurement
            for each in run.outcomes
            if each.measurement is not None
        }
        rows = [(name, numbers(one), False) for name, one in measured.items()]
        seconds = f"{duration(run.workload.seconds)} per pool"
        sections.append(
            {
                "title": title(run.workload),
                "caption": seconds,
                "head": "pool",
                "recommendation": None,
                "plots": [_plots.bars(measured)] if measured else [],
                "tables": [("", rows)],
                "troubles": troubles([run]),
            }
        )
    return sections + [_sweep(sweep, _plots.lines(sweep)) for sweep in report.sweeps]


def _sweep(sweep: Sweep, plots: Sequence[str]) -> dict[str, Any]:
    workload, best = sweep.runs[0].workload, sweep.recommendation
    tables = []
    for place, outcome in enumerate(sweep.runs[0].outcomes):
        ours = place == 0
        rows = [
            (told(value), numbers(one), ours and best is not None and best.value == value)
            for value, run in zip(sweep.values, sweep.runs, strict=True)
            if (one := run.outcomes[place].measurement) is not None
        ]
        if rows:
            tables.append((outcome.peer.label, rows))
    without = title(workload, without=sweep.parameter)
    return {
        "title": f"{sweep.parameter} varied",
        "caption": f"{without}; {duration(workload.seconds)} per value",
        "head": sweep.parameter,
        "recommendation": None if best is None else best.reason,
        "plots": plots,
        "tables": tables,
        "troubles": troubles(sweep.runs),
    }


def _comparison(comparison: Comparison) -> dict[str, Any]:
    return {
        "date": comparison.date,
        "differences": comparison.differences,
        "verdict": verdict_on(comparison),
        "runs": [
            (run, [written(each) for each in changes])
            for run, changes in groupby(comparison.changes, lambda change: change.run)
        ],
    }
