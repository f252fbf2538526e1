"""The rows of the table of goals: each measures millpond and its peers in the same run, in turns.

A row that can't be measured here raises LookupError with the reason.
"""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import bench_burst
import bench_contention
import bench_dbutils
import bench_fairness
import bench_free_threaded
import bench_idle
import bench_pair
import bench_select
import bench_with
from _harness import DBUTILS, MILLPOND, PSYCOPG_POOL, Contender, StubConnection, defaults
from _row import Row
from _rows_async import ASYNC
from _rows_recovery import RECOVERY
from millpond.cli._words import duration

__all__ = ["ROWS", "Row"]

_V = TypeVar("_V")

_ROOT = Path(__file__).parents[2]
_PASSES = 5


def pair_with_nothing_to_reset() -> Row:
    """Acquire and release against the cheapest stack there is, and against DBUtils."""
    best = _best(bench_pair.pair_of, (*bench_pair.BARE, bench_pair.DEQUE, bench_pair.LIFO_QUEUE))
    ours, faster = _against(bench_pair.BARE[1], best)
    over_deque = ours / best[str(bench_pair.DEQUE)]
    return Row(
        'acquire() + release(), reset="none"',
        "≤ 2.5 x deque, ≥ 30 x faster than DBUtils",
        f"{duration(ours)}: {over_deque:.1f} x deque, {faster:.0f} x faster",
        _at_most(over_deque, 2.5) and _at_least(faster, 30),
        _list(_others(best)),
    )


def pair_with_defaults() -> Row:
    """Acquire and release with a rollback each time."""
    pools = _best(bench_pair.pair_of, bench_pair.DEFAULTS)
    ours, faster = _against(Contender(DBUTILS), pools)
    return Row(
        "the same with defaults, a rollback each time",
        "≥ 20 x faster than DBUtils",
        f"{duration(ours)}: {faster:.0f} x faster",
        _at_least(faster, 20),
        _list(_others(pools)),
    )


def block() -> Row:
    """The with block against a lock's."""
    best = _best(bench_with.block_of, (*bench_with.DEFAULTS, bench_with.LOCK))
    ours, faster = _against(Contender(DBUTILS), best)
    over_lock = ours / best[bench_with.LOCK]
    return Row(
        "with pool.connection(): pass",
        "≤ 1.3 x a lock's, ≥ 10 x faster than DBUtils",
        f"{duration(ours)}: {over_lock:.2f} x a lock's, {faster:.0f} x faster",
        _at_most(over_lock, 1.3) and _at_least(faster, 10),
        _list(_others(best)),
    )


def contention_fair() -> Row:
    """32 threads on 4 connections, served in turn."""
    return _contention(bench_contention.FAIR, "")


def contention_throughput() -> Row:
    """The same with newcomers let past."""
    return _contention(bench_contention.THROUGHPUT, ', policy="throughput"')


def _contention(contender: Contender, note: str) -> Row:
    rates = _peer_rates()
    ours = bench_contention.checkouts_per_second(contender)
    times = ours / _figure(rates, Contender(DBUTILS))
    return Row(
        f"32 threads on 4 connections, no hold{note}",
        "≥ 100 x DBUtils' throughput",
        f"{ours:,.0f}/s: {times:.0f} x DBUtils",
        _at_least(times, 100),
        ", ".join(f"{label} {rate:,.0f}/s" for label, rate in rates.items()),
    )


@cache
def _peer_rates() -> dict[str, float]:
    peers = _installed(bench_contention.PEERS)
    return {str(peer): bench_contention.checkouts_per_second(peer) for peer in peers}


def fairness() -> Row:
    """24 threads on 4 connections, held for 10 ms."""
    contests = {str(each): bench_fairness.contest(each) for each in _installed(defaults())}
    told = {
        label: (contest.wait(1) or 0.0, contest.fairness or 0.0)
        for label, contest in contests.items()
    }
    (worst, ratio), *_ = told.values()
    return Row(
        "24 threads on 4 connections, 10 ms hold",
        "worst wait ≤ 60 ms, fewest/most ≥ 0.9",
        f"{duration(worst)}, {ratio:.2f}",
        _at_most(worst, 0.06) and _at_least(ratio, 0.9),
        ", ".join(f"{k} {duration(wait)} / {r:.2f}" for k, (wait, r) in _others(told).items()),
    )


def free_threaded() -> Row:
    """Two threads against one without the GIL."""
    gains = {key: two["two"] / two["one"] for key, two in bench_free_threaded.scale_all().items()}
    return Row(
        "free-threaded, 2 threads against 1",
        "≥ 1.8 x the throughput",
        f"{gains['millpond']:.2f} x",
        _at_least(gains["millpond"], 1.8),
        ", ".join(f"{key} {gain:.2f} x" for key, gain in _others(gains).items()),
    )


