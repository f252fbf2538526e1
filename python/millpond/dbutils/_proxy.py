"""What pools hand out: a stand-in for a connection, which gives it back once."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from millpond.dbutils import _fork


class Proxy:
    """Stands for a connection of a pool until it is closed, or collected.

    A subclass says how to give a connection back, and how to look up what the connection has.
    """

    # Closed is: no attribute of that name. `dict.pop` is atomic, also without the GIL, so of two
    # threads that close one proxy only one gives the connection back.
    _con: Any = None

    def __init__(self, pool: Any, con: Any) -> None:
        self._pool = pool
        self._con = con
        self._generation = _fork.fork_generation()

    def close(self) -> None:
        """Give the connection back to the pool; a second time does nothing."""
        connection = vars(self).pop("_con", None)
        if connection is None:
            return
        if self._generation == _fork.fork_generation():
            self._give_back(connection)
        else:
            self._let_go(connection)

    def __del__(self) -> None:
        """Give the connection back to the pool."""
        with suppress(Exception):
            self.close()

    def _give_back(self, connection: Any) -> None:
        """Give the connection back; each pool says how."""
        raise NotImplementedError

    def _let_go(self, connection: Any) -> None:
        """Part with a connection of the parent's pool; that of the child never counted it."""
        _fork.leak(connection)
