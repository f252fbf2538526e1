"""What asking any server has in common: how to connect, rows, and where the server is."""

from __future__ import annotations

import os
import socket
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

from millpond import drivers
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

CONNECT_TIMEOUT: Final = 5.0


@dataclass(frozen=True, slots=True)
class Target:
    """A server that is asked.

    Attributes:
        url: How to connect, with its password.
        driver: The driver that does it.
        options: What the sessions are to be like.
    """

    url: str = field(repr=False)
    driver: drivers.Driver[Any]
    options: drivers.SessionOptions

    @property
    def where(self) -> str:
        """The URL without its password."""
        return drivers.redact(self.url)

    def elsewhere(self, **connect_kwargs: str) -> Target:
        """Return the same with other arguments of the driver."""
        return find([self.url], self.options, **connect_kwargs)

    @contextmanager
    def connection(self) -> Iterator[Any]:
        """Open a connection for the length of a block, as a pool would."""
        conn = self.driver.connect()
        try:
            self.driver.prepare(conn, self.options)
            yield conn
        finally:
            with suppress(Exception):
                self.driver.close(conn)

    def is_local(self, conn: Any) -> bool:  # noqa: ANN401  any driver's
        """Say whether the other end of a connection is on this machine, as far as can be seen."""
        try:
            # A copy, as a socket object closes what it is given.
            with socket.socket(fileno=os.dup(self.driver.fileno(conn))) as copy:
                if copy.family == getattr(socket, "AF_UNIX", None):
                    return True
                return ip_address(copy.getpeername()[0].partition("%")[0]).is_loopback
        except (OSError, ValueError):
            return False


def find(urls: list[str], options: drivers.SessionOptions, **connect_kwargs: str) -> Target:
    """Return the first of some URLs that there is a driver for.

    Raises:
        PoolConfigError: None has one. The error is about the last, as the first may name a driver
            that nobody wants from us.
    """
    *others, last = urls
    for url in others:
        with suppress(PoolConfigError):
            return _target(url, options, connect_kwargs)
    return _target(last, options, connect_kwargs)


def _target(url: str, options: drivers.SessionOptions, connect_kwargs: dict[str, str]) -> Target:
    driver = drivers.find(
        url, connect_kwargs=connect_kwargs, connect_timeout=CONNECT_TIMEOUT, options=options
    )
    return Target(url, driver, options)


def rows(conn: Any, query: str) -> list[tuple[Any, ...]]:  # noqa: ANN401  any PEP 249 connection
    """Return what a query finds, text as text."""
    with closing(conn.cursor()) as cursor:
        cursor.execute(query)
        return [tuple(map(_text, row)) for row in cursor.fetchall()]


def _text(value: Any) -> Any:  # noqa: ANN401
    return value.decode(errors="replace") if isinstance(value, (bytes, bytearray)) else value
