"""An @ in a password, which other drivers take as it is, and libpq for the end of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import psycopg
import psycopg2
import pytest

from millpond import drivers
from millpond.drivers import aio

if TYPE_CHECKING:
    from collections.abc import Callable


def connected(monkeypatch: pytest.MonkeyPatch, url: str) -> dict[str, Any]:
    """Connect by each of them, none of which connects, and give what libpq reads in its URL."""
    seen: list[str] = []

    def connect(conninfo: str, *_: object, **__: object) -> None:
        seen.append(conninfo)

    async def connect_soon(conninfo: str, *_: object, **__: object) -> None:
        seen.append(conninfo)

    monkeypatch.setattr(psycopg, "connect", connect)
    monkeypatch.setattr(psycopg2, "connect", connect)
    monkeypatch.setattr(psycopg.AsyncConnection, "connect", connect_soon)
    blocking: list[Callable[[], object]] = [
        drivers.find(url, driver="psycopg").connect,
        drivers.find(url.replace("postgresql:", "postgresql+psycopg2:")).connect,
    ]
    for each in blocking:
        each()

    async def wait() -> None:
        await aio.find(url, driver="psycopg").connect()

    asyncio.run(wait())
    first, *others = [psycopg.conninfo.conninfo_to_dict(one) for one in seen]
    assert len(others) == 2
    assert all(one == first for one in others)
    return first


@pytest.mark.parametrize(
    ("url", "password", "host", "name"),
    [
        ("postgresql://u:top@secret@db:1/x", "top@secret", "db", "x"),
        ("postgresql://u:@@@db/x", "@@", "db", "x"),
        ("postgresql://u:a%40b@c@db", "a@b@c", "db", None),
        ("postgresql://u:plain@db/x%40y", "plain", "db", "x@y"),
        ("postgresql://u:plain@db/x@y", "plain", "db", "x@y"),
        ("postgresql://db/x@y", None, "db", "x@y"),
        ("postgresql://u@%2Frun/x", None, "/run", "x"),
    ],
)
def test_only_the_last_at_ends_a_password(
    monkeypatch: pytest.MonkeyPatch, url: str, password: str | None, host: str, name: str | None
) -> None:
    said = connected(monkeypatch, url)

    assert (said.get("password"), said["host"], said.get("dbname")) == (password, host, name)
