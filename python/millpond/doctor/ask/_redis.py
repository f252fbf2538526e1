"""Redis and Valkey."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from millpond.doctor.outside._server import ServerFacts

if TYPE_CHECKING:
    from millpond.doctor.ask._target import Target

_NAMES: Final = {
    "max_connections": "maxclients",
    "idle_timeout": "timeout",
    "keepalive": "tcp-keepalive",
}


def ask(target: Target) -> ServerFacts:
    """Ask a Redis server.

    Raises:
        Exception: What the driver raises.
    """
    with target.connection() as conn:
        about = conn.info("server")
        clients = conn.info("clients")
        config = _config(conn)
        # In INFO since Redis 7, for those to whom CONFIG is forbidden.
        limit = config.get("maxclients", clients.get("maxclients"))
        blocked = int(clients.get("blocked_clients", 0))
        connected = int(clients["connected_clients"]) - 1
        return ServerFacts(
            kind="redis",
            version=str(about.get("redis_version", "unknown")),
            where=target.where,
            is_local=target.is_local(conn),
            max_connections=None if limit is None else int(limit),
            sessions=connected,
            states={"blocked": blocked, "connected": connected - blocked},
            idle_timeout=float(config.get("timeout", 0)) or None,
            keepalive=float(config.get("tcp-keepalive", 0)) or None,
            names=_NAMES,
        )


def _config(conn: Any) -> dict[str, Any]:  # noqa: ANN401
    found: dict[str, Any] = {}
    with suppress(Exception):  # managed servers know no CONFIG, and some users may not
        for name in ("maxclients", "timeout", "tcp-keepalive"):
            found |= conn.config_get(name)
    return found
