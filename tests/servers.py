"""Servers that misbehave, each named for what it does.

Each is a context manager which gives `(host, port)` on the loopback interface, and which leaves
neither a socket nor a thread behind.
"""

from __future__ import annotations

import queue
import socket
import struct
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Address = tuple[str, int]

LOOPBACK = "127.0.0.1"

# SO_LINGER with no time: closing sends RST instead of FIN.
ABORT = struct.pack("ii", 1, 0)


@contextmanager
def nobody_listening() -> Iterator[Address]:
    """Give an address at which every connect is refused.

    The port stays bound while the block runs, so that nobody else can begin to listen there.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as reserved:
        reserved.bind((LOOPBACK, 0))
        yield reserved.getsockname()


@contextmanager
def accept_and_close() -> Iterator[Address]:
    """Give an address at which a connect succeeds and the first read ends at once."""
    with _listening(socket.socket.close) as address:
        yield address


@contextmanager
def accept_and_never_answer() -> Iterator[Address]:
    """Give an address at which a connect succeeds and every read waits for ever."""
    kept: list[socket.socket] = []
    try:
        with _listening(kept.append) as address:
            yield address
    finally:
        for client in kept:
            client.close()


@contextmanager
def answer_without_end(head: bytes, part: bytes) -> Iterator[Address]:
    """Give an address at which an answer begins, and a bit more of it comes again and again."""
    over = threading.Event()

    def drip(client: socket.socket) -> None:
        with client, suppress(OSError):  # nobody listens any more
            client.sendall(head)
            while not over.wait(0.005):
                client.sendall(part)

    with _listening(drip) as address:
        try:
            yield address
        finally:
            over.set()


@contextmanager
def accept_and_hang_up_when_told() -> Iterator[tuple[Address, Callable[[bool], None]]]:
    """Give an address at which a connect succeeds, and what hangs up on one who has connected.

    That takes whether it is to be an RST, and not a FIN.
    """
    kept: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()

    def hang_up(reset: bool) -> None:  # noqa: FBT001  the only argument
        with kept.get(timeout=5.0) as client:
            if reset:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)

    with _listening(kept.put) as address:
        yield address, hang_up


@contextmanager
def never_accept() -> Iterator[Address]:
    """Give an address whose backlog is full: a connect gets no answer at all (Linux)."""
    fillers: list[socket.socket] = []
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind((LOOPBACK, 0))
        listener.listen(0)
        address = listener.getsockname()
        try:
            # One place is left in a backlog of nought; those after it are dropped without a word.
            for _ in range(4):
                filler = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
                filler.setblocking(False)  # noqa: FBT003  the socket module's own signature
                filler.connect_ex(address)
                fillers.append(filler)
            yield address
        finally:
            for filler in fillers:
                filler.close()


@contextmanager
def _listening(serve: Callable[[socket.socket], object]) -> Iterator[Address]:
    with socket.create_server((LOOPBACK, 0)) as listener:
        thread = threading.Thread(
            target=_accept, args=(listener, serve), name="test-server", daemon=True
        )
        thread.start()
        try:
            yield listener.getsockname()
        finally:
            # shutdown() wakes accept() on Linux; elsewhere close() of the socket does.
            try:
                listener.shutdown(socket.SHUT_RDWR)
            except OSError:
                listener.close()
            thread.join(5.0)
            assert not thread.is_alive(), "the server's thread did not end"


def _accept(listener: socket.socket, serve: Callable[[socket.socket], object]) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:  # the block has ended
            return
        serve(client)
