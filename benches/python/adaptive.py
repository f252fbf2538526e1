"""An `AdaptiveSizer` under a load that jumps, one that comes in bursts, and one with day and night.

    python benches/python/adaptive.py --plot adaptive.png

Nothing here takes as long as it says: the callers, the connections and the clock are simulated
(`queueing.py`), the sizer is the real one. The dashed line is what `millpond.sizing.by_load` would
choose, if it knew how many callers come at that moment.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from millpond import AdaptiveSizer
from millpond._decision import SizerDecision
from millpond.sizing import by_load
from queueing import Arrivals, SimulatedPool, Simulation, exponential

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["SCENARIOS", "Moment", "Run", "Scenario", "simulate"]

_STEP = 1.0
_MINUTE = 60.0

# Waits are drawn as their mean of so many seconds.
_STRETCH = 15.0


@dataclass(frozen=True)
class Scenario:
    """A load, and a sizer for it.

    Attributes:
        name: What to call it.
        rate: Callers per second at a time.
        most: The highest rate.
        seconds: How long it goes on.
        use_time: Seconds that a connection is kept on average, exponentially distributed.
        target_wait: What the sizer is asked for.
        start: The pool's size at the beginning.
        sizes: The sizer's limits.
    """

    name: str
    rate: Callable[[float], float]
    most: float
    seconds: float
    use_time: float = 0.2
    target_wait: float = 0.04
    start: int = 4
    sizes: tuple[int, int] = (2, 60)

    def optimum(self, time: float) -> int:
        """Return the fewest connections that meet the target, for the rate of a time."""
        return by_load(self.rate(time), self.use_time, self.target_wait).size


@dataclass(frozen=True)
class Moment:
    """What happened between one step of the sizer and the one before.

    Attributes:
        time: When the step was.
        size: The pool's size since then.
        in_use: Connections in use at that moment.
        acquired: Callers that were served.
        waited: Seconds that these waited, together.
    """

    time: float
    size: int
    in_use: int
    acquired: int
    waited: float


@dataclass
class Run:
    """What became of a scenario."""

    scenario: Scenario
    moments: list[Moment] = field(default_factory=list)
    changes: tuple[SizerDecision, ...] = ()

    @property
    def turns(self) -> int:
        """How often the size went up after it had gone down, or the other way round."""
        directions = [change.after > change.before for change in self.changes]
        return sum(one != other for one, other in pairwise(directions))

    def between(self, begin: float, end: float) -> list[Moment]:
        """Return the moments of a time."""
        return [one for one in self.moments if begin < one.time <= end]

    def mean_wait(self, begin: float = 0.0, end: float = math.inf) -> float:
        """Return how long the callers of a time waited on average."""
        return _mean_wait(self.between(begin, end))

    def in_time(self, begin: float = 0.0, end: float = math.inf) -> float:
        """Return the share of the minutes in which the mean wait was within the target."""
        moments = self.between(begin, end)
        count = int(_MINUTE / _STEP)
        minutes = [moments[start : start + count] for start in range(0, len(moments), count)]
        good = [_mean_wait(minute) <= self.scenario.target_wait for minute in minutes]
        return sum(good) / len(good)


def _mean_wait(moments: list[Moment]) -> float:
    return sum(one.waited for one in moments) / max(1, sum(one.acquired for one in moments))


def _jump(time: float) -> float:
    return 50.0 if 300 <= time < 1200 else 10.0  # noqa: PLR2004 - the load


def _bursts(time: float) -> float:
    return 75.0 if 60 <= time % 180 < 75 else 10.0  # noqa: PLR2004 - the load


def _day(time: float) -> float:
    return 42.0 - 37.0 * math.cos(2 * math.pi * time / 7200)


SCENARIOS = (
    Scenario("step", _jump, 50.0, 2400.0),
    Scenario("bursts", _bursts, 75.0, 7200.0),
    Scenario("day and night", _day, 79.0, 14_400.0),
)


def simulate(scenario: Scenario, *, seed: int = 1, **options: Any) -> Run:  # noqa: ANN401
    """Run a scenario. `options` are for the sizer."""
    run, simulation = Run(scenario), Simulation()
    pool = SimulatedPool(
        simulation,
        exponential(scenario.use_time),
        max_size=scenario.start,
        opening=0.02,
        seed=seed,
    )
    low, high = scenario.sizes
    sizer = AdaptiveSizer(
        pool,
        min_size=low,
        max_size=high,
        target_wait=scenario.target_wait,
        clock=lambda: simulation.now,
        **options,
    )
    waits: list[float] = []
    changes: list[SizerDecision] = []
    pool.on_wait = waits.append

    def look() -> None:
        decision = sizer.step()
        if decision.after != decision.before:
            changes.append(decision)
        run.moments.append(
            Moment(simulation.now, pool.max_size, pool.in_use, len(waits), sum(waits))
        )
        waits.clear()

    simulation.every(_STEP, look)
    pool.serve(Arrivals(scenario.rate, scenario.most))
    simulation.run(scenario.seconds)
    run.changes = tuple(changes)
    return run


def _plot(runs: list[Run], file: Path) -> None:
    # As a file, also where there is no screen.
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - an extra
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra

    figure = Figure(figsize=(11, 4 * len(runs)), layout="constrained")
    FigureCanvasAgg(figure)
    rows = figure.subplots(2 * len(runs), 1, height_ratios=[3, 1] * len(runs))
    for run, sizes, waits in zip(runs, rows[::2], rows[1::2], strict=True):
        _plot_sizes(run, sizes)
        _plot_waits(run, waits)
        sizes.sharex(waits)
    figure.savefig(file, dpi=110)


def _plot_sizes(run: Run, axes: "Axes") -> None:
    scenario = run.scenario
    minutes = [one.time / _MINUTE for one in run.moments]
    used = [one.in_use for one in run.moments]
    axes.fill_between(minutes, used, color="tab:blue", alpha=0.25, linewidth=0, label="in use")
    optimum = [scenario.optimum(one.time) for one in run.moments]
    axes.plot(minutes, optimum, "--", color="black", linewidth=1, label="by_load (Erlang C)")
    sizes = [one.size for one in run.moments]
    axes.step(minutes, sizes, where="post", color="tab:red", linewidth=1.8, label="max_size")
    axes.set_ylabel("connections")
    # Room for the legend.
    axes.set_ylim(0, 1.25 * max(sizes))
    axes.legend(loc="upper right", ncols=3, frameon=False)
    axes.set_title(
        f"{scenario.name}: {len(run.changes)} changes, {run.turns} turns, mean wait "
        f"{1e3 * run.mean_wait():.1f} ms, {run.in_time():.0%} of the minutes within the target of "
        f"{1e3 * scenario.target_wait:g} ms",
        loc="left",
        fontsize=10,
    )


def _plot_waits(run: Run, axes: "Axes") -> None:
    end = run.scenario.seconds
    begins = [index * _STRETCH for index in range(int(end / _STRETCH))]
    waits = [1e3 * run.mean_wait(begin, begin + _STRETCH) for begin in begins]
    minutes = [begin / _MINUTE for begin in begins]
    axes.step(minutes, waits, where="post", color="tab:green", linewidth=1)
    target = 1e3 * run.scenario.target_wait
    axes.axhline(target, color="tab:green", linestyle=":", linewidth=1)
    # Logarithmic from the target on.
    axes.set_yscale("symlog", linthresh=target)
    highest = 3 * max(*waits, target)
    axes.set_ylim(0, highest)
    ticks = [tick for tick in (0.0, target, 1e3, 1e4) if tick < highest]
    axes.set_yticks(ticks, [f"{tick:,.0f}" for tick in ticks], minor=False)
    axes.set_yticks([], minor=True)
    axes.set_xlim(0, end / _MINUTE)
    axes.set_ylabel("wait, ms")
    axes.set_xlabel("minutes")


def _table(runs: list[Run]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("load", "changes", "turns", "mean wait", "minutes in time", "time too small"):
        table.add_column(name, justify="left" if name == "load" else "right")
    for run in runs:
        small = sum(one.size < run.scenario.optimum(one.time - _STEP) for one in run.moments)
        table.add_row(
            run.scenario.name,
            str(len(run.changes)),
            str(run.turns),
            f"{1e3 * run.mean_wait():.2f} ms",
            f"{run.in_time():.1%}",
            f"{small / len(run.moments):.2%}",
        )
    return table


def main(
    *,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw it, as .png or .svg.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Of the dice.")] = 1,
) -> None:
    """Simulate every load, and print what the sizer made of it."""
    runs = [simulate(scenario, seed=seed) for scenario in SCENARIOS]
    console = Console()
    console.print(_table(runs), highlight=False)
    for run in runs:
        console.print(f"{run.scenario.name}:", highlight=False)
        for one in run.changes:
            line = f"  {one.time:6.0f} s  {one.before:2} -> {one.after:2}  {one.reason}"
            console.print(line, highlight=False, soft_wrap=True)
    if plot is not None:
        _plot(runs, plot)


if __name__ == "__main__":
    typer.run(main)
