"""Three sets of timeouts to start from.

Pass one with ``**``, and change what you want to be different:

    Pool(url, **presets.RECOMMENDED)
    Pool(url, **(presets.RECOMMENDED | {"idle_timeout": 60.0}))

They are read-only, and all durations are seconds.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final, TypedDict, cast

__all__ = ["AGGRESSIVE", "CONSERVATIVE", "RECOMMENDED", "Preset"]


class Preset(TypedDict):
    """The arguments of a pool that a preset sets."""

    connect_timeout: float
    acquire_timeout: float
    idle_timeout: float
    max_lifetime: float


def _preset(*, connect: float, acquire: float, idle: float, lifetime: float) -> Preset:
    values = {
        "connect_timeout": connect,
        "acquire_timeout": acquire,
        "idle_timeout": idle,
        "max_lifetime": lifetime,
    }
    # A TypedDict for the type checker only, which otherwise refuses it as `**` of an argument list.
    return cast("Preset", MappingProxyType(values))


CONSERVATIVE: Final = _preset(connect=10.0, acquire=5.0, idle=3600.0, lifetime=86_400.0)
"""Batch jobs and slow networks: wait long, keep connections for hours."""

RECOMMENDED: Final = _preset(connect=5.0, acquire=1.0, idle=600.0, lifetime=3600.0)
"""Web services: a request that cannot get a connection within a second gives up."""

AGGRESSIVE: Final = _preset(connect=1.0, acquire=0.1, idle=30.0, lifetime=1800.0)
"""Latency first: fail at once, let somebody else try, hold nothing that is not used."""
