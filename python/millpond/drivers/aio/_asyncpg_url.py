"""The URLs of PostgreSQL as asyncpg takes them.

asyncpg takes a URL apart when it connects, and its errors may quote a piece of it. So what can be
checked is checked here, and the password is handed over by itself.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, unquote

from millpond.drivers._url import refuse, refuse_port

_ENCODE = "behind the ? an @ must be percent-encoded, as must a ? in a password"


def arguments_of(url: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the arguments of `asyncpg.connect()`, and the parameters in the URL.

    Raises:
        PoolConfigError: The URL is not valid. The message has no password in it.
    """
    rest, mark, query = url.partition("://")[2].partition("?")
    if "@" in query:  # it may be a password with a ? in it
        refuse(url, _ENCODE)
    # As in `redact`: only the last @ ends a password that is not percent-encoded.
    userinfo, at, address = rest.rpartition("@")
    hosts = address.partition("/")[0]
    for host in hosts.split(","):
        bare, colon, port = host.rpartition(":")
        if colon and not bare.endswith("]") and ":" in bare:
            refuse(url, "an IPv6 address must stand in brackets")
        if colon and port and not (port.isdecimal() or port.endswith("]")):
            refuse_port(url)
    try:
        named = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=True)) if mark else {}
    except ValueError:
        refuse(url, "what stands behind the ? must be name=value&name=value")
    arguments: dict[str, Any] = {"dsn": f"postgresql://{address}{mark}{query}"}
    user, colon, password = userinfo.partition(":")
    if at and user:
        arguments["user"] = unquote(user)
    if colon:
        arguments["password"] = unquote(password)
    return arguments, named
