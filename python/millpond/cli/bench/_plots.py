"""The plots of the HTML report, as SVG that can stand in the middle of a page.

Drawn by Matplotlib, without its pyplot: there is no display, and nothing global.
"""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from millpond.cli._words import duration
from millpond.cli.bench._measurement import Measurement
from millpond.cli.bench._recommend import told
from millpond.cli.bench._report import Sweep

__all__ = ["bars", "lines"]

_INK, _SOFT, _LINE = "#1c2733", "#5b6875", "#dbe1e6"
_COLOURS = ("#0b6fb8", "#d1730f", "#6a4fa3", "#1b7f3b", "#b3261e", "#7a7f85")
_SHARES = ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"), (1.0, "max"))

_STYLE: Any = {
    # Text stays text: it can be searched, and needs no glyphs in the page.
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10.0,
    "text.color": _INK,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _SOFT,
    "axes.titlesize": 11.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _LINE,
    # Values are no formulas, though they may have dollars in them.
    "text.parse_math": False,
    "xtick.color": _SOFT,
    "ytick.color": _SOFT,
}

_WIDTH, _HEIGHT = 5.6, 3.4


def lines(sweep: Sweep) -> list[str]:
    """Draw throughput and waits of a sweep, by its values."""
    series = _series(sweep)
    if not series:
        return []
    ours, *others = series
    shares = [
        _Series(name, ours.measured, partial(_wait, share), colour)
        for (share, name), colour in zip(_SHARES, _COLOURS, strict=False)
    ]
    longest = [replace(each, figure=partial(_wait, 1.0)) for each in series]
    whose = f" of {ours.name}" if others else ""
    plots = [
        _by_value(sweep, "checkouts per second", series, lambda value, _: f"{value:,.0f}"),
        _by_value(sweep, f"wait{whose}", shares, _tick),
    ]
    return [*plots, _by_value(sweep, "longest wait", longest, _tick)] if others else plots


@dataclass(frozen=True)
class _Series:
    """A line: one figure of one pool, for all values."""

    name: str
    measured: Sequence[Measurement | None]
    figure: Callable[[Measurement], float | None]
    colour: str


def _series(sweep: Sweep) -> list[_Series]:
    """Return the throughput of each pool that was measured."""
    found: list[_Series] = []
    for place, outcome in enumerate(sweep.runs[0].outcomes):
        measured = [run.outcomes[place].measurement for run in sweep.runs]
        if any(measured):
            colour = _COLOURS[len(found) % len(_COLOURS)]
            found.append(_Series(outcome.peer.title, measured, lambda one: one.rate, colour))
    return found


def _by_value(
    sweep: Sweep, heading: str, series: Sequence[_Series], write: Callable[[float, int], str]
) -> str:
    labels, best = [told(value) for value in sweep.values], sweep.recommendation
    # Between two words there is nothing.
    style = "none" if any(isinstance(value, str) for value in sweep.values) else "-"
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
        axes: Axes = figure.subplots()
        for each in series:
            _line(axes, each, style)
        axes.set_title(heading)
        axes.set_xticks(range(len(labels)), labels)
        axes.set_xlabel(sweep.parameter)
        axes.set_xlim(-0.5, len(labels) - 0.5)
        # Infinite, if nobody has ever got a connection.
        highest = axes.dataLim.y1
        axes.set_ylim(0, 1.08 * highest if 0 < highest < math.inf else 1.0)
        axes.yaxis.set_major_formatter(FuncFormatter(write))
        if best is not None:
            place = list(sweep.values).index(best.value)
            axes.axvspan(place - 0.18, place + 0.18, color="#eef6fc", zorder=0)
        if len(series) > 1:
            axes.legend(frameon=False, fontsize=9)
        return _svg(figure, heading)


def bars(measured: Mapping[str, Measurement]) -> str:
    """Draw throughput and worst wait of several pools beside each other."""
    names = list(measured)
    places = range(len(names))
    colours = [_COLOURS[0], *[_COLOURS[-1]] * (len(names) - 1)]

    def both(rate: Axes, wait: Axes) -> None:
        rates = [one.rate for one in measured.values()]
        waits = [one.wait(1.0) or 0.0 for one in measured.values()]
        told = ((rate, "checkouts per second", rates, lambda value: f"{value:,.0f}"),)
        for axes, heading, values, write in (*told, (wait, "longest wait", waits, duration)):
            drawn = axes.barh(places, values, color=colours, height=0.6)
            axes.bar_label(drawn, [write(value) for value in values], padding=4, color=_INK)
            axes.set_title(heading)
            axes.set_xlim(0, max(values) * 1.25 or 1.0)
            axes.xaxis.set_visible(False)
            axes.spines["bottom"].set_visible(False)
            axes.tick_params(axis="y", length=0)
            axes.grid(visible=False)
        rate.set_yticks(places, names)
        rate.invert_yaxis()

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(2 * _WIDTH, 0.9 + 0.42 * len(names)), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        both(left, right)
        return _svg(figure, "bars")


def _line(axes: Axes, series: _Series, style: str) -> None:
    whole, rounds = [], []
    for place, measured in enumerate(series.measured):
        if measured is not None:
            whole.append((place, series.figure(measured)))
            rounds += [(place, series.figure(each)) for each in measured.rounds]
    x, y = zip(*whole, strict=True)
    axes.plot(x, y, color=series.colour, marker="o", linestyle=style, label=series.name)
    if rounds:
        x, y = zip(*rounds, strict=True)
        axes.scatter(x, y, s=8, color=series.colour, alpha=0.4, linewidths=0)


def _wait(share: float, measured: Measurement) -> float | None:
    return measured.wait(share)


def _tick(seconds: float, _place: int) -> str:
    return "0" if seconds <= 0 else duration(seconds)


def _svg(figure: Figure, name: str) -> str:
    """Return the SVG element alone: what stands before it names a file on a server."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    # Of several plots in one page, each has its own names for its parts.
    with mpl.rc_context({"svg.hashsalt": f"millpond-{name}-{id(figure)}"}):
        figure.savefig(buffer, format="svg", metadata=nothing, transparent=True)
    text = buffer.getvalue()
    return text[text.index("<svg") :]
