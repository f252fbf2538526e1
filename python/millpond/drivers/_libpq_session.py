"""The sessions of psycopg and psycopg2, whose calls block."""

from __future__ import annotations

from typing import Any

from millpond.drivers import _postgres
from millpond.drivers._base import C
from millpond.drivers._dbapi import Dbapi
from millpond.drivers._libpq import Libpq
from millpond.drivers._session import DEFAULTS, SessionOptions


class LibpqSession(Libpq[C], Dbapi[C]):
    """What both drivers do on an open connection."""

    def prepare(self, conn: C, options: SessionOptions = DEFAULTS) -> None:
        """Carry out what connecting has not."""
        if options.profile is None:
            super().prepare(conn, options)
            return
        self._prepare_for_bouncer(conn, options)
        if options.autocommit is not None:
            self.set_autocommit(conn, value=options.autocommit)

    def _prepare_for_bouncer(self, conn: C, options: SessionOptions) -> None:
        """Have the driver, each in its way, say with BEGIN what a session could not keep."""
        raise NotImplementedError

    def reset_session(self, conn: Any) -> None:  # noqa: ANN401
        """Roll back, DISCARD ALL, and give the connection's attributes their first values."""
        self.reset(conn)
        conn.autocommit = True
        self.execute(conn, self._reset_statement())
        self.restore_attributes(conn)

    def begin(
        self,
        conn: Any,  # noqa: ANN401
        *,
        isolation: str | None = None,
        read_only: bool | None = None,
    ) -> None:
        """Begin a transaction; without autocommit the driver's first statement does it."""
        self.check_begin(isolation=isolation, read_only=read_only)
        opening = _postgres.opening(isolation, read_only, autocommit=conn.autocommit)
        if opening:
            self.execute(conn, opening)
