"""What pools do, told to monitoring systems: `prometheus` and `opentelemetry`.

Both read `Pool.stats()` when they are asked, so they cost an acquire nothing. They tell the same,
by the names that OpenTelemetry's semantic conventions have for it.

Each is imported by its own name and needs the extra of the same name.
"""
