"""TLS in front of a real PostgreSQL that has none, and every way in which TLS can end."""

from __future__ import annotations

import enum
import os
import select
import shutil
import socket
import ssl
import struct
import subprocess
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from proxy import Address

_CHUNK = 65536
_LOOK_EVERY = 0.02
# SO_LINGER with no time: closing sends RST instead of FIN.
_ABORT = struct.pack("ii", 1, 0)
# What a client of PostgreSQL says first when it wants TLS.
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)


class Goodbye(enum.Enum):
    """What the client gets to see of the end."""

    ORDERLY = "close_notify, then FIN"
    UNFINISHED = "close_notify, and the socket stays open"
    CUT = "FIN without close_notify"
    RESET = "RST"


class Certificate(NamedTuple):
    """The two files of a server."""

    chain: Path
    key: Path


def certificate(folder: Path) -> Certificate:
    """Have the command `openssl` make a certificate that nobody has signed."""
    program = shutil.which("openssl")
    if program is None:
        reason = "TLS: there is no command openssl to make a certificate with"
        if os.environ.get("MILLPOND_REQUIRE_SERVERS") == "1":
            pytest.fail(f"{reason} (MILLPOND_REQUIRE_SERVERS=1)")
        pytest.skip(reason)
    made = Certificate(folder / "server.crt", folder / "server.key")
    wanted = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    files = ["-subj", "/CN=127.0.0.1", "-keyout", str(made.key), "-out", str(made.chain)]
    subprocess.run([program, *wanted.split(), *files], check=True, capture_output=True)
    return made


class TlsFront:
    """Takes TLS off for the server behind it, as stunnel and the proxies of clouds do.

    Args:
        upstream: Where the PostgreSQL listens.
        files: What to show to clients.
    """

    def __init__(self, upstream: Address, files: Certificate) -> None:
        self._upstream = upstream
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(files.chain, files.key)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.address: Address = self._listener.getsockname()
        self._links: list[_Link] = []
        self._thread = threading.Thread(target=self._accept, name="test-tls", daemon=True)
        self._thread.start()

    def end(self, how: Goodbye, words: bytes = b"") -> None:
        """Say `words` to every client that there is now, and goodbye, in one segment."""
        for link in self._links:
            link.end(how, words)
        if how is Goodbye.RESET:
            for link in self._links:
                link.reset()

    def end_after_answer(self, how: Goodbye) -> None:
        """Say goodbye in the same segment as what the server says next."""
        for link in self._links:
            link.last_words = how

    def say(self, words: bytes) -> None:
        """Put words into the mouth of the server."""
        for link in self._links:
            link.say(words)

    def close(self) -> None:
        """Close everything, and wait for the threads."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(5.0)
        self._listener.close()
        for link in self._links:
            link.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # the block has ended
                return
            link = _Link(client, self._upstream, self._context)
            self._links.append(link)  # before its client can be served
            link.start()


class _Link:
    """One client: a thread of its own, and OpenSSL without a socket, whose bytes we send."""

    def __init__(self, client: socket.socket, upstream: Address, context: ssl.SSLContext) -> None:
        self._client = client
        self._server = socket.create_connection(upstream)
        self._came, self._goes = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._came, self._goes, server_side=True)
        # Whoever speaks for the server: this thread, or the test's.
        self._lock = threading.RLock()
        self._greeted = self._ended = False
        self.last_words: Goodbye | None = None
        self._thread = threading.Thread(target=self._run, name="test-tls-link", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def say(self, words: bytes) -> None:
        with self._lock:
            if self._greeted and not self._ended:
                self._tls.write(words)
                self._flush()

    def end(self, how: Goodbye, words: bytes = b"") -> None:
        with self._lock, suppress(OSError):
            if self._ended or not self._greeted:
                return
            self._ended = True
            if words:
                self._tls.write(words)
            if how in {Goodbye.ORDERLY, Goodbye.UNFINISHED}:
                # Its answer is not waited for, as a server that goes down does not either.
                with suppress(ssl.SSLWantReadError):
                    self._tls.unwrap()
            self._flush()
            if how in {Goodbye.ORDERLY, Goodbye.CUT}:
                self._client.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        if not self._ended:
            return
        # As long as the thread is within select(), the kernel would not close the socket.
        self._thread.join(5.0)
        with suppress(OSError):
            self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        self._client.close()

    def close(self) -> None:
        with self._lock:
            self._ended = True
        with suppress(OSError):  # a handshake that nobody finishes
            self._client.shutdown(socket.SHUT_RD)
        self._thread.join(5.0)
        assert not self._thread.is_alive(), "the thread of a TLS link did not end"
        self._client.close()
        self._server.close()

    def _run(self) -> None:
        with suppress(OSError):  # the other side is gone
            self._greet()
            self._read()  # what came together with the end of the handshake
            while True:
                ready, _, _ = select.select([self._client, self._server], [], [], _LOOK_EVERY)
                with self._lock:
                    if self._ended:
                        break
                    for half in ready:
                        self._hand_on(half)
        # The server must not go on to believe in a client that was told goodbye.
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)

    def _greet(self) -> None:
        asked = self._client.recv(len(_SSL_REQUEST))
        if not asked:  # who wanted a statement cancelled, and was cancelled
            raise ConnectionAbortedError
        assert asked == _SSL_REQUEST
        self._client.sendall(b"S")
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                said = self._client.recv(_CHUNK)
                if not said:
                    raise ConnectionAbortedError from None
                self._came.write(said)
            else:
                self._flush()
                self._greeted = True
                return

    def _hand_on(self, half: socket.socket) -> None:
        said = half.recv(_CHUNK)
        if not said:
            self.end(Goodbye.ORDERLY)
        elif half is self._server:
            self._tls.write(said)
            if self.last_words is not None:
                self.end(self.last_words)
            self._flush()
        else:
            self._came.write(said)
            self._read()

    def _read(self) -> None:
        with suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            while plain := self._tls.read(_CHUNK):
                self._server.sendall(plain)

    def _flush(self) -> None:
        if self._goes.pending:
            self._client.sendall(self._goes.read())


@contextmanager
def tls_front(upstream: Address, folder: Path) -> Iterator[TlsFront]:
    """Run a front for the length of a block."""
    front = TlsFront(upstream, certificate(folder))
    try:
        yield front
    finally:
        front.close()