def select_autocommit() -> Row:
    """SELECT 1 where nothing is left to undo."""
    return _select(bench_select.Setting("postgresql", autocommit=True))


def select_in_transaction() -> Row:
    """SELECT 1 with the rollback that it needs."""
    return _select(bench_select.Setting("postgresql"))


def _select(setting: bench_select.Setting) -> Row:
    if reason := bench_select.missing(setting):
        raise LookupError(reason)
    measured = dict(bench_select.seconds_per_select(setting))
    raw = measured.pop(bench_select.RAW)
    over = {label: seconds - raw for label, seconds in measured.items()}
    ours = over[str(Contender(MILLPOND))]
    return Row(
        f"SELECT 1 on {setting}, over the raw connection",
        "≤ 2 µs",
        f"{ours * 1e6:+.1f} µs",
        _at_most(ours, 2e-6),
        f"raw {duration(raw)}, "
        + ", ".join(f"{k} {extra * 1e6:+.0f} µs" for k, extra in _others(over).items()),
    )


def burst() -> Row:
    """20 threads at an empty pool, 50 ms per connect."""
    took = {str(each): bench_burst.burst(each) for each in _installed(bench_burst.CONTENDERS)}
    ours, *_ = took.values()
    return Row(
        "burst on an empty pool, 20 connects of 50 ms each",
        "all served in ≤ 80 ms",
        duration(ours),
        _at_most(ours, 0.08),
        _list(_others(took)),
    )


def timers() -> Row:
    """The Rust bench of the timer wheel, in its own words."""
    if not (_ROOT / "benches" / "rust" / "wheel.rs").exists():
        message = "there is no benches/rust/wheel.rs"
        raise LookupError(message)
    if (cargo := shutil.which("cargo")) is None:
        message = "cargo is not in the PATH"
        raise LookupError(message)
    command = [cargo, "bench", "--quiet", "-p", "millpond-core", "--bench", "wheel"]
    done = subprocess.run(
        command, cwd=_ROOT, check=True, capture_output=True, text=True, timeout=1800
    )
    fastest = re.findall(r"─ (\w+) +([\d.]+ \S+)", done.stdout)
    longest = [line for line in done.stderr.splitlines() if line.startswith("advance")]
    return Row(
        "1 000 000 timers (a run of 1 ms is 1 ns for each)",
        "insert and cancel ≤ 20 ns, no lock hold over 0.2 ms",
        "\n".join([*(f"{name} {figure}" for name, figure in fastest), *longest]),
        None,
    )


def idle() -> Row:
    """Ten idle connections and nothing due."""
    if reason := bench_idle.missing():
        raise LookupError(reason)
    seconds = 10.0
    seen = {}
    for each in _installed(defaults()):
        if each.peer in {MILLPOND, PSYCOPG_POOL}:
            seen[str(each)] = bench_idle.look_at(each, seconds)
    told = {
        label: f"{each['wakeups']:.0f} wake-ups, {100 * each['cpu'] / seconds:.3f} % CPU"
        for label, each in seen.items()
    }
    ours = seen[str(Contender(MILLPOND))]
    return Row(
        f"idle pool with {bench_idle.SIZE} connections, {seconds:.0f} s",
        "no wake-up that is not due, 0 % CPU",
        told[str(Contender(MILLPOND))],
        _at_most(ours["wakeups"], 0) and _at_most(ours["cpu"] / seconds, 0.001),
        ", ".join(f"{label} {text}" for label, text in _others(told).items()),
    )


def dbutils_cycle() -> Row:
    """The drop-in's take and give back with DBUtils' defaults."""
    return _dbutils_cycle(bench_dbutils.DEFAULTS, "reset and ping at their defaults")


def dbutils_cycle_bare() -> Row:
    """The same with nothing asked of the driver."""
    return _dbutils_cycle(bench_dbutils.BARE, "reset=False, ping=0")


def dbutils_cycle_with_ping() -> Row:
    """The same as the first, with a driver that can ping."""
    return _dbutils_cycle(
        bench_dbutils.DEFAULTS, "a driver with ping()", bench_dbutils.PingedConnection
    )


def _dbutils_cycle(
    options: dict[str, Any], note: str, connect: Callable[[], object] = StubConnection
) -> Row:
    ours, theirs = _best_of_packages(lambda package: bench_dbutils.cycle(package, options, connect))
    return Row(
        f"millpond.dbutils: connection() + close(), {note}",
        "≥ 6 x faster than DBUtils",
        f"{duration(ours)}: {theirs / ours:.1f} x faster",
        _at_least(theirs / ours, 6),
        f"DBUtils {duration(theirs)}",
    )


