"""What the two simple pools have in common: they open all their connections at once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from millpond.dbutils import _fork
from millpond.dbutils._proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable


class SimpleProxy(Proxy):
    """A connection taken from a simple pool; it has everything that the driver's connection has."""

    def __getattr__(self, name: str) -> Any:
        """Give what the connection has; nothing, when it was closed."""
        return getattr(self._con, name)


class SimplePool:
    """Opens all its connections at once, and in a forked child when it is first asked."""

    def _fill(self, count: int, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self._size = len(range(count))
        self._expect_all()
        self._open_missing()
        _fork.register(self)

    def _expect_all(self) -> None:
        self._missing = self._size
        self._filling = threading.Lock()

    def _open_missing(self) -> None:
        if not self._missing:
            return
        with self._filling:
            while self._missing:
                self._add(self._connect())
                self._missing -= 1

    def _add(self, con: Any) -> None:
        """Put a new connection aside; each of the two pools says where."""
        raise NotImplementedError

    def _begin_in_child(self) -> None:
        """Forget what the parent has; each of the two pools says what that is."""
        raise NotImplementedError
