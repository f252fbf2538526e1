"""Workloads on millpond and on every peer, one after the other.

Whatever a pool does, the comparison goes on: an error, or a call that never returns, becomes that
pool's result. In several rounds all take turns, and each round begins with another one: what else
the machine does, and what a pool leaves behind for the next, hits all of them.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from millpond.cli._database import Database
from millpond.cli._in_time import in_time
from millpond.cli.bench._crew import GRACE
from millpond.cli.bench._measurement import CanNotOpenError, Measurement, merge
from millpond.cli.bench._peers import Handle, Peer
from millpond.cli.bench._tasks import run_tasks
from millpond.cli.bench._workload import Workload, measure, warm_up

__all__ = ["Outcome", "Run", "compare", "compare_all"]

_OPENING = 5.0
"""Seconds that a pool may take to be there, and then to open all its connections."""

OnTick = Callable[[Peer, float], None]


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
        """Whether all rounds were measured, and neither an error nor a hanging client was seen."""
        return self.measurement is not None and not (
            self.error or self.measurement.errors or self.measurement.hung
        )


@dataclass(frozen=True)
class Run:
    """All outcomes of one workload, millpond's first."""

    workload: Workload
    outcomes: tuple[Outcome, ...]


def compare(
    database: Database,
    workload: Workload,
    peers: Sequence[Peer],
    on_tick: OnTick = lambda _peer, _seconds: None,
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
        return _put_to_work(peer, database, workload, partial(on_tick, peer))

    return Run(workload, tuple(outcome_of(peer) for peer in peers))


def compare_all(
    database: Database,
    workloads: Sequence[Workload],
    peers: Sequence[Peer],
    rounds: int,
    on_tick: OnTick = lambda _peer, _seconds: None,
) -> tuple[Run, ...]:
    """Put ``peers`` through all of ``workloads``, in ``rounds`` rounds.

    Each round takes its share of a workload's seconds, on pools that are opened anew.
    """
    shares = [replace(workload, seconds=workload.seconds / rounds) for workload in workloads]

    def turn(number: int) -> list[Run]:
        first = number % len(peers)
        order = [*peers[first:], *peers[:first]]
        runs = [compare(database, share, order, on_tick) for share in shares]
        back = len(peers) - first
        return [replace(run, outcomes=run.outcomes[back:] + run.outcomes[:back]) for run in runs]

    turns = [turn(number) for number in range(rounds)]
    return tuple(
        Run(workload, tuple(map(_merge, *(run.outcomes for run in runs))))
        for workload, runs in zip(workloads, map(list, zip(*turns, strict=True)), strict=True)
    )


def _merge(*outcomes: Outcome) -> Outcome:
    error = next((outcome.error for outcome in outcomes if outcome.error), None)
    measured = [each.measurement for each in outcomes if each.measurement is not None]
    return Outcome(outcomes[0].peer, merge(measured) if measured else None, error)


def _put_to_work(
    peer: Peer, database: Database, workload: Workload, on_tick: Callable[[float], None]
) -> Outcome:
    # The options are millpond's own; a peer has others.
    options = workload.options if peer.is_millpond else {}
    open_ = partial(peer.open, database, workload.size, workload.patience, **options)
    try:
        if workload.tasks:
            measured = run_tasks(open_, workload, _OPENING, on_tick)
        else:
            measured = _with_threads(open_, workload, on_tick)
    except CanNotOpenError as failed:
        error = failed.__cause__
        said = f"can't open its connections: {type(error).__name__}: {error}"
        return Outcome(peer, error=database.scrub(said))
    except TimeoutError as error:
        return Outcome(peer, error=f"it blocked the event loop: {error}")
    first_error = measured.first_error and database.scrub(measured.first_error)
    return Outcome(peer, measured, first_error)


def _with_threads(
    open_: Callable[[], Handle], workload: Workload, on_tick: Callable[[float], None]
) -> Measurement:
    try:
        handle = in_time(open_, _OPENING)
    except Exception as error:
        raise CanNotOpenError from error
    try:
        _warm_up(handle, workload.size)
        return measure(handle, workload, on_tick)
    finally:
        # Also if it can't warm up: what it has is missing for those who come after it. A pool that
        # hangs or fails here has shown what it is already.
        with suppress(Exception):
            in_time(handle.close, GRACE)


def _warm_up(handle: Handle, size: int) -> None:
    try:
        in_time(partial(warm_up, handle, size), _OPENING)
    except Exception as error:
        raise CanNotOpenError from error
