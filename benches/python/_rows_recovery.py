"""The rows of the table of goals that are about a bad day."""

import math
from collections.abc import Callable

import bench_recovery
from _harness import MILLPOND, Contender
from _row import Row
from bench_recovery import Recovery
from millpond.cli._words import duration

__all__ = ["RECOVERY"]

_GOAL = 0.05
_OURS = str(Contender(MILLPOND))


def recovery_8() -> Row:
    """All of 8 idle sessions terminated."""
    return _recovery(8)


def recovery_32() -> Row:
    """The same with 32."""
    return _recovery(32)


def recovery_128() -> Row:
    """The same with 128."""
    return _recovery(128)


def _recovery(size: int) -> Row:
    seen = _recoveries(lambda each: bench_recovery.after_termination(each, size))
    ours = seen.pop(_OURS)
    return Row(
        f"every idle backend killed, {size} connections",
        "next request succeeds, ≤ 50 ms, no error seen",
        _show(ours),
        ours.first <= _GOAL and ours.errors == 0,
        ", ".join(f"{label} {_show(each)}" for label, each in seen.items()),
    )


def recovery_restart() -> Row:
    """The server stopped for half a second under load."""
    seen = _recoveries(bench_recovery.after_restart)
    ours = seen.pop(_OURS)
    return Row(
        f"restart, {bench_recovery.THREADS} threads on {bench_recovery.CONNECTIONS} connections",
        "errors only where a statement had begun",
        _show(ours),
        ours.errors <= bench_recovery.CONNECTIONS,
        ", ".join(f"{label} {_show(each)}" for label, each in seen.items()),
    )


def _recoveries(
    recover: Callable[[Contender], Recovery],
) -> dict[str, Recovery]:
    if reason := bench_recovery.missing():
        raise LookupError(reason)
    try:
        return {
            str(each): recover(each)
            for each in bench_recovery.CONTENDERS
            if each.peer.version is not None
        }
    finally:
        bench_recovery.stop_server()


def _show(recovery: Recovery) -> str:
    took = "never" if math.isinf(recovery.first) else duration(recovery.first)
    return f"{took} / {recovery.errors} errors"


RECOVERY: dict[str, Callable[[], Row]] = {
    "recovery-8": recovery_8,
    "recovery-32": recovery_32,
    "recovery-128": recovery_128,
    "recovery-restart": recovery_restart,
}
