"""What is done to the sockets of drivers, for drivers that do not do it themselves."""

from __future__ import annotations

import math
import os
import select
import socket
from typing import Final

# A server that said farewell, in poll()'s words. POLLRDHUP is Linux's.
_HUNG_UP: Final = (
    getattr(select, "POLLHUP", 0)
    | getattr(select, "POLLERR", 0)
    | getattr(select, "POLLNVAL", 0)
    | getattr(select, "POLLRDHUP", 0)
)


def is_alive(fileno: int) -> bool | None:
    """Say whether the connection behind a socket is alive. ``None`` is: ask the server.

    A hang-up is a death; something to read on an idle connection may be a farewell too, or a
    notification.
    """
    if fileno < 0 or not _HUNG_UP:
        return None
    poll = select.poll()
    poll.register(fileno, select.POLLIN | _HUNG_UP)
    events = [event for _, event in poll.poll(0)]
    if not events:
        return True
    return False if events[0] & _HUNG_UP else None


def is_readable(fileno: int) -> bool:
    """Say whether there is something to read on a socket, or its end."""
    if fileno < 0 or not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(fileno, select.POLLIN)
    return bool(poll.poll(0))


def whole(seconds: float) -> int:
    """Round seconds up, for a driver that counts in whole ones and takes 0 for no limit."""
    return max(1, math.ceil(seconds))


def set_keepalive(fileno: int, value: float | bool) -> None:  # noqa: FBT001  as the option is
    """Set TCP's keepalive on a socket that a driver has opened.

    Raises:
        ConnectionError: It is closed already.
    """
    if fileno < 0:
        msg = "the server hung up at once"
        raise ConnectionResetError(msg)
    # A duplicate is the same socket to the kernel, and can be closed.
    with socket.socket(fileno=os.dup(fileno)) as sock:
        if sock.family not in {socket.AF_INET, socket.AF_INET6}:
            return
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(value is not False))
        idle = getattr(socket, "TCP_KEEPIDLE", None) or getattr(socket, "TCP_KEEPALIVE", None)
        if idle is not None and not isinstance(value, bool):
            sock.setsockopt(socket.IPPROTO_TCP, idle, whole(value))
