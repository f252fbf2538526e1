"""``--save`` and ``--baseline``: what was measured once, and what has become worse since.

Noise is told from the rounds. A figure is worse if every round now is worse than every round then,
and the medians are apart by five percent at least. Of two times five rounds from the same
distribution that happens by chance once in 252 (there are that many ways to choose which five are
the later ones). What it can't tell is a machine that was busy all the time: measure on an idle one.
"""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import millpond
from millpond.cli.bench._recommend import told
from millpond.cli.bench._report import FIGURES, Report
from millpond.cli.bench._workload import Workload
from millpond.errors import PoolConfigError

__all__ = ["ROUNDS", "Change", "Comparison", "check_common", "compare_with", "load", "save"]

ROUNDS = 5
"""Rounds of a run that is saved, compared or varied."""

_FORMAT = 1
_TOLERANCE = 0.05
_LEAST = 1e-5
"""Seconds: of a wait that is shorter, more or less is the machine's business."""


@dataclass(frozen=True)
class Change:
    """One figure of one pool, then and now.

    Attributes:
        run: The workload, for people.
        pool: The pool's title.
        figure: A key of ``FIGURES``.
        then: The median of the baseline's rounds.
        now: The median of the rounds now.
        verdict: ``"worse"``, ``"better"`` or ``"same"``.
    """

    run: str
    pool: str
    figure: str
    then: float
    now: float
    verdict: str

    @property
    def ratio(self) -> float | None:
        """``now / then``; ``None`` if that was nothing."""
        return self.now / self.then if self.then else None


@dataclass(frozen=True)
class Comparison:
    """A baseline and what has changed.

    Attributes:
        date: When the baseline was measured.
        differences: What was different about the measuring itself: then figures say little.
        changes: Every figure of every pool that both have.
    """

    date: str
    differences: tuple[str, ...]
    changes: tuple[Change, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "time": self.date,
            "differences": list(self.differences),
            "changes": [{**asdict(change), "ratio": change.ratio} for change in self.changes],
        }

    @property
    def worse(self) -> tuple[Change, ...]:
        """What has become worse."""
        return tuple(change for change in self.changes if change.verdict == "worse")


def save(file: Path, report: Report, options: Mapping[str, object]) -> None:
    """Write a baseline.

    Args:
        file: Where; what is there is replaced.
        report: What was measured.
        options: With which options, none of which may hold a password.
    """
    content = {
        "format": _FORMAT,
        "millpond": millpond.__version__,
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "options": dict(options),
        **report.as_dict(),
    }
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def load(file: Path) -> dict[str, Any]:
    """Read a baseline.

    Raises:
        PoolConfigError: The file can't be read, or this version's ``--save`` did not write it.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no JSON"
        message = f"can't read {str(file)!r}: {reason}"
        raise PoolConfigError(message) from None
    if not _is_baseline(content):
        message = f"{str(file)!r} is no baseline; allowed: a file that --save of this version wrote"
        raise PoolConfigError(message)
    found: dict[str, Any] = content
    return found


def _is_baseline(content: Any) -> bool:  # noqa: ANN401 - JSON
    """Tell whether all is there that is compared, before minutes of measuring."""
    try:
        pools = [pool for _, pools in _by_workload(content).values() for pool in pools]
        rounds = [pool.get("rounds") or {} for pool in pools]
        values = [value for each in rounds for name in FIGURES for value in each.get(name, ())]
        return (
            content["format"] == _FORMAT
            and isinstance(content.get("machine", {}), dict)
            and all(isinstance(pool["key"], str) for pool in pools)
            and all(value is None or isinstance(value, int | float) for value in values)
        )
    except (KeyError, TypeError, AttributeError):
        return False


def check_common(baseline: Mapping[str, Any], workloads: Iterable[Workload]) -> None:
    """Find out before minutes of measuring that there will be nothing to compare.

    Raises:
        PoolConfigError: The baseline has none of the workloads.
    """
    then = _by_workload(baseline)
    if not any(_key(each.as_dict()) in then for each in workloads):
        options = json.dumps(baseline.get("options"))
        message = f"the baseline has none of these workloads; allowed: its own options, {options}"
        raise PoolConfigError(message)


def compare_with(baseline: Mapping[str, Any], report: Report) -> Comparison:
    """Compare what was measured now with a baseline."""
    now = report.as_dict()
    then = _by_workload(baseline)
    changes: list[Change] = []
    for key, (title, pools) in _by_workload(now).items():
        if key in then:
            changes += _changes(title, then[key][1], pools)
    return Comparison(
        str(baseline.get("time", "?")), tuple(_differences(baseline, now)), tuple(changes)
    )


def _differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    found = []
    if then.get("database") != now["database"]:
        found.append(f"database: {then.get('database')}, now {now['database']}")
    before = then.get("machine") or {}
    for name, value in now["machine"].items():
        if name != "date" and before.get(name) != value:
            found.append(f"{name}: {before.get(name)}, now {value}")
    return found


def _by_workload(content: Mapping[str, Any]) -> dict[str, tuple[str, list[dict[str, Any]]]]:
    """Return the title and the pools of each run, those of the sweeps included."""
    runs = [
        *content["runs"],
        *(run for sweep in content.get("sweeps", ()) for run in sweep["runs"]),
    ]
    return {_key(run["workload"]): (_title(run["workload"]), run["pools"]) for run in runs}


def _key(workload: Mapping[str, Any]) -> str:
    return json.dumps(workload, sort_keys=True)


def _title(workload: Mapping[str, Any]) -> str:
    options = workload.get("options") or {}
    parts = {**workload, **options}
    return ", ".join(f"{key} {told(value)}" for key, value in parts.items() if key != "options")


def _changes(
    title: str, then: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]
) -> list[Change]:
    before = {pool["key"]: pool for pool in then}
    found = []
    for pool in now:
        old, new = before.get(pool["key"], {}).get("rounds"), pool.get("rounds")
        if not old or not new:
            continue
        for figure in FIGURES:
            earlier = [value for value in old.get(figure, ()) if value is not None]
            later = [value for value in new[figure] if value is not None]
            if earlier and later:
                found.append(_change(title, pool["name"], figure, earlier, later))
    return found


def _change(
    title: str, pool: str, figure: str, then: Sequence[float], now: Sequence[float]
) -> Change:
    before, after = median(then), median(now)
    verdict = "same"
    least = _LEAST if FIGURES[figure].is_time else 0.0
    is_apart = abs(after - before) > max(_TOLERANCE * before, least)
    if is_apart and min(len(then), len(now)) >= ROUNDS:
        more = FIGURES[figure].more_is_better
        if min(now) > max(then):
            verdict = "better" if more else "worse"
        elif max(now) < min(then):
            verdict = "worse" if more else "better"
    return Change(title, pool, figure, before, after, verdict)
