"""The transports of event loops, for drivers that speak to a server through one."""

from __future__ import annotations

import asyncio
import socket
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from millpond.drivers import _sockets

if TYPE_CHECKING:
    from collections.abc import Iterator

# The words of uvloop, and those that aiomysql and asyncmy have for it.
_HANG_UPS: Final = (
    "the handler is closed",
    "does not expose socket instance",
    # What `writelines` of asyncio makes of it, in some releases of Python 3.12 and 3.13.
    "'NoneType' object has no attribute '_add_writer'",
)


def fileno(transport: asyncio.BaseTransport | None) -> int:
    """Return the socket's file descriptor, -1 once the event loop has begun to close it.

    Use it at once: the loop may close the socket as soon as it runs.
    """
    if transport is None or transport.is_closing():
        return -1
    sock = transport.get_extra_info("socket")
    return -1 if sock is None else int(sock.fileno())


def is_alive(transport: asyncio.BaseTransport | None) -> bool | None:
    """Say whether it is open, also if the event loop has not seen yet that the server hung up."""
    number = fileno(transport)
    return False if number < 0 else _sockets.is_alive(number)


def is_hang_up(error: BaseException) -> bool:
    """Say whether an error is all that a driver heard of the end of its transport.

    That is a `RuntimeError` where uvloop has closed the transport: nothing can be written to it any
    more, and it has no socket. Transports of asyncio let all that be done, and drop it, but for a
    fault of theirs, which is an `AttributeError`.
    """
    said = str(error) if type(error) in {RuntimeError, AttributeError} else ""
    return said.endswith(_HANG_UPS)


@contextmanager
def hang_ups_told() -> Iterator[None]:
    """Raise a `ConnectionError` for an error that is a hang-up."""
    try:
        yield
    except (RuntimeError, AttributeError) as error:
        if not is_hang_up(error):
            raise
        msg = "the server hung up"
        raise ConnectionResetError(msg) from error


def drop(transport: Any, loop: asyncio.AbstractEventLoop | None) -> None:  # noqa: ANN401
    """Close the socket at once. It never raises, also if the event loop is closed.

    An open loop has to run once more for it. With a transport of asyncio the other side is told
    here already, also from another thread, where a transport must not be used; with uvloop's there
    is no such way.

    Args:
        transport: One of asyncio or of uvloop, or ``None``.
        loop: Its event loop.
    """
    if transport is None:
        return
    with suppress(Exception):
        transport.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
    if loop is not None and loop.is_closed():
        _bury(transport, loop)
        return
    with suppress(Exception):
        if loop is None or not loop.is_running() or loop is asyncio._get_running_loop():
            transport.abort()
        else:
            loop.call_soon_threadsafe(transport.abort)


def drop_writer(writer: Any) -> None:  # noqa: ANN401  an asyncio.StreamWriter
    """Close the socket of a stream at once, and have its writer say nothing when it is deleted."""
    if writer is None:
        return
    drop(writer.transport, writer._loop)
    with suppress(Exception):
        if not writer.transport.is_closing():  # its loop is closed, or is still to hear of it
            writer._transport = _Closed()


class _Closed:
    """What a writer needs of a transport when it is deleted."""

    @staticmethod
    def is_closing() -> bool:
        """Say yes."""
        return True


def _bury(transport: Any, loop: asyncio.AbstractEventLoop) -> None:  # noqa: ANN401
    """Do for a transport what its loop cannot do any more.

    uvloop has closed the socket together with itself, and only the transport is still to know.
    """
    # What they find out on the way is nobody's concern any more.
    loop.set_exception_handler(lambda *_: None)
    with suppress(Exception):
        transport.abort()
    under = getattr(getattr(transport, "_ssl_protocol", None), "_transport", None) or transport
    with suppress(Exception):
        # It tells the protocol, which may fail without a loop, and closes the socket all the same.
        under._call_connection_lost(None)
