"""URLs of the usual form, ``scheme://user:password@host:port/name?key=value``, taken apart.

For the drivers that have no parser of their own. Python's `urllib.parse.urlsplit` is not it: its
errors quote a piece of the password.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn
from urllib.parse import parse_qsl, unquote

from millpond.drivers._base import redact
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

_LAST_PORT: Final = 65_535


class Parts(NamedTuple):
    """The parts of a URL, percent-decoded; ``None`` is what it does not say."""

    user: str | None
    password: str | None
    host: str | None
    port: int | None
    name: str | None
    query: dict[str, str]


def split(url: str) -> Parts:
    """Take a URL apart.

    Args:
        url: The URL. A host that is an IPv6 address stands in brackets.

    Raises:
        PoolConfigError: It is not valid. The message has no password in it.
    """
    rest, _, query = url.partition("://")[2].partition("?")
    # As in `redact`: only the last @ ends a password that is not percent-encoded.
    userinfo, at, address = rest.rpartition("@")
    user, colon, password = userinfo.partition(":")
    netloc, _, name = address.partition("/")
    host, port = _host_and_port(url, netloc)
    return Parts(
        user=unquote(user) if at and user else None,
        password=unquote(password) if colon else None,
        host=unquote(host) or None,
        port=port,
        name=unquote(name) or None,
        query=dict(parse_qsl(query, keep_blank_values=True)),
    )


def _host_and_port(url: str, netloc: str) -> tuple[str, int | None]:
    host, colon, port = netloc.rpartition(":")
    if not colon or port.endswith("]"):
        host, port = netloc, ""
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if port and not (port.isdecimal() and int(port) <= _LAST_PORT):
        refuse_port(url)
    return host, int(port) if port else None


def refuse(url: str, why: str) -> NoReturn:
    """Raise the error about a URL, which shows everything of it but passwords."""
    msg = f"connect={redact(url)!r}: {why}"
    raise PoolConfigError(msg)


def refuse_port(url: str) -> NoReturn:
    """Raise the error about a port that is no number, of which nothing is shown.

    It is likely to be the rest of a password, with a host before it that was meant as a user.
    """
    msg = (
        f"connect='{url.partition('://')[0]}://...': the port must be a number; if that is part of "
        "a password, percent-encode its special characters"
    )
    raise PoolConfigError(msg)


def refuse_unknown(argument: str, name: str, driver: str, known: Iterable[str]) -> NoReturn:
    """Raise the error about a parameter that the driver does not know."""
    msg = f"{argument}: {name!r} is unknown to {driver}; known are {', '.join(sorted(known))}"
    raise PoolConfigError(msg)
