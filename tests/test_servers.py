"""The misbehaving servers misbehave as their names say."""

from __future__ import annotations

import socket
import sys

import pytest

import servers


def test_nobody_listening_refuses_the_connect() -> None:
    with servers.nobody_listening() as address, pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=5)


def test_accept_and_close_ends_the_first_read() -> None:
    with servers.accept_and_close() as address:
        with socket.create_connection(address, timeout=5) as client:
            received = client.recv(1)

        assert received == b""


def test_accept_and_never_answer_lets_the_first_read_wait() -> None:
    with (
        servers.accept_and_never_answer() as address,
        socket.create_connection(address, timeout=5) as client,
    ):
        client.settimeout(0.05)

        with pytest.raises(TimeoutError):
            client.recv(1)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse when the backlog is full")
def test_never_accept_lets_the_connect_wait() -> None:
    with servers.never_accept() as address, pytest.raises(TimeoutError):
        socket.create_connection(address, timeout=0.05)
