"""What the rules about errors have in common: their remark, and advice in the pool's own words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from millpond.doctor._findings import Remark

if TYPE_CHECKING:
    from millpond.doctor._findings import Severity
    from millpond.doctor.outside._symptoms import Symptoms

__all__ = ["advise", "remark"]


def remark(
    log: Symptoms, kind: str, message: str, fix: str, *, severity: Severity | None = None
) -> Remark:
    """Return the remark about a kind of error, at its first line."""
    return Remark(message=message, place=log.where(kind), fix=fix, severity=severity)


def advise(log: Symptoms, *, millpond: str, **others: str) -> str:
    """Return what to set, in the words of the pools that are known.

    Args:
        log: What was found, with its pools.
        millpond: The advice for a pool of millpond, which is also for those that are unknown.
        others: The same for ``sqlalchemy``, ``django`` and ``dbutils``, where it is another.
    """
    known = dict.fromkeys(pool.kind.removeprefix("millpond.").split(".")[0] for pool in log.pools)
    said = [others[kind] for kind in known if kind in others]
    if len(said) < len(known) or not known:
        said.insert(0, millpond)
    return ", or ".join(said)
