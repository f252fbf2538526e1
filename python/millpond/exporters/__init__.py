"""What pools do, told to monitoring systems: `prometheus` and `opentelemetry`.

Both read `Pool.stats()` when they are asked, so they cost an acquire nothing. They tell the same,
by the names that OpenTelemetry's semantic conventions have for it.

Each needs the extra of the same name, and is imported when it is asked for.
"""

import importlib
import typing

if not typing.TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name in {"opentelemetry", "prometheus"}:
            return importlib.import_module(f"millpond.exporters.{name}")
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
