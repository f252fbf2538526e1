"""What callers need: sizes from how often a connection is asked for, and for how long."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NoReturn

from millpond._config import MAX_COUNT, MAX_SECONDS, MAX_SIZE, check_between
from millpond._stats_table import seconds
from millpond.errors import PoolConfigError
from millpond.sizing._result import Sizing
from millpond.sizing.queues import erlang_c, smallest, variability

if TYPE_CHECKING:
    from collections.abc import Iterable

    from millpond._stats import PoolStats

_MAX_CV: Final = 1000.0

# With fewer samples of the time of use, their spread is an accident.
_FEWEST_SAMPLES: Final = 20


def by_load(
    arrival_rate: float,
    use_time: float,
    target_wait: float,
    *,
    probability: float | None = None,
    cv_use: float = 1.0,
    cv_arrivals: float = 1.0,
) -> Sizing:
    """Return the fewest connections with which callers wait no longer than a target.

    By Little's law ``arrival_rate * use_time`` connections are in use on average. As arrivals and
    times of use vary, more are needed: the smallest number whose wait in the queue M/M/c (Erlang's
    formula C) meets the target. With coefficients of variation other than 1 the wait is corrected
    as Allen and Cunneen do. `millpond.sizing.queues` has the formulas and their sources.

    Args:
        arrival_rate: Acquires per second, those that fail for lack of a connection included.
        use_time: Mean seconds from acquire to release.
        target_wait: Seconds that an acquire may wait.
        probability: The share of all acquires that are not to wait longer, such as 0.95. ``None``,
            the default, is for the mean of all acquires.
        cv_use: Standard deviation of the time of use, divided by its mean. 1.0, the default, is
            that of exponential times, 0 if all are equal.
        cv_arrivals: The same of the time between arrivals. 1.0, the default, is that of callers
            who do not know of each other; more for bursts.

    Raises:
        PoolConfigError: An argument is not valid, or the load needs more connections than a pool
            can have.
    """
    arrival_rate = check_between("arrival_rate", arrival_rate, 0, MAX_COUNT)
    use_time = check_between("use_time", use_time, 0, MAX_SECONDS)
    target_wait = check_between("target_wait", target_wait, 0, MAX_SECONDS)
    if probability is not None:
        probability = check_between("probability", probability, 0, 1)
    cv_use = check_between("cv_use", cv_use, 0, _MAX_CV, zero=True)
    cv_arrivals = check_between("cv_arrivals", cv_arrivals, 0, _MAX_CV, zero=True)
    load = arrival_rate * use_time
    factor = variability(cv_use, cv_arrivals)
    if load >= MAX_SIZE:
        _refuse(arrival_rate, use_time, f"{load:g} connections on average; must be below")
    size, wait = smallest(load, use_time, target_wait, probability=probability, factor=factor)
    if size > MAX_SIZE:
        _refuse(arrival_rate, use_time, f"{size} connections; must be no more than")
    of_whom = "mean" if probability is None else f"p{probability * 100:g}"
    reason = (
        f"{arrival_rate:.4g}/s * {seconds(use_time)} = {load:.3g} in use on average; with {size} "
        f"the {of_whom} wait is {seconds(wait)}, target {seconds(target_wait)} "
        f"({_model(cv_use, cv_arrivals)}, {erlang_c(size, load):.1%} wait)"
    )
    inputs = {
        "arrival_rate": arrival_rate,
        "use_time": use_time,
        "target_wait": target_wait,
        "probability": probability,
        "cv_use": cv_use,
        "cv_arrivals": cv_arrivals,
    }
    return Sizing(size, reason, inputs)


def _refuse(arrival_rate: float, use_time: float, need: str) -> NoReturn:
    msg = f"arrival_rate={arrival_rate!r}, use_time={use_time!r}: need {need} {MAX_SIZE}"
    raise PoolConfigError(msg)


def by_load_of(
    stats: PoolStats | Mapping[str, Any],
    target_wait: float,
    *,
    probability: float | None = None,
    cv_arrivals: float = 1.0,
) -> Sizing:
    """Return what `by_load` does with what a pool has measured in its window, the last minute.

    The arrivals are the acquires that succeeded and those that timed out. The time of use is that
    of the window, or of all time if nothing was measured in the window, and its coefficient of
    variation comes from the histogram.

    A pool that is too small cannot tell how much it was asked for: callers that are held up ask
    less often. Look again when it has been resized.

    Args:
        stats: What ``pool.stats()`` returned; or its ``to_dict()``, perhaps of another process.
        target_wait: Seconds that an acquire may wait.
        probability: As in `by_load`.
        cv_arrivals: As in `by_load`.

    Raises:
        PoolConfigError: An argument is not valid, or the pool has not measured anything yet.
    """
    unknown: Mapping[str, Any] = {"count": 0}
    try:
        measured: Mapping[str, Any] = stats if isinstance(stats, Mapping) else stats.to_dict()
        window = measured["window"]
        arrivals = int(window["acquired"]) + int(window["timed_out"])
        lasted = float(window["seconds"])
        both = (window["use_time"], measured["use_time"])
        times = next((one for one in both if one["count"] and one["mean"]), unknown)
        variation = _variation(times["buckets"]) if times["count"] else 1.0
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        msg = f"stats: must be a PoolStats or its to_dict(); {type(error).__name__}: {error}"
        raise PoolConfigError(msg) from None
    if not times["count"] or not arrivals or not lasted:
        msg = (
            f"stats=<{measured.get('name')}>: must be of a pool that was in use in the last "
            f"minute; it has {arrivals} acquires, {times['count']} of them timed"
        )
        raise PoolConfigError(msg)
    found = by_load(
        arrivals / lasted,
        times["mean"],
        target_wait,
        probability=probability,
        cv_use=variation,
        cv_arrivals=cv_arrivals,
    )
    source = f"measured: {arrivals} acquires in {seconds(lasted)}, {times['count']} of them timed"
    return replace(found, reason=f"{found.reason}; {source}")


def _variation(buckets: Iterable[tuple[float, int]]) -> float:
    """Return the coefficient of variation of a histogram, and 1.0 if it has too few samples.

    Every sample is taken for its bucket's upper bound. That is too much by about the same factor
    for all, which the quotient of standard deviation and mean does not show.
    """
    pairs = list(buckets)
    count = sum(number for _, number in pairs)
    if count < _FEWEST_SAMPLES:
        return 1.0
    mean = sum(bound * number for bound, number in pairs) / count
    variance = sum((bound - mean) ** 2 * number for bound, number in pairs) / count
    return min(math.sqrt(variance) / mean, _MAX_CV / 2)


def _model(cv_use: float, cv_arrivals: float) -> str:
    if cv_use == cv_arrivals == 1.0:
        return "M/M/c"
    kind = "M/G/c" if cv_arrivals == 1.0 else "G/G/c"
    return f"{kind}, cv {cv_use:.2g}" + ("" if cv_arrivals == 1.0 else f" and {cv_arrivals:.2g}")