def dbutils_execute() -> Row:
    """A statement through the drop-in's cursor."""
    turns = [tuple(map(bench_dbutils.executing, bench_dbutils.PACKAGES)) for _ in range(_PASSES)]
    raw = min(plain for turn in turns for _, plain in turn)
    ours, theirs = (min(turn[which][0] for turn in turns) - raw for which in (0, 1))
    return Row(
        "millpond.dbutils: cursor.execute() over the raw cursor's",
        "≤ 0.3 µs",
        f"{ours * 1e9:+.0f} ns",
        _at_most(ours, 0.3e-6),
        f"DBUtils {theirs * 1e9:+.0f} ns",
    )


def dbutils_contention() -> Row:
    """32 threads on 4 connections of the drop-in."""
    ours, theirs = (bench_dbutils.throughput(each, 32, 4) for each in bench_dbutils.PACKAGES)
    return Row(
        "millpond.dbutils: 32 threads on 4 connections, no hold",
        "",
        f"{ours:,.0f}/s: {ours / theirs:.1f} x DBUtils, served in turn",
        None,
        f"DBUtils {theirs:,.0f}/s",
    )


def dbutils_connecting() -> Row:
    """Four connects at once."""
    ours, theirs = (bench_dbutils.connecting(each) for each in bench_dbutils.PACKAGES)
    return Row(
        "millpond.dbutils: four connects of 0.2 s at once",
        "side by side",
        duration(ours),
        _at_most(ours, 0.3),
        f"DBUtils {duration(theirs)}",
    )


def dbutils_free_threaded() -> Row:
    """Two threads against one without the GIL, on the drop-in."""
    figures = bench_dbutils.scale_all()
    ours, theirs = (figures[each]["two"] / figures[each]["one"] for each in bench_dbutils.PACKAGES)
    over = figures[bench_dbutils.OURS]["two"] / figures[bench_dbutils.THEIRS]["two"]
    return Row(
        "millpond.dbutils: free-threaded, 2 threads against 1",
        "",
        f"{ours:.2f} x; {over:.1f} x DBUtils with two threads",
        None,
        f"DBUtils {theirs:.2f} x",
    )


def _best_of_packages(measure: Callable[[str], float]) -> tuple[float, float]:
    """Return the best figure of the drop-in and of DBUtils, which take turns."""
    turns = [tuple(map(measure, bench_dbutils.PACKAGES)) for _ in range(_PASSES)]
    ours, theirs = map(min, zip(*turns, strict=True))
    return ours, theirs


ROWS: dict[str, Callable[[], Row]] = {
    "pair": pair_with_nothing_to_reset,
    "pair-defaults": pair_with_defaults,
    "with": block,
    "contention": contention_fair,
    "contention-throughput": contention_throughput,
    "fairness": fairness,
    "free-threaded": free_threaded,
    "select": select_autocommit,
    "select-transaction": select_in_transaction,
    "burst": burst,
    **RECOVERY,
    **ASYNC,
    "timers": timers,
    "idle": idle,
    "dbutils": dbutils_cycle,
    "dbutils-bare": dbutils_cycle_bare,
    "dbutils-ping": dbutils_cycle_with_ping,
    "dbutils-execute": dbutils_execute,
    "dbutils-contention": dbutils_contention,
    "dbutils-connecting": dbutils_connecting,
    "dbutils-free-threaded": dbutils_free_threaded,
}
"""All rows, by the name that ``--rows`` takes."""


def _installed(contenders: Iterable[Contender]) -> list[Contender]:
    return [each for each in contenders if each.peer.version is not None]


def _best(measure: Callable[[Any], float], subjects: Iterable[object]) -> dict[str, float]:
    """Return the best figure of each installed subject. They take turns: noise hits all of them."""
    best: dict[str, float] = {}
    for _ in range(_PASSES):
        for subject in subjects:
            if not isinstance(subject, Contender) or subject.peer.version is not None:
                seconds = measure(subject)
                best[str(subject)] = min(seconds, best.get(str(subject), seconds))
    return best


def _figure(figures: Mapping[str, float], contender: Contender) -> float:
    if str(contender) not in figures:
        message = f"{contender.peer.distribution} is not installed"
        raise LookupError(message)
    return figures[str(contender)]


def _against(rival: Contender, seconds: Mapping[str, float]) -> tuple[float, float]:
    """Return millpond's figure, which comes first, and by how many times it beats the rival."""
    ours = next(iter(seconds.values()))
    return ours, _figure(seconds, rival) / ours


def _at_most(figure: float, limit: float) -> bool:
    return figure <= limit


def _at_least(figure: float, limit: float) -> bool:
    return figure >= limit


def _others(figures: Mapping[str, _V]) -> dict[str, _V]:
    """Leave out the first, which is millpond."""
    return dict(list(figures.items())[1:])


def _list(figures: Mapping[str, float]) -> str:
    return ", ".join(f"{label} {duration(seconds)}" for label, seconds in figures.items())
