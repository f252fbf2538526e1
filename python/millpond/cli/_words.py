"""How durations are written."""

from millpond._stats_table import three_digits

__all__ = ["duration"]


def duration(seconds: float | None) -> str:
    """Write a duration with the unit that suits it: ``850 ns``, ``51 ms``, ``2.04 s``."""
    if seconds is None:
        return "-"
    for unit, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= unit:
            return f"{three_digits(seconds / unit)} {name}"
    return f"{seconds * 1e9:.0f} ns"
