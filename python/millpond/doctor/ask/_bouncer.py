"""PgBouncer and its kin: whether one is in between, and what it does with sessions.

A pooler cannot pass the key on that cancels a statement, as it belongs to a session of the server
and not to a client; so it makes one up, and with it another number of the session than the server
has. That is how it shows itself, whatever its name and port.

Its mode is told by its console, the database ``pgbouncer``, to those whom it lets in. For others
there is an experiment: two connections that are open at once, and are served by the same session,
share it.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from millpond.doctor.ask._target import rows
from millpond.doctor.outside._server import Bouncer

if TYPE_CHECKING:
    from millpond.doctor.ask._target import Target

_SESSION: Final = "SELECT pg_backend_pid()"
# Seconds for which the second connection may wait for its answer. With session pooling and a full
# pool there is none before the first one has gone.
_PATIENCE: Final = 1.0


def look(target: Target, conn: Any) -> Bouncer | None:  # noqa: ANN401
    """Say what is between a connection and its server, ``None`` if it is nothing.

    Raises:
        Exception: What the driver raises.
    """
    told = conn.info.backend_pid
    session = rows(conn, _SESSION)[0][0]
    if told == session:
        return None
    how = f"the server's number of the session is {session}, and the client was told {told}"
    asked: Bouncer | None = None
    with suppress(Exception):  # whatever it is that it does not let us in for
        asked = _ask_console(target, how)
    if asked is not None:
        return asked
    mode = "transaction" if _is_shared(target, conn) else None
    return Bouncer(product="a connection pooler", mode=mode, how=how)


def _ask_console(target: Target, how: str) -> Bouncer:
    with target.elsewhere(dbname="pgbouncer").connection() as console:
        version = rows(console, "SHOW VERSION")[0][0]
        # In old versions without the columns that tell the default.
        config = {row[0]: row[1] for row in rows(console, "SHOW CONFIG")}
    # Of the configuration: what it says for single databases and users is not looked at.
    return Bouncer(
        product=version,
        mode=config["pool_mode"],
        how=how,
        max_clients=int(config["max_client_conn"]),
        pool_size=int(config["default_pool_size"]),
        client_idle_timeout=float(config["client_idle_timeout"]) or None,
        wait_timeout=float(config["query_wait_timeout"]) or None,
        follows_prepared=int(config.get("max_prepared_statements", 0)) > 0,
    )


def _is_shared(target: Target, conn: Any) -> bool:  # noqa: ANN401
    """Say whether a second connection is served by the session that the first one has."""
    others: list[Any] = []

    def ask_beside() -> None:
        with suppress(Exception), target.connection() as other:
            others.extend(rows(other, _SESSION))

    first = rows(conn, _SESSION)
    beside = threading.Thread(target=ask_beside, name="millpond-doctor", daemon=True)
    beside.start()
    beside.join(_PATIENCE)
    return first == others
