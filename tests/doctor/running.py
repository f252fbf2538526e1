"""Pools at work, as their process tells it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from millpond.doctor.outside import RunningPool, read_document

if TYPE_CHECKING:
    import millpond

WHERE = "http://10.0.0.5:8000/pool.json"


def telling(pool: millpond.Pool[Any], **options: Any) -> RunningPool:
    """Return what a pool of this process tells, and options as its process would tell them."""
    told = {"pools": [{"stats": pool.stats().to_dict(), "options": options}]}
    (found,) = read_document(told, WHERE)
    return found


def with_stats(pool: RunningPool, **stats: Any) -> RunningPool:
    """Return the same with other statistics; ``window__failed`` is one within the window."""
    changed = copy.deepcopy(dict(pool.stats))
    for path, value in stats.items():
        *parents, name = path.split("__")
        at = changed
        for parent in parents:
            at = at[parent]
        assert name in at, f"there are no statistics called {path}"
        at[name] = value
    return RunningPool(pool.where, changed, pool.options)
